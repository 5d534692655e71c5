"Every kind of picture, through everything that reads pictures: all of it sees what people see"
import json
import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.core import PILImage, TensorImage
from PIL import Image, ImageCms

from agecls_fastai.core.errors import AgeclsError, DataWarning
from agecls_fastai.data import images
from agecls_fastai.data.images import audit_images, check_images
from agecls_fastai.data.items import check_items
from agecls_fastai.data.pictures import decode, find_pictures, open_photo, photo_size, picture_kind, reads_heif
from agecls_fastai.data.sources import read_fgnet, read_folder, read_utkface
from agecls_fastai.loading.loaders import age_dls, open_image
from agecls_fastai.loading.pack import build_pack, open_pack
from agecls_fastai.predict import cards
from agecls_fastai.predict.answers import Answerer, answer, read_square
from agecls_fastai.predict.photos import square
from agecls_fastai.results import examples

COLOURS = np.uint8([[180, 60, 50], [60, 140, 70], [60, 80, 170], [200, 190, 90]])
SIDE = 64
EXACT = {'lab tiff': 4}  # eight bits of Lab have no finer colours
WHITE = [255] * 3


def quarters(colours=COLOURS, width=96, height=96):
    "Four colours: left above, right above, left below, right below"
    x = np.zeros((height, width, 3), np.uint8)
    for i, colour in enumerate(colours):
        x[i // 2 * height // 2:(i // 2 + 1) * height // 2, i % 2 * width // 2:(i % 2 + 1) * width // 2] = colour
    return Image.fromarray(x)


PICTURE = quarters()
GREYS = np.uint8([40, 90, 160, 220])
GREY = quarters(np.repeat(GREYS[:, None], 3, 1)).convert('L')


def saved(image, kind, **kwargs):
    file = BytesIO()
    if kind in ('JPEG', 'WEBP'): kwargs = dict(quality=98) | kwargs
    if kind == 'JPEG': kwargs = dict(subsampling=0) | kwargs
    image.save(file, kind, **kwargs)
    return file.getvalue()


def exif_of(orientation, wrong=False):
    "An EXIF block; with a fraction of 0/0 in it, on request"
    exif = Image.Exif()
    exif[0x0112] = orientation
    if not wrong: return exif.tobytes()
    exif[0x011A] = 72.0
    raw = exif.tobytes()
    for order in ('>II', '<II'): raw = raw.replace(struct.pack(order, 72, 1), bytes(8))
    return raw


def lying(orientation):
    "The picture as a camera stores it, with an entry that says how to turn it"
    back = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE', 6: 'ROTATE_90',
            7: 'TRANSVERSE', 8: 'ROTATE_270'}
    return PICTURE.transpose(Image.Transpose[back[orientation]])


def wide(kind, **kwargs):
    "The picture in the numbers of a wider gamut, with its profile"
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    for name, xyz in dict(r=(.60974, .31111, .01947), g=(.20528, .62567, .06087), b=(.14919, .06322, .74457)).items():
        row = profile.index(name.encode() + b'XYZ')
        at = int.from_bytes(profile[row + 4:row + 8]) + 8
        profile[at:at + 12] = b''.join(round(x * 65536).to_bytes(4) for x in xyz)
    profile = bytes(profile)
    there = ImageCms.ImageCmsProfile(BytesIO(profile))
    image = ImageCms.profileToProfile(PICTURE, ImageCms.createProfile('sRGB'), there)
    assert np.abs(np.asarray(image, int) - np.asarray(PICTURE, int)).max() > 8
    return saved(image, kind, icc_profile=profile, **kwargs)


def clear(image, last=0):
    "With an alpha channel: the last quarter is transparent, whatever its colour"
    alpha = np.full((96, 96), 255, np.uint8)
    alpha[48:, 48:] = last
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def palette(transparent=False):
    image = PICTURE.quantize(4)
    if not transparent: return saved(image, 'PNG')
    return saved(image, 'PNG', transparency=image.getpixel((90, 90)))


