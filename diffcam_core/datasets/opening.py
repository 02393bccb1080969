"""Every dataset by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from diffcam_core.datasets.coco import CocoDataset
from diffcam_core.datasets.folder import FolderDataset
from diffcam_core.datasets.grandf import open_grandf
from diffcam_core.datasets.openpsg import open_openpsg
from diffcam_core.datasets.record import Dataset
from diffcam_core.datasets.scene_records import SceneDataset
from diffcam_core.errors import DatasetError

SCENES: Final = "scenes"

READERS: Final[Mapping[str, Callable[[str | Path, str | None], Dataset]]] = MappingProxyType(
    {
        "coco": CocoDataset,
        "grandf": open_grandf,
        "openpsg": open_openpsg,
        "folder": lambda folder, part: _without_parts(folder, part),
    }
)
"""Name -> function of (folder, part or None)."""


def open_dataset(name: str, folder: str | Path | None = None, part: str | None = None) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    name : str
        "scenes" or one of `READERS`.
    folder : str or Path, optional
        Where it lies; needed for everything but scenes.
    part : str, optional
        Such as "val2017"; each reader has its own default.

    Raises
    ------
    DatasetError
        If there is no such dataset, or its folder is not as its owners publish it.
    """
    if name == SCENES:
        if folder is not None or part is not None:
            raise DatasetError("sticker scenes have no folder and no parts", "Leave them out.")
        return SceneDataset()
    if name not in READERS:
        raise DatasetError(
            f"there is no dataset {name!r:.60}", f"Choose from {', '.join((SCENES, *READERS))}."
        )
    if folder is None:
        raise DatasetError(f"{name} needs a folder", "Say where the dataset lies.")
    return READERS[name](folder, part)


def _without_parts(folder: str | Path, part: str | None) -> Dataset:
    if part is not None:
        raise DatasetError("a folder of your own has no parts", "Leave the part out.")
    return FolderDataset(folder)
