"""Answers the questions of the window on the I/O thread: reads, refines, measures.

No Qt and no maths of its own: numbers come from ``diffcam_core.refinement``,
``.heatmap`` and ``.metrics``, which are loaded when the first question comes.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcam_core.errors import DiffcamError, InputError, RunFileError
from diffcam_core.events import GridSpec
from diffcam_studio.state.source import BoolArray, FloatArray, RunFacts, RunSource
from diffcam_studio.state.view_state import Refinement, Scope
from diffcam_studio.worker.queries import (
    CopyQuery,
    ExportQuery,
    ImageQuery,
    LadderFrame,
    LadderQuery,
    LayersFrame,
    LayersQuery,
    LoadedImage,
    MapAddress,
    OpenedRun,
    OpenQuery,
    PanelFrame,
    PanelQuery,
    Query,
    StageFrame,
    StageParameter,
    Thumbnail,
    ThumbnailQuery,
    TimelineFrame,
    TimelineQuery,
    Written,
)

if TYPE_CHECKING:
    from diffcam_core.refinement import Pipeline

LONGEST_MAP = 512
"""Longest side in pixels of a map that is handed to the canvas, which enlarges it further."""

CONTOUR_SIDE = 144
HISTOGRAM_BINS = 48
MASS, F3 = "Mass", "F3"
REGION_METRICS = ("Obj-IoU", "Contrast", "Concentration", "F3")
_KEPT_STACKS = 64
_OPEN_RUNS = 16


class RunDesk:
    """Owns open runs and what was read from them."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, RunSource] = OrderedDict()
        self._stacks: OrderedDict[Any, FloatArray] = OrderedDict()
        self._scope_max: dict[Any, float] = {}
        self._commit_maps: OrderedDict[Any, dict[int, FloatArray]] = OrderedDict()
        self._scenes: dict[str, dict[str, BoolArray]] = {}
        self._outlines: dict[tuple[str, str], tuple[FloatArray, ...]] = {}

    # --- Desk -------------------------------------------------------------------------------------

    def answer(self, query: Query) -> Any:
        """Answer one question; raises DiffcamError with cause and mend."""
        if isinstance(query, PanelQuery):
            return self._panel(query)
        if isinstance(query, LayersQuery):
            return self._layers(query)
        if isinstance(query, TimelineQuery):
            return self._timeline(query)
        if isinstance(query, LadderQuery):
            return self._ladder(query)
        if isinstance(query, OpenQuery):
            return self._open(query)
        if isinstance(query, ImageQuery):
            return self._image(query)
        if isinstance(query, CopyQuery):
            return self._copy(query)
        if isinstance(query, ExportQuery):
            return self._export(query)
        return self._thumbnail(query)

    def is_cacheable(self, query: Query) -> bool:
        """Maps of a finished run never change; those of a live one carry a version."""
        return isinstance(query, (PanelQuery, LayersQuery, TimelineQuery, LadderQuery))

    def close(self) -> None:
        """Close every run."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        self._stacks.clear()

    def add(self, key: str, source: RunSource) -> None:
        """Make a live run readable under its key (called once, before anyone asks for it)."""
        self._runs[key] = source

    # --- files ------------------------------------------------------------------------------------

    def _open(self, query: OpenQuery) -> OpenedRun:
        from diffcam_core.session import open_run
        from diffcam_studio.worker.file_run import FileRun

        old = self._runs.pop(query.path, None)
        if old is not None:
            old.close()
            self._forget(query.path)
        source = FileRun(open_run(query.path), query.path, query.scene)
        try:
            facts = source.facts()
        except DiffcamError:
            source.close()
            raise
        self._runs[query.path] = source
        self._limit_open()
        return OpenedRun(facts)

    def _limit_open(self) -> None:
        files = [key for key in tuple(self._runs) if not key.startswith("live:")]
        for key in files[:-_OPEN_RUNS]:
            self._runs.pop(key).close()
            self._forget(key)

    def _forget(self, key: str) -> None:
        for kept in [k for k in self._stacks if k[0] == key]:
            del self._stacks[kept]
        for kept in [k for k in self._scope_max if k[0] == key]:
            del self._scope_max[kept]
        for kept in [k for k in self._commit_maps if k[0] == key]:
            del self._commit_maps[kept]

    def _source(self, key: str) -> RunSource:
        source = self._runs.get(key)
        if source is None:
            if key.startswith("live:"):
                raise RunFileError("The job of this run is gone", "Open its file")
            self._open(OpenQuery(key))
            source = self._runs[key]
        return source

    def _image(self, query: ImageQuery) -> LoadedImage:
        from diffcam_core.images import open_image, scene_record

        if query.path.startswith("scene:"):
            from diffcam_core.datasets.scenes import make_scene

            seed = int(query.path.removeprefix("scene:"))
            pixels = make_scene(seed).render(query.longest or 640)
            return LoadedImage(pixels, True, json.dumps({"seed": seed}))
        image = open_image(query.path)
        record = scene_record(image)
        if query.longest:
            image.thumbnail((query.longest, query.longest))
        scene = json.dumps(record) if record else ""
        return LoadedImage(np.asarray(image, np.uint8), record is not None, scene)

    def _thumbnail(self, query: ThumbnailQuery) -> Thumbnail:
        path = Path(query.path)
        if path.suffix in (".dcam", ".part"):
            from io import BytesIO

            from PIL import Image

            from diffcam_core.session import open_run

            with open_run(path) as run:
                computed = int(run.computed.any(axis=1).sum())
                layers = len(run.layers)
                line = f"{run.n_steps} steps, {layers} layers"
                if not run.complete:
                    line = f"{computed} of {run.n_steps} steps are safe"
                data = run.thumbnail
            with Image.open(BytesIO(data), formats=("PNG",)) as picture:
                pixels = np.asarray(picture.convert("RGB"), np.uint8)
            return Thumbnail(pixels, line)
        loaded = self._image(ImageQuery(query.path, 192))
        return Thumbnail(loaded.pixels, "Image")

    def _copy(self, query: CopyQuery) -> Written:
        target = Path(query.target)
        if target.suffix != ".dcam":
            target = target.with_name(f"{target.name}.dcam")
        part = target.with_name(f"{target.name}.new")
        try:
            shutil.copyfile(query.source, part)
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise RunFileError(error.strerror or str(error), "Save it elsewhere") from error
        return Written(str(target), f"{target.stat().st_size / 1e6:.1f} MB")

    def _export(self, query: ExportQuery) -> Written:
        from diffcam_core import figures

        panels = [self._figure_panel(query, panel, title) for panel, title in query.panels]
        shown = tuple(panel for panel in panels if panel.values is not None)
        if not shown:
            raise InputError("There is no map at this step", "Go to a step with a map")
        modes: dict[str, figures.Mode] = {
            "single": "single",
            "wipe": "wipe",
            "difference": "difference",
        }
        mode = modes.get(query.mode, "tile")
        view = figures.ViewFigure(
            shown,
            mode=mode if len(shown) > 1 else "single",
            columns=query.columns or None,
            wipe=query.wipe,
            caption=query.caption,
        )
        data = Path(query.target).suffix.lower() in (".npz", ".json", ".csv")
        write = figures.export_data if data else figures.export_view
        path = write(view, query.target)
        many = f"{len(shown)} maps" if len(shown) > 1 else query.panels[0][1]
        return Written(str(path), many)

    def _figure_panel(self, query: ExportQuery, panel: PanelQuery, title: str) -> Any:
        from diffcam_core import figures

        frame = self._panel(panel)
        address = panel.address
        facts = self._source(address.run).facts()
        spec = grid_of(facts, address.grid)
        numbers = None
        if frame.native is not None and spec is not None:
            about = {
                "run": facts.title,
                "model": facts.model,
                "prompt": facts.prompt,
                "answer": facts.answer,
                "positions": list(address.positions),
                "words": facts.phrase(address.positions),
                "step": panel.step,
                "layer": address.layer,
                "method": address.method or ", ".join(facts.methods[:1]),
                "grid": spec.name,
                "refinement": "raw" if panel.refinement.raw else panel.refinement.preset,
                "off": list(panel.refinement.off),
                "changes": [list(change) for change in panel.refinement.changes],
                "raw_range": list(frame.raw_range),
                "scope_maximum": frame.scope_max,
            }
            numbers = figures.MapNumbers(frame.native, spec.rectangles, frame.raw, about)
        return figures.Panel(
            image=facts.image,
            values=frame.values,
            scale=figures.Scale(query.colour_map, query.low, query.high, query.scope),
            opacity=query.opacity,
            grey_image=query.grey_image,
            title=title,
            note=frame.reason if frame.state == "zero" else "",
            regions=frame.regions if query.show_region else (),
            contour=frame.contour if query.show_contour else (),
            numbers=numbers,
        )

    # --- raw maps ---------------------------------------------------------------------------------

    def _stack(self, address: MapAddress) -> FloatArray:
        """Raw maps of the words at every step, mean over the words: (steps, rows, cols)."""
        key = (address.run, address)
        found = self._stacks.get(key)
        if found is not None:
            self._stacks.move_to_end(key)
            return found
        source = self._source(address.run)
        facts = source.facts()
        positions = [p for p in address.positions if p in facts.targets]
        spec = grid_of(facts, address.grid)
        if spec is None or not positions:
            stack = np.full((facts.n_steps, 0, 0), np.nan, np.float32)
        else:
            parts = [
                source.trajectory(p, address.layer, address.grid, address.method) for p in positions
            ]
            stack = parts[0] if len(parts) == 1 else _mean_known(parts)
        self._stacks[key] = stack
        while len(self._stacks) > _KEPT_STACKS:
            self._stacks.popitem(last=False)
        return stack

    def _scope(self, address: MapAddress, scope: Scope, raw: FloatArray | None) -> float:
        """Value that counts as 1 on the colour bar."""
        if scope == "map":
            return 0.0 if raw is None else float(np.nanmax(raw, initial=0.0))
        if scope == "trajectory":
            stack = self._stack(address)
            return float(np.nanmax(stack, initial=0.0)) if stack.size else 0.0
        key = (address.run, address.layer, address.grid, address.method, address.version)
        if key not in self._scope_max:
            source = self._source(address.run)
            facts = source.facts()
            top = 0.0
            for step in range(facts.n_steps):
                maps = source.maps(step, address.layer, address.grid, address.method)
                if maps is not None and maps.size:
                    top = max(top, float(np.nanmax(maps, initial=0.0)))
            self._scope_max[key] = top
        return self._scope_max[key]

    def _context(self, address: MapAddress) -> FloatArray | None:
        """Maps of the answer's other words, each at its own commit step, each in [0, 1]."""
        key = (address.run, address.layer, address.grid, address.method, address.version)
        if key not in self._commit_maps:
            self._commit_maps[key] = self._read_commit_maps(address)
            while len(self._commit_maps) > _KEPT_STACKS:
                self._commit_maps.popitem(last=False)
        maps = self._commit_maps[key]
        facts = self._source(address.run).facts()
        same = set(address.positions)
        spoken: set[int] = set()
        for word in facts.words:
            spoken.update(word.positions)
            if set(word.positions) & set(address.positions):
                same.update(word.positions)
        others = [found for position, found in maps.items() if position in spoken - same]
        return np.stack(others) if others else None

    def _read_commit_maps(self, address: MapAddress) -> dict[int, FloatArray]:
        source = self._source(address.run)
        facts = source.facts()
        found: dict[int, FloatArray] = {}
        for row, position in enumerate(facts.targets):
            step = int(facts.commit_step[position])
            if step < 0:
                continue
            maps = source.maps(step, address.layer, address.grid, address.method)
            if maps is not None and np.isfinite(maps[row]).all():
                found[position] = unit(maps[row])
        return found

    # --- answers ----------------------------------------------------------------------------------

    def _panel(self, query: PanelQuery) -> PanelFrame:
        address = query.address
        facts = self._source(address.run).facts()
        missing = _missing(facts, query.step, address)
        if missing is not None:
            return missing
        stack = self._stack(address)
        raw = stack[query.step] if query.step < len(stack) else None
        if raw is None or raw.size == 0 or not np.isfinite(raw).all():
            return PanelFrame("not_computed", "This word has no map at this step")
        spec = grid_of(facts, address.grid)
        assert spec is not None  # a map exists, so its grid does
        top = self._scope(address, query.scope, raw)
        native = self._shown(query, facts, raw, top)
        values = on_picture(native, spec, facts)
        counts, _ = np.histogram(native, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
        word, mask = self._region(facts, address.positions)
        contour: tuple[FloatArray, ...] = ()
        regions: tuple[FloatArray, ...] = ()
        height, width = facts.image.shape[:2] if facts.image is not None else values.shape
        if query.contour:
            from diffcam_core.metrics.localization import otsu_threshold
            from diffcam_studio.views.outlines import contours_of

            peak = float(values.max())
            if peak > 0:
                # A coarser copy gives the same smooth line for a fraction of the time.
                rough = on_picture(native, spec, facts, CONTOUR_SIDE)
                level = otsu_threshold(np.clip(rough / peak, 0, 1)) / 255 * peak
                contour = contours_of(rough, level, (width, height))
        if mask is not None:
            regions = self._outline(facts.scene, word, mask)
        return PanelFrame(
            state="zero" if float(raw.max()) <= 0 else "ready",
            reason="all zero" if float(raw.max()) <= 0 else "",
            values=values,
            native=native,
            raw=raw,
            raw_range=(float(raw.min()), float(raw.max())),
            raw_sum=float(raw.sum()),
            scope_max=top,
            histogram=counts.astype(np.int64),
            contour=contour,
            regions=regions,
            region_word=word,
            metrics=measure(values, mask),
        )

    def _shown(self, query: PanelQuery, facts: RunFacts, raw: FloatArray, top: float) -> FloatArray:
        """Map on the token grid in shares of the scope's maximum, refined as asked."""
        refinement = query.refinement
        if refinement.raw or query.stage == 0:
            return _share(raw, top)
        pipeline = pipeline_of(refinement)
        stages = self._stages(query.address, facts, raw, pipeline)
        done = stages[-1][1] if stages else unit(raw)
        if query.stage is not None:
            names = [s.name for s in pipeline.stages[: query.stage]]
            kept = [values for name, values in stages if name in names]
            done = kept[-1] if kept else unit(raw)
        return _rescaled(done, raw, top)

    def _stages(
        self,
        address: MapAddress,
        facts: RunFacts,
        raw: FloatArray,
        pipeline: Pipeline,
    ) -> list[tuple[str, FloatArray]]:
        from diffcam_core import refinement as core

        return core.stages(
            unit(raw),
            pipeline,
            context_maps=self._context(address),
            **_context_of(facts),
        )

    def _layers(self, query: LayersQuery) -> LayersFrame:
        address = query.address
        facts = self._source(address.run).facts()
        _, mask = self._region(facts, address.positions)
        metrics = (*REGION_METRICS, MASS) if mask is not None else (MASS,)
        metric = query.metric if query.metric in metrics else metrics[-2 if mask is not None else 0]
        maps: list[FloatArray | None] = []
        values: list[float | None] = []
        for layer in facts.layers:
            here = replace(address, layer=layer)
            frame = self._panel(PanelQuery(here, query.step, query.refinement, query.scope))
            maps.append(frame.native)
            values.append(dict(frame.metrics).get(metric) if frame.native is not None else None)
        return LayersFrame(tuple(maps), tuple(values), metric, metrics)

    def _timeline(self, query: TimelineQuery) -> TimelineFrame:
        address = query.address
        facts = self._source(address.run).facts()
        stack = self._stack(address)
        _, mask = self._region(facts, address.positions)
        spec = grid_of(facts, address.grid)
        inside = None if mask is None or spec is None else cell_shares(mask, spec, facts)
        maps: list[FloatArray | None] = []
        curve = np.full(facts.n_steps, np.nan, np.float32)
        top = self._scope(address, query.scope, None) if query.scope != "map" else 0.0
        known = [s for s in range(len(stack)) if stack[s].size and np.isfinite(stack[s]).all()]
        refined = self._refined_steps(query, facts, stack, known)
        for step in range(facts.n_steps):
            if step not in refined:
                maps.append(None)
                continue
            raw = stack[step]
            scale = top if query.scope != "map" else float(raw.max())
            shown = _rescaled(refined[step], raw, scale)
            maps.append(shown)
            total = float(shown.sum())
            if inside is not None:
                curve[step] = float((shown * inside).sum()) / total if total > 0 else 0.0
            else:
                curve[step] = float(shown.mean())
        name = "Mass in region" if inside is not None else "Map mass"
        return TimelineFrame(tuple(maps), curve, name)

    def _refined_steps(
        self, query: TimelineQuery, facts: RunFacts, stack: FloatArray, known: list[int]
    ) -> dict[int, FloatArray]:
        if query.refinement.raw or not known:
            return {step: unit(stack[step]) for step in known}
        from diffcam_core import refinement as core

        pipeline = pipeline_of(query.refinement)
        batch = np.stack([unit(stack[step]) for step in known])
        context = self._context(query.address)
        shared = None if context is None else np.repeat(context[None], len(known), axis=0)
        done = core.apply(batch, pipeline, context_maps=shared, **_context_of(facts))
        return {step: done[i] for i, step in enumerate(known)}

    def _ladder(self, query: LadderQuery) -> LadderFrame:
        address = query.address
        facts = self._source(address.run).facts()
        pipeline = pipeline_of(query.refinement)
        plain = pipeline_of(Refinement(preset=query.refinement.preset))
        word, mask = self._region(facts, address.positions)
        metric = F3 if mask is not None else MASS
        stack = self._stack(address)
        raw = stack[query.step] if query.step < len(stack) else None
        missing = _missing(facts, query.step, address)
        spec = grid_of(facts, address.grid)
        ready = (
            missing is None
            and raw is not None
            and raw.size > 0
            and spec is not None
            and bool(np.isfinite(raw).all())
        )
        after: dict[str, FloatArray] = {}
        measured: dict[str, float] = {}
        metrics: tuple[tuple[str, float, float], ...] = ()
        raw_shown: FloatArray | None = None
        raw_value: float | None = None
        if ready and raw is not None and spec is not None:
            top = self._scope(address, query.scope, raw)
            raw_shown = _share(raw, top)
            first = dict(measure(on_picture(raw_shown, spec, facts), mask))
            raw_value = first.get(metric)
            last = first
            for name, values in self._stages(address, facts, raw, pipeline):
                after[name] = _rescaled(values, raw, top)
                last = dict(measure(on_picture(after[name], spec, facts), mask))
                measured[name] = last[metric]
            if query.refinement.raw:
                last = first
            names = REGION_METRICS if mask is not None else (MASS,)
            metrics = tuple((n, last[n], last[n] - first[n]) for n in names if n in last)
        rows: list[StageFrame] = []
        before, shown = raw_value, raw_shown
        for stage in pipeline.stages:
            value = measured.get(stage.name)
            delta = None if value is None or before is None else value - before
            if not stage.enabled:
                delta = 0.0 if before is not None else None
            shown = after.get(stage.name, shown)
            original = plain[stage.name]
            rows.append(
                StageFrame(
                    stage=stage.name,
                    title=_short_title(stage),
                    summary=_summary(stage),
                    help=f"{stage.info.title}. {stage.info.help}",
                    enabled=stage.enabled,
                    changed=stage.module != original.module or stage.enabled != original.enabled,
                    values=shown,
                    delta=delta,
                    parameters=_parameters(stage, original),
                )
            )
            before = value if value is not None else before
        return LadderFrame(
            tuple(rows),
            raw_shown,
            raw_value,
            metric,
            metrics,
            word,
            "" if ready else (missing.reason if missing else "There is no map at this step"),
        )

    def _outline(self, scene: str, word: str, mask: BoolArray) -> tuple[FloatArray, ...]:
        from diffcam_studio.views.outlines import outline_of

        key = (scene, word)
        if key not in self._outlines:
            self._outlines[key] = outline_of(mask)
        return self._outlines[key]

    # --- regions ----------------------------------------------------------------------------------

    def _region(self, facts: RunFacts, positions: tuple[int, ...]) -> tuple[str, BoolArray | None]:
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


# --- pure helpers -------------------------------------------------------------------------------


def grid_of(facts: RunFacts, name: str) -> GridSpec | None:
    """Grid of a name, or the run's first one."""
    if name:
        return facts.grids.get(name)
    return next(iter(facts.grids.values()), None)


def unit(values: FloatArray) -> FloatArray:
    """Scale a map to [0, 1] by its own range; a constant map becomes zero."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)


def pipeline_of(refinement: Refinement) -> Pipeline:
    """Pipeline of a preset with the switches and parameters of the view.

    Stages and parameters that the preset lacks, for example from an older
    session, are left out.
    """
    from diffcam_core import refinement as core

    pipeline = core.as_pipeline(
        refinement.preset if refinement.preset in core.PRESETS else "studio"
    )
    names = {stage.name for stage in pipeline.stages}
    for stage, parameter, value in refinement.changes:
        if stage in names:
            try:
                pipeline = pipeline.with_parameters(stage, **{parameter: value})
            except InputError:
                continue
    for stage in refinement.off:
        if stage in names:
            pipeline = pipeline.with_enabled(stage, False)
    return pipeline


def on_picture(
    native: FloatArray, spec: GridSpec, facts: RunFacts, longest: int = LONGEST_MAP
) -> FloatArray:
    """Interpolate to the picture, at most ``longest`` pixels on its longer side."""
    from diffcam_core.heatmap import axis_weights, lattice_edges

    height, width = facts.image.shape[:2] if facts.image is not None else (LONGEST_MAP,) * 2
    scale = min(1.0, longest / max(height, width))
    columns, rows = lattice_edges(spec.rectangles)
    across = axis_weights(columns * scale, max(1, round(width * scale)))
    down = axis_weights(rows * scale, max(1, round(height * scale)))
    return np.ascontiguousarray(down @ native @ across.T, np.float32)


def cell_shares(mask: BoolArray, spec: GridSpec, facts: RunFacts) -> FloatArray:
    """Share of each cell's pixels that lie in a mask, float32 (rows, cols)."""
    del facts
    table = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = mask.shape
    boxes = np.asarray(spec.rectangles, np.float64)
    x = np.clip(np.rint(boxes[..., [0, 2]]), 0, width).astype(int)
    y = np.clip(np.rint(boxes[..., [1, 3]]), 0, height).astype(int)
    inside = (
        table[y[..., 1], x[..., 1]]
        - table[y[..., 0], x[..., 1]]
        - table[y[..., 1], x[..., 0]]
        + table[y[..., 0], x[..., 0]]
    )
    area = np.maximum(1, (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0]))
    return (inside / area).astype(np.float32)


