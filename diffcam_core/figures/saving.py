"""Files appear whole or not at all, and what goes wrong is said in one line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from diffcam_core.errors import InputError, ResourceError


def suffix_of(path: str | os.PathLike[str], allowed: tuple[str, ...], what: str) -> str:
    """Return the lower-case suffix without its dot.

    Raises
    ------
    InputError
        If it is not one of those allowed.
    """
    name = Path(path).name
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in allowed:
        known = ", ".join(f".{entry}" for entry in allowed)
        raise InputError(f"Cannot export {name}: {what} ends with {known}", "Choose one of these.")
    return suffix


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
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(target)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        reason = error.strerror or str(error)
        if error.errno in (28, 122):
            raise ResourceError(
                f"Cannot export {target.name}: the disk is full", "Make room or save elsewhere."
            ) from error
        raise InputError(
            f"Cannot export {target.name}: {reason[:1].lower()}{reason[1:]}: {target.parent}",
            "Choose a folder that exists and can be written to.",
        ) from error
    return target


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
