"""Open a path that should be a run file, and say what it is if it is none."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from diffcam_core.errors import RunFileError
from diffcam_core.session import schema


def open_regular(path: Path) -> BinaryIO:
    """Open an existing regular file for reading.

    Raises
    ------
    RunFileError
        If there is none, or it may not be read.
    """
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise RunFileError(f"{path} is a folder", "Name a .dcam file in it.")
        if not stat.S_ISREG(state.st_mode):
            # Opening a pipe would wait for ever.
            raise RunFileError(f"{path} is not a regular file", "Name a .dcam file.")
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        part = schema.part_path(path)
        if part != path and part.is_file():
            raise RunFileError(
                f"there is no run {path.name}, only its unfinished {part.name}",
                "Open that one, or resume the run.",
            ) from error
        raise RunFileError(f"there is no run at {path}", "Check the path.") from error
    except PermissionError as error:
        raise RunFileError(f"{path} may not be read", "Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise RunFileError(f"{path!s:.200} is not a usable path: {error}") from error
