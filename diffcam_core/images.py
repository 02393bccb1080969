"""Open images that come from users: never trusted, always 8-bit RGB or one clear line.

An image file is untrusted input. It may be cut off, pretend to be gigapixels large, be a folder,
or be in a mode that a vision tower cannot read. :func:`open_image` turns every readable file into
an upright RGB image and every other one into an :class:`~diffcam_core.errors.InputError`.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from diffcam_core.errors import InputError

MAX_PIXELS = 64_000_000
"""Largest accepted width x height: 192 MB of RGB, far more than a dMLLM resolves."""

MAX_SIDE = 30_000
"""Longest accepted side in pixels; a longer one is a strip that no square tower can show."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Formats that are tried. Pillow knows more; some start other programs (EPS: Ghostscript)."""

SCENE_KEY = "diffcam-scene"
"""PNG text key under which sticker scenes carry how they were made (a JSON object)."""

# Pillow's decoders raise these for damaged bytes; there is no common base class.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    AttributeError,
    struct.error,
    zlib.error,
)

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

ImageSource = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as an upright 8-bit RGB image.

    The EXIF orientation is applied, transparency is laid on white, palettes and CMYK become RGB,
    16-bit and floating-point greys are scaled to 8 bits by the range of their type, and of an
    animation the first frame is taken. Embedded colour profiles are ignored, as the released
    processors of these models do.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, WebP, BMP, TIFF, GIF or PPM file.

    Returns
    -------
    PIL.Image.Image
        Mode "RGB". ``info`` holds nothing but :data:`SCENE_KEY`, where the file has it.

    Raises
    ------
    InputError
        If the file is missing, not a regular file, unreadable, empty, not an image, damaged, or
        larger than :data:`MAX_PIXELS` or :data:`MAX_SIDE`.
    """
    file = Path(path)
    _require_regular_file(file)
    try:
        with warnings.catch_warnings():
            # The size is checked below, before any pixel is decoded; odd metadata only warns.
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{file.name} claims to be a larger image than can be opened safely",
            f"Scale it down to at most {MAX_PIXELS // 10**6} megapixels.",
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{file.name} is not an image of a known format",
            f"Use one of {', '.join(FORMATS)}.",
        ) from error
    except PermissionError as error:
        raise InputError(f"{file} may not be read", "Check its permissions.") from error
    except _DECODER_ERRORS as error:
        raise _damaged(file.name, error) from error
    with image:
        _require_sane_size(image.size, file.name)
        scene = image.info.get(SCENE_KEY)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.load()
                rgb = _to_rgb(_upright(image))
        except MemoryError as error:
            raise InputError(
                f"{file.name} does not fit into memory", "Scale the image down."
            ) from error
        except (Image.DecompressionBombError, *_DECODER_ERRORS) as error:
            raise _damaged(file.name, error) from error
    rgb.info.clear()
    if isinstance(scene, str):
        rgb.info[SCENE_KEY] = str(scene)
    return rgb


def as_image(source: ImageSource) -> Image.Image:
    """Return any accepted image as 8-bit RGB: a path, a Pillow image or a uint8 array.

    Parameters
    ----------
    source : path, PIL.Image.Image or uint8 array
        Arrays have shape (H, W), (H, W, 3) or (H, W, 4), the last with alpha.

    Returns
    -------
    PIL.Image.Image
        Mode "RGB"; a copy, so that later changes of ``source`` cannot reach a running job.

    Raises
    ------
    InputError
        As :func:`open_image`; also for arrays of another dtype or shape.
    """
    if isinstance(source, (str, os.PathLike)):
        return open_image(source)
    if isinstance(source, Image.Image):
        _require_sane_size(source.size, "the image")
        scene = source.info.get(SCENE_KEY)
        try:
            rgb = _to_rgb(_upright(source))
        except _DECODER_ERRORS as error:
            raise _damaged("the image", error) from error
        rgb = rgb.copy() if rgb is source else rgb
        rgb.info = {SCENE_KEY: str(scene)} if isinstance(scene, str) else {}
        return rgb
    if isinstance(source, np.ndarray):
        array: npt.NDArray[Any] = source
        if array.dtype != np.uint8 or not (
            array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        ):
            raise InputError(
                f"an image array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
                f"not {array.dtype} of shape {array.shape}",
                "Scale it to 0..255 and convert it with .astype(np.uint8).",
            )
        _require_sane_size((array.shape[1], array.shape[0]), "the image array")
        return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    raise InputError(
        f"an image must be a path, a Pillow image or a uint8 array, not {type(source).__name__}"
    )


def scene_record(image: Image.Image) -> dict[str, Any] | None:
    """Return how a sticker scene was made, or None for any other image.

    Parameters
    ----------
    image : PIL.Image.Image
        An image from :func:`open_image` or :func:`as_image`.

    Returns
    -------
    dict or None
        The JSON object that ``diffcam scenes`` wrote under :data:`SCENE_KEY`.
    """
    text = image.info.get(SCENE_KEY)
    if not isinstance(text, str) or len(text) > 1_000_000:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _require_regular_file(file: Path) -> None:
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise InputError(f"there is no image at {file}", "Check the path.") from error
    except PermissionError as error:
        raise InputError(f"{file} may not be read", "Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file!s:.200} is not a usable path: {_reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{file} is a folder", "Name one image file in it.")
    if not stat.S_ISREG(status.st_mode):
        # Opening a pipe or a device can block for ever or never end.
        raise InputError(f"{file} is not a regular file", "Save the image to a file first.")
    if status.st_size == 0:
        raise InputError(f"{file.name} is empty", "Download or export the image again.")


def _require_sane_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{name} has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(
            f"{name} is too large ({width} x {height} pixels)",
            f"Scale it down to at most {MAX_PIXELS // 10**6} megapixels "
            f"and {MAX_SIDE} pixels a side.",
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        # A broken EXIF block says nothing about the pixels; they are shown as they lie.
        return image
    return image if turned is None else turned


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return Image.fromarray(_deep_to_bytes(image)).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _deep_to_bytes(image: Image.Image) -> npt.NDArray[np.uint8]:
    values = np.asarray(image)
    if image.mode == "F":
        numbers = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = float(numbers.min()), float(numbers.max())
        if low >= 0.0 and high <= 1.0:
            low, high = 0.0, 1.0
        elif low >= 0.0 and high <= 255.0:
            low, high = 0.0, 255.0
        scaled = (numbers - low) * (255.0 / (high - low))
    else:
        numbers = values.astype(np.float64)
        # Pillow opens some 16-bit greys in its 32-bit mode "I".
        high = 65535.0 if float(numbers.max()) <= 65535.0 else float(numbers.max())
        scaled = np.clip(numbers, 0.0, None) * (255.0 / high)
    result: npt.NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return result


def _damaged(name: str, error: BaseException) -> InputError:
    return InputError(
        f"{name} is cut off or damaged ({_reason(error)})", "Download or export the image again."
    )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
