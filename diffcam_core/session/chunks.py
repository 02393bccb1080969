"""The pieces of a compressed dataset: where they lie in the file, and how they are unpacked."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError
from diffcam_core.session.damage import DAMAGED


@dataclass(frozen=True)
class Chunks:
    """Where the pieces of one compressed dataset lie in the file."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    kind: np.dtype[Any]
    shuffled: bool
    deflated: bool
    places: Mapping[tuple[int, ...], tuple[int, int]]

    @property
    def nbytes(self) -> int:
        """Bytes of one piece when unpacked."""
        return math.prod(self.chunk) * self.kind.itemsize


def unpack_chunk(chunks: Chunks, packed: bytes, what: str) -> npt.NDArray[Any]:
    """Undo gzip and shuffle of one chunk, never making more bytes than the chunk has.

    Raises
    ------
    RunFileError
        If the bytes are not exactly one such chunk.
    """
    raw = packed
    if chunks.deflated:
        inflate = zlib.decompressobj()
        try:
            raw = inflate.decompress(packed, chunks.nbytes + 1)
        except zlib.error as error:
            raise RunFileError(f"{what} cannot be unpacked", DAMAGED) from error
        if not inflate.eof:
            raise RunFileError(f"{what} cannot be unpacked", DAMAGED)
    if len(raw) != chunks.nbytes:
        raise RunFileError(f"{what} have the wrong size", DAMAGED)
    size = chunks.kind.itemsize
    flat = np.frombuffer(raw, np.uint8)
    if chunks.shuffled and size > 1:
        flat = flat.reshape(size, -1).T
    return np.ascontiguousarray(flat).reshape(-1).view(chunks.kind).reshape(chunks.chunk)
