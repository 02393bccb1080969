"""Do the maps of nouns lie on the objects they name? Measured on scenes with exact masks.

Every scene is described by the model; each noun that names an object of the scene is probed at the
step at which it was written, in every layer; its map, raw and after each preset, is compared with
the object's mask. A word of several sub-tokens counts with its best one, as in TAM (ICCV 2025).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, HELD_OUT_SEEDS, Scene, make_scene
from diffcam_core.errors import CancelledError
from diffcam_core.heatmap import HeatMap
from diffcam_core.metrics import localization
from diffcam_core.words import group_words, lemma

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM
    from diffcam_core.refinement import Pipeline

PICTURE_SIDE: Final = 384
RAW: Final = "raw"
PRESETS: Final = ("released", "paper", "studio")
MEASURES: Final = ("obj_iou", "contrast", "concentration", "pointing")
RESAMPLES: Final = 2000

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
Cancel = Callable[[], bool] | threading.Event


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval over resampled scenes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One line of the table: a preset (or the raw map) at one layer.

    ``f3`` is taken from the mean Obj-IoU, Contrast and Concentration, as the published tables do.
    """

    preset: str
    layer: int
    nouns: int
    obj_iou: Mean
    contrast: Mean
    concentration: Mean
    f3: float
    pointing: Mean


