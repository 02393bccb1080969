"""From what a user asks for to a plan in which nothing is left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from diffcam_core.attribution import METHODS
from diffcam_core.datasets.record import Dataset
from diffcam_core.errors import InputError
from diffcam_core.evaluation.plan import (
    FAITHFULNESS,
    DatasetChoice,
    EvaluationPlan,
    StepRule,
)
from diffcam_core.evaluation.refinements import RAW, named_refinements
from diffcam_core.evaluation.store import read_store
from diffcam_core.evaluation.summary import summarise
from diffcam_core.evaluation.work import ANSWER_METRICS, BASE_METRICS, known_metrics
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.metrics.faithfulness import METRICS as FAITHFULNESS_METRICS
from diffcam_core.request import fingerprint

if TYPE_CHECKING:
    from diffcam_core.denoising.config import GenerationConfig
    from diffcam_core.models.base import DiffusionVLM

DEFAULT_PRESETS: Final = (RAW, "released", "paper", "studio", "ablation")

DEAR_METHODS: Final = ("occlusion", "rise")
"""Methods of hundreds of passes an item; by default on the first `DEAR_ITEMS` only."""

DEAR_ITEMS: Final = 30
_BATCH: Final = {"cpu": 8}
_BATCH_ELSEWHERE: Final = 32

_METRIC_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "localisation": BASE_METRICS,
    "answer": ANSWER_METRICS,
    "faithfulness": tuple(FAITHFULNESS_METRICS),
    "insertion-deletion": ("insertion", "deletion"),
}


@dataclass(frozen=True)
class Wishes:
    """What a user asks for; empty or None means the usual.

    Parameters
    ----------
    methods, presets, metrics : tuple of str
        "all" (methods), "ablation" (presets), "localisation", "answer", "faithfulness" and
        "insertion-deletion" (metrics) stand for several.
    layers : tuple of int, optional
    steps : "commit", "first", "last" or int
    contrast : str
    limits : mapping of str to int or None
        Method or "faithfulness" -> only the first so many items; None: all.
    faithfulness_presets : tuple of str
    table_layer : int, optional
    layers_from : path, optional
        A results folder of other items, in which each method's and refinement's best layer is
        looked up.
    generation : GenerationConfig, optional
    seed, threads : int
    keep_maps : bool
    """

    methods: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    steps: StepRule = "commit"
    contrast: str = "none"
    limits: Mapping[str, int | None] = field(default_factory=dict)
    faithfulness_presets: tuple[str, ...] = (RAW, "studio")
    table_layer: int | None = None
    layers_from: str | None = None
    generation: GenerationConfig | None = None
    seed: int = 0
    threads: int = 1
    keep_maps: bool = False


def make_plan(
    wishes: Wishes,
    choice: DatasetChoice,
    dataset: Dataset,
    model: DiffusionVLM,
    *,
    limit: int | None = None,
    source: str | None = None,
    device: str | None = None,
) -> EvaluationPlan:
    """Resolve every default.

    Parameters
    ----------
    wishes : Wishes
    choice, dataset
        What is evaluated, opened.
    model : DiffusionVLM
    limit : int, optional
        Only the first so many items.
    source : str, optional
        How workers load the model; None: by its name.
    device : str, optional
        Kind of device of the workers; None: the model's.

    Raises
    ------
    InputError
        If something does not exist.
    """
    items = tuple(dataset.ids())[:limit]
    methods = _methods(wishes.methods)
    presets = tuple(named_refinements(wishes.presets or DEFAULT_PRESETS).items())
    metrics = _metrics(wishes.metrics)
    layers = _layers(wishes.layers, model.backbone.n_layers)
    generation = model.default_generation if wishes.generation is None else wishes.generation
    if generation.prefix_cache is None:
        generation = replace(generation, prefix_cache=model.supports_prefix_cache)
    kind = model.device.type if device is None else device
    faithful = tuple(n for n in wishes.faithfulness_presets if n in dict(presets))
    dear = any(name in FAITHFULNESS_METRICS for name in metrics)
    return EvaluationPlan(
        dataset=choice,
        items=items,
        model=model.name if source is None else source,
        fingerprint_of_model=fingerprint(model),
        device=kind,
        dtype=str(model.dtype).removeprefix("torch."),
        methods=methods,
        presets=presets,
        layers=layers,
        metrics=metrics,
        steps=wishes.steps,
        contrast=wishes.contrast.replace("-", "_"),
        generation=generation,
        seed=wishes.seed,
        threads=wishes.threads,
        batch=_BATCH.get(kind.partition(":")[0], _BATCH_ELSEWHERE),
        limits=_limits(wishes.limits, methods, len(items), dear),
        faithfulness_presets=faithful if dear else (),
        table_layer=_table_layer(wishes.table_layer, layers, model),
        chosen_layers=()
        if wishes.layers_from is None
        else _chosen_layers(wishes.layers_from, items, methods, [name for name, _ in presets]),
        keep_maps=wishes.keep_maps,
    )


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in names or ("all",):
        if name == "all":
            found |= dict.fromkeys(METHODS)
        elif name in METHODS:
            found[name] = None
        else:
            raise InputError(f"there is no method {name!r}", f"Use all, {', '.join(METHODS)}.")
    return tuple(found)


def _metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Measures asked for; those of the published tables always come first."""
    found: dict[str, None] = dict.fromkeys(BASE_METRICS)
    for name in names:
        if name in _METRIC_GROUPS:
            found |= dict.fromkeys(_METRIC_GROUPS[name])
        elif name in known_metrics():
            found[name] = None
        else:
            known = ", ".join((*_METRIC_GROUPS, *known_metrics()))
            raise InputError(f"there is no measure {name!r} here", f"Use {known}.")
    return tuple(found)


