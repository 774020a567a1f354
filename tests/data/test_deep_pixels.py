"""Images of more than 8 bits against 255 v / white, rounded, computed from the values that were written."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from steadygan import data
from steadygan.data.decoding import Fit, decode
from steadygan.data.deep_pixels import Deep
from steadygan.errors import DataNote, UsageError

FULL = 65_535


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def values(channels: int, most: int = FULL) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most + 1, (5, 7, channels)).astype(np.uint16)


def png16(pixels: np.ndarray, clear: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits, written by the book: big-endian rows, each after a filter byte 0 (ISO 15948).

    `clear` is its transparent colour (tRNS).
    """
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + (chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff16(
    pixels: np.ndarray, order: str = "<", planes: bool = False, bits: int = 16, zero: str = "black"
) -> bytes:
    """An uncompressed TIFF with one strip (or one a plane), written by the book (TIFF 6.0)."""
    height, width, channels = pixels.shape
    body = (pixels.transpose(2, 0, 1) if planes else pixels).astype(f"{order}u2").tobytes()
    start, many = 8, channels if planes else 1
    extra = start + len(body)
    length = len(body) // many
    lists = {
        258: [bits] * channels,
        273: [start + k * length for k in range(many)],
        279: [length] * many,
    }
    tags = {
        256: [width],
        257: [height],
        259: [1],
        262: [2 if channels == 3 else int(zero == "black")],
        277: [channels],
        278: [height],
    }
    tags |= {284: [2 if planes else 1]} | lists
    entries, more = b"", b""
    for tag, given in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(given)}I", *given)
        offset = struct.pack(f"{order}I", extra + len(more)) if len(packed) > 4 else packed
        more += packed if len(packed) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, 4, len(given)) + offset
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", extra + len(more))
    return head + body + more + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0"


def in_eight(pixels: np.ndarray, white: int = FULL) -> np.ndarray:
    return np.floor(pixels.astype(float) * 255 / white + 0.5).clip(0, 255).transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "written",
    [png16, tiff16, lambda pixels: tiff16(pixels, ">"), lambda pixels: pnm(pixels)],
    ids=["png", "tiff", "big-endian tiff", "pnm"],
)
def test_grey_and_colour_are_read_in_full(channels, written):
    pixels = values(channels)
    np.testing.assert_array_equal(decode(written(pixels), Fit()), in_eight(pixels))


def pnm(pixels: np.ndarray, white: int = FULL) -> bytes:
    height, width, channels = pixels.shape
    kind = b"P6" if channels == 3 else b"P5"
    return kind + f"\n{width} {height}\n{white}\n".encode() + pixels.astype(">u2").tobytes()


def test_a_grey_tiff_may_have_white_at_zero():
    pixels = values(1)
    np.testing.assert_array_equal(decode(tiff16(pixels, zero="white"), Fit()), in_eight(FULL - pixels))


def test_pnm_says_itself_what_is_white():
    pixels = values(3, 4095)
    np.testing.assert_array_equal(decode(pnm(pixels, 4095), Fit()), in_eight(pixels, 4095))


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_of_16_bits_is_laid_over_white(channels):
    pixels = values(channels)
    colour, alpha = (in_eight(part) for part in (pixels[..., :-1], pixels[..., -1:]))
    expected = (colour * alpha + 255 * (255 - alpha)) / 255
    np.testing.assert_allclose(decode(png16(pixels), Fit()), expected, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits_is_white(channels):
    """Only the pixel of exactly that colour: its neighbour differs in the lower byte, and is the same in 8 bits."""
    pixels = values(channels)
    pixels[0, 0], pixels[0, 1] = 1000, 1000
    pixels[0, 1, 0] = 1001
    found = decode(png16(pixels, clear=(1000,) * channels), Fit())
    assert (found[:, 0, 0] == 255).all()
    expected = in_eight(pixels)
    np.testing.assert_array_equal(found.reshape(channels, -1)[:, 1:], expected.reshape(channels, -1)[:, 1:])


def test_a_range_of_12_bits_is_never_black_silently(tmp_path):
    for name, channels in (("grey", 1), ("colour", 3)):
        (tmp_path / name).mkdir()
        pixels = values(channels, 4095)
        pixels[0, 0] = 4095
        (tmp_path / name / "a.png").write_bytes(png16(pixels))
        with pytest.raises(
            UsageError, match=r"reach only 4,095 of 65,535 .* data.white=4095, or convert them with magick"
        ):
            data.image_folder(tmp_path / name)
        np.testing.assert_array_equal(
            data.image_folder(tmp_path / name, white=4095).rows[0], in_eight(pixels, 4095)
        )
        np.testing.assert_array_equal(
            data.image_folder(tmp_path / name, white=FULL).rows[0], in_eight(pixels)
        )
    with pytest.raises(UsageError, match="white is 70000; give a whole number from 1 to 65535"):
        data.image_folder(tmp_path / "grey", white=70_000)


def test_one_bright_image_says_that_the_dark_ones_are_dark(tmp_path):
    for name, most in (("a", 100), ("b", FULL)):
        pixels = values(1, most)
        pixels[0, 0] = most
        (tmp_path / f"{name}.png").write_bytes(png16(pixels))
    assert data.image_folder(tmp_path).rows[0].max() == 0  # 100 / 257, rounded


def test_floating_point_from_0_to_1(tmp_path):
    pixels = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF")
    np.testing.assert_array_equal(decode(stream.getvalue(), Fit())[0], np.rint(255 * pixels))
    for wrong in (pixels * 255, pixels - 1, pixels * np.nan):
        stream = io.BytesIO()
        Image.fromarray(wrong).save(stream, "TIFF")
        with pytest.raises(ValueError, match="of which only 0 to 1 is read; convert it"):
            decode(stream.getvalue(), Fit())


def test_what_pillow_would_read_wrongly_is_left_out_with_the_command(tmp_path):
    pixels = values(3)
    (tmp_path / "a.tif").write_bytes(tiff16(pixels))
    (tmp_path / "b.tif").write_bytes(tiff16(pixels, planes=True))
    with pytest.warns(
        DataNote, match=r"b.tif \(16 bits per channel in separate planes; convert it with magick"
    ):
        assert len(data.image_folder(tmp_path).rows) == 1


def test_a_turned_photograph_of_16_bits_is_upright():
    """EXIF orientation 6: turn by 90 degrees clockwise to show. In a PNG it is a chunk eXIf."""
    pixels = values(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    raw = png16(pixels)
    at = raw.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    np.testing.assert_array_equal(decode(raw[:at] + chunk + raw[at:], Fit()), in_eight(np.rot90(pixels, -1)))


def test_white_is_of_colours_and_not_of_alpha():
    values = np.array([[[4095, 32896]]], np.uint16)
    assert Deep(values, "LA", FULL).eight(4095).getpixel((0, 0)) == (255, 128)