@dataclass(frozen=True)
class Localisation:
    """The table, and what it was measured on."""

    model: str
    method: str
    contrast_target: str
    scenes: int
    nouns_shown: int
    nouns_named: int
    held_out: bool
    seconds: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps."""
        return asdict(self)

    def best_layer(self, preset: str = RAW) -> int:
        """Layer of the highest F3 of a preset."""
        candidates = [row for row in self.rows if row.preset == preset]
        return max(candidates, key=lambda row: row.f3).layer


@dataclass(frozen=True, eq=False)
class NounMaps:
    """Raw maps of one named object: every sub-token, every layer, at its commit step.

    Attributes
    ----------
    seed : int
    word : str
    mask : ndarray of bool, shape (384, 384)
    maps : tuple of dict
        One dict for each sub-token: layer -> HeatMap with the other words' maps as context.
    """

    seed: int
    word: str
    mask: npt.NDArray[np.bool_]
    maps: tuple[dict[int, HeatMap], ...]


def noun_maps(
    model: DiffusionVLM,
    scene: Scene,
    method: str = "diffusion-cam",
    contrast: str = "none",
    layers: Sequence[int] | None = None,
) -> list[NounMaps]:
    """Describe a scene and explain its nouns.

    Parameters
    ----------
    model : DiffusionVLM
    scene : Scene
    method : str
        Name of an attribution method.
    contrast : {"none", "runner_up", "log_probability"}
        What the target's logit is compared with.
    layers : sequence of int, optional
        None means all. Layers from which nothing reaches the answer (the last one, with a prefix
        cache) have no map and are left out.

    Returns
    -------
    list of NounMaps
        One for each object that the answer names, in the order of the caption.
    """
    from diffcam_core.attribution import METHODS
    from diffcam_core.denoising import sample_from_backbone
    from diffcam_core.probing import Prober, Target, Trajectory

    packed = model.prepare(Image.fromarray(scene.render(PICTURE_SIDE)), DESCRIBE_PROMPT)
    records = list(
        sample_from_backbone(
            model.backbone,
            packed.embeds,
            model.default_generation,
            model.mask_id,
            suppressed_ids=model.suppressed_ids,
            prefix_cache=model.supports_prefix_cache,
        )
    )
    written = np.stack([record.canvas for record in records])
    commit = np.argmax(np.stack([record.committed for record in records]), axis=0)
    ids = written[-1]
    ends = set(model.eos_ids)
    texts = ["" if int(i) in ends else model.token_text(int(i)) for i in ids]
    words = [word for word in group_words(texts) if word.positions]
    positions = sorted({position for word in words for position in word.positions})
    trajectory = Trajectory.from_written(
        packed, list(written), model.mask_id, model.supports_prefix_cache
    )
    prober = Prober(model, trajectory, layers)
    requests = [
        (step, [Target(p, int(ids[p]), contrast) for p in positions if commit[p] == step])
        for step in sorted({int(commit[p]) for p in positions})
    ]
    readable = [
        layer for layer, path in zip(prober.layers, prober.valid([0])[0], strict=True) if path
    ]
    raw: dict[tuple[int, int], FloatArray] = {}
    for found in METHODS[method].stream(prober, requests):
        for layer, grids in found.maps.items():
            maps = list(grids.values())[-1]
            for target, values in zip(found.targets, maps, strict=True):
                raw[target.position, layer] = np.asarray(values, np.float32)
    spec = packed.layout.grids[-1].spec()
    masks = scene.masks(PICTURE_SIDE)
    found_nouns = []
    for thing, mask in zip(scene.objects, masks, strict=False):
        word = next((word for word in words if lemma(word.text) == lemma(thing.kind)), None)
        if word is None:
            continue
        rivals = [p for other in words if other is not word for p in other.positions]
        found_nouns.append(
            NounMaps(
                seed=scene.seed,
                word=thing.kind,
                mask=mask,
                maps=tuple(
                    {
                        layer: HeatMap(
                            values=raw[position, layer],
                            grid=spec,
                            raw_range=_range(raw[position, layer]),
                            raw_sum=float(raw[position, layer].sum()),
                            image_size=(PICTURE_SIDE, PICTURE_SIDE),
                            step=int(commit[position]),
                            layer=layer,
                            token=position,
                            method=method,
                            token_ids=tuple(int(i) for i in ids),
                            n_steps=len(records),
                            special_ids=(*model.eos_ids, model.mask_id),
                            words=tuple(word.text for word in words),
                            context=_scaled([raw[p, layer] for p in rivals]),
                        )
                        for layer in readable
                    }
                    for position in word.positions
                ),
            )
        )
    return found_nouns


def measure(noun: NounMaps, layer: int, preset: str | Pipeline | None) -> tuple[float, ...]:
    """Obj-IoU, Contrast, Concentration and pointing of the best sub-token, by Obj-IoU.

    Parameters
    ----------
    preset : str, Pipeline or None
        None takes the raw map.
    """
    candidates = []
    for by_layer in noun.maps:
        heat = by_layer[layer]
        refined = heat if preset is None else heat.refine(preset)
        image = refined.on_image()
        low, high = float(image.min()), float(image.max())
        image = (image - low) / (high - low) if high > low else np.zeros_like(image)
        candidates.append(
            (
                localization.obj_iou(image, noun.mask),
                localization.contrast(image, noun.mask),
                localization.concentration(image, noun.mask),
                localization.pointing_game(image, noun.mask),
            )
        )
    return max(candidates)


def localise(
    model: DiffusionVLM,
    seeds: Iterable[int],
    *,
    presets: Mapping[str, str | Pipeline] | None = None,
    method: str = "diffusion-cam",
    contrast: str = "none",
    layers: Sequence[int] | None = None,
    on_progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Localisation:
    """Measure raw maps and presets at every layer.

    Parameters
    ----------
    model : DiffusionVLM
    seeds : iterable of int
        Scenes; those of HELD_OUT_SEEDS were never trained on.
    presets : mapping, optional
        Name -> preset or pipeline; by default the three presets.
    method, contrast, layers
        As in `noun_maps`.
    on_progress : callable, optional
        Called with scenes done and all.
    cancel : callable or threading.Event, optional
        Asked before every scene.

    Raises
    ------
    CancelledError
        Between scenes.
    """
    started = time.monotonic()
    chosen = list(seeds)
    table: dict[str, str | Pipeline | None] = {RAW: None}
    table |= {name: name for name in PRESETS} if presets is None else dict(presets)
    scores: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    owner: list[int] = []
    shown = 0
    for done, seed in enumerate(chosen):
        if _is_cancelled(cancel):
            raise CancelledError("the evaluation was cancelled", "Start it again to measure.")
        scene = make_scene(seed)
        shown += len(scene.objects)
        for noun in noun_maps(model, scene, method, contrast, layers):
            owner.append(seed)
            for name, preset in table.items():
                for layer in noun.maps[0]:
                    scores.setdefault((name, layer), []).append(measure(noun, layer, preset))
        if on_progress is not None:
            on_progress(done + 1, len(chosen))
    return Localisation(
        model=model.name,
        method=method,
        contrast_target=contrast,
        scenes=len(chosen),
        nouns_shown=shown,
        nouns_named=len(owner),
        held_out=all(seed in HELD_OUT_SEEDS for seed in chosen),
        seconds=time.monotonic() - started,
        rows=tuple(
            _row(name, layer, np.asarray(values), np.asarray(owner))
            for (name, layer), values in scores.items()
        ),
    )


def _row(
    name: str, layer: int, values: npt.NDArray[np.float64], owner: npt.NDArray[np.int64]
) -> Row:
    obj_iou, contrast, concentration, pointing = (
        _mean(values[:, column], owner) for column in range(len(MEASURES))
    )
    return Row(
        preset=name,
        layer=layer,
        nouns=len(values),
        obj_iou=obj_iou,
        contrast=contrast,
        concentration=concentration,
        f3=localization.f3(obj_iou.value, contrast.value, concentration.value),
        pointing=pointing,
    )


def _mean(values: npt.NDArray[np.float64], owner: npt.NDArray[np.int64]) -> Mean:
    """Mean over nouns; the interval resamples scenes, whose nouns belong together."""
    _, scene = np.unique(owner, return_inverse=True)
    sums = np.bincount(scene, weights=values)
    counts = np.bincount(scene)
    draws = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Mean(float(values.mean()), float(low), float(high))


def _range(values: FloatArray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _scaled(maps: Sequence[FloatArray]) -> FloatArray | None:
    """Other words' maps, each in [0, 1]; None if there are none."""
    if not maps:
        return None
    stack = np.stack(maps)
    low = stack.min(axis=(1, 2), keepdims=True)
    span = stack.max(axis=(1, 2), keepdims=True) - low
    return np.asarray(
        np.where(span > 0, (stack - low) / np.where(span > 0, span, 1), 0), np.float32
    )


def _is_cancelled(cancel: Cancel | None) -> bool:
    if cancel is None:
        return False
    return cancel.is_set() if isinstance(cancel, threading.Event) else bool(cancel())


__all__ = ["Localisation", "Mean", "NounMaps", "Row", "localise", "measure", "noun_maps"]
