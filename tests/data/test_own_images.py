"""Folders of any images: what is read, what is left out and said, and what is refused with its remedy."""

import io
import os
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan import data
from steadygan.data import decoding, image_files
from steadygan.data.decoding import Fit, decode, shapes
from steadygan.data.folders import own_images
from steadygan.data.image_files import Entry, Listing, list_images, outside_classes
from steadygan.errors import DataNote, UsageError


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def shade(value: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, size, (value,) * 3 if mode == "RGB" else value), "PNG")


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


LOSSLESS = {
    "png": "PNG",
    "tif": "TIFF",
    "bmp": "BMP",
    "ppm": "PPM",
    "tga": "TGA",
    "pcx": "PCX",
    "sgi": "SGI",
    "dds": "DDS",
}
LOSSY = {
    "jpg": "JPEG",
    "jfif": "JPEG",
    "jpe": "JPEG",
    "webp": "WEBP",
    "jp2": "JPEG2000",
    "avif": "AVIF",
    "gif": "GIF",
}


@pytest.mark.parametrize("packed", [False, True])
def test_every_format_is_read_by_its_suffix_or_by_its_first_bytes(packed, tmp_path):
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    files = {
        f"{i:02}.{suffix}": encoded(image, kind)
        for i, (suffix, kind) in enumerate({**LOSSLESS, **LOSSY}.items())
    }
    files |= {"no-suffix": files["00.png"], "wrong.txt": files["01.tif"], "photo.data": files["08.jpg"]}
    path = folder(tmp_path / "set", files)
    if packed:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    rows = data.image_folder(path).rows
    assert rows.shape == (len(files), 3, 16, 16)
    np.testing.assert_allclose(rows.float().mean((0, 2, 3)), (200, 100, 50), atol=3)
    np.testing.assert_array_equal(rows[:8, :, 3, 3].numpy(), [(200, 100, 50)] * len(LOSSLESS))


def test_what_runs_programs_or_holds_no_pixels_is_no_image(tmp_path):
    assert not {"EPS", "WMF", "HDF5", "GRIB", "BUFR", "MPEG"} & set(image_files.formats())
    found = list_images(
        folder(tmp_path, {"a.eps": b"%!PS-Adobe", "b.svg": b"<svg/>", "c.heic": b"\0\0\0\x18ftypheic"})
    )
    assert found.entries == []
    assert found.others == ["a.eps", "b.svg", "c.heic"]


def test_what_is_left_out_is_counted_and_named(tmp_path):
    path = folder(
        tmp_path / "set",
        {
            "a.png": shade(1),
            "b.png": b"text",
            "c.jpg": b"",
            ".DS_Store": b"x",
            "Thumbs.db": b"\xd0\xcf\x11\xe0",
            "x.txt": b"x",
        },
    )
    os.mkfifo(path / "f.png")
    (path / "gone.png").symlink_to(path / "nowhere")
    (path / "loop.png").symlink_to("loop.png")
    (path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path / "s.png"))
    with pytest.warns(DataNote) as told:
        assert len(data.image_folder(path).rows) == 1
    first, second = (str(one.message) for one in told)
    assert first == (
        f"left out 8 files that are not images in {path}: .DS_Store, Thumbs.db, f.png (not a file), gone.png (a broken "
        "link), loop.png (a broken link), s.png (not a file), x.txt, zero.png (not a file)"
    )
    assert second == (
        f"left out 2 images that cannot be decoded in {path}: b.png (not an image), c.jpg (empty file)"
    )
    with pytest.warns(DataNote) as again:  # when the array is there
        data.image_folder(path)
    assert [str(one.message) for one in again] == [first, second]


@pytest.mark.parametrize("path", ["a\0b", "y" * 300, "/no/such"])
def test_a_path_that_cannot_be_is_told(path):
    with pytest.raises(UsageError, match="does not exist; give a folder or a zip"):
        data.image_folder(path)


def test_a_pipe_in_place_of_a_zip_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "set.zip")
    with pytest.raises(UsageError, match="cannot be read as a zip"):
        data.image_folder(tmp_path / "set.zip")


