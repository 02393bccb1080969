"""Where in the picture the things lie that the words name."""

from __future__ import annotations

import json

from diffcam_core.errors import DiffcamError
from diffcam_studio.state.source import BoolArray, FloatArray, RunFacts


class Regions:
    """The objects of known scenes, drawn once for each scene."""

    def __init__(self) -> None:
        self._scenes: dict[str, dict[str, BoolArray]] = {}
        self._outlines: dict[tuple[str, str], tuple[FloatArray, ...]] = {}

    def named(self, facts: RunFacts, positions: tuple[int, ...]) -> tuple[str, BoolArray | None]:
        """True mask of the object that the words name, where the picture is a known scene."""
        if not facts.scene or facts.image is None:
            return "", None
        key = facts.scene
        if key not in self._scenes:
            self._scenes[key] = scene_masks(facts.scene, facts.image.shape[0])
            self._outlines.clear()
        masks = self._scenes[key]
        for position in positions:
            word = facts.word_at(position)
            text = word.text.strip().lower() if word is not None else ""
            for name in (text, text.removesuffix("s")):
                if name in masks:
                    return name, masks[name]
        return "", None

    def outline(self, scene: str, word: str, mask: BoolArray) -> tuple[FloatArray, ...]:
        """Return the outline of a region, in pixels of the picture."""
        from diffcam_studio.views.outlines import outline_of

        key = (scene, word)
        if key not in self._outlines:
            self._outlines[key] = outline_of(mask)
        return self._outlines[key]


def scene_masks(record: str, size: int) -> dict[str, BoolArray]:
    """Masks of everything that a sticker scene's caption can name, by word."""
    from diffcam_core.datasets.scenes import make_scene

    try:
        data = json.loads(record)
        scene = make_scene(int(data["seed"]), data.get("n_objects"))
        masks = scene.masks(size)
    except (ValueError, KeyError, TypeError, DiffcamError):
        return {}
    found = {thing.kind: masks[i] for i, thing in enumerate(scene.objects)}
    found.setdefault(scene.ground, masks[-1])
    return found