def measure(values: FloatArray, mask: BoolArray | None) -> tuple[tuple[str, float], ...]:
    """Measures of one map over the picture; those of the region only where there is one."""
    found: list[tuple[str, float]] = []
    if mask is not None:
        from diffcam_core.metrics import localization as metrics

        peak = float(values.max())
        scaled = np.clip(values / peak, 0.0, 1.0) if peak > 0 else np.zeros_like(values)
        small = _fit_mask(mask, values.shape)
        iou = metrics.obj_iou(scaled, small)
        ratio = metrics.contrast(scaled, small)
        share = metrics.concentration(scaled, small)
        found = [
            ("Obj-IoU", iou),
            ("Contrast", ratio),
            ("Concentration", share),
            ("F3", metrics.f3(iou, ratio, share)),
        ]
    return (*found, (MASS, float(values.mean())))


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


def _fit_mask(mask: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    if mask.shape == shape:
        return mask
    import cv2

    resized = cv2.resize(
        mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA
    )
    return np.asarray(resized > 0.5)


def _missing(facts: RunFacts, step: int, address: MapAddress) -> PanelFrame | None:
    if not address.positions:
        return PanelFrame("not_computed", "Choose a word of the answer")
    if step in facts.failed_steps:
        return PanelFrame("error", facts.failed_steps[step])
    if not facts.is_computed(step, address.layer):
        if facts.valid.size and step < facts.n_steps and not facts.is_valid(step, address.layer):
            return PanelFrame("no_path", "No gradient path to the image")
        return PanelFrame("not_computed", "This step is not computed")
    if not set(address.positions) & set(facts.targets):
        return PanelFrame("not_computed", "This word was not explained")
    return None


def _mean_known(parts: list[FloatArray]) -> FloatArray:
    stack = np.stack(parts)
    known = np.isfinite(stack).all(axis=(2, 3), keepdims=True)
    count = known.sum(axis=0)
    total = np.where(known, stack, 0.0).sum(axis=0)
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan).astype(np.float32)


