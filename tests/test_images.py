"""Images from users: every mode becomes plain RGB, every bad file one line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from diffcam_core import images
from diffcam_core.errors import InputError
from diffcam_core.images import SCENE_KEY, as_image, open_image, scene_record


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64))


def _one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_formats_keep_every_pixel(
    tmp_path: Path, picture: Image.Image, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    opened = open_image(path)
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), np.asarray(picture))


def test_extension_does_not_matter(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "really_a_png.jpg"
    picture.save(path, format="PNG")
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(picture))


def test_exif_orientation_is_applied(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must turn clockwise
    path = tmp_path / "turned.png"
    picture.save(path, exif=exif)
    opened = open_image(path)
    assert opened.size == (picture.height, picture.width)
    assert np.array_equal(np.asarray(opened), np.rot90(np.asarray(picture), -1))


def test_broken_exif_does_not_matter(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "a.jpg"
    picture.save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert open_image(path).size == picture.size


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 10, 10, 255)
    pixels[0, 1] = (0, 0, 0, 0)
    pixels[1, 0] = (0, 0, 0, 128)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    seen = np.asarray(open_image(path))
    assert tuple(seen[0, 0]) == (200, 10, 10)
    assert tuple(seen[0, 1]) == (255, 255, 255)
    assert abs(int(seen[1, 0, 0]) - 127) <= 1


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    path = tmp_path / "a.png"
    image.save(path, transparency=0)
    seen = np.asarray(open_image(path))
    assert tuple(seen[0, 0]) == (255, 255, 255)
    assert tuple(seen[1, 1]) == (200, 100, 50)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(picture: Image.Image, mode: str) -> None:
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.createProfile("LAB")
        rgb = ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(picture, ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))
    else:
        image = picture.convert(mode)
    result = as_image(image)
    assert result.mode == "RGB"
    assert result.size == picture.size


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_greys_scale_by_their_type(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257 * 128], [257 * 255, 257 * 3]], np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    assert np.array_equal(np.asarray(open_image(path))[..., 0], [[0, 128], [255, 3]])


def test_float_greys(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    path = tmp_path / "f.tif"
    Image.fromarray(values).save(path)
    seen = np.asarray(open_image(path))[..., 1]
    assert seen[0, 0] == 0
    assert seen[1, 0] == 255
    assert abs(int(seen[0, 1]) - 128) <= 1
    wide = as_image(Image.fromarray(np.array([[-5.0, 5.0]], np.float32)))
    assert np.asarray(wide)[0, :, 0].tolist() == [0, 255]


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert np.asarray(open_image(path))[0, 0].tolist() == [255, 0, 0]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        open_image(tmp_path / "nothing.png")
    assert "there is no image" in _one_line(error)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        open_image(tmp_path)
    assert "is a folder" in _one_line(error)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError) as error:
        open_image(pipe)
    assert "not a regular file" in _one_line(error)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000])
def test_impossible_paths(name: str) -> None:
    with pytest.raises(InputError) as error:
        open_image(name)
    _one_line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "a.png"
    picture.save(path)
    path.chmod(0)
    with pytest.raises(InputError) as error:
        open_image(path)
    assert "may not be read" in _one_line(error)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    with pytest.raises(InputError) as error:
        open_image(path)
    assert "is empty" in _one_line(error)


@pytest.mark.parametrize(
    "content",
    [
        b"not an image at all",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",  # would start Ghostscript
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a\1\0",
        b"\xff\xd8\xff\xe0",
        b"BM" + b"\xff" * 60,
        b"II*\0\x08\0\0\0\xff\xff",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    ],
)
def test_foreign_and_cut_headers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_image(path)
    _one_line(error)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as error:
        open_image(path)
    assert "cut off or damaged" in _one_line(error) or "not an image" in _one_line(error)


@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 10), (200_000, 200_000), (2**31 - 1, 1)])
def test_decompression_bombs_are_refused_before_decoding(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(*size))
    with pytest.raises(InputError) as error:
        open_image(path)
    assert "too large" in _one_line(error) or "safely" in _one_line(error)


def test_text_chunk_bomb(tmp_path: Path, picture: Image.Image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "a" * 3_000_000, zip=True)
    path = tmp_path / "a.png"
    picture.save(path, pnginfo=info)
    with pytest.raises(InputError) as error:
        open_image(path)
    _one_line(error)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), data=st.data())
def test_flipped_bytes_give_an_image_or_one_line(
    tmp_path: Path, position: float, flip: int, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "gif", "tif", "webp"]))
    rng = np.random.default_rng(1)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= flip
    path.write_bytes(bytes(content))
    try:
        image = open_image(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"


def test_arrays() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(np.asarray(as_image(grey))[..., 2], grey)
    colour = np.zeros((2, 3, 4), np.uint8)
    assert np.asarray(as_image(colour)).min() == 255
    for bad in (np.zeros((2, 2)), np.zeros((2, 2, 5), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError):
            as_image(bad)
    with pytest.raises(InputError):
        as_image(7)  # type: ignore[arg-type]


def test_a_given_image_is_copied(picture: Image.Image) -> None:
    kept = as_image(picture)
    before = np.asarray(kept).copy()
    picture.paste((0, 0, 0), (0, 0, *picture.size))
    assert np.array_equal(np.asarray(kept), before)


def test_scene_record_survives_opening_and_nothing_else_does(
    tmp_path: Path, picture: Image.Image
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(SCENE_KEY, '{"seed": 7}')
    info.add_text("Comment", "secret")
    path = tmp_path / "a.png"
    picture.save(path, pnginfo=info)
    opened = open_image(path)
    assert scene_record(opened) == {"seed": 7}
    assert set(opened.info) == {SCENE_KEY}
    assert scene_record(as_image(opened)) == {"seed": 7}
    assert scene_record(as_image(picture)) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "7"])
def test_damaged_scene_records_are_no_record(picture: Image.Image, text: str) -> None:
    picture.info[SCENE_KEY] = text
    assert scene_record(as_image(picture)) is None


def test_limits_match_what_they_say() -> None:
    assert images.MAX_PIXELS * 3 < 200_000_000
