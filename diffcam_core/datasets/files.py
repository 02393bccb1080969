"""Reading folders made by others: paths that stay inside, JSON that is what it says it is.

Nothing here trusts a file: a name in a JSON may point anywhere, a file may be huge, deep or of
another shape. Every refusal is one line that names the file and the mend.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from diffcam_core.errors import DatasetError
from diffcam_core.images import FORMATS, MAX_PIXELS, MAX_SIDE, open_image

ByteImage = npt.NDArray[np.uint8]
T = TypeVar("T")

MAX_JSON_BYTES: Final = 2 << 30
"""Largest annotation file that is read; the largest published one (COCO 2017) has 0.5 GB."""

_ORIENTATION = 0x0112
_UNDO: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What turns an upright image back to how it is stored, by EXIF orientation."""


def existing_folder(path: str | Path) -> Path:
    """Return a folder as an absolute path without links.

    Raises
    ------
    DatasetError
        If there is none.
    """
    folder = Path(path).expanduser()
    try:
        found = folder.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"there is no folder {folder}", "Check the path.") from error
    if not found.is_dir():
        raise DatasetError(f"{folder} is not a folder", "Name the folder of the dataset.")
    return found


def first_existing(root: Path, candidates: Sequence[str], what: str) -> Path:
    """Return the first of some paths below a folder that exists.

    Raises
    ------
    DatasetError
        Naming the places that were looked at.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise DatasetError(
        f"{root} has no {what} ({' or '.join(candidates)})",
        "Arrange the folder as docs/datasets.md shows.",
    )


def inside(folder: Path, name: object, where: str) -> Path:
    """Return the path that a name from a JSON file means, inside a folder.

    Links that the user made above or for the folder itself are followed; a name that leads out of
    it, by "..", as an absolute path or over a link, is refused.

    Parameters
    ----------
    folder : Path
    name : object
        As read from the file.
    where : str
        File and entry, for the message.

    Raises
    ------
    DatasetError
    """
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 1000:
        raise DatasetError(f"{where} has no usable file name", "Repair the entry.")
    try:
        base = folder.resolve()
        found = (base / name.replace("\\", "/")).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{where}: {name!r:.120} is no usable path", "Repair it.") from error
    if found == base or not found.is_relative_to(base):
        raise DatasetError(
            f"{where}: {name!r:.120} leads out of {folder}", "Use files inside the dataset only."
        )
    return found


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file.

    Raises
    ------
    DatasetError
        If it is missing, no regular file, too large, no JSON, or nested too deep.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{path} is not a regular file", "Give the annotation file.")
        if status.st_size > limit:
            raise DatasetError(
                f"{path} has {status.st_size >> 20} MB; at most {limit >> 20} MB are read",
                "Split it.",
            )
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {path}", "Check the path.") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror})", "Check it.") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DatasetError(
            f"{path.name} is no valid JSON ({reason:.120})", "Download or write it again."
        ) from error


def field(entry: object, key: str, kind: type[T] | tuple[type[T], ...], where: str) -> T:
    """Return one value of a JSON object, of a known type.

    Raises
    ------
    DatasetError
        Naming file, entry and key.
    """
    if not isinstance(entry, dict):
        raise DatasetError(f"{where} is not a JSON object", "Check that the layout is right.")
    value = entry.get(key)
    # bool is an int to Python, but not to anyone who writes an id.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(one.__name__ for one in kinds)
        raise DatasetError(f"{where} has no {key!r} of type {wanted}", "Repair the entry.")
    return value


def read_stored_image(path: Path, size: tuple[int, int] | None = None) -> ByteImage:
    """Read an image as its pixels are stored, without regard to an EXIF orientation.

    Masks of datasets are drawn on the stored pixels.

    Parameters
    ----------
    path : Path
    size : (int, int), optional
        Width and height that it must have.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    Raises
    ------
    InputError
        If it cannot be read.
    DatasetError
        If it has another size.
    """
    image = open_image(path)
    with Image.open(path, formats=FORMATS) as stored:
        orientation = _orientation(stored)
    turn = _UNDO.get(orientation) if isinstance(orientation, int) else None
    if turn is not None:
        image = image.transpose(turn)
    if size is not None and image.size != size:
        raise DatasetError(
            f"{path.name} has {image.width} x {image.height} pixels, its annotation says "
            f"{size[0]} x {size[1]}",
            "Use the images that the annotations belong to.",
        )
    return np.asarray(image, np.uint8)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - a broken EXIF block means no orientation
        return None


def image_size(
    entry: object, where: str, keys: tuple[str, str] = ("width", "height")
) -> tuple[int, int]:
    """Return width and height of a JSON entry, checked to be sane."""
    width, height = (field(entry, key, int, where) for key in keys)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise DatasetError(f"{where} has an impossible size {width} x {height}", "Repair it.")
    return width, height
