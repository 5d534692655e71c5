# make demo: draw faces, cross-validate two recipes on them, compare them in a report
# make test: the quick checks
# make test-all: every check
# make faults: kill, starve and damage runs in some eighty ways; some minutes, writes the table of the docs
# make docs: the documentation site, in _docs/
# make lowest: every check with the lowest versions that settings.ini allows, in .venv-lowest
# make audit: known holes in what is installed (pip-audit asks PyPI), and risky code (bandit)
# All make .venv and install what they need, when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lowest audit faults bench docs docs-serve install export readme lint notebooks pytest clean

demo: $(INSTALLED)
	$(BIN)/agecls demo

# without the tutorials, the nine longest notebooks and the tests that are marked slow
test: NOTEBOOKS := --skip-folder-re '^([_.]|tutorials)' \
	--skip-file-re '^([_.]|03_predictor|03_study|04_export|04_plots|07_report|10_checkpoint|10_crossval|11_probe|12_fit)'
test: TESTS := -n 2 -m 'not slow'
test-all: TESTS := -n 3
test test-all: $(INSTALLED)
	$(BIN)/python tests/check_generated.py
	$(BIN)/python tests/check_layers.py
	$(BIN)/ruff check .
	# one thread each, as in tests/conftest.py: two notebooks with two threads each would fight over two cores
	OMP_NUM_THREADS=1 $(BIN)/nbdev-test --n-workers 2 $(NOTEBOOKS)
	$(BIN)/python -m pytest --dist loadscope --no-loadscope-reorder $(TESTS)

lowest:
	test -x .venv-lowest/bin/uv || ($(PYTHON) -m venv .venv-lowest && .venv-lowest/bin/python -m pip install uv)
	.venv-lowest/bin/uv pip install --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	touch .venv-lowest/.installed
	$(MAKE) test-all VENV=.venv-lowest

audit: $(INSTALLED)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive agecls_fastai
	$(BIN)/pip-audit --skip-editable

install: $(INSTALLED)

$(INSTALLED): settings.ini setup.py pyproject.toml
	@echo 'Installing into $(VENV): PyTorch is large, this takes some minutes'
	$(PYTHON) -c 'import sys; v = (3, 11); sys.exit(sys.version_info < v and "Python %d.%d or newer is needed; say which: make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

export: $(INSTALLED)
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tests/check_generated.py --write

# half an hour on two cores, on a machine that does nothing else; writes the tables of the docs
bench: $(INSTALLED)
	for name in loader precision training probe predict jobs scale costs; do $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/python benchmarks/training.py --arch tf_efficientnet_lite0 --out benchmarks/training_bare

faults: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/disturb.py --out benchmarks/faults

# the site in _docs/, to be read from there or from a server; it needs no network
docs: $(INSTALLED)
	$(BIN)/python docs/build.py

docs-serve: docs
	$(BIN)/python -m http.server --directory _docs --bind 127.0.0.1 8000

clean:
	rm -rf build dist *.egg-info _proc _docs
