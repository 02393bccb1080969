"""Raw maps of an item in a file of their own: what a sweep needs, without model and dataset."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MapKey:
    """Which map it is."""

    method: str
    layer: int
    label: str
    position: int
    step: int


@dataclass(frozen=True, eq=False)
class StoredMaps:
    """Raw maps of the measured words of one item.

    Attributes
    ----------
    keys : tuple of MapKey
    maps : ndarray of float32, shape (n, rows, cols)
        Scaled to [0, 1], each by its own range.
    others : ndarray of float32, shape (n, rows, cols)
        Mean of the scaled maps of the other words; zeros where there is none.
    masks : dict of str to ndarray of bool, shape (H, W)
        By label.
    rectangles : ndarray of float32, shape (rows, cols, 4)
        Pixels of each cell.
    image_size : (int, int)
        Width and height.
    token_ids, special_ids : tuple of int
    words : tuple of str
    n_steps : int
        The rest is what refinement modules read.
    """

    keys: tuple[MapKey, ...]
    maps: FloatArray
    others: FloatArray
    masks: dict[str, npt.NDArray[np.bool_]]
    rectangles: FloatArray
    image_size: tuple[int, int]
    token_ids: tuple[int, ...]
    special_ids: tuple[int, ...]
    words: tuple[str, ...]
    n_steps: int

    def to_bytes(self) -> bytes:
        """The same maps give the same bytes."""
        labels = list(self.masks)
        facts = {
            "keys": [asdict(key) for key in self.keys],
            "labels": labels,
            "image_size": list(self.image_size),
            "token_ids": list(self.token_ids),
            "special_ids": list(self.special_ids),
            "words": list(self.words),
            "n_steps": self.n_steps,
        }
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            facts=np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8),
            maps=self.maps,
            others=self.others,
            rectangles=self.rectangles,
            masks=np.packbits(_stacked([self.masks[label] for label in labels], self.image_size)),
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredMaps:
        """Read what `to_bytes` wrote; never as pickle.

        Raises
        ------
        RunFileError
            If it is something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                facts: dict[str, Any] = json.loads(arrays["facts"].tobytes())
                width, height = (int(n) for n in facts["image_size"])
                labels = [str(label) for label in facts["labels"]]
                count = len(labels) * width * height
                bits = np.unpackbits(arrays["masks"], count=count).astype(np.bool_)
                planes = bits.reshape(len(labels), height, width)
                return cls(
                    keys=tuple(MapKey(**key) for key in facts["keys"]),
                    maps=arrays["maps"],
                    others=arrays["others"],
                    masks=dict(zip(labels, planes, strict=True)),
                    rectangles=arrays["rectangles"],
                    image_size=(width, height),
                    token_ids=tuple(int(n) for n in facts["token_ids"]),
                    special_ids=tuple(int(n) for n in facts["special_ids"]),
                    words=tuple(map(str, facts["words"])),
                    n_steps=int(facts["n_steps"]),
                )
        except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
            raise RunFileError(
                f"the stored maps of an item cannot be read ({error})",
                "Delete its files among items/ and maps/, and resume.",
            ) from error


def _stacked(
    masks: Sequence[npt.NDArray[np.bool_]], image_size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    width, height = image_size
    return np.stack(masks) if masks else np.zeros((0, height, width), np.bool_)
