"""COCO captions and instances, 2014 and 2017, as https://cocodataset.org publishes them.

::

    coco/
      annotations/instances_val2017.json   captions_val2017.json      (annotations_trainval2017.zip)
      val2017/000000000139.jpg                                        (val2017.zip)
      annotations/instances_val2014.json   captions_val2014.json
      val2014/COCO_val2014_000000000042.jpg

Image folders may also lie in ``images/``. A part such as "minival2014" has its own instances file
and takes captions and images of val2014. Crowd regions (run lengths) belong to their category.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from diffcam_core.categories import names_of
from diffcam_core.datasets.files import (
    existing_folder,
    field,
    first_existing,
    image_size,
    inside,
    read_json,
    read_stored_image,
)
from diffcam_core.datasets.masks import from_segmentation
from diffcam_core.datasets.record import Record, Region, merged
from diffcam_core.errors import DatasetError

PARTS: Final = ("val2017", "val2014", "train2017", "train2014")
PROMPT: Final = "Describe the image in one sentence."


class CocoDataset:
    """One part of COCO.

    Parameters
    ----------
    folder : str or Path
    part : str, optional
        Such as "val2017" or "train2014"; by default the first of `PARTS` whose annotations are
        there.

    Raises
    ------
    DatasetError
        If the folder has another layout or the annotations are damaged.
    """

    def __init__(self, folder: str | Path, part: str | None = None) -> None:
        root = existing_folder(folder)
        self._part = part or _part_of(root)
        base = "val2014" if self._part == "minival2014" else self._part
        self._images = first_existing(root, (base, f"images/{base}"), "images")
        path = root / "annotations" / f"instances_{self._part}.json"
        data, self._file = read_json(path), path.name
        self._categories = categories_of(data, self._file)
        self._entries = _by_id(data, self._file)
        self._annotations = by_image(data, self._file)
        captions = first_existing(
            root,
            (f"annotations/captions_{self._part}.json", f"annotations/captions_{base}.json"),
            "captions",
        )
        self._captions = read_captions(captions)

    @property
    def source(self) -> str:
        """Name of the dataset and its part."""
        return f"coco {self._part}"

    def ids(self) -> Sequence[str]:
        """Return the ids of all images, ascending."""
        return [str(key) for key in sorted(self._entries)]

    def load(self, record_id: str) -> Record:
        """Read one example; see `record.Dataset`."""
        entry = self._entries.get(int(record_id)) if record_id.isdecimal() else None
        if entry is None:
            raise DatasetError(
                f"{self._file} has no image {record_id!r:.60}", "Choose one of the dataset's ids."
            )
        number, where = int(record_id), f"{self._file}, image {record_id}"
        size = image_size(entry, where)
        path = inside(self._images, field(entry, "file_name", str, where), where)
        return Record(
            id=record_id,
            source=self.source,
            image=read_stored_image(path, size),
            prompt=PROMPT,
            captions=self._captions.get(number, ()),
            regions=merged(self._regions(number, size)),
        )

    def _regions(self, number: int, size: tuple[int, int]) -> Iterable[Region]:
        for annotation in self._annotations.get(number, ()):
            where = f"{self._file}, annotation {annotation.get('id')!r:.40}"
            category = field(annotation, "category_id", int, where)
            if category not in self._categories:
                raise DatasetError(f"{where} has an unknown category {category}", "Repair it.")
            name = self._categories[category]
            mask = from_segmentation(annotation.get("segmentation"), size, where)
            yield Region(name, names_of(name), mask)


def categories_of(data: Any, file: str) -> dict[int, str]:
    """Return id -> name of the "categories" of a COCO file."""
    found = {}
    for category in field(data, "categories", list, file):
        where = f"{file}, categories"
        found[field(category, "id", int, where)] = field(category, "name", str, where)
    return found


def by_image(data: Any, file: str) -> Mapping[Any, list[dict[str, Any]]]:
    """Return image id -> its "annotations", in the order of the file."""
    found: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in field(data, "annotations", list, file):
        found[field(annotation, "image_id", (int, str), f"{file}, annotations")].append(annotation)
    return found


def read_captions(path: Path) -> dict[int, tuple[str, ...]]:
    """Return image id -> captions of a COCO captions file."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for annotation in field(read_json(path), "annotations", list, path.name):
        where = f"{path.name}, annotations"
        text = field(annotation, "caption", str, where)
        found[field(annotation, "image_id", int, where)].append(" ".join(text.split()))
    return {key: tuple(texts) for key, texts in found.items()}


def _by_id(data: Any, file: str) -> dict[int, Any]:
    entries = {}
    for entry in field(data, "images", list, file):
        key = field(entry, "id", int, f"{file}, images")
        if key in entries:
            raise DatasetError(f"{file} has image {key} twice", "Download it again.")
        entries[key] = entry
    return entries


def _part_of(root: Path) -> str:
    for part in PARTS:
        if (root / "annotations" / f"instances_{part}.json").exists():
            return part
    raise DatasetError(
        f"{root} has no annotations/instances_<part>.json (part: {', '.join(PARTS)})",
        "Unpack COCO's annotations there, see docs/datasets.md.",
    )
