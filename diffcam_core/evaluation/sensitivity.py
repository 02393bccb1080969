"""How much the numbers of a refinement move when one of its constants does.

One parameter at a time goes through values around the pipeline's own; all others stay. Works on the
raw maps that an evaluation has kept, so neither the model nor the dataset is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diffcam_core import refinement
from diffcam_core.errors import InputError
from diffcam_core.evaluation.measuring import MaskMeasures, unit_image
from diffcam_core.evaluation.statistics import (
    F3_PARTS,
    Clustered,
    Estimate,
    estimate,
    estimate_f3,
)
from diffcam_core.evaluation.stored_maps import StoredMaps
from diffcam_core.metrics.cells import Cells
from diffcam_core.refinement import ParameterInfo, Pipeline

FACTORS: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Multiples of a parameter's own value that are tried."""

_FROM_ZERO: Final = 5  # values over the whole range, where its own value is 0
MEASURES: Final = (*F3_PARTS, "pointing_game")

Value = float | int | str
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SweepPoint:
    """The numbers with one parameter at one value.

    Attributes
    ----------
    stage, parameter : str
    value : number or str
    is_own : bool
        Whether it is the pipeline's own value.
    words : int
    estimates : dict of str to Estimate
        ``f3`` from the means, and its parts.
    """

    stage: str
    parameter: str
    value: Value
    is_own: bool
    words: int
    estimates: dict[str, Estimate]


@dataclass(frozen=True)
class Sweep:
    """All points of one pipeline on the maps of one method and layer."""

    method: str
    preset: str
    layer: int
    points: tuple[SweepPoint, ...]


def values_around(info: ParameterInfo, own: Value) -> tuple[Value, ...]:
    """Values that a parameter goes through: lawful, ascending, its own among them.

    Parameters
    ----------
    info : ParameterInfo
    own : number or str
        The pipeline's value.
    """
    if info.kind == "choice":
        return info.choices
    assert info.minimum is not None and info.maximum is not None and info.step is not None
    middle = float(own)
    tried = (
        [factor * middle for factor in FACTORS]
        if middle
        else list(np.linspace(info.minimum, info.maximum, _FROM_ZERO))
    )
    found = {middle}
    for value in tried:
        steps = round((value - info.minimum) / info.step)
        snapped = info.minimum + steps * info.step
        found.add(round(min(max(snapped, info.minimum), info.maximum), 9))
    return tuple(int(v) if info.kind == "int" else v for v in sorted(found))


def sweep(
    stored: Callable[[], Iterable[tuple[str, StoredMaps]]],
    method: str,
    layer: int,
    preset: str,
    pipeline: Pipeline,
    *,
    cancel: Callable[[], bool] | None = None,
) -> Sweep:
    """Sweep every parameter of the enabled stages.

    Parameters
    ----------
    stored : callable
        Gives (item, maps) pairs, such as ``Store.stored_maps``. Asked once.
    method, layer
        Whose maps.
    preset : str
        Name of the pipeline in tables.
    pipeline : Pipeline
    cancel : callable, optional
        Asked between items; points so far are lost.

    Raises
    ------
    InputError
        If no such maps were kept.
    """
    variants = list(_variants(pipeline))
    owners: list[str] = []
    scores: list[list[dict[str, float]]] = [[] for _ in variants]
    for item, maps in stored():
        if cancel is not None and cancel():
            break
        for word in _words_of(maps, method, layer):
            owners.append(item)
            for found, (*_, varied) in zip(scores, variants, strict=True):
                found.append(word.best(varied))
    if not owners:
        raise InputError(
            f"no maps of {method} at layer {layer} are kept",
            "Evaluate with --keep-maps in a new folder.",
        )
    points = []
    for (stage, parameter, value, is_own, _), found in zip(variants, scores, strict=True):
        parts = {
            name: Clustered.of(owners, [s.get(name, float("nan")) for s in found])
            for name in MEASURES
        }
        estimates = {"f3": estimate_f3(parts)} | {n: estimate(part) for n, part in parts.items()}
        kept = {n: e for n, e in estimates.items() if e is not None}
        points.append(SweepPoint(stage, parameter, value, is_own, len(owners), kept))
    return Sweep(method, preset, layer, tuple(points))


def _variants(pipeline: Pipeline) -> Iterable[tuple[str, str, Value, bool, Pipeline]]:
    for stage in pipeline.stages:
        if not stage.enabled:
            continue
        for info in stage.info.parameters:
            if info.name.endswith("seed"):
                continue
            own = getattr(stage.module, info.name)
            for value in values_around(info, own):
                try:
                    varied = pipeline.with_parameters(stage.name, **{info.name: value})
                except InputError:  # two limits the wrong way round, and the like
                    continue
                yield stage.name, info.name, value, value == own, varied


@dataclass(frozen=True, eq=False)
class _StoredWord:
    """Sub-tokens of one word with what is needed to refine and measure them."""

    maps: FloatArray
    others: FloatArray
    cells: Cells
    measures: MaskMeasures
    source: StoredMaps

    def best(self, pipeline: Pipeline) -> dict[str, float]:
        """Measures of the best sub-token, by Obj-IoU."""
        refined = refinement.apply(
            self.maps,
            pipeline,
            token_ids=self.source.token_ids,
            n_steps=self.source.n_steps,
            image_size=self.source.image_size,
            special_ids=self.source.special_ids,
            words=self.source.words or None,
            context_maps=self.others[:, None],
        )
        found = [self.measures(unit_image(self.cells, plane)) for plane in refined]
        return max(found, key=lambda s: tuple(s.get(name, 0.0) for name in F3_PARTS))


def _words_of(maps: StoredMaps, method: str, layer: int) -> list[_StoredWord]:
    cells = Cells.from_rectangles(maps.rectangles, maps.image_size)
    places: dict[str, list[int]] = {}
    for at, key in enumerate(maps.keys):
        if (key.method, key.layer) == (method, layer):
            places.setdefault(key.label, []).append(at)
    return [
        _StoredWord(
            maps.maps[at], maps.others[at], cells, MaskMeasures(maps.masks[label], MEASURES), maps
        )
        for label, at in places.items()
    ]


def as_rows(sweeps: Sequence[Sweep]) -> list[dict[str, Any]]:
    """One flat row for each point, for CSV and JSON."""
    rows = []
    for one in sweeps:
        for point in one.points:
            row: dict[str, Any] = {
                "method": one.method,
                "preset": one.preset,
                "layer": one.layer,
                "stage": point.stage,
                "parameter": point.parameter,
                "value": point.value,
                "own": point.is_own,
                "words": point.words,
            }
            for name, found in point.estimates.items():
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row)
    return rows
