"""Do imports go downward only, and are modules and functions short? The layers of the package, and a check of them

    python tests/check_layers.py [ROOT] [--table]      exit status 1 where a rule is broken; --table: the house in lines

Nothing is imported: files are read with `ast`. The rules:
1. every module stands in LAYERS, and every entry of LAYERS is a module;
2. a module imports only modules of packages above its own in the list, or of its own package that stand before it;
   APART names packages that may not see each other all the same;
3. LIGHT modules reach none of HEAVY when they are imported, so that the command answers at once, and BARE ones nothing
   that does not come with Python, as `agecls --help` works without anything else;
4. no name that begins with an underscore is imported from another module;
5. an import stands inside a function only where it is of LAZY packages, which are heavy or optional, in the commands,
   or in INSIDE, with its reason;
6. no module is longer than 400 lines, no function than 60, none takes more than 12 parameters; but LONG and WIDE.
"""
import argparse
import ast
import sys
from collections import defaultdict
from pathlib import Path

PACKAGE = 'agecls_fastai'
# from the ground up; within a package a module may use those before it
LAYERS = {
    'core': ['core.errors', 'core.files', 'core.progress'],
    'data': ['data.items', 'data.ages', 'data.folds', 'data.sheets', 'data.tables', 'data.pictures',
             'data.detectors', 'data.faces', 'data.images', 'data.adience', 'data.sources', 'data.datasets',
             'data.audit', 'data.download', 'data.synthetic'],
    'recipes': ['recipes'],
    'scores': ['scores.years', 'scores.thresholds', 'scores.statistics', 'scores.sets', 'scores.calibration',
               'scores.tables'],
    'loading': ['loading.pack', 'loading.augment', 'loading.batches', 'loading.loaders'],
    'training': ['training.ordinal', 'training.metrics', 'training.losses', 'training.weights',
                 'training.levi_hassner', 'training.models', 'training.cams', 'training.fuse', 'training.loop',
                 'training.callbacks', 'training.logs', 'training.checkpoint', 'training.probe', 'training.fit',
                 'training.distributed', 'training.bundle', 'training.photo_net', 'training.hub'],
    'runs': ['runs.format', 'runs.status', 'runs.folder', 'runs.plan', 'runs.processes', 'runs.minutes', 'runs.settle',
             'runs.fold', 'runs.jobs', 'runs.cluster', 'runs.crossval', 'runs.ensemble', 'runs.evaluate',
             'runs.verify'],
    'results': ['results.published', 'results.regroup', 'results.compare', 'results.words', 'results.calibrate',
                'results.study', 'results.plots', 'results.by_age', 'results.age_checks', 'results.examples',
                'results.methods', 'results.page', 'results.age_sections', 'results.run_sections',
                'results.report'],
    'predict': ['predict.photos', 'predict.answers', 'predict.doubts', 'predict.predictor', 'predict.export',
                'predict.boxes', 'predict.cards', 'predict.app'],
    'commands': ['commands.options', 'commands.data', 'commands.training', 'commands.results', 'commands.prediction',
                 'commands.guide'],
    'doors': ['cli', 'all', '__main__'],
}
APART = [('predict', 'results')]  # the first may not see the second, though it stands above it
OUTSIDE = {'showdoc'}  # of the documentation; imports nothing of the package
HEAVY = {'torch', 'torchvision', 'fastai', 'timm', 'matplotlib', 'gradio', 'ray', 'wandb', 'accelerate'}
LIGHT = ['core', 'data', 'recipes', 'scores', 'runs.format', 'runs.status', 'results.published', 'results.compare',
         'results.calibrate', 'predict.photos', 'predict.answers', 'commands', 'cli']
BARE = ['commands', 'cli']
LAZY = {'timm': 'optional', 'gradio': 'optional', 'ray': 'optional', 'wandb': 'optional', 'accelerate': 'optional',
        'onnx': 'optional', 'onnxruntime': 'optional', 'onnxscript': 'optional', 'huggingface_hub': 'optional',
        'safetensors': 'optional', 'starlette': 'optional', 'pyarrow': 'optional', 'pillow_heif': 'optional',
        'nbdev': 'optional', 'httpx': 'a download alone needs it', 'imagehash': 'loads SciPy', 'sklearn': 'heavy',
        'pandas': 'heavy', 'IPython': 'in notebooks alone'}
INSIDE = {('runs.cluster', 'socket'): 'in a function that travels to other machines by itself',
          ('training.logs', 'fastai'): 'fastai imports TensorBoard and wandb with them',
          ('training.distributed', 'torch'): "a module of torch's own, of which it says that it may go"}
MOST_LINES, MOST_OF_FUNCTION, MOST_PARAMETERS = 400, 60, 12
LONG = {('runs.crossval', 'cross_validate'): 'a line for each of its parameters'}
WIDE = {('runs.crossval', 'cross_validate'): 'the door: everything that can be asked of a run',
        ('runs.fold', 'train_fold'): 'the same for one fold, public before there were plans',
        ('loading.loaders', 'age_dls'): 'what fastai spreads over DataBlock and dataloaders',
        ('data.datasets', 'read_data'): 'the options of all kinds of data, by name'}


def parse(root):
    "Module name without the package → its tree and source"
    folder = Path(root) / PACKAGE
    files = [p for p in sorted(folder.rglob('*.py')) if p.name not in ('_modidx.py', '__init__.py')]
    found = {'.'.join(p.relative_to(folder).with_suffix('').parts): p.read_text('utf-8') for p in files}
    return {name: (ast.parse(text), text) for name, text in found.items()}


