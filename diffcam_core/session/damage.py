"""What is said of a file that is damaged: one line that names it, and the mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcam_core.errors import RunFileError

DAMAGED = "The file is damaged: restore it from a copy, or run the job again."


# What HDF5 and h5py raise for a file that they cannot make sense of.
_HDF5_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)


def bad(where: str) -> RunFileError:
    """Return the error for a part of the file that is not what it should be."""
    return RunFileError(f"{where} is damaged", DAMAGED)


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file provokes into one line that names the file."""
    try:
        yield
    except RunFileError as error:
        raise RunFileError(f"{path.name}: {error.cause}", error.mend) from error
    except _HDF5_ERRORS as error:
        text = str(error).strip() or type(error).__name__
        cut = "truncated" in text
        raise RunFileError(
            f"{path.name} is {'cut off' if cut else 'damaged'}: {text:.200}",
            "Copy it again from where it came." if cut else DAMAGED,
        ) from error
