"""Where the files shipped with the program lie: beside the package, or in the checkout."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def asset_root() -> Path:
    """Folder of the shipped resources.

    A wheel carries them inside ``diffcam_core/resources``; a checkout has them
    in ``resources`` at its root. The engine package is located, not imported.

    Raises
    ------
    FileNotFoundError
        If neither place exists, which means that the installation is broken.
    """
    here = Path(__file__).resolve().parent
    candidates = [here.parent / "resources"]
    spec = find_spec("diffcam_core")
    if spec is not None and spec.origin is not None:
        candidates.insert(0, Path(spec.origin).parent / "resources")
    for folder in candidates:
        if (folder / "themes").is_dir():
            return folder
    raise FileNotFoundError(
        f"The installation is incomplete: no resources folder in {candidates[0].parent}. "
        "Install the package again."
    )


def asset(*parts: str) -> Path:
    """Path of one shipped file, e.g. ``asset("icons", "play.svg")`` (it may not exist)."""
    return asset_root().joinpath(*parts)
