"""One example of any dataset: an image, what people say of it, and where each thing is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

ByteImage = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Region:
    """A thing, or all things of one category, in an image.

    Attributes
    ----------
    label : str
        Its name in tables: the category or phrase of the dataset.
    names : tuple of str
        Words, or several words in a row, of an answer that mean it, the likeliest first; plurals
        are found by lemma.
    mask : ndarray of bool, shape (H, W)
        Where it is; never empty.
    """

    label: str
    names: tuple[str, ...]
    mask: BoolArray


@dataclass(frozen=True, eq=False)
class Record:
    """One example, read from disk when it was asked for.

    Attributes
    ----------
    id : str
        Unique in its dataset.
    source : str
        Name of the dataset and its part, such as "coco val2017".
    image : ndarray of uint8, shape (H, W, 3)
        As it is stored: the masks belong to these pixels, whatever an EXIF orientation says.
    prompt : str
        What the model is asked.
    captions : tuple of str
        What people wrote; may be empty.
    regions : tuple of Region
        One for each label, in the order of the dataset.
    """

    id: str
    source: str
    image: ByteImage
    prompt: str
    captions: tuple[str, ...]
    regions: tuple[Region, ...]


class Dataset(Protocol):
    """A dataset: ids now, records when they are wanted."""

    @property
    def source(self) -> str:
        """Name of the dataset and its part."""

    def ids(self) -> Sequence[str]:
        """Return the ids of all examples, in a fixed order."""

    def load(self, record_id: str) -> Record:
        """Read one example.

        Raises
        ------
        DatasetError
            Naming the file that is missing, damaged or hostile.
        InputError
            If the image cannot be read.
        """


def merged(regions: Iterable[Region]) -> tuple[Region, ...]:
    """Join regions of one label, since a word like "cats" means all of them; drop empty ones."""
    found: dict[str, Region] = {}
    for region in regions:
        if not region.mask.any():
            continue
        before = found.get(region.label)
        if before is None:
            found[region.label] = region
        else:
            names = tuple(dict.fromkeys((*before.names, *region.names)))
            found[region.label] = Region(region.label, names, before.mask | region.mask)
    return tuple(found.values())
