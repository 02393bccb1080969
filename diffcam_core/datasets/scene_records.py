"""Sticker scenes as a dataset like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from diffcam_core.datasets.record import Record, Region, merged
from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, HELD_OUT_SEEDS, make_scene
from diffcam_core.errors import DatasetError

PICTURE_SIDE: Final = 384
_PREFIX: Final = "scene-"


class SceneDataset:
    """Scenes of some seeds; the ground counts as a region.

    Parameters
    ----------
    seeds : range
        By default every seed that was held out of training.
    side : int
        Side of the pictures in pixels.
    """

    def __init__(self, seeds: range = HELD_OUT_SEEDS, side: int = PICTURE_SIDE) -> None:
        self._seeds, self._side = seeds, side

    @property
    def source(self) -> str:
        """Name of the dataset."""
        return "scenes"

    def ids(self) -> Sequence[str]:
        """Return the ids of all scenes, in the order of the seeds."""
        return [f"{_PREFIX}{seed:07d}" for seed in self._seeds]

    def load(self, record_id: str) -> Record:
        """Draw one scene; any seed has one, whether it is in `ids` or not."""
        number = record_id.removeprefix(_PREFIX)
        if not record_id.startswith(_PREFIX) or not number.isdecimal() or len(number) > 12:
            raise DatasetError(
                f"{record_id!r:.60} is no scene", f"Scenes are called like {_PREFIX}0000042."
            )
        scene = make_scene(int(number))
        image, masks = scene.draw(self._side)
        labels = [*(thing.kind for thing in scene.objects), scene.ground]
        return Record(
            id=record_id,
            source=self.source,
            image=image,
            prompt=DESCRIBE_PROMPT,
            captions=(scene.caption,),
            regions=merged(
                # Kinds are the very words of the captions: no synonyms.
                Region(label, (label,), np.asarray(mask, np.bool_))
                for label, mask in zip(labels, masks, strict=True)
            ),
        )
