"""Number types of a run file: little-endian, the only ones that the format has."""

from __future__ import annotations

from typing import Any

import h5py

KINDS: dict[str, Any] = {
    "float16": h5py.h5t.IEEE_F16LE,
    "float32": h5py.h5t.IEEE_F32LE,
    "uint8": h5py.h5t.STD_U8LE,
    "uint32": h5py.h5t.STD_U32LE,
    "int64": h5py.h5t.STD_I64LE,
}