def test_a_name_that_is_no_text_can_be_printed(tmp_path):
    path = folder(tmp_path / "set", {"a.png": shade(1)})
    with open(os.fsencode(path) + b"/\xff\n.png", "wb") as file:
        file.write(b"text")
    with pytest.warns(DataNote) as told:
        data.image_folder(path)
    text = str(told[0].message)
    assert r"\udcff\n.png (not an image)" in text
    text.encode()


def test_a_file_too_large_for_an_image_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "LARGEST", 1000)
    path = folder(tmp_path / "set", {"a.png": shade(1)})
    with open(path / "b.png", "wb") as file:
        file.truncate(1001)
    with pytest.warns(DataNote, match=r"b.png \(1,001 bytes\)"):
        assert len(data.image_folder(path).rows) == 1


def test_a_bomb_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = folder(tmp_path / "set", {"a.png": shade(1), "b.png": shade(1, (100, 100))})
    with pytest.warns(DataNote, match=r"b.png \(.*bomb"):
        assert len(data.image_folder(path).rows) == 1


def test_mixed_grey_and_colour_are_counted_and_turned_on_request(tmp_path):
    """Grey is the luma of BT.601, which Pillow rounds."""
    colour = encoded(Image.new("RGB", (8, 8), (200, 100, 50)), "PNG")
    path = folder(tmp_path / "set", {"a.png": colour, "b.png": colour, "c.png": shade(9, mode="L")})
    with pytest.raises(
        UsageError,
        match=r"data.colour=rgb or grey \(evaluate and data prepare: --colour\), for 1 are grey and 2 in",
    ):
        data.image_folder(path, size=4)
    rgb, grey = (data.image_folder(path, size=4, colour=kind).rows for kind in ("rgb", "grey"))
    assert rgb[:, :, 0, 0].tolist() == [[200, 100, 50]] * 2 + [[9, 9, 9]]
    np.testing.assert_allclose(grey[:, 0, 0, 0], [0.299 * 200 + 0.587 * 100 + 0.114 * 50] * 2 + [9], atol=0.6)
    with pytest.raises(UsageError, match="there is no colour 'gray'; did you mean 'grey'"):
        data.image_folder(path, colour="gray")


def test_sizes_are_counted_and_a_size_is_offered(tmp_path):
    path = folder(
        tmp_path / "set", {"a.png": shade(1), "b.png": shade(2, (6, 10)), "c.png": shade(2, (9, 9))}
    )
    with pytest.raises(
        UsageError, match=r"give a size .* data.size=64 or --size 64 \(3 sizes from 8x8 to 10x6\)"
    ):
        data.image_folder(path)


def test_a_central_square_is_cut_out_before_the_image_is_resized(tmp_path):
    """A white square of side 4 in the middle of a black image of 10 x 6 is all that cut=4 leaves."""
    # the largest square, resized to 4; the upper left corner
    image = Image.new("L", (10, 6), 0)
    image.paste(255, (3, 1, 7, 5))
    raw = encoded(image, "PNG")
    assert (decode(raw, Fit(2, "box", cut=4)) == 255).all()
    assert decode(raw, Fit(cut=4)).shape == (1, 4, 4)
    assert (decode(raw, Fit(6, "box")) == 255).mean() < 0.5
    path = folder(tmp_path / "set", {"a.png": raw, "b.png": raw, "c.png": shade(1, (3, 9), "L")})
    with pytest.warns(DataNote, match=r"c\.png.*3x9 pixels, smaller than the 4x4 of data\.cut"):
        found = data.image_folder(path, size=2, filter="box", cut=4)
    assert (len(found.rows), found.rows.min()) == (2, 255)
    assert data.image_folder(path, size=2, filter="box").rows.min() < 255  # not what was prepared for the cut
    with pytest.raises(UsageError, match="cut is 0"):
        data.image_folder(path, cut=0)


def test_padding_keeps_the_whole_image(tmp_path):
    image = Image.new("L", (8, 4), 255)
    rows = decode(encoded(image, "PNG"), Fit(8, "box", "pad"))
    expected = np.zeros((1, 8, 8))
    expected[:, 2:6] = 255
    np.testing.assert_array_equal(rows, expected)
    assert decode(encoded(Image.new("L", (1, 500), 255), "PNG"), Fit(4, crop="pad")).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255]),
        ("L", 7, [7]),
        ("LA", (7, 255), [7]),
        ("LA", (7, 0), [255]),  # white behind what is transparent
        ("P", 3, [3, 6, 9]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
    ],
)
def test_each_mode_has_its_colours(mode, colour, expected):
    image = Image.new(mode, (4, 4), colour)
    if mode == "P":
        image.putpalette([k for n in range(256) for k in (n, 2 * n % 256, 3 * n % 256)])
    assert decode(encoded(image, "TIFF"), Fit())[:, 2, 2].tolist() == expected


