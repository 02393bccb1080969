"""What a .dcam file holds: names, codes, limits and the two conversions of a map.

docs/file-format.md describes the same for readers in other languages. Nothing here touches a file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError

FORMAT_NAME = "diffusion-cam-run"
FORMAT_VERSION = 1
SUFFIX = ".dcam"
PART_SUFFIX = ".part"

ENCODING_VERSION = "1"
"""Version of each group's encoding; counted per group so that one can change alone."""

CLOSING_BYTES = 4096
"""Space kept for what is only known when a job ends (seconds, seals)."""

# Limits of what is accepted before anything is read. They are far above any real run and far
# below what could hurt: a file may declare anything.
MAX_STEPS = 65_536
MAX_POSITIONS = 65_536
MAX_LAYERS = 4_096
MAX_GRID_SIDE = 4_096
MAX_GRIDS = 64
MAX_METHODS = 64
MAX_TEXT_BYTES = 64 * 1024 * 1024
MAX_ATTRIBUTE_BYTES = 64 * 1024
MAX_TABLE_BYTES = 1024 * 1024 * 1024
MAX_CHUNKS = 4_194_304
MAX_CHUNK_BYTES = 512 * 1024 * 1024
MAX_IMAGE_PIXELS = 268_435_456

_SHOWN = 60  # characters of a value in a message

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")

Float16Array = npt.NDArray[np.float16]
Float32Array = npt.NDArray[np.float32]


class Status(IntEnum):
    """State of the maps of one (step, layer)."""

    NOT_COMPUTED = 0
    COMPUTED = 1
    INVALID = 2
    """No gradient path to the whole image span exists: there is nothing to compute."""
    FAILED = 3
    """Tried, but the result could not be used (not finite)."""


DESCRIPTION: dict[str, Any] = {
    "dimensions": {
        "T": "denoising steps",
        "L": "positions of the answer canvas",
        "K": "explained positions",
        "N": "layers",
        "R, C": "rows and columns of a grid",
    },
    "run": {
        "request": "JSON: what was asked for; the same request gives the same maps",
        "metadata": "JSON: model, versions, licence, time",
        "closing": f"JSON padded with zero bytes to {CLOSING_BYTES}: known only at the end",
        "complete": "uint8: 1 when every requested step is in the file",
    },
    "run/plan": {
        "layers": "int64 (N) index of each layer",
        "valid": "uint8 (T, N), 1: a gradient path to the whole image span exists",
    },
    "run/answer": {
        "text": "JSON: text, tokens (display text of each position), requested_steps",
        "token_ids": "int64 (L)",
        "commit_step": "int64 (L), -1: never",
        "targets": "int64 (K), ascending positions",
    },
    "run/canvas": {
        "token_ids": "int64 (T, L) after the step",
        "guesses": "int64 (T, L) most probable token",
        "confidence": "float32 (T, L)",
        "committed": "uint8 (T, L) written at this step",
        "texts": "uint8 (T, bytes) JSON: display texts of ids first met at this step",
        "status": "uint8 (T), 1: step recorded",
        "checksum": "uint32 (T) CRC-32",
    },
    "run/image": {"pixels": "uint8 (H, W, 3) RGB", "thumbnail": "uint8: PNG file"},
    "run/grids/*": {"rectangles": "float32 (R, C, 4): x0, y0, x1, y1 in image pixels"},
    "run/maps/*": {
        "status": "uint8 (T, N): " + ", ".join(f"{s.value} {s.name.lower()}" for s in Status),
        "target_probability": "float32 (T, K)",
    },
    "run/maps/*/*": {
        "maps": "float16 (T, N, K, R, C): (value - minimum) / (maximum - minimum)",
        "minimum": "float32 (T, N, K), NaN: not requested",
        "maximum": "float32 (T, N, K)",
        "sum": "float32 (T, N, K)",
        "checksum": "uint32 (T, N) CRC-32",
    },
}
"""Stored as JSON in the root attribute ``schema``, so that a file explains itself."""


def part_path(path: Path) -> Path:
    """Name of the unfinished file of ``path``: run.dcam.part for run.dcam."""
    return path if path.name.endswith(PART_SUFFIX) else path.with_name(path.name + PART_SUFFIX)


def final_path(path: Path) -> Path:
    """Name of the finished file of ``path``: run.dcam for run.dcam.part."""
    return path.with_name(path.name.removesuffix(PART_SUFFIX))


def is_name(name: str) -> bool:
    """Say whether ``name`` may name a grid or a method (a plain word, no path)."""
    return _NAME.fullmatch(name) is not None


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Encode ``value`` as UTF-8 JSON, the same bytes for the same content.

    Raises
    ------
    RunFileError
        If it holds something that JSON has no word for.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return text.encode("utf-8", errors="surrogatepass")
    except (TypeError, ValueError) as error:
        raise RunFileError(f"this cannot be stored as JSON: {error}") from error


