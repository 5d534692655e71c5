"""UTKFace's part 1 small enough to travel: each picture at the size that the networks are trained from, in one .tar.gz

    python benchmarks/real_faces/small_tar.py UTKFACE faces.tar.gz [--size 146] [--quality 75]

For a machine with a GPU that can be sent 45 MB. UTKFACE holds the pictures, or crop_part1.tar. Names stay, so that the
items table of figures in the repository belongs to the small pictures, too; the pictures are encoded once more, so
results differ a little from those on the original ones. The tar stays outside the repository.
"""
import argparse
import io
import os
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

from agecls_fastai.loading.pack import decode_square

MOST = 45e6  # bytes


def small(data, size, quality):
    "The bytes of a picture, smaller"
    out = io.BytesIO()
    Image.fromarray(decode_square(data, size)).save(out, 'JPEG', quality=quality, optimize=True)
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pictures', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--size', type=int, default=146)
    parser.add_argument('--quality', type=int, default=75)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = args.pictures
        if (folder / 'crop_part1.tar').is_file():
            with tarfile.open(folder / 'crop_part1.tar') as f: f.extractall(tmp, filter='data')
            folder = Path(tmp)
        part = args.out.with_name(f'.{args.out.name}.part')
        with tarfile.open(part, 'w:gz', compresslevel=6) as tar:
            for file in sorted(folder.rglob('*.jpg'), key=lambda p: p.name):
                data = small(file.read_bytes(), args.size, args.quality)
                info = tarfile.TarInfo(f'faces/{file.name}')             # no owner and no time
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    size = part.stat().st_size
    if size > MOST:
        part.unlink()
        raise SystemExit(f'{size / 1e6:.1f} MB are more than {MOST / 1e6:.0f}; a lower --quality makes them fewer')
    os.replace(part, args.out)
    print(f'{args.out}: {size / 1e6:.1f} MB')


if __name__ == '__main__': main()
