"""OpenPSG: panoptic pictures and psg.json, as its authors publish them (psgdataset.org).

::

    data/
      psg/psg.json                 or psg_train_val.json, psg_val_test.json
      coco/train2017/000000000009.jpg
      coco/val2017/…
      coco/panoptic_train2017/000000000009.png    R + 256 G + 65536 B = segment id
      coco/panoptic_val2017/…
      coco/annotations/captions_val2017.json      optional: OpenPSG itself has no captions

``psg.json`` holds ``thing_classes``, ``stuff_classes``, ``test_image_ids`` and ``data``, a list of
``{"image_id", "coco_image_id", "file_name": "val2017/…jpg", "pan_seg_file_name":
"panoptic_val2017/…png", "width", "height", "segments_info": [{"id", "category_id", …}], …}``. A
category id counts through things, then stuff, from 0. Some images were annotated twice and have
two entries. The layout with ``anno.json`` (Token Activation Map) is read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from diffcam_core.categories import names_of
from diffcam_core.datasets.coco import read_captions
from diffcam_core.datasets.files import (
    existing_folder,
    field,
    first_existing,
    image_size,
    inside,
    read_json,
    read_stored_image,
)
from diffcam_core.datasets.label_pictures import LabelPictures
from diffcam_core.datasets.masks import read_panoptic
from diffcam_core.datasets.record import Dataset, Record, Region, merged
from diffcam_core.errors import DatasetError

PROMPT: Final = "Describe the image in three sentences."
PARTS: Final = ("test", "train")
_FILES: Final = ("psg.json", "psg_val_test.json", "psg_train_val.json")


def open_openpsg(folder: str | Path, part: str | None = None) -> Dataset:
    """Open OpenPSG in whichever layout the folder has.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``psg/`` and ``coco/``, or ``anno.json``.
    part : {"test", "train"}, optional
        By default every entry. Label pictures have no parts.
    """
    root = existing_folder(folder)
    if (root / "anno.json").exists():
        if part is not None:
            raise DatasetError(f"{root} has label pictures, which have no parts", "Leave it out.")
        return LabelPictures(root, "openpsg", PROMPT)
    return PanopticSceneGraphs(root, part)


class PanopticSceneGraphs:
    """Panoptic pictures and ``psg.json``; parameters as in :func:`open_openpsg`."""

    def __init__(self, folder: str | Path, part: str | None = None) -> None:
        if part is not None and part not in PARTS:
            raise DatasetError(f"OpenPSG has no part {part!r}", f"Choose from {', '.join(PARTS)}.")
        root = existing_folder(folder)
        places = [f"{base}{name}" for base in ("psg/", "") for name in _FILES]
        path = first_existing(root, places, "psg.json")
        self._coco = root / "coco" if (root / "coco").is_dir() else root
        self._part, self._file = part, path.name
        data = read_json(path)
        self._classes = [
            str(name)
            for key in ("thing_classes", "stuff_classes")
            for name in field(data, key, list, path.name)
        ]
        self._entries = _entries(data, part, path.name)
        self._captions: dict[str, dict[int, tuple[str, ...]]] = {}

    @property
    def source(self) -> str:
        """Name of the dataset and its part."""
        return f"openpsg {self._part or 'all'}"

    def ids(self) -> Sequence[str]:
        """Return the ids of all entries, in the order of the file."""
        return list(self._entries)

    def load(self, record_id: str) -> Record:
        """Read one example; see `record.Dataset`."""
        if record_id not in self._entries:
            raise DatasetError(
                f"{self._file} has no image {record_id!r:.60}", "Choose one of the dataset's ids."
            )
        entry, where = self._entries[record_id], f"{self._file}, image {record_id}"
        size = image_size(entry, where)
        name = field(entry, "file_name", str, where)
        return Record(
            id=record_id,
            source=self.source,
            image=read_stored_image(inside(self._coco, name, where), size),
            prompt=PROMPT,
            captions=self._captions_of(entry, name),
            regions=merged(self._regions(entry, size, where)),
        )

    def _regions(self, entry: Any, size: tuple[int, int], where: str) -> Iterable[Region]:
        name = field(entry, "pan_seg_file_name", str, where)
        inside(self._coco, name, where)
        found = first_existing(self._coco, (name, f"annotations/{name}"), "panoptic picture")
        segments = read_panoptic(found, size)
        present = set(np.unique(segments).tolist())
        for segment in field(entry, "segments_info", list, where):
            key = field(segment, "id", int, f"{where}, segment")
            category = field(segment, "category_id", int, f"{where}, segment {key}")
            if not 0 <= category < len(self._classes):
                raise DatasetError(
                    f"{where}, segment {key} has an unknown category {category}", "Repair it."
                )
            if key in present:
                label = self._classes[category]
                yield Region(label, names_of(label), segments == key)

    def _captions_of(self, entry: Any, file_name: str) -> tuple[str, ...]:
        """COCO's captions of the image, where their file is there; read once a part."""
        part = file_name.split("/")[0]
        if part not in ("train2017", "val2017"):
            return ()
        if part not in self._captions:
            path = self._coco / "annotations" / f"captions_{part}.json"
            self._captions[part] = read_captions(path) if path.exists() else {}
        number = entry.get("coco_image_id")
        try:
            return self._captions[part].get(int(number), ())
        except (TypeError, ValueError):
            return ()


def _entries(data: Any, part: str | None, file: str) -> dict[str, Any]:
    tests = {str(key) for key in field(data, "test_image_ids", list, file)} if part else set()
    found: dict[str, Any] = {}
    for entry in field(data, "data", list, file):
        key = str(field(entry, "image_id", (int, str), f"{file}, data"))
        if part and (key in tests) != (part == "test"):
            continue
        if key in found:
            raise DatasetError(f"{file} has image {key} twice", "Download it again.")
        found[key] = entry
    return found