def deep(dtype=np.uint16, scale=257): return Image.fromarray((np.asarray(GREY).astype(float) * scale).astype(dtype))


def tiff16(photometric, bits=16):
    "An uncompressed TIFF of 16 bits a pixel, by hand"
    x = np.asarray(GREY).astype(np.uint32) * ((1 << bits) - 1) // 255
    if photometric == 0: x = (1 << bits) - 1 - x
    if bits == 12:
        a, b = x.reshape(-1, 2).T
        body = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()
    else: body = x.astype('<u2').tobytes()
    tags = [(256, 4, 96), (257, 4, 96), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 0), (277, 3, 1),
            (278, 4, 96), (279, 4, len(body))]
    start = 8 + 2 + 12 * len(tags) + 4
    tags = [(tag, kind, start if tag == 273 else value) for tag, kind, value in tags]
    entries = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in tags)
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4) + body


def tiff_by_hand(image, bits, white, sample_format=1):
    "A TIFF of whole numbers, uncompressed"
    x = np.asarray(image).astype(np.uint64) * white // 255
    body = x.astype(f'<u{bits // 8}').tobytes()
    tags = [(256, 96), (257, 96), (258, bits), (259, 1), (262, 1), (273, 0), (277, 1), (278, 96), (279, len(body)),
            (339, sample_format)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4) + body


def png_by_hand(bits, key):
    "Grey of two or four bits a pixel, with one transparent value"
    x = np.zeros((96, 96), np.uint8)
    for i, value in enumerate(((0, 1, 3) if bits == 2 else (2, 5, 9)) + (key,)):
        x[i // 2 * 48:, i % 2 * 48:] = value
    packed = x.reshape(96, -1, 8 // bits)
    rows = sum(packed[:, :, i].astype(np.uint8) << (8 - bits * (i + 1)) for i in range(8 // bits)).astype(np.uint8)
    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 96, 96, bits, 0, 0, 0, 0))
            + chunk(b'tRNS', struct.pack('>H', key)) + chunk(b'IDAT', zlib.compress(
                b''.join(b'\0' + row.tobytes() for row in rows))) + chunk(b'IEND', b''))


def grey_profile(gamma):
    "A profile of grey, by hand: white point and tone curve"
    curve = b'curv' + bytes(4) + struct.pack('>IH', 1, round(gamma * 256)) + bytes(2)
    white = b'XYZ ' + bytes(4) + struct.pack('>3i', *(round(x * 65536) for x in (.9642, 1, .8249)))
    words = b'desc' + bytes(4) + struct.pack('>I', 5) + b'grey\0' + bytes(78)
    parts, table, at = [(b'desc', words), (b'wtpt', white), (b'kTRC', curve)], b'', 128 + 4 + 36
    for name, part in parts:
        table += name + struct.pack('>II', at, len(part))
        at += len(part)
    head = struct.pack('>I4sI4s4s4s', at, b'lcms', 0x02100000, b'mntr', b'GRAY', b'XYZ ') + bytes(12) + b'acsp'
    head += bytes(28) + struct.pack('>3i', *(round(x * 65536) for x in (.9642, 1, .8249)))
    return head + bytes(128 - len(head)) + struct.pack('>I', 3) + table + b''.join(part for _, part in parts)


def with_gamma(gamma):
    "The greys in the numbers of such a profile"
    x = np.asarray(GREY) / 255
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055)**2.4)
    return Image.fromarray(np.round(255 * light**(1 / gamma)).astype(np.uint8))


def holes():
    "Fractions, with values that are no numbers, below black, and above white"
    x = np.array(deep(np.float32, 1 / 255))
    x[0, :4] = np.nan, -0.01, -np.inf, 1.02
    return Image.fromarray(x)


