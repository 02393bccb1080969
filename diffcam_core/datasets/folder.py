"""Your own data: a folder of images and masks and one small JSON.

::

    kitchen/
      dataset.json
      images/a.jpg
      masks/a-cup.png

    {
      "format": "diffcam-dataset",
      "version": 1,
      "name": "kitchen",
      "prompt": "Describe the image.",
      "items": [
        {
          "id": "a",
          "image": "images/a.jpg",
          "captions": ["A cup on a table."],
          "regions": [
            {"label": "cup", "names": ["mug"], "mask": "masks/a-cup.png"},
            {"label": "table", "mask": "masks/a-labels.png", "value": 2},
            {"label": "spoon", "segmentation": [[10, 10, 40, 12, 38, 20]]}
          ]
        }
      ]
    }

``format``, ``version``, ``items`` and each item's ``image`` are needed, and each region's ``label``
with either ``mask`` or ``segmentation``. ``id`` is the image's path by default, ``prompt`` may be
given for an item, and ``names`` are further words that mean the thing (the label and its known
synonyms always do). A ``mask`` is a PNG of the image's size: true where it is not black and not
transparent, or, with ``value``, where its grey level or palette index is that number. A
``segmentation`` is COCO's: polygons or run lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from diffcam_core.categories import names_of, names_of_phrase
from diffcam_core.datasets.files import (
    existing_folder,
    field,
    inside,
    read_json,
    read_stored_image,
)
from diffcam_core.datasets.masks import BoolArray, from_segmentation, read_labels, read_mask
from diffcam_core.datasets.record import Record, Region, merged
from diffcam_core.errors import DatasetError

FILE: Final = "dataset.json"
FORMAT: Final = "diffcam-dataset"
VERSION: Final = 1
PROMPT: Final = "Describe the image."


class FolderDataset:
    """A folder with ``dataset.json``.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    DatasetError
        If the file is missing, of another format or version, or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self._root = existing_folder(folder)
        data = read_json(self._root / FILE)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise DatasetError(
                f'{FILE} does not say "format": "{FORMAT}"', "Write it as docs/datasets.md shows."
            )
        if data.get("version") != VERSION:
            raise DatasetError(
                f"{FILE} is of version {data.get('version')!r:.20}, not {VERSION}",
                "Install a newer Diffusion-CAM Studio.",
            )
        self._name = _text(data, "name", FILE, self._root.name)
        self._prompt = _text(data, "prompt", FILE, PROMPT)
        self._items: dict[str, Any] = {}
        for number, item in enumerate(field(data, "items", list, FILE)):
            where = f"{FILE}, item {number}"
            key = _text(item, "id", where, field(item, "image", str, where))
            if key in self._items:
                raise DatasetError(f"{where} has the id {key!r:.60} of another", "Rename it.")
            self._items[key] = item

    @property
    def source(self) -> str:
        """Name that the file gives the dataset."""
        return self._name

    def ids(self) -> Sequence[str]:
        """Return the ids of all items, in the order of the file."""
        return list(self._items)

    def load(self, record_id: str) -> Record:
        """Read one item; see `record.Dataset`."""
        if record_id not in self._items:
            raise DatasetError(
                f"{FILE} has no item {record_id!r:.60}", "Choose one of the dataset's ids."
            )
        item, where = self._items[record_id], f"{FILE}, item {record_id!r:.60}"
        image = read_stored_image(inside(self._root, item["image"], where))
        size = (image.shape[1], image.shape[0])
        return Record(
            id=record_id,
            source=self.source,
            image=image,
            prompt=_text(item, "prompt", where, self._prompt),
            captions=tuple(_texts(item, "captions", where)),
            regions=merged(self._regions(item, size, where)),
        )

    def _regions(self, item: Any, size: tuple[int, int], where: str) -> Iterable[Region]:
        regions = field(item, "regions", list, where) if "regions" in item else []
        for number, region in enumerate(regions):
            at = f"{where}, region {number}"
            label = field(region, "label", str, at)
            names = (*names_of(label), *_texts(region, "names", at), *names_of_phrase(label))
            yield Region(label, tuple(dict.fromkeys(names)), self._mask(region, size, at))

    def _mask(self, region: Any, size: tuple[int, int], where: str) -> BoolArray:
        if ("mask" in region) == ("segmentation" in region):
            raise DatasetError(f"{where} needs a mask or a segmentation", "Give one of the two.")
        if "segmentation" in region:
            return from_segmentation(region["segmentation"], size, where)
        path = inside(self._root, region["mask"], where)
        if "value" not in region:
            return read_mask(path, size)
        return np.asarray(read_labels(path, size) == field(region, "value", int, where), np.bool_)


def _text(entry: Any, key: str, where: str, default: str) -> str:
    value = field(entry, key, str, where) if isinstance(entry, dict) and key in entry else default
    if not value.strip():
        raise DatasetError(f"{where} has an empty {key!r}", "Write something or leave it out.")
    return value


def _texts(entry: Any, key: str, where: str) -> list[str]:
    values = field(entry, key, list, where) if key in entry else []
    if not all(isinstance(value, str) for value in values):
        raise DatasetError(f"{where} has {key!r} that are no texts", "Write them in quotes.")
    return values
