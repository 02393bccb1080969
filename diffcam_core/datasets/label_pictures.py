"""Images with one label picture each, as Token Activation Map publishes GranDf and OpenPSG.

::

    GranDf/
      anno.json          [["image/a.jpg", "A dog on grass.", "seg_label/a.png",
                           {"dog": 1, "grass": 2}], …]
      image/a.jpg
      seg_label/a.png    grey levels: 1 where the dog is, 2 where grass is, 0 elsewhere

Paths are relative to the folder. The names of both sets are phrases or categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from diffcam_core.categories import names_of, names_of_phrase, plain_name
from diffcam_core.datasets.files import existing_folder, inside, read_json, read_stored_image
from diffcam_core.datasets.masks import read_labels
from diffcam_core.datasets.record import Record, Region, merged
from diffcam_core.errors import DatasetError


class LabelPictures:
    """A folder with ``anno.json``.

    Parameters
    ----------
    folder : str or Path
    name : str
        What the dataset is called.
    prompt : str

    Raises
    ------
    DatasetError
        If ``anno.json`` is missing or damaged.
    """

    def __init__(self, folder: str | Path, name: str, prompt: str) -> None:
        self._root, self._name, self._prompt = existing_folder(folder), name, prompt
        data = read_json(self._root / "anno.json")
        if not isinstance(data, list):
            raise DatasetError("anno.json is no list", "Give the list that the layout asks for.")
        self._entries: dict[str, list[Any]] = {}
        for number, entry in enumerate(data):
            image = _checked(entry, number)[0]
            key = PurePosixPath(image).stem
            self._entries[key if key not in self._entries else f"{key}#{number}"] = entry

    @property
    def source(self) -> str:
        """Name of the dataset and its layout."""
        return f"{self._name} label pictures"

    def ids(self) -> Sequence[str]:
        """Return the ids of all examples, in the order of the file."""
        return list(self._entries)

    def load(self, record_id: str) -> Record:
        """Read one example; see `record.Dataset`."""
        if record_id not in self._entries:
            raise DatasetError(
                f"anno.json has no image {record_id!r:.60}", "Choose one of the dataset's ids."
            )
        name, caption, picture, levels = self._entries[record_id]
        where = f"anno.json, {record_id}"
        image = read_stored_image(inside(self._root, name, where))
        size = (image.shape[1], image.shape[0])
        return Record(
            id=record_id,
            source=self.source,
            image=image,
            prompt=self._prompt,
            captions=(" ".join(caption.split()),),
            regions=merged(_regions(inside(self._root, picture, where), levels, size, where)),
        )


def _regions(
    path: Path, levels: Mapping[str, Any], size: tuple[int, int], where: str
) -> Iterable[Region]:
    labels = read_labels(path, size)
    for name, level in levels.items():
        if type(level) is not int or level < 1:
            raise DatasetError(f"{where}: {name!r:.60} has no level of 1 or more", "Repair it.")
        names = tuple(dict.fromkeys((*names_of(name), *names_of_phrase(plain_name(name)))))
        yield Region(name, names, labels == level)


def _checked(entry: object, number: int) -> list[Any]:
    good = (
        isinstance(entry, list)
        and len(entry) == 4
        and all(isinstance(part, str) for part in entry[:3])
        and isinstance(entry[3], dict)
    )
    if not good:
        raise DatasetError(
            f"anno.json, entry {number} is not [image, caption, label picture, {{name: level}}]",
            "Repair the entry.",
        )
    assert isinstance(entry, list)
    return entry