def _layers(asked: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    if asked is None:
        return tuple(range(n_layers))
    for layer in asked:
        if not INPUT_LAYER <= layer < n_layers:
            raise InputError(
                f"there is no layer {layer}",
                f"This model has layers 0 to {n_layers - 1}, and {INPUT_LAYER} for its input.",
            )
    return tuple(sorted(set(asked)))


def _table_layer(asked: int | None, layers: Sequence[int], model: DiffusionVLM) -> int:
    """As asked; else the model's own default layer, or the nearest to it or to the published."""
    if asked is not None:
        if asked not in layers:
            raise InputError(
                f"the layer {asked} of the table is not among --layers", "Add it there."
            )
        return asked
    own = model.default_layer
    aim = model.backbone.n_layers * 10 / 32 if own is None else own
    return min(layers, key=lambda layer: (abs(layer - aim), layer))


def _limits(
    asked: Mapping[str, int | None], methods: Sequence[str], count: int, dear: bool
) -> tuple[tuple[str, int], ...]:
    for key in asked:
        if key != FAITHFULNESS and key not in methods:
            raise InputError(
                f"a limit is set for {key!r}, which is not evaluated",
                f"Name a method of --methods, or {FAITHFULNESS}.",
            )
    usual: dict[str, int | None] = {n: DEAR_ITEMS for n in methods if n in DEAR_METHODS}
    if dear:
        usual[FAITHFULNESS] = DEAR_ITEMS
    return tuple(
        (key, limit)
        for key, limit in sorted({**usual, **asked}.items())
        if limit is not None and limit < count
    )


def _chosen_layers(
    folder: str, items: Sequence[str], methods: Sequence[str], presets: Sequence[str]
) -> tuple[tuple[str, str, int], ...]:
    """Best layer by F3 of each pair in another folder, whose items must be others."""
    store = read_store(folder)
    shared = set(items) & set(store.plan.items)
    if shared:
        raise InputError(
            f"{folder} holds {len(shared)} of the items to be evaluated",
            "Choose layers on other items than those you judge on.",
        )
    rows = [row for outcome in store.outcomes() for row in outcome.rows]
    best = summarise(store.plan, rows, None).best_layers()
    return tuple(
        (row.method, row.preset, row.layer)
        for row in best
        if row.method in methods and row.preset in presets
    )


__all__ = ["DEAR_ITEMS", "DEAR_METHODS", "DEFAULT_PRESETS", "Wishes", "make_plan"]