def parse_json(data: bytes) -> dict[str, Any]:
    """Decode a JSON object from untrusted bytes.

    Raises
    ------
    ValueError
        If it is not one JSON object in UTF-8.
    """
    try:
        value = json.loads(data.decode("utf-8", errors="surrogatepass"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for one contract
    return value


def fingerprint(request: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a request, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(request)).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Name the keys in which two requests differ, nested ones as "outer.inner".

    Values are shortened, but never so far that the two look the same.
    """
    return _differences(parse_json(canonical_json(ours)), parse_json(canonical_json(theirs)), "")


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], above: str) -> list[str]:
    found = []
    for key in sorted({*ours, *theirs}):
        mine, other = ours.get(key), theirs.get(key)
        if mine == other and (key in ours) == (key in theirs):
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            found += _differences(mine, other, f"{above}{key}.")
        else:
            there, here = _short_pair(other, mine)
            found.append(f"{above}{key} is {there} there and {here} here")
    return found


def encode_maps(
    values: npt.ArrayLike,
) -> tuple[Float16Array, Float32Array, Float32Array, Float32Array]:
    """Normalise maps for storage.

    Parameters
    ----------
    values : array_like, (K, rows, cols)
        Raw maps in float32; a map that is NaN throughout was not requested.

    Returns
    -------
    maps : float16 (K, rows, cols)
        (value - minimum) / (maximum - minimum), in [0, 1]; zeros for a constant map and for one
        that was not requested.
    minimum, maximum, total : float32 (K,)
        NaN where not requested. ``total`` is summed in float64 and clipped to the float32 range.

    Raises
    ------
    ValueError
        If a map holds an infinity, or NaN beside numbers.

    Notes
    -----
    Reading gives ``(1 - v) * minimum + v * maximum``. The rounding to float16 moves a value by
    at most ``(maximum - minimum) * 2**-12``, and the result is rounded to float32 once; minimum
    and maximum themselves come back exactly.
    """
    raw = np.asarray(values, dtype=np.float32)
    flat = raw.reshape(raw.shape[0], math.prod(raw.shape[1:])).astype(np.float64)
    absent: npt.NDArray[np.bool_] = np.asarray(np.isnan(flat).all(axis=1))
    if not np.isfinite(flat[~absent]).all():
        raise ValueError("a map holds an infinity or a NaN")
    safe = np.where(absent[:, None], 0.0, flat)
    low, high = safe.min(axis=1), safe.max(axis=1)
    span = high - low
    scale = np.where(span > 0, span, 1.0)
    stored = ((safe - low[:, None]) / scale[:, None]).astype(np.float16).reshape(raw.shape)
    limit = float(np.finfo(np.float32).max)
    total = np.clip(safe.sum(axis=1), -limit, limit)
    tables = [np.where(absent, np.nan, t).astype(np.float32) for t in (low, high, total)]
    return stored, tables[0], tables[1], tables[2]


def decode_maps(
    stored: Float16Array, minimum: npt.ArrayLike, maximum: npt.ArrayLike
) -> Float32Array:
    """Undo :func:`encode_maps`.

    Parameters
    ----------
    stored : float16 (..., rows, cols)
    minimum, maximum : float32 (...)
        NaN gives a map of NaN.

    Returns
    -------
    float32 (..., rows, cols)
    """
    low = np.asarray(minimum, dtype=np.float64)[..., None, None]
    high = np.asarray(maximum, dtype=np.float64)[..., None, None]
    # In float64, where nothing overflows; in this form both ends come back exactly.
    share = stored.astype(np.float64)
    return ((1.0 - share) * low + share * high).astype(np.float32)


def map_checksum(
    stored: bytes, minimum: npt.ArrayLike, maximum: npt.ArrayLike, total: npt.ArrayLike
) -> int:
    """CRC-32 of one (step, layer): its minima, maxima, sums and map bytes, little-endian."""
    crc = 0
    for table in (minimum, maximum, total):
        crc = zlib.crc32(np.ascontiguousarray(table, dtype="<f4").tobytes(), crc)
    return zlib.crc32(stored, crc)


CANVAS_ROWS = ("token_ids", "guesses", "confidence", "committed", "texts")
"""Datasets of run/canvas that have one row a step, in the order of their checksum."""


def canvas_checksum(rows: Iterable[npt.NDArray[Any]]) -> int:
    """CRC-32 over the rows of one canvas step in the order of :data:`CANVAS_ROWS`."""
    crc = 0
    for row in rows:
        crc = zlib.crc32(np.ascontiguousarray(row).tobytes(), crc)
    return crc


def _short_pair(one: object, two: object) -> tuple[str, str]:
    """Shorten two values to the part around the first character in which they differ."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (one, two)]
    pairs = enumerate(zip(*texts, strict=False))
    common = next((i for i, (a, b) in pairs if a != b), min(map(len, texts)))
    # Whoever reads them wants the beginning, unless the difference lies behind it.
    start = 0 if common < _SHOWN - 20 else common - 20
    first, second = (_window(text, start) for text in texts)
    return first, second


def _window(text: str, start: int) -> str:
    end = start + _SHOWN
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
