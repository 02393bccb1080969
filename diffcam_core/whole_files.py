"""Files appear whole or not at all, and what goes wrong is said in one line."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from diffcam_core.errors import DiffcamError, InputError, ResourceError


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file through a temporary one beside it.

    Returns
    -------
    Path
        The file, as named.

    Raises
    ------
    InputError
        If its folder is missing or cannot be written to.
    ResourceError
        If the disk is full.
    """
    target = Path(path)
    write_together({target: data})
    return target


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files; none gets its name before all of them are on the disk.

    Raises
    ------
    InputError
        If a folder is missing or cannot be written to; every file is as it was before.
    ResourceError
        If the disk is full; every file is as it was before.
    """
    drafts: dict[Path, Path] = {}
    target = Path()
    try:
        for target, data in files.items():
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", dir=target.parent)
            drafts[target] = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            drafts[target].chmod(0o666 & ~_umask())
        for target, draft in drafts.items():
            draft.replace(target)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _explain(error: OSError, target: Path) -> DiffcamError:
    name = target.name if len(target.name) <= 80 else f"{target.name[:40]}…"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(
            f"Cannot export {name}: the disk is full", "Make room or save elsewhere."
        )
    reason = error.strerror or str(error)
    return InputError(
        f"Cannot export {name}: {reason[:1].lower()}{reason[1:]}: {target.parent}",
        "Choose a shorter name."
        if error.errno == errno.ENAMETOOLONG
        else "Choose a folder that exists and can be written to.",
    )


def _umask() -> int:
    # Reading the mask means setting it for a moment; where Linux tells it, nothing is set.
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022
