"""Run the notebooks as `nbdev-test` does: in three processes, which have PyTorch already, the longest first

`python tests/notebooks.py [PART OF A NAME …]`; without names all of them. Says how long those have taken
that took longest."""
import gc
import os
import sys
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # two notebooks with two threads each would fight over two cores

import timm  # noqa: E402, F401
from fastcore.parallel import parallel  # noqa: E402
from nbdev.config import get_config  # noqa: E402
from nbdev.doclinks import nbglob  # noqa: E402
from nbdev.test import test_nb  # noqa: E402

import agecls_fastai.all  # noqa: E402, F401
from agecls_fastai.runs import fold  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LONG = ['10_crossval', '04_export', '09_cluster', 'a_fold_by_hand', '07_report', '10_checkpoint', '03_study',
        '02_losses', '11_probe', 'your_own_data', '12_fit', '04_plots', '07_loop', '05_models', '11_ensemble',
        '12_evaluate']


def run(notebook, **kwargs):
    "What is loaded is put aside, so that the garbage of a fold is looked for in what the notebook has made"
    gc.collect()
    gc.freeze()
    fold.only_new_garbage = nullcontext
    return test_nb(notebook, **kwargs)


def main(*names):
    os.chdir(ROOT / 'nbs')
    config, place = get_config(), {name: i for i, name in enumerate(LONG)}
    files = [file.absolute() for file in nbglob(as_path=True) if not names or any(x in file.name for x in names)]
    files.sort(key=lambda file: (place.get(file.stem, len(LONG)), file))
    results = parallel(run, files, n_workers=min(3, len(files)), skip_flags=config.tst_flags.split(),
                       basepath=config.config_path, cell_timeout=600)
    for (_, seconds), file in sorted(zip(results, files), key=lambda x: -x[0][1])[:20]:
        print(f'{seconds:5.0f} s  {file.name}')
    failed = [file.name for (passed, _), file in zip(results, files) if not passed]
    return f'failed: {", ".join(failed)}' if failed else None


if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