def frames(kind): return saved(PICTURE, kind, save_all=True, append_images=[Image.new('RGB', (96, 96), 'black')] * 2)


IN_COLOUR = {
    'jpeg': lambda: saved(PICTURE, 'JPEG'), 'progressive': lambda: saved(PICTURE, 'JPEG', progressive=True),
    **{f'orientation {n}': lambda n=n: saved(lying(n), 'JPEG', exif=exif_of(n)) for n in range(2, 9)},
    'upright by its EXIF': lambda: saved(PICTURE, 'JPEG', exif=exif_of(1)),
    'orientation of no meaning': lambda: saved(PICTURE, 'JPEG', exif=exif_of(99)),
    'impossible fraction': lambda: saved(lying(6), 'JPEG', exif=exif_of(6, True)),
    'nonsense for EXIF': lambda: saved(PICTURE, 'JPEG', exif=b'Exif\0\0nonsense of some length'),
    'png': lambda: saved(PICTURE, 'PNG'), 'png, orientation 6': lambda: saved(lying(6), 'PNG', exif=exif_of(6)),
    'webp, orientation 8': lambda: saved(lying(8), 'WEBP', exif=exif_of(8), lossless=True),
    'tiff, orientation 6': lambda: saved(lying(6), 'TIFF', tiffinfo={274: 6}),
    'tiff, impossible fraction': lambda: saved(lying(6), 'TIFF', exif=exif_of(6, True)),
    'palette': palette, 'bmp': lambda: saved(PICTURE, 'BMP'), 'tiff': lambda: saved(PICTURE, 'TIFF'),
    'tiff, packed': lambda: saved(PICTURE, 'TIFF', compression='tiff_lzw'),
    'cmyk jpeg': lambda: saved(PICTURE.convert('CMYK'), 'JPEG'),
    'cmyk tiff': lambda: saved(PICTURE.convert('CMYK'), 'TIFF'),
    'lab tiff': lambda: saved(ImageCms.profileToProfile(PICTURE, ImageCms.createProfile('sRGB'),
                                                        ImageCms.createProfile('LAB'), outputMode='LAB'), 'TIFF'),
    'rgb jpeg': lambda: saved(PICTURE, 'JPEG', keep_rgb=True),
    'wide gamut jpeg': lambda: wide('JPEG'), 'wide gamut png': lambda: wide('PNG'),
    'wide gamut webp': lambda: wide('WEBP', lossless=True), 'wide gamut tiff': lambda: wide('TIFF'),
    'sRGB profile': lambda: saved(PICTURE, 'JPEG', icc_profile=ImageCms.ImageCmsProfile(
        ImageCms.createProfile('sRGB')).tobytes()),
    'nonsense for a profile': lambda: saved(PICTURE, 'PNG', icc_profile=b'nonsense'),
    'animated gif': lambda: frames('GIF'), 'animated webp': lambda: frames('WEBP'),
    'animated png': lambda: frames('PNG'), 'pages': lambda: frames('TIFF'),
    'several in one jpeg': lambda: frames('MPO'), 'avif': lambda: saved(PICTURE, 'AVIF', quality=95),
    'jpeg 2000': lambda: saved(PICTURE, 'JPEG2000')}
ON_WHITE = {
    'alpha': lambda: saved(clear(PICTURE), 'PNG'), 'alpha, webp': lambda: saved(clear(PICTURE), 'WEBP', lossless=True),
    'alpha, tiff': lambda: saved(clear(PICTURE), 'TIFF'), 'palette with a clear colour': lambda: palette(True),
    'clear colour': lambda: saved(PICTURE, 'PNG', transparency=tuple(COLOURS[3].tolist())),
    'clear gif': lambda: saved(clear(PICTURE), 'GIF')}
