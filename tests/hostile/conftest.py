"How long Hypothesis looks: HYPOTHESIS_PROFILE=long for an hour or so, else the same few examples each time"
import os
import warnings

import pytest
from hypothesis import HealthCheck, settings

QUIET = dict(database=None, suppress_health_check=list(HealthCheck), deadline=10_000)
settings.register_profile('short', max_examples=40, derandomize=True, **QUIET)
settings.register_profile('long', max_examples=int(os.environ.get('EXAMPLES', 3000)), print_blob=True, **QUIET)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'short'))


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
