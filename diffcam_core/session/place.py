"""Where a run may be written: what must never be replaced is refused before any work is done."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from diffcam_core.errors import DiffcamError, RunFileError
from diffcam_core.session import schema
from diffcam_core.session.storage import explain_os_error


def require_place(target: Path) -> None:
    """Check that a run file can stand under this name, even if overwriting is allowed.

    Parameters
    ----------
    target : Path
        The final name; the name of its unfinished file is checked as well.

    Raises
    ------
    RunFileError
        If there is a folder, a device, a pipe or a broken link of that name, the name is too
        long, or there is no folder for it.
    """
    try:
        for path in (target, schema.part_path(target)):
            _require_regular_or_free(path)
        if not target.parent.is_dir():
            raise RunFileError(
                f"there is no folder {target.parent}", "Create it, or choose another folder."
            )
    except (OSError, ValueError) as error:
        raise explain_place(error, target) from error


def refuse_input(target: Path, source: object) -> None:
    """Check that a run would not replace the very image that it explains.

    Parameters
    ----------
    target : Path
        The run's final name.
    source : object
        What was given as the image; what is no file on the disk is in no danger.

    Raises
    ------
    RunFileError
        If the run, finished or not, would have the image's file.
    """
    # An image that Pillow opened knows its file.
    name = getattr(source, "filename", source)
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        return
    for path in (target, schema.part_path(target)):
        try:
            same = path.samefile(name)
        except (OSError, ValueError):
            continue  # one of them does not exist
        if same:
            raise RunFileError(
                f"{path.name} is the image that is to be explained",
                "Choose another name for the run, such as one that ends in .dcam.",
            )


def explain_place(error: Exception, path: Path) -> DiffcamError:
    """Turn what the system says about a name into one line."""
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return RunFileError(
            f"the name {path.name[:40]}… has {len(path.name)} characters, more than the system "
            "allows",
            "Choose a shorter name.",
        )
    return explain_os_error(error, path, "look for")


def _require_regular_or_free(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise RunFileError(
                f"{path} is a link that leads nowhere", "Remove it, or choose another name."
            ) from None
        return
    if stat.S_ISDIR(mode):
        raise RunFileError(f"{path} is a folder", "Name a file in it.")
    if not stat.S_ISREG(mode):
        raise RunFileError(
            f"{path} is a device or a pipe, not a file", "Choose another name for the run."
        )