IN_GREY = {
    'grey jpeg': lambda: saved(GREY, 'JPEG'), 'grey png': lambda: saved(GREY, 'PNG'),
    'png, 16 bits': lambda: saved(deep(), 'PNG'), 'tiff, 16 bits': lambda: saved(deep(), 'TIFF'),
    'tiff, 16 bits, 0 is white': lambda: tiff16(0), 'tiff, 16 bits by hand': lambda: tiff16(1),
    'tiff, 12 bits': lambda: tiff16(1, 12), 'tiff of fractions': lambda: saved(deep(np.float32, 1 / 255), 'TIFF'),
    'pgm, 16 bits': lambda: b'P5 96 96 65535\n' + np.asarray(deep()).astype('>u2').tobytes(),
    'pgm, 10 bits': lambda: b'P5 96 96 1023\n' + (np.asarray(GREY).astype(np.uint32) * 1023 // 255).astype(
        '>u2').tobytes()}
IN_GREY |= {
    'grey jpeg, grey profile': lambda: saved(with_gamma(1.5), 'JPEG', icc_profile=grey_profile(1.5)),
    'grey png, grey profile': lambda: saved(with_gamma(1.5), 'PNG', icc_profile=grey_profile(1.5)),
    'tiff of fractions, with holes': lambda: saved(holes(), 'TIFF'),
    'tiff of floats to 65535': lambda: saved(deep(np.float32, 257), 'TIFF'),
    'tiff, 32 bits': lambda: tiff_by_hand(GREY, 32, 2**32 - 1),
    'tiff, 32 bits of few': lambda: tiff_by_hand(GREY, 32, 255),
    'tiff, 32 bits signed': lambda: tiff_by_hand(GREY, 32, 2**31 - 1, 2),
    'tiff, 16 bits signed': lambda: tiff_by_hand(GREY, 16, 2**15 - 1, 2)}
GREY_ON_WHITE = {
    'grey with alpha': lambda: saved(clear(GREY), 'PNG'),
    'grey with a clear value': lambda: saved(GREY, 'PNG', transparency=220)}
FEW = {  # of few bits, with one transparent value
    'two bits, clear value': (lambda: png_by_hand(2, 2), (0, 85, 255)),
    'four bits, clear value': (lambda: png_by_hand(4, 13), (34, 85, 153))}
FILES = {name: (make, truth) for table, truth in (
    (IN_COLOUR, COLOURS), (ON_WHITE, np.uint8([*COLOURS[:3], WHITE])), (IN_GREY, np.repeat(GREYS[:, None], 3, 1)),
    (GREY_ON_WHITE, np.uint8([*np.repeat(GREYS[:3, None], 3, 1), WHITE]))) for name, make in table.items()}
FILES |= {name: (make, np.uint8([*([g] * 3 for g in greys), WHITE])) for name, (make, greys) in FEW.items()}


