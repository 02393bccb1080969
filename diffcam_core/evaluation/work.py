"""The work on one item: one answer, maps by every method, every refinement and layer measured.

What can be shared is shared: the answer is written once, methods that look at the same layers share
one prober (and with it the pass over image and prompt), all sub-tokens of a layer are refined as
one batch, a map is enlarged once for all its measures, and the changed images of the faithfulness
measures are drawn and run once for all words and maps that ask for them.

A method that fails on an item leaves a record and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from diffcam_core import refinement
from diffcam_core.attribution import METHODS
from diffcam_core.datasets.record import Dataset, Record, Region
from diffcam_core.denoising import sample_from_backbone
from diffcam_core.errors import CancelledError, InputError, TargetError
from diffcam_core.evaluation.faithfulness import ExplainedTarget, measure_faithfulness
from diffcam_core.evaluation.items import open_items, places_of
from diffcam_core.evaluation.measuring import MaskMeasures, unit_image
from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome, Row, rounded
from diffcam_core.evaluation.plan import FAITHFULNESS, EvaluationPlan
from diffcam_core.evaluation.shared_prober import SharedProber
from diffcam_core.evaluation.stored_maps import MapKey, StoredMaps
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.metrics.answers import AnswerWord, score_answer
from diffcam_core.metrics.cells import Cells
from diffcam_core.metrics.faithfulness import METRICS as FAITHFULNESS_METRICS
from diffcam_core.metrics.faithfulness import Canvas
from diffcam_core.metrics.localization import METRICS as MASK_METRICS
from diffcam_core.models import load_model
from diffcam_core.probing import Prober, StepScorer, Target, Trajectory
from diffcam_core.request import fingerprint, resolve_contrast
from diffcam_core.words import Word, group_words

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM, Prompt
    from diffcam_core.refinement import Pipeline

ANSWER_METRICS: Final = ("func_iou", "f1_iou")
"""Measures of a whole answer."""

BASE_METRICS: Final = ("obj_iou", "contrast", "concentration", "f3", "pointing_game")
"""What is measured when nothing is said; the first three make the published F3."""

Cancel = Callable[[], bool]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def known_metrics() -> tuple[str, ...]:
    """Measures that an evaluation can take, by name."""
    return (*MASK_METRICS, *FAITHFULNESS_METRICS)


@dataclass(frozen=True)
class WorkerRecipe:
    """Makes a worker wherever the work is done; travels to other processes and machines."""

    plan: EvaluationPlan

    def __call__(self) -> Worker:
        """Load the model and open the dataset."""
        return Worker(self.plan)


class Worker:
    """Evaluates items of one plan, one after the other.

    Parameters
    ----------
    plan : EvaluationPlan
    model : DiffusionVLM, optional
        Loaded already; None: loaded here, as the plan says.
    items : Dataset, optional
        Opened already.
    cancel : callable, optional
        Asked within an item.

    Raises
    ------
    InputError
        If the model is not the one of the plan.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        model: DiffusionVLM | None = None,
        items: Dataset | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.plan = plan
        if model is None:
            model = load_model(plan.model, device=plan.device, dtype=plan.dtype)
        if fingerprint(model) != plan.fingerprint_of_model:
            raise InputError(
                f"the model {plan.model} is not the one of the plan",
                "Use the same checkpoint on every machine, or another results folder.",
            )
        self.model = model
        self.source = open_items(plan.dataset) if items is None else items
        self._cancel = cancel

    def __call__(self, item_id: str) -> ItemOutcome:
        """Evaluate one item; whatever goes wrong is in the outcome.

        Raises
        ------
        CancelledError
            Nothing of the item is kept.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.plan.threads)
        try:
            return self._evaluate(item_id)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded and counted, never dropped
            return ItemOutcome(item_id, failures=(ItemFailure.of(item_id, "", error),))
        finally:
            torch.set_num_threads(before)

    def _evaluate(self, item_id: str) -> ItemOutcome:
        item = self.source.load(item_id)
        answer = _write(self.model, item, self.plan, self._cancel)
        job = _Job(self.model, self.plan, item, answer, self._cancel)
        for name in self.plan.methods:
            if item_id not in self.plan.items_of(name):
                continue
            started = time.perf_counter()
            try:
                rows, kept = job.explain(name)
                job.rows += rows
                job.kept += kept
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - recorded and counted, never dropped
                job.failures.append(ItemFailure.of(item_id, name, error))
            job.seconds[name] = time.perf_counter() - started
        if item_id in self.plan.items_of(FAITHFULNESS):
            started = time.perf_counter()
            try:
                job.score_changes()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - recorded and counted, never dropped
                job.failures.append(ItemFailure.of(item_id, FAITHFULNESS, error))
            job.seconds[FAITHFULNESS] = time.perf_counter() - started
        return job.outcome()


@dataclass(frozen=True, eq=False)
class _Answer:
    packed: Prompt
    ids: IntArray
    commit: IntArray
    words: tuple[Word, ...]
    trajectory: Trajectory
    text: str


def _write(
    model: DiffusionVLM, item: Record, plan: EvaluationPlan, cancel: Cancel | None
) -> _Answer:
    packed = model.prepare(Image.fromarray(item.image), item.prompt)
    cached = plan.generation.prefix_cache
    assert cached is not None  # the plan holds it resolved
    records = list(
        sample_from_backbone(
            model.backbone,
            packed.embeds,
            plan.generation,
            model.mask_id,
            seed=plan.seed,
            suppressed_ids=model.suppressed_ids,
            cancel=cancel,
            prefix_cache=cached,
        )
    )
    written = np.stack([record.canvas for record in records])
    ids = written[-1]
    ends = set(model.eos_ids)
    texts = ["" if int(i) in ends else model.token_text(int(i)) for i in ids]
    return _Answer(
        packed=packed,
        ids=ids,
        commit=np.argmax(np.stack([record.committed for record in records]), axis=0),
        words=tuple(word for word in group_words(texts) if word.positions),
        trajectory=Trajectory.from_written(packed, list(written), model.mask_id, cached),
        text="".join(texts).strip(),
    )


@dataclass(frozen=True, eq=False)
class _Noun:
    region: Region
    positions: tuple[int, ...]
    measures: MaskMeasures


@dataclass(frozen=True, eq=False)
class _Asked:
    """A row that waits for its faithfulness measures."""

    row: Row
    explained: ExplainedTarget


@dataclass
class _Job:
    """One item at work."""

    model: DiffusionVLM
    plan: EvaluationPlan
    item: Record
    answer: _Answer
    cancel: Cancel | None
    rows: list[Row] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    kept: list[tuple[MapKey, FloatArray, FloatArray]] = field(default_factory=list)
    _asked: list[_Asked] = field(default_factory=list)
    _probers: dict[tuple[int, ...], SharedProber] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels: npt.NDArray[np.int32] | None = None
        if "obj_iou_any_class" in self.plan.metrics:
            labels = np.zeros(self.item.image.shape[:2], np.int32)
            for number, region in enumerate(self.item.regions, 1):
                labels[region.mask] = number
        wanted = [n for n in self.plan.metrics if n in MASK_METRICS and n not in ANSWER_METRICS]
        # The choice of a word's sub-token needs these, asked for or not.
        names = tuple(dict.fromkeys(("obj_iou", "contrast", "concentration", *wanted)))
        self.nouns = [
            _Noun(region, place, MaskMeasures(region.mask, names, labels))
            for region, place in zip(
                self.item.regions,
                places_of(self.item.regions, self.answer.words),
                strict=True,
            )
            if place
        ]
        self.grid = self.answer.packed.layout.grids[-1].spec()
        height, width = self.item.image.shape[:2]
        self.size = (width, height)
        self.cells = Cells.from_rectangles(self.grid.rectangles, self.size)
        self.presets = dict(self.plan.presets)
        self.whole_answer = any(name in ANSWER_METRICS for name in self.plan.metrics)
        if isinstance(self.plan.steps, int) and self.plan.steps >= len(self._canvases()):
            raise TargetError(
                f"there is no denoising step {self.plan.steps}",
                f"This generation has steps 0 to {len(self._canvases()) - 1}.",
            )

    def _canvases(self) -> IntArray:
        return self.answer.trajectory.canvases

    def step_of(self, position: int) -> int:
        """The step at which a position is explained."""
        rule = self.plan.steps
        if rule == "commit":
            return int(self.answer.commit[position])
        if rule == "first":
            return 0
        return len(self._canvases()) - 1 if rule == "last" else rule

    def outcome(self) -> ItemOutcome:
        """What has been found."""
        return ItemOutcome(
            item=self.item.id,
            answer=self.answer.text,
            shown=tuple(region.label for region in self.item.regions),
            named=tuple(noun.region.label for noun in self.nouns),
            rows=tuple(self.rows),
            failures=tuple(self.failures),
            maps=self._stored().to_bytes() if self.plan.keep_maps and self.kept else None,
            seconds=self.seconds,
        )

    # One method.

    def explain(self, name: str) -> tuple[list[Row], list[tuple[MapKey, FloatArray, FloatArray]]]:
        """Map and measure every named thing by one method."""
        if not self.nouns:
            return [], []
        positions = self._positions()
        rows: list[Row] = []
        kept: list[tuple[MapKey, FloatArray, FloatArray]] = []
        asked: list[_Asked] = []
        by_layer = self._raw_maps(name, positions)
        for layer, raw in by_layer.items():
            unit = {position: _scaled(values) for position, values in raw.items()}
            measured = [p for p in positions if self.whole_answer or self._is_measured(p)]
            batch = np.stack([unit[p] for p in measured])
            others = self._others(unit, measured)
            for preset, pipeline in self.presets.items():
                refined = batch if pipeline is None else self._refine(batch, pipeline, others)
                planes = dict(zip(measured, refined, strict=True))
                found, wanted = self._measure(name, preset, layer, planes, raw)
                rows += found
                asked += wanted
            if self.plan.keep_maps:
                kept += self._kept(name, layer, measured, batch, others)
        self._asked += asked  # only of a method that got through
        return rows, kept

    def _positions(self) -> tuple[int, ...]:
        """Every word of the answer where others' maps are read, else the measured ones."""
        everything = (
            self.whole_answer
            or self.plan.keep_maps
            or any(
                pipeline is not None and _reads_others(pipeline)
                for pipeline in self.presets.values()
            )
        )
        if everything:
            return tuple(sorted({p for word in self.answer.words for p in word.positions}))
        return tuple(sorted({p for noun in self.nouns for p in noun.positions}))

    def _is_measured(self, position: int) -> bool:
        return any(position in noun.positions for noun in self.nouns)

    def _place(self, position: int) -> set[int]:
        """Positions of the name, or else the word, that a position belongs to."""
        places = (*(n.positions for n in self.nouns), *(w.positions for w in self.answer.words))
        return set(next(place for place in places if position in place))

    def _raw_maps(self, name: str, positions: Sequence[int]) -> dict[int, dict[int, FloatArray]]:
        """Layer -> position -> (rows, cols), not scaled; checked to be finite."""
        method = METHODS[name]
        regime = "prefix-cache" if self.answer.trajectory.prefix_cache else "full"
        if regime not in method.regimes:
            raise InputError(f"{method.title} is not defined in the regime {regime}")
        layers = self.plan.layers if method.layered else (INPUT_LAYER,)
        layers = tuple(n for n in layers if method.has_map(n, self.model.backbone.n_layers))
        if not layers:
            return {}
        contrast = resolve_contrast(self.model, self.plan.contrast)
        steps = sorted({self.step_of(p) for p in positions})
        requests = [
            (
                step,
                [
                    Target(p, int(self.answer.ids[p]), contrast)
                    for p in positions
                    if self.step_of(p) == step
                ],
            )
            for step in steps
        ]
        found: dict[int, dict[int, FloatArray]] = {layer: {} for layer in layers}
        for result in method.stream(self._prober(layers), requests):
            for layer, grids in result.maps.items():
                maps = grids[self.grid.name]
                for target, values in zip(result.targets, maps, strict=True):
                    plane = np.asarray(values, np.float32)
                    if not np.isfinite(plane).all():
                        raise TargetError(f"the map of position {target.position} is not finite")
                    found[layer][target.position] = plane
        return found

    def _prober(self, layers: tuple[int, ...]) -> Prober:
        if layers not in self._probers:
            self._probers[layers] = SharedProber(
                self.model,
                self.answer.trajectory,
                layers,
                max_chunk=self.plan.batch,
                cancel=self.cancel,
            )
        return self._probers[layers]

    def _others(self, unit: Mapping[int, FloatArray], measured: Sequence[int]) -> FloatArray | None:
        """(K, 1, rows, cols): mean of the maps of the other words; None if there is none."""
        found = []
        for position in measured:
            own = self._place(position)
            rivals = [
                unit[p]
                for word in self.answer.words
                if not own & set(word.positions)
                for p in word.positions
                if p in unit
            ]
            if not rivals:
                return None
            found.append(np.mean(np.stack(rivals), axis=0, dtype=np.float64))
        return np.asarray(np.stack(found)[:, None], np.float32)

    def _refine(
        self, batch: FloatArray, pipeline: Pipeline, others: FloatArray | None
    ) -> FloatArray:
        return refinement.apply(
            batch,
            pipeline,
            token_ids=tuple(int(i) for i in self.answer.ids),
            n_steps=len(self._canvases()),
            image_size=self.size,
            special_ids=(*self.model.eos_ids, self.model.mask_id),
            words=tuple(word.text for word in self.answer.words) or None,
            context_maps=others,
        )

    # Measures.

    def _measure(
        self,
        method: str,
        preset: str,
        layer: int,
        planes: Mapping[int, FloatArray],
        raw: Mapping[int, FloatArray],
    ) -> tuple[list[Row], list[_Asked]]:
        rows: list[Row] = []
        asked: list[_Asked] = []
        found: dict[int, dict[str, float]]
        images: dict[int, FloatArray] = {}
        for noun in self.nouns:
            found = {}
            for position in noun.positions:
                images[position] = unit_image(self.cells, planes[position])
                found[position] = noun.measures(images[position])
            position = max(found, key=lambda p: _rank(found[p]))
            values = found[position]
            row = self._row(method, preset, layer, noun.region.label, noun.positions, position)
            row |= {n: rounded(v) for n, v in values.items() if n in self.plan.metrics}
            rows.append(row)
            if preset in self.plan.faithfulness_presets and (
                layer == self.plan.layer_of(method, preset) or not METHODS[method].layered
            ):
                # Raw maps are put in order as they are, negative evidence last.
                map_ = raw[position] if self.presets[preset] is None else planes[position]
                target = Target(position, int(self.answer.ids[position]))
                asked.append(_Asked(row, ExplainedTarget(self.step_of(position), target, map_)))
        if self.whole_answer:
            rows.append(self._answer_row(method, preset, layer, planes, images))
        return rows, asked

    def _row(
        self,
        method: str,
        preset: str,
        layer: int,
        label: str,
        place: Iterable[int],
        position: int,
    ) -> Row:
        texts = [word.text for word in self.answer.words if set(word.positions) & set(place)]
        return {
            "item": self.item.id,
            "word": " ".join(texts),
            "label": label,
            "position": position,
            "method": method,
            "preset": preset,
            "layer": layer,
            "step": self.step_of(position) if position >= 0 else -1,
        }

    def _answer_row(
        self,
        method: str,
        preset: str,
        layer: int,
        planes: Mapping[int, FloatArray],
        images: Mapping[int, FloatArray],
    ) -> Row:
        """Func-IoU and F1-IoU of the whole answer."""
        words = []
        for word in self.answer.words:
            noun = next((n for n in self.nouns if set(n.positions) & set(word.positions)), None)
            role = (
                "noun"
                if noun is not None or word.is_noun
                else ("function" if word.is_function else "other")
            )
            maps = (
                [planes[p] for p in word.positions]
                if role != "noun"
                else [
                    images[p] if p in images else unit_image(self.cells, planes[p])
                    for p in word.positions
                ]
            )
            words.append(
                AnswerWord(
                    role,  # type: ignore[arg-type]
                    maps,
                    None if noun is None else noun.region.mask,
                    None if noun is None else noun.region.label,
                )
            )
        scores = score_answer(words, self.item.image.shape[:2])
        row = self._row(method, preset, layer, "", (), -1)
        for name, value in (("func_iou", scores.func_iou), ("f1_iou", scores.f1_iou)):
            if value is not None and name in self.plan.metrics:
                row[name] = rounded(value)
        return row

    # Changed images.

    def score_changes(self) -> None:
        """Run every different changed image once, and fill the rows that asked for it."""
        names = [name for name in self.plan.metrics if name in FAITHFULNESS_METRICS]
        if not names or not self._asked:
            return
        scorer = StepScorer(
            self.model, self.answer.trajectory, cancel=self.cancel, batch=self.plan.batch
        )
        canvas = Canvas(self.item.image, self.cells, self.plan.seed)
        found = measure_faithfulness(scorer, canvas, [a.explained for a in self._asked], names)
        for asked, values in zip(self._asked, found, strict=True):
            asked.row.update({name: rounded(value) for name, value in values.items()})

    # Kept maps.

    def _kept(
        self,
        method: str,
        layer: int,
        measured: Sequence[int],
        batch: FloatArray,
        others: FloatArray | None,
    ) -> list[tuple[MapKey, FloatArray, FloatArray]]:
        kept = []
        for noun in self.nouns:
            for position in noun.positions:
                at = measured.index(position)
                key = MapKey(method, layer, noun.region.label, position, self.step_of(position))
                other = np.zeros_like(batch[at]) if others is None else others[at, 0]
                kept.append((key, batch[at], other))
        return kept

    def _stored(self) -> StoredMaps:
        return StoredMaps(
            keys=tuple(key for key, _, _ in self.kept),
            maps=np.stack([values for _, values, _ in self.kept]),
            others=np.stack([values for _, _, values in self.kept]),
            masks={noun.region.label: noun.region.mask for noun in self.nouns},
            rectangles=np.asarray(self.grid.rectangles, np.float32),
            image_size=self.size,
            token_ids=tuple(int(i) for i in self.answer.ids),
            special_ids=(*self.model.eos_ids, self.model.mask_id),
            words=tuple(word.text for word in self.answer.words),
            n_steps=len(self._canvases()),
        )


def _rank(values: Mapping[str, float]) -> tuple[float, ...]:
    """What decides between sub-tokens: Obj-IoU; where that is equal, the next measures."""
    return tuple(values.get(name, 0.0) for name in ("obj_iou", "contrast", "concentration"))


def _reads_others(pipeline: Pipeline) -> bool:
    return any(stage.enabled and stage.kind == "rivals" for stage in pipeline.stages)


def _scaled(values: FloatArray) -> FloatArray:
    """A map in [0, 1] by its own range, negative evidence cut off: it speaks for no place."""
    fine = np.maximum(values.astype(np.float64), 0.0)
    low, high = float(fine.min()), float(fine.max())
    if high <= low:
        return np.zeros_like(values)
    return np.asarray(np.clip((fine - low) / (high - low), 0.0, 1.0), np.float32)


__all__: Sequence[Any] = [
    "ANSWER_METRICS",
    "BASE_METRICS",
    "Worker",
    "WorkerRecipe",
    "known_metrics",
]
