"""What an evaluation takes its items from, and which words of an answer name which region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffcam_core.categories import assign
from diffcam_core.datasets.opening import SCENES, open_dataset
from diffcam_core.datasets.record import Dataset, Record, Region
from diffcam_core.datasets.scene_records import SceneDataset
from diffcam_core.datasets.scenes import GROUNDS
from diffcam_core.evaluation.plan import DatasetChoice
from diffcam_core.words import Word


@dataclass(frozen=True)
class SceneObjects:
    """Sticker scenes whose regions are their objects.

    The ground is left out: it is the rest of the picture, half of it and more, so a map that marks
    everything would score well on it and the objects' numbers would drown.

    Parameters
    ----------
    scenes : Dataset
    """

    scenes: Dataset

    @property
    def source(self) -> str:
        """Name of the dataset."""
        return self.scenes.source

    def ids(self) -> Sequence[str]:
        """Return the ids of all scenes."""
        return self.scenes.ids()

    def load(self, record_id: str) -> Record:
        """Draw one scene."""
        record = self.scenes.load(record_id)
        objects = tuple(region for region in record.regions if region.label not in GROUNDS)
        return replace(record, regions=objects)


def open_items(choice: DatasetChoice, first_seed: int | None = None, count: int = 0) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    choice : DatasetChoice
    first_seed : int, optional
        Of scenes: which `ids` lists, `count` of them; None: all that were held out. Any can be
        loaded.
    count : int

    Raises
    ------
    DatasetError
        If there is no such dataset, or it is not as its owners publish it.
    """
    if choice.name != SCENES:
        return open_dataset(choice.name, choice.folder, choice.split)
    if first_seed is None or choice.folder is not None or choice.split is not None:
        return SceneObjects(open_dataset(SCENES, choice.folder, choice.split))
    return SceneObjects(SceneDataset(range(first_seed, first_seed + count)))


def places_of(regions: Sequence[Region], words: Sequence[Word]) -> tuple[tuple[int, ...], ...]:
    """Answer positions of the first mention of each region; empty where it is not named.

    Neighbouring words that name the same region ("tabby cat") are one mention, as in TAM.
    """
    owners = assign(words, [region.names for region in regions])
    spoken = [(w, o) for w, o in zip(words, owners, strict=True) if w.kind != "mark"]
    found: list[tuple[int, ...]] = []
    for index in range(len(regions)):
        positions: set[int] = set()
        for word, owner in spoken:
            if owner == index:
                positions |= set(word.positions)
            elif positions:
                break
        found.append(tuple(sorted(positions)))
    return tuple(found)