def test_the_first_frame_stands_for_an_animation():
    frames = [Image.new("RGB", (4, 4), shade) for shade in ((200, 0, 0), (0, 200, 0))]
    for kind in ("GIF", "PNG", "TIFF"):
        raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert decode(raw, Fit())[:, 0, 0].tolist() == [200, 0, 0]


def test_a_stray_image_above_the_class_folders_is_named(tmp_path):
    files = {f"{name}/{i}.png": shade(i) for name in ("cat", "dog") for i in range(3)}
    path = folder(tmp_path / "set", files | {"stray.png": shade(9)})
    with pytest.warns(
        DataNote,
        match=r"get no labels, because 1 of 7 lie outside the class folders, or deeper in one: stray.png; move",
    ):
        assert data.image_folder(path).labels is None
    (path / "stray.png").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.image_folder(path).labels.tolist() == [0, 0, 0, 1, 1, 1]
        flat = folder(tmp_path / "flat", {"a.png": shade(1), "x/b.png": shade(1)})
        assert data.image_folder(flat).labels is None  # these were no classes


def test_shapes_are_read_off_the_headers(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "a.png": shade(1, (5, 7)),
        "b.png": shade(1, (5, 7), "L"),
        "c.jpg": encoded(Image.new("RGB", (7, 5)), "JPEG", exif=exif),
        "d.png": b"text",
    }
    listing = own_images(folder(tmp_path, files))
    assert decoding.shapes(listing) == {(3, 7, 5): 2, (1, 7, 5): 1}


def test_a_set_of_broken_images_says_why(tmp_path):
    with pytest.raises(UsageError, match=r"none of the 1 images in .* can be decoded \(empty file\)"):
        data.image_folder(folder(tmp_path, {"a.png": b""}))
    with pytest.raises(UsageError, match=r"has no images \(other files: a.heic, b.txt\)"):
        data.image_folder(folder(tmp_path / "other", {"a.heic": b"x", "b.txt": b"x"}))


def test_an_encrypted_zip_says_so(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", shade(1))
    raw = bytearray(path.read_bytes())
    for start in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
        raw[start] |= 1  # the flag for encryption
    path.write_bytes(raw)
    with pytest.raises(UsageError, match="encrypted"):
        data.image_folder(path)


def test_a_lack_of_memory_is_no_fault_of_an_image(tmp_path, monkeypatch):
    """It was left out of the prepared array, also where there was memory later."""
    path = folder(tmp_path / "set", {f"{i}.png": shade(i) for i in range(3)})

    def full(raw: bytes, how: Fit) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_decoded", full)
        with pytest.raises(MemoryError, match=r"no memory to decode \d\.png"):
            data.image_folder(path)
    assert len(data.image_folder(path).rows) == 3


@pytest.mark.parametrize("size", [0, 8193, 100_000])
def test_a_size_out_of_range_is_refused_before_an_image_is_decoded(size, tmp_path):
    with pytest.raises(UsageError, match=f"size is {size}; give a whole number from 1 to 8192"):
        data.image_folder(tmp_path, size=size)


def test_strays_are_named_only_where_they_are_few():
    def strays(*names):
        return outside_classes(Listing(tmp, "", [Entry(name, 1, 1) for name in names]))

    tmp = None
    classes = ("cat/1.png", "cat/2.png", "dog/0.png")
    assert strays("a.png", "b/c/d.png", *classes) == ["a.png", "b/c/d.png"]
    assert strays("a.png", "b.png", "b/c/d.png", *classes) == []


@pytest.mark.parametrize("turned", range(1, 9))
def test_the_shape_in_a_header_is_that_of_the_decoded_photograph(turned, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert [*shapes(list_images(tmp_path))] == [decode((tmp_path / "a.jpg").read_bytes(), Fit()).shape]
