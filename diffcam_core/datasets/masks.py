"""Masks as datasets store them: run lengths, polygons, label pictures and panoptic pictures.

Run lengths and polygons are drawn by pycocotools (optional extra "eval"). It is C code that trusts
its input, so every run length is added up, and every polygon looked at, before it gets there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from diffcam_core.errors import DatasetError

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_MASK_FORMATS: Final = ("PNG", "BMP", "TIFF", "GIF")
_LABEL_MODES: Final = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L"})
_FAR: Final = 1e9  # beyond any image; also false for NaN
_LONGEST_RUN_BYTES: Final = 6  # 5 bits each: runs of up to 2^29, far above any image


def from_segmentation(segmentation: object, size: tuple[int, int], where: str) -> BoolArray:
    """Draw the "segmentation" of a COCO annotation.

    Parameters
    ----------
    segmentation : object
        As read from JSON: a list of polygons [x, y, x, y …], or run lengths
        {"size": [H, W], "counts": compressed text or list of numbers}.
    size : (int, int)
        Width and height of the image.
    where : str
        File and entry, for messages.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    DatasetError
        If it does not fit the image, is damaged, or pycocotools is missing.
    """
    if isinstance(segmentation, dict):
        return from_runs(segmentation, size, where)
    if isinstance(segmentation, list):
        return from_polygons(segmentation, size, where)
    raise DatasetError(f"{where} has no segmentation", "Repair or drop the entry.")


def from_runs(runs: object, size: tuple[int, int], where: str) -> BoolArray:
    """Draw run lengths, compressed or not; see :func:`from_segmentation`."""
    width, height = size
    if not isinstance(runs, dict) or runs.get("size") != [height, width]:
        found = runs.get("size") if isinstance(runs, dict) else None
        raise DatasetError(
            f"{where} has run lengths of size {found!r:.60}, the image has [{height}, {width}]",
            "Use the masks that belong to the image.",
        )
    counts = runs.get("counts")
    if isinstance(counts, str):
        try:
            packed = counts.encode("ascii")
        except UnicodeEncodeError as error:
            raise _damaged(where) from error
        lengths = unpack_runs(packed, where)
    elif isinstance(counts, list) and len(counts) <= width * height + 1:
        if not all(type(count) is int and 0 <= count <= width * height for count in counts):
            raise _damaged(where)
        lengths = np.asarray(counts, np.int64)
    else:
        raise _damaged(where)
    if (lengths < 0).any() or int(lengths.sum()) != width * height:
        raise _damaged(where)
    coco = _pycocotools()
    if isinstance(counts, list):
        packed = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)[
            "counts"
        ]
    return np.asarray(coco.decode({"size": [height, width], "counts": packed}), np.bool_)


def unpack_runs(packed: bytes, where: str = "the mask") -> IntArray:
    """Read the lengths of compressed runs, int64 (n,); runs of 0s and 1s by turns.

    Each number is written in groups of 5 bits, lowest first, as characters from "0" on; a sixth bit
    says that another group follows; the top bit of the last group is the sign. From the fourth
    number on it is the difference to the number before the last.
    """
    groups = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    if groups.size == 0 or (groups < 0).any() or (groups > 63).any() or groups[-1] & 0x20:
        raise _damaged(where)
    last = (groups & 0x20) == 0
    number = np.concatenate(([0], np.cumsum(last)[:-1]))
    first = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(groups.size) - first[number]
    if int(place.max()) >= _LONGEST_RUN_BYTES:
        raise _damaged(where)
    values = np.zeros(int(number[-1]) + 1, np.int64)
    np.add.at(values, number, (groups & 0x1F) << (5 * place))
    negative = (groups[last] & 0x10) != 0
    values -= np.where(negative, np.int64(1) << (5 * (place[last] + 1)), 0)
    # Numbers 1, 3, 5 … and 2, 4, 6 … are two chains of differences; number 0 stands alone.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def from_polygons(polygons: object, size: tuple[int, int], where: str) -> BoolArray:
    """Draw polygons [x, y, x, y …] and join them; see :func:`from_segmentation`."""
    width, height = size
    if not isinstance(polygons, list) or not polygons:
        raise DatasetError(f"{where} has no polygon", "Repair or drop the entry.")
    for polygon in polygons:
        _check_polygon(polygon, size, where)
    coco = _pycocotools()
    pieces = coco.frPyObjects([[float(v) for v in p] for p in polygons], height, width)
    return np.asarray(coco.decode(coco.merge(pieces)), np.bool_)


def _check_polygon(polygon: object, size: tuple[int, int], where: str) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise DatasetError(
            f"{where} has a polygon of fewer than three points", "Repair or drop the entry."
        )
    if not all(type(value) in (int, float) and abs(value) < _FAR for value in polygon):
        raise DatasetError(f"{where} has a polygon of no usable numbers", "Repair it.")
    points = np.asarray(polygon, np.float64)
    # Far points would make pycocotools walk, and keep, every pixel on the way there.
    slack = max(size)
    if not (np.all(points >= -slack) and np.all(points <= 2 * slack)):
        raise DatasetError(
            f"{where} has a polygon far outside of its image", "Repair or drop the entry."
        )


def read_labels(path: Path, size: tuple[int, int]) -> IntArray:
    """Read a picture of whole numbers: grey levels of 8 or 16 bits, or palette indices.

    Parameters
    ----------
    path : Path
    size : (int, int)
        Width and height that it must have; checked before anything is decoded.

    Returns
    -------
    ndarray of int64, shape (H, W)
    """
    image = _open(path, size)
    if image.mode not in _LABEL_MODES:
        raise DatasetError(
            f"{path.name} is a colour picture ({image.mode}), not one of labels",
            "Save it as a grey or palette PNG.",
        )
    return np.asarray(image).astype(np.int64)


def read_mask(path: Path, size: tuple[int, int]) -> BoolArray:
    """Read a picture as a mask, true where any colour is not 0; transparent pixels are false."""
    image = _open(path, size)
    if image.mode in _LABEL_MODES and "transparency" not in image.info:
        return np.asarray(np.asarray(image) != 0, np.bool_)
    pixels = np.asarray(image.convert("RGBA"))
    return np.asarray((pixels[..., :3] != 0).any(-1) & (pixels[..., 3] != 0))


def read_panoptic(path: Path, size: tuple[int, int]) -> IntArray:
    """Read a COCO panoptic picture: segment id = R + 256 G + 65536 B, int64 (H, W)."""
    image = _open(path, size)
    if image.mode not in ("RGB", "RGBA"):
        raise DatasetError(
            f"{path.name} is no panoptic picture ({image.mode})", "Give the RGB PNG of COCO."
        )
    pixels = np.asarray(image)[..., :3].astype(np.int64)
    return np.asarray(pixels @ np.array([1, 256, 65536]), np.int64)


def _open(path: Path, size: tuple[int, int]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=_MASK_FORMATS)
            if image.size != size:
                found = image.size
                image.close()
                raise DatasetError(
                    f"{path.name} has {found[0]} x {found[1]} pixels, its image "
                    f"{size[0]} x {size[1]}",
                    "Use the masks that belong to the image.",
                )
            image.load()
    except FileNotFoundError as error:
        raise DatasetError(f"there is no mask at {path}", "Check the folder.") from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything
        raise DatasetError(
            f"{path.name} is no readable mask ({error!s:.100})", "Download or export it again."
        ) from error
    return image


def union(masks: Sequence[BoolArray], size: tuple[int, int]) -> BoolArray:
    """Join masks; nothing if there is none."""
    joined = np.zeros((size[1], size[0]), np.bool_)
    for mask in masks:
        joined |= mask
    return joined


def _damaged(where: str) -> DatasetError:
    return DatasetError(
        f"{where} has run lengths that do not fill its image", "Download or export it again."
    )


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DatasetError(
            "masks in run lengths or polygons need pycocotools",
            "Install it: pip install 'diffusion-cam-studio[eval]'.",
        ) from error
    return mask