def _share(raw: FloatArray, top: float) -> FloatArray:
    if top <= 0:
        return np.zeros_like(raw)
    return np.clip(raw / top, 0.0, 1.0).astype(np.float32)


def _rescaled(refined: FloatArray, raw: FloatArray, top: float) -> FloatArray:
    """Give a refined map, in [0, 1] by itself, its absolute height back."""
    peak = float(raw.max())
    if top <= 0 or peak <= 0:
        return np.zeros_like(refined)
    return (refined * np.float32(min(1.0, peak / top))).astype(np.float32)


def _context_of(facts: RunFacts) -> dict[str, Any]:
    height, width = facts.image.shape[:2] if facts.image is not None else (0, 0)
    words = tuple(w.text for w in facts.words)
    return {
        "token_ids": tuple(facts.token_ids.tolist()),
        "n_steps": facts.n_steps or None,
        "image_size": (width, height) if width and height else None,
        "special_ids": (*facts.end_ids, facts.mask_id),
        "words": words or None,
    }


def _short_title(stage: Any) -> str:
    return stage.name.upper() if stage.kind in ("akd", "dacg", "cba", "sicd") else stage.info.title


def _summary(stage: Any) -> str:
    if not stage.enabled:
        return "Off"
    values = stage.module.to_dict()
    parts = [f"{info.title} {_plain(values[info.name])}" for info in stage.info.parameters[:2]]
    return ", ".join(parts) or stage.info.help


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _parameters(stage: Any, original: Any) -> tuple[StageParameter, ...]:
    found = []
    values, defaults = stage.module.to_dict(), original.module.to_dict()
    for info in stage.info.parameters:
        if info.kind == "choice":
            choices = tuple((float(i), name) for i, name in enumerate(info.choices))
            found.append(
                StageParameter(
                    info.name,
                    info.title,
                    float(info.choices.index(values[info.name])),
                    float(info.choices.index(defaults[info.name])),
                    0.0,
                    float(max(1, len(info.choices) - 1)),
                    1.0,
                    info.help,
                    0,
                    choices,
                )
            )
            continue
        step = float(info.step or 0.01)
        decimals = 0 if step >= 1 else 1 if step >= 0.1 else 2 if step >= 0.01 else 3
        found.append(
            StageParameter(
                info.name,
                info.title,
                float(values[info.name]),
                float(defaults[info.name]),
                float(info.minimum or 0.0),
                float(info.maximum if info.maximum is not None else 1.0),
                step,
                info.help,
                decimals,
            )
        )
    return tuple(found)
