"""What the views ask about the maps of a run, answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diffcam_core.events import GridSpec
from diffcam_studio.state.source import FloatArray, RunFacts
from diffcam_studio.state.view_state import Refinement
from diffcam_studio.worker.maps import (
    grid_of,
    on_picture,
    reason_without_map,
    rescaled,
    share_of,
    unit,
)
from diffcam_studio.worker.measures import F3, MASS, REGION_METRICS, cell_shares, measure
from diffcam_studio.worker.queries import (
    LadderFrame,
    LadderQuery,
    LayersFrame,
    LayersQuery,
    PanelFrame,
    PanelQuery,
    StageFrame,
    TimelineFrame,
    TimelineQuery,
)
from diffcam_studio.worker.refining import pipeline_of, refined_steps, stage_frame, stages_of
from diffcam_studio.worker.regions import Regions
from diffcam_studio.worker.shelf import Shelf

CONTOUR_SIDE = 144
HISTOGRAM_BINS = 48


class Answers:
    """Maps of runs as the views show them."""

    def __init__(self, shelf: Shelf, regions: Regions) -> None:
        self._shelf = shelf
        self._regions = regions

    def panel(self, query: PanelQuery) -> PanelFrame:
        """Return the map of one panel, refined, with its lines and measures."""
        address = query.address
        facts = self._shelf.facts(address.run)
        missing = reason_without_map(facts, query.step, address)
        if missing is not None:
            return missing
        stack = self._shelf.stack(address)
        raw = stack[query.step] if query.step < len(stack) else None
        if raw is None or raw.size == 0 or not np.isfinite(raw).all():
            return PanelFrame("not_computed", "This word has no map at this step")
        spec = grid_of(facts, address.grid)
        assert spec is not None  # a map exists, so its grid does
        top = self._shelf.scope_maximum(address, query.scope, raw)
        native = self._shown(query, facts, raw, top)
        values = on_picture(native, spec, facts)
        counts, _ = np.histogram(native, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
        word, mask = self._regions.named(facts, address.positions)
        contour: tuple[FloatArray, ...] = ()
        regions: tuple[FloatArray, ...] = ()
        if query.contour:
            contour = _contour_of(native, values, spec, facts)
        if mask is not None:
            regions = self._regions.outline(facts.scene, word, mask)
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
            return share_of(raw, top)
        pipeline = pipeline_of(refinement)
        stages = stages_of(raw, pipeline, facts, self._shelf.context(query.address))
        done = stages[-1][1] if stages else unit(raw)
        if query.stage is not None:
            names = [s.name for s in pipeline.stages[: query.stage]]
            kept = [values for name, values in stages if name in names]
            done = kept[-1] if kept else unit(raw)
        return rescaled(done, raw, top)

    def layers(self, query: LayersQuery) -> LayersFrame:
        """Return map and measure of every layer at one step."""
        address = query.address
        facts = self._shelf.facts(address.run)
        _, mask = self._regions.named(facts, address.positions)
        metrics = (*REGION_METRICS, MASS) if mask is not None else (MASS,)
        metric = query.metric if query.metric in metrics else metrics[-2 if mask is not None else 0]
        maps: list[FloatArray | None] = []
        values: list[float | None] = []
        for layer in facts.layers:
            here = replace(address, layer=layer)
            frame = self.panel(PanelQuery(here, query.step, query.refinement, query.scope))
            maps.append(frame.native)
            values.append(dict(frame.metrics).get(metric) if frame.native is not None else None)
        return LayersFrame(tuple(maps), tuple(values), metric, metrics)

    def timeline(self, query: TimelineQuery) -> TimelineFrame:
        """Return map and measure of every step in one layer."""
        address = query.address
        facts = self._shelf.facts(address.run)
        stack = self._shelf.stack(address)
        _, mask = self._regions.named(facts, address.positions)
        spec = grid_of(facts, address.grid)
        inside = None if mask is None or spec is None else cell_shares(mask, spec)
        maps: list[FloatArray | None] = []
        curve = np.full(facts.n_steps, np.nan, np.float32)
        top = self._shelf.scope_maximum(address, query.scope, None) if query.scope != "map" else 0.0
        known = [s for s in range(len(stack)) if stack[s].size and np.isfinite(stack[s]).all()]
        plain = query.refinement.raw or not known
        context = None if plain else self._shelf.context(address)
        refined = refined_steps(stack, known, query.refinement, facts, context)
        for step in range(facts.n_steps):
            if step not in refined:
                maps.append(None)
                continue
            raw = stack[step]
            scale = top if query.scope != "map" else float(raw.max())
            shown = rescaled(refined[step], raw, scale)
            maps.append(shown)
            total = float(shown.sum())
            if inside is not None:
                curve[step] = float((shown * inside).sum()) / total if total > 0 else 0.0
            else:
                curve[step] = float(shown.mean())
        name = "Mass in region" if inside is not None else "Map mass"
        return TimelineFrame(tuple(maps), curve, name)

    def ladder(self, query: LadderQuery) -> LadderFrame:
        """Return the map after each stage, and what each stage changes."""
        address = query.address
        facts = self._shelf.facts(address.run)
        pipeline = pipeline_of(query.refinement)
        plain = pipeline_of(Refinement(preset=query.refinement.preset))
        word, mask = self._regions.named(facts, address.positions)
        metric = F3 if mask is not None else MASS
        stack = self._shelf.stack(address)
        raw = stack[query.step] if query.step < len(stack) else None
        missing = reason_without_map(facts, query.step, address)
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
            top = self._shelf.scope_maximum(address, query.scope, raw)
            raw_shown = share_of(raw, top)
            first = dict(measure(on_picture(raw_shown, spec, facts), mask))
            raw_value = first.get(metric)
            last = first
            counted = {stage.name for stage in pipeline.stages[: query.stage]}
            for name, values in stages_of(raw, pipeline, facts, self._shelf.context(address)):
                after[name] = rescaled(values, raw, top)
                found = dict(measure(on_picture(after[name], spec, facts), mask))
                measured[name] = found[metric]
                last = found if name in counted else last
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
            rows.append(stage_frame(stage, plain[stage.name], shown, delta))
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


def _contour_of(
    native: FloatArray, values: FloatArray, spec: GridSpec, facts: RunFacts
) -> tuple[FloatArray, ...]:
    """Return the line at Otsu's threshold in pixels of the picture; ``values`` lie on it."""
    from diffcam_core.metrics.localization import otsu_threshold
    from diffcam_studio.views.outlines import contours_of

    peak = float(values.max())
    if peak <= 0:
        return ()
    height, width = facts.image.shape[:2] if facts.image is not None else values.shape
    # A coarser copy gives the same smooth line for a fraction of the time.
    rough = on_picture(native, spec, facts, CONTOUR_SIDE)
    level = otsu_threshold(np.clip(rough / peak, 0, 1)) / 255 * peak
    return contours_of(rough, level, (width, height))