def corners(picture):
    "(4, 3): the middle of each quarter"
    x = np.asarray(picture, float)
    half = len(x) // 2
    return np.stack([x[i * half + half // 2 - 4:i * half + half // 2 + 4,
                       j * half + half // 2 - 4:j * half + half // 2 + 4].mean((0, 1)) for i in (0, 1) for j in (0, 1)])


def by_loader(file, tmp_path, pack=None):
    "What a network gets in validation, with a pack and without"
    items = check_items(pd.DataFrame(dict(file=[file.name] * 1, subject='a', fold=0, label='x')).reindex([0, 0]).assign(
        file=[file.name, 'other.png'], fold=[0, 1], label=pd.Categorical(['x', 'y'], ['x', 'y'], ordered=True),
        subject=['a', 'b']).reset_index(drop=True))
    PICTURE.save(tmp_path / 'other.png')
    if pack: pack = build_pack(items, tmp_path, tmp_path / 'pack', SIDE)
    dls = age_dls(items, tmp_path, 0, SIDE, SIDE, bs=2, augment='none', normalize=None, protocol='fixed', pack=pack,
                  num_workers=0, device='cpu')
    return (dls.test.one_batch()[0][0].permute(1, 2, 0).numpy() * 255).round()


READERS = {
    'training': by_loader, 'training, packed': lambda file, tmp: by_loader(file, tmp, True),
    'prediction': lambda file, tmp: read_square(file, SIDE),
    'prediction of bytes': lambda file, tmp: read_square(file.read_bytes(), SIDE),
    'report': lambda file, tmp: examples._picture(tmp, file.name, SIDE)}


@pytest.mark.parametrize('name', FILES)
def test_all_see_the_same(name, tmp_path):
    "Every reader is within two grey levels of the truth"
    make, truth = FILES[name]
    file = tmp_path / 'picture'
    file.write_bytes(make())
    off = {reader: float(np.abs(corners(read(file, tmp_path)) - truth).max()) for reader, read in READERS.items()}
    assert max(off.values()) <= EXACT.get(name, 2), off
    alike = images.correlation(images.grey_pixels(file), images.grey_pixels(quarters(truth)))
    assert alike > 0.999 and photo_size(file) == (96, 96), 'the audit'


def test_heic(tmp_path):
    "HEIC, a telephone's format, by the plug-in"
    pytest.importorskip('pillow_heif')
    assert reads_heif()
    for suffix in ('heic', 'jpg'): PICTURE.save(tmp_path / f'a.{suffix}', 'HEIF', quality=95)
    for file in tmp_path.iterdir(): assert np.abs(corners(square(open_photo(file), SIDE)) - COLOURS).max() <= 2
    assert find_pictures(tmp_path) == (['a.heic', 'a.jpg'], {})


def test_the_page_sees_it_too(tmp_path):
    "The app predicts from the same pixels as `agecls predict`"
    file = tmp_path / 'lying.jpg'
    file.write_bytes(IN_COLOUR['orientation 6']())
    assert cards.open_photo is open_photo and cards.square is square
    assert np.abs(corners(square(cards.open_photo(str(file)), SIDE)) - COLOURS).max() <= 2


@pytest.mark.parametrize('name', [name for name in IN_COLOUR if 'orientation' in name or 'jpeg' in name])
def test_fast_and_slow_decoding_agree(name):
    data = IN_COLOUR[name]()
    assert np.abs(decode(data).astype(int) - np.asarray(open_photo(data), int)).mean() <= 1
    assert np.abs(corners(decode(data, 40)) - COLOURS).max() <= 4            # decoded smaller


def test_what_fastai_hands_on(tmp_path):
    "A picture, its array, its tensor and its bytes give the same as the file"
    x = np.array(PICTURE)
    for given in (PICTURE, x, torch.from_numpy(x), TensorImage(x).permute(2, 0, 1), saved(PICTURE, 'PNG')):
        found = open_image(given)
        assert isinstance(found, PILImage) and (np.asarray(found) == x).all()


@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'jpeg', None])
def test_a_tiff_that_is_cut_off_is_not_half_black(compression):
    noise = Image.effect_noise((96, 96), 90).convert('RGB')
    data = saved(noise, 'TIFF', **({'compression': compression} if compression else {}))
    assert open_photo(data).size == (96, 96)
    for cut in (data[:len(data) // 2], data[:-200]):
        try: found = np.asarray(open_photo(cut), int)
        except AgeclsError: continue
        assert np.abs(found - np.asarray(open_photo(data), int)).max() == 0      # what was cut is no pixels


def test_no_length_of_a_jpeg_surprises():
    "A file that is cut anywhere gives an `AgeclsError` or a picture, the same by both ways"
    data = saved(PICTURE.resize((16, 16)), 'JPEG', exif=exif_of(1), quality=60)
    for n in range(len(data)):
        seen = []
        for read in (lambda x: decode(x).shape, lambda x: np.asarray(open_photo(x)).shape):
            try: seen.append(read(data[:n]))
            except AgeclsError as e:
                assert '\n' not in str(e)
                seen.append(None)
        assert seen[0] == seen[1], n


def test_what_a_file_is_called_when_it_is_none(tmp_path):
    for content, told in ((b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n', 'a Git LFS pointer'),
                          (b'<!DOCTYPE html><html></html>', 'a web page'), (b'', 'is empty'),
                          (b'words', 'is no picture'), (saved(PICTURE, 'AVIF')[:300], 'cannot be read')):
        (tmp_path / 'a.jpg').write_bytes(content)
        with pytest.raises(AgeclsError, match=told): open_photo(tmp_path / 'a.jpg')
    for name, told in (('a\0b.jpg', 'cannot be read'), ('', "''")):
        with pytest.raises(AgeclsError, match=told): open_photo(name)
    assert [picture_kind(x) for x in (b'P1 Alice\nP2 Bob\n', b'P5\n# made by hand\n96 96\n255\n')] == [None, 'PPM']


def test_turned_tiff_has_the_size_that_is_seen():
    data = saved(PICTURE.resize((96, 64)), 'TIFF', tiffinfo={274: 6})
    assert photo_size(data) == open_photo(data).size == (64, 96)


def test_the_callers_picture_is_left_alone(tmp_path):
    PICTURE.resize((960, 640)).save(tmp_path / 'a.jpg')
    with Image.open(tmp_path / 'a.jpg') as image:
        open_photo(image, 64)
        assert image.size == (960, 640)


def test_folders_that_are_links(tmp_path):
    "A folder goes by its own name, whatever links to it sort before; skipped links are reported"
    for name in ('b', 'c'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        PICTURE.save(tmp_path / 'data' / name / 'p.png')
    (tmp_path / 'elsewhere').mkdir()
    PICTURE.save(tmp_path / 'elsewhere/q.png')
    for link, to in (('a', 'data/c'), ('z', 'elsewhere'), ('b/back', 'data')):
        (tmp_path / 'data' / link).symlink_to(tmp_path / to, target_is_directory=True)
    assert find_pictures(tmp_path / 'data') == (['b/p.png', 'c/p.png', 'z/q.png'],
                                                {'a link to a folder that is looked through anyway': ['a']})


# --- one bad picture among good ones

class Surprise(Exception): "What no decoder should raise, and some plug-in does"


@pytest.fixture
def some_bad(tmp_path, monkeypatch):
    "Three pictures of two people; the decoder of one raises an unexpected exception"
    for name in 'abc': PICTURE.save(tmp_path / f'{name}.png')
    (tmp_path / 'b.png').write_bytes((tmp_path / 'b.png').read_bytes()[:-60])
    PICTURE.save(tmp_path / 'd.bmp')
    def surprise(*args): raise Surprise('an odd number of corners')
    Image.init()
    monkeypatch.setitem(Image.OPEN, 'BMP', (surprise, Image.OPEN['BMP'][1]))
    return check_items(pd.DataFrame(dict(
        file=['a.png', 'b.png', 'c.png', 'd.bmp'], subject=list('abcd'), fold=[0, 1, 0, 1],
        label=pd.Categorical(list('xyyx'), ['x', 'y'], ordered=True))))


def test_a_bad_picture_is_named(some_bad, tmp_path):
    with pytest.raises(AgeclsError) as e: check_images(some_bad, tmp_path)
    told = str(e.value)
    assert told.startswith('2 of 4 images cannot be read') and 'd.bmp (row 3: an odd number' in told
    assert 'b.png (row 1: ' in told and '--skip-bad-images' in told and '\n' not in told
    with pytest.raises(AgeclsError, match='b.png cannot be packed|d.bmp cannot be packed: cannot be read: an odd'):
        build_pack(some_bad, tmp_path, tmp_path / 'pack', SIDE)
    audit = audit_images(some_bad, tmp_path)
    assert set(audit.unreadable) == {'b.png', 'd.bmp'} and audit.images == 4
    with pytest.raises(AgeclsError, match='d.bmp cannot be read: an odd number of corners'):
        open_image(tmp_path / 'd.bmp')


def test_it_is_left_out_when_asked(some_bad, tmp_path):
    good, bad = check_images(some_bad.assign(fold=[0, 0, 1, 1]), tmp_path, skip_bad=True)
    assert good['file'].tolist() == ['a.png', 'c.png'] and set(bad) == {'b.png', 'd.bmp'}


def test_the_others_are_answered(some_bad, tmp_path):
    "Each picture gives a prediction or an error of its own"
    def network(x): return np.tile([0.25, 0.75], (len(x), 1))
    photos = [tmp_path / f for f in some_bad['file']]
    found = list(answer(photos, [Answerer(['x', 'y'], SIDE, network)]))
    assert [a.get('group') for a in found] == ['y', None, 'y', None]
    assert found[3]['error'].endswith('d.bmp cannot be read: an odd number of corners') and found[1]['error']


# --- packs and runs of a version that read pictures differently

def test_an_old_pack_is_not_used(tmp_path):
    for name in 'ab': PICTURE.save(tmp_path / f'{name}.png')
    items = pd.DataFrame(dict(file=['a.png', 'b.png']))
    build_pack(items, tmp_path, tmp_path / 'pack', SIDE)
    info = json.loads((tmp_path / 'pack/pack.json').read_text())
    (tmp_path / 'pack/pack.json').write_text(json.dumps({k: v for k, v in info.items() if k != 'reader'}))
    for use in (lambda: open_pack(tmp_path / 'pack'), lambda: build_pack(items, tmp_path, tmp_path / 'pack', SIDE)):
        with pytest.raises(AgeclsError, match='which read some pictures differently.*pack again'): use()
    (tmp_path / 'pack/pack.json').unlink()                                   # one that was begun by it
    with pytest.raises(AgeclsError, match='was begun by another version'): build_pack(items, tmp_path,
                                                                                      tmp_path / 'pack', SIDE)


# --- pictures under any name

def test_found_by_content(tmp_path):
    "In class folders, UTKFace and FG-NET, with other suffixes and without; other files are counted by reason"
    kinds = {'.jfif': 'JPEG', '': 'JPEG', '.JPG_large': 'JPEG', '.png': 'PNG', '.webp': 'WEBP', '.bild': 'GIF'}
    for group in ('4-6', '25-32'):
        (tmp_path / 'album' / group).mkdir(parents=True)
        for i, (suffix, kind) in enumerate(kinds.items()):
            PICTURE.save(tmp_path / 'album' / group / f'p{i}{suffix}', kind)
        (tmp_path / 'album' / group / 'list.txt').write_text('p0, p1')
        (tmp_path / 'album' / group / 'Thumbs.db').write_text('of Windows')
    for folder, names in dict(utkface=[f'{(5, 30)[i % 2]}_{i % 2}_0_2017{i}' for i in range(4)],
                              fgnet=[f'00{i}A{9 + i:02}' for i in range(1, 5)]).items():
        (tmp_path / folder).mkdir()
        for name, (suffix, kind) in zip(names, kinds.items()): PICTURE.save(tmp_path / folder / f'{name}{suffix}', kind)
    with pytest.warns(DataWarning, match='2 of 14 files left out: 2 without a picture: 25-32/list.txt, 4-6/list.txt'):
        album = read_folder(tmp_path / 'album', n_folds=2)
    assert len(album) == 12 and list(album['label'].cat.categories) == ['4-6', '25-32']
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DataWarning)
        assert read_utkface(tmp_path / 'utkface', n_folds=2)['age'].tolist() == [30, 30, 5, 5]
        assert sorted(read_fgnet(tmp_path / 'fgnet', n_folds=2)['age']) == [10, 11, 12, 13]
