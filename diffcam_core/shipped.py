"""Where the files that come with the program lie, in a wheel as in a checkout."""

from __future__ import annotations

from pathlib import Path

from diffcam_core.errors import DiffcamError

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the folder inside the package; a checkout keeps it at the top level.
_ROOTS = (_PACKAGE / "resources", _PACKAGE.parent / "resources")


def resource_path(name: str) -> Path:
    """Find a shipped file or folder.

    Parameters
    ----------
    name : str
        Path below ``resources/`` with forward slashes, such as "stickers".

    Raises
    ------
    DiffcamError
        If the installation lacks it.
    """
    for root in _ROOTS:
        path = root / name
        if path.exists():
            return path
    raise DiffcamError(
        f"the installation lacks its own file {name}",
        "Reinstall Diffusion-CAM Studio.",
    )
