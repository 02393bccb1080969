"""GranDf, the grounded conversations of GLaMM, in the layouts it is published in.

1. *Grounded captions* (GLaMM: huggingface.co/datasets/MBZUAI/GranD-f, ``train/``). A list of
   ``{"file_name", "caption", "groundings": {phrase: {"token_positives": [start, end],
   "rle_masks": [{"size", "counts"}]}}}``. Parts "train" (people's annotations) and "psg-train",
   "psg-val" (OpenPSG repurposed, images of COCO's train2017).
2. *Evaluation pairs* (``val_test/``). Two COCO files: ``<part>_gcg_coco_caption_gt.json`` with a
   caption and its ``labels`` for each image, and ``<part>_gcg_coco_mask_gt.json`` with run lengths
   in the order of those labels. An image's id is its file name without ".jpg". Parts "val", "test".
3. *Label pictures* (Token Activation Map: huggingface.co/datasets/yili7eli/TAM), for GranDf and for
   OpenPSG: ``anno.json``, a list of ``[image, caption, label picture, {name: level}]``. See
   :class:`LabelPictures`.

::

    GranDf/                                     or, as the hub has it,
      annotations/train/GranDf_HA_GCG_train.json    train/GranDf_HA_GCG_train.json
      annotations/val_test/val_gcg_coco_mask_gt.json  val_test/val_gcg_coco_mask_gt.json
    GranDf_HA_images/train/sa_10010541.jpg      beside or inside of GranDf/
    GranDf_HA_images/val_test/sa_10010541.jpg
    coco_2017/train2017/000000000009.jpg        for the psg parts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffcam_core.categories import names_of_phrase
from diffcam_core.datasets.coco import by_image
from diffcam_core.datasets.files import (
    existing_folder,
    field,
    first_existing,
    inside,
    read_json,
    read_stored_image,
)
from diffcam_core.datasets.label_pictures import LabelPictures
from diffcam_core.datasets.masks import from_runs, union
from diffcam_core.datasets.record import Dataset, Record, Region, merged
from diffcam_core.errors import DatasetError

PROMPT: Final = "Describe the image in two sentences."
PARTS: Final = ("val", "test", "train", "psg-train", "psg-val")

_FILES: Final = {
    "train": "train/GranDf_HA_GCG_train.json",
    "psg-train": "train/OpenPsgGCG_train.json",
    "psg-val": "train/OpenPsgGCG_val.json",
    "val": "val_test/val_gcg_coco_mask_gt.json",
    "test": "val_test/test_gcg_coco_mask_gt.json",
}
_IMAGES: Final = {
    "train": "GranDf_HA_images/train",
    "val": "GranDf_HA_images/val_test",
    "test": "GranDf_HA_images/val_test",
    "psg-train": "coco_2017/train2017",
    "psg-val": "coco_2017/train2017",
}


def open_grandf(folder: str | Path, part: str | None = None) -> Dataset:
    """Open GranDf in whichever layout the folder has.

    Parameters
    ----------
    folder : str or Path
        The folder that holds the annotations, or its parent.
    part : str, optional
        One of `PARTS`; by default the first that is there. Label pictures have no parts.

    Raises
    ------
    DatasetError
        If the folder has none of the layouts.
    """
    root = existing_folder(folder)
    if (root / "anno.json").exists():
        if part is not None:
            raise DatasetError(f"{root} has label pictures, which have no parts", "Leave it out.")
        return LabelPictures(root, "grandf", PROMPT)
    if part is not None and part not in PARTS:
        raise DatasetError(f"GranDf has no part {part!r}", f"Choose from {', '.join(PARTS)}.")
    for candidate in (part,) if part else PARTS:
        path = _annotations(root, candidate)
        if path is not None:
            images = _images(root, candidate)
            if candidate in ("val", "test"):
                return EvaluationPairs(path, images, candidate)
            return GroundedCaptions(path, images, candidate)
    raise DatasetError(
        f"{root} has no {_FILES[part] if part else 'annotations of GranDf'}",
        "Arrange the folder as docs/datasets.md shows.",
    )


class GroundedCaptions:
    """Layout 1: captions whose phrases carry run lengths."""

    def __init__(self, path: Path, images: Path, part: str) -> None:
        self._images, self._part, self._file = images, part, path.name
        data = read_json(path)
        if not isinstance(data, list):
            raise DatasetError(f"{path.name} is no list", "Give the file of grounded captions.")
        self._entries = _unique(
            (field(entry, "file_name", str, f"{path.name}, entry {n}"), entry)
            for n, entry in enumerate(data)
        )

    @property
    def source(self) -> str:
        """Name of the dataset and its part."""
        return f"grandf {self._part}"

    def ids(self) -> Sequence[str]:
        """Return the ids of all examples, in the order of the file."""
        return list(self._entries)

    def load(self, record_id: str) -> Record:
        """Read one example; see `record.Dataset`."""
        entry = _entry(self._entries, record_id, self._file)
        where = f"{self._file}, {record_id}"
        image = read_stored_image(inside(self._images, entry["file_name"], where))
        size = (image.shape[1], image.shape[0])
        return Record(
            id=record_id,
            source=self.source,
            image=image,
            prompt=PROMPT,
            captions=(_cleaned(field(entry, "caption", str, where)),),
            regions=merged(_grounded(field(entry, "groundings", dict, where), size, where)),
        )


class EvaluationPairs:
    """Layout 2: a COCO file of captions and one of masks."""

    def __init__(self, path: Path, images: Path, part: str) -> None:
        self._images, self._part, self._file = images, part, path.name
        captions = path.with_name(f"{part}_gcg_coco_caption_gt.json")
        texts, masks = read_json(captions), read_json(path)
        self._texts = by_image(texts, captions.name)
        self._masks = by_image(masks, path.name)
        self._names = _file_names((texts, captions.name), (masks, path.name))
        self._ids = list(self._names)

    @property
    def source(self) -> str:
        """Name of the dataset and its part."""
        return f"grandf {self._part}"

    def ids(self) -> Sequence[str]:
        """Return the ids of all images, in the order of the captions."""
        return self._ids

    def load(self, record_id: str) -> Record:
        """Read one example; see `record.Dataset`."""
        key, name = _entry(self._names, record_id, self._file)
        where = f"{self._file}, image {record_id}"
        image = read_stored_image(inside(self._images, name, where))
        texts = self._texts.get(key, [])
        labels = [str(label) for text in texts for label in field(text, "labels", list, where)]
        masks = self._masks.get(key, [])
        if len(labels) != len(masks):
            raise DatasetError(
                f"{where} has {len(masks)} masks for {len(labels)} labels",
                "Use caption and mask files of one release.",
            )
        size = (image.shape[1], image.shape[0])
        return Record(
            id=record_id,
            source=self.source,
            image=image,
            prompt=PROMPT,
            captions=tuple(_cleaned(field(text, "caption", str, where)) for text in texts),
            regions=merged(
                Region(
                    _cleaned(label),
                    names_of_phrase(label),
                    from_runs(mask.get("segmentation"), size, f"{where}, {label!r:.60}"),
                )
                for label, mask in zip(labels, masks, strict=True)
            ),
        )


@dataclass(frozen=True)
class _Place:
    """Folders in which to look for what the layouts name."""

    root: Path

    def find(self, *names: str) -> Path | None:
        for base in (self.root, self.root / "GranDf", self.root / "GranD-f", self.root.parent):
            for name in names:
                if (base / name).exists():
                    return base / name
        return None


def _annotations(root: Path, part: str) -> Path | None:
    name = _FILES[part]
    return _Place(root).find(f"annotations/{name}", name)


def _images(root: Path, part: str) -> Path:
    found = _Place(root).find(_IMAGES[part], f"images/{_IMAGES[part]}")
    return found or first_existing(root, (_IMAGES[part],), "images")


def _grounded(groundings: Mapping[str, Any], size: tuple[int, int], where: str) -> Iterable[Region]:
    for phrase, grounding in groundings.items():
        at = f"{where}, {phrase!r:.60}"
        runs = field(grounding, "rle_masks", list, at)
        mask = union([from_runs(run, size, at) for run in runs], size)
        yield Region(_cleaned(phrase), names_of_phrase(phrase), mask)


def _file_names(*files: tuple[Any, str]) -> dict[str, tuple[Any, str]]:
    """Return id as text -> (id, image file), from whichever file names it."""
    found: dict[str, tuple[Any, str]] = {}
    for data, file in files:
        for entry in field(data, "images", list, file):
            key = field(entry, "id", (int, str), f"{file}, images")
            name = entry.get("file_name")
            if isinstance(name, str) and name:
                found[str(key)] = (key, name)
            else:
                found.setdefault(str(key), (key, f"{key}.jpg"))
    return found


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Entries by file name without its ending; a second one of the same image is numbered."""
    found: dict[str, Any] = {}
    for name, entry in pairs:
        stem = name.rsplit(".", 1)[0]
        key, again = stem, 1
        while key in found:
            again += 1
            key = f"{stem}#{again}"
        found[key] = entry
    return found


def _entry(entries: Mapping[str, Any], record_id: str, file: str) -> Any:
    if record_id not in entries:
        raise DatasetError(
            f"{file} has no image {record_id!r:.60}", "Choose one of the dataset's ids."
        )
    return entries[record_id]


def _cleaned(text: str) -> str:
    return " ".join(text.strip().strip('"').split())