def imports(module, tree, modules):
    "What a tree imports: (node, a module of the package or None, its name or an outside package)"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                inner = alias.name.removeprefix(f'{PACKAGE}.')
                if inner in modules: yield node, inner, '*'
                else: yield node, None, alias.name.split('.')[0]
        elif isinstance(node, ast.ImportFrom):
            if node.level: base = [*module.split('.')[:-node.level], *(node.module or '').split('.')]
            elif (node.module or '').split('.')[0] == PACKAGE: base = node.module.split('.')[1:]
            else:
                yield node, None, (node.module or '').split('.')[0]
                continue
            name = '.'.join(x for x in base if x)
            for alias in node.names:
                inner = f'{name}.{alias.name}'.strip('.')
                if inner in modules and name not in modules: yield node, inner, '*'     # from package import module
                elif name in modules: yield node, name, alias.name
                # a name of an __init__, such as __version__, draws no arrow


def at_top(tree):
    "The nodes that run when a module is imported: not those in functions"
    stack, top = list(tree.body), set()
    while stack:
        node = stack.pop()
        top.add(id(node))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack += list(ast.iter_child_nodes(node))
    return top


class House:
    "What a tree imports, and how long its parts are"
    def __init__(self, root):
        self.arrows, self.eager, self.outside, self.inside = defaultdict(set), set(), defaultdict(set), []
        self.modules = parse(root)
        for module, (tree, _) in self.modules.items():
            top = at_top(tree)
            for node, to, name in imports(module, tree, self.modules):
                if to == module: continue
                if to: self.arrows[module, to].add(name)
                if id(node) not in top: self.inside.append((module, to or name, node.lineno))
                elif to: self.eager.add((module, to))
                else: self.outside[module].add(name)

    def functions(self):
        "(module, function) of each"
        return [(m, n) for m, (tree, _) in self.modules.items() for n in ast.walk(tree)
                if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]

    def lines(self, module): return len(self.modules[module][1].splitlines())


PLACE = {m: (i, j) for i, ms in enumerate(LAYERS.values()) for j, m in enumerate(ms)}
LAYER = {m: name for name, ms in LAYERS.items() for m in ms}


def wrong_arrows(house):
    "Rules 1, 2 and 4"
    yield from (f'{m} stands in no layer' for m in house.modules if m not in PLACE and m not in OUTSIDE)
    yield from (f'{m} stands in a layer and is no module' for m in PLACE if m not in house.modules)
    for (a, b), names in sorted(house.arrows.items()):
        if a not in PLACE or b not in PLACE: continue
        if PLACE[b] >= PLACE[a]: yield f'{a} -> {b} goes up: {", ".join(sorted(names))}'
        if (LAYER[a], LAYER[b]) in APART: yield f'{a} -> {b}: {LAYER[a]} may not see {LAYER[b]}'
        if private := sorted(n for n in names if n.startswith('_') and not n.startswith('__')):
            yield f'{a} -> {b} takes a private name: {", ".join(private)}'


def within(module, names):
    "Is it one of these modules, or in one of these packages?"
    return any(module == x or module.startswith(f'{x}.') for x in names)


def heavy_reached(house):
    "Rule 3"
    below = defaultdict(set)
    for a, b in house.eager: below[a].add(b)
    for m in house.modules:
        if not within(m, LIGHT): continue
        bare = within(m, BARE)
        reached, stack = {}, [(m, m)]
        while stack:
            x, way = stack.pop()
            if x in reached: continue
            reached[x] = way
            stack += [(y, f'{way} -> {y}') for y in below[x]]
        for x, way in reached.items():
            bad = sorted(n for n in house.outside[x] if n in HEAVY or bare and n not in sys.stdlib_module_names)
            if bad: yield f'{m} must not import {", ".join(bad)}: {way}'


def hidden_imports(house):
    "Rule 5"
    for module, name, line in house.inside:
        if within(module, BARE) or name in LAZY or (module, name) in INSIDE: continue
        yield f'{module}, line {line}: {name} is imported inside a function; it is neither heavy nor optional'


def too_much(house):
    "Rule 6"
    for m in house.modules:
        if (n := house.lines(m)) > MOST_LINES: yield f'{m} has {n} lines, more than {MOST_LINES}'
    for m, f in house.functions():
        n = f.end_lineno - f.lineno + 1
        if n > MOST_OF_FUNCTION and (m, f.name) not in LONG:
            yield f'{m}.{f.name} has {n} lines, more than {MOST_OF_FUNCTION}'
        given = [a.arg for a in [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs] if a.arg not in ('self', 'cls')]
        if len(given) > MOST_PARAMETERS and (m, f.name) not in WIDE:
            yield f'{m}.{f.name} takes {len(given)} parameters, more than {MOST_PARAMETERS}'


def violations(house):
    "All broken rules, a line each"
    return [line for rule in (wrong_arrows, heavy_reached, hidden_imports, too_much) for line in rule(house)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root', nargs='?', default=Path(__file__).resolve().parent.parent)
    parser.add_argument('--table', action='store_true', help='show each module with its lines and what it imports')
    args = parser.parse_args()
    house = House(args.root)
    for name, modules in LAYERS.items() if args.table else ():
        print(f'{name}: {sum(house.lines(m) for m in modules):,} lines')
        for m in modules: print(f'  {m} {house.lines(m)}: {", ".join(sorted(b for a, b in house.arrows if a == m))}')
    found = violations(house)
    if found: sys.exit('\n'.join(found))
    print(f'{len(house.modules)} modules, {len(house.arrows)} arrows, all downward')


if __name__ == '__main__': main()
