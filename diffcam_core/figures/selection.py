"""One word of a run: its maps as the window shows them, its words for titles and captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError, TargetError
from diffcam_core.figures.panels import MapNumbers
from diffcam_core.figures.text import Span, Text
from diffcam_core.heatmap import HeatMap
from diffcam_core.words import find_occurrences

if TYPE_CHECKING:
    from diffcam_core.refinement import Pipeline
    from diffcam_core.session import Run

FloatArray = npt.NDArray[np.float32]
Normalisation = Literal["map", "trajectory"]
Step = int | Literal["commit"]

SCOPES = {
    "map": "Share of maximum, each map by itself",
    "trajectory": "Share of maximum, over trajectory",
}
_MARKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": " ", "\n": " "})
_LONGEST_ANSWER = 60
"""Words of an answer in a caption; a longer one is cut around the word."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A map ready to be drawn: shares of the scope's maximum on the grid and on the image."""

    native: FloatArray
    pixels: FloatArray
    raw: HeatMap
    top: float

    @property
    def is_zero(self) -> bool:
        """Whether the raw map has no positive value."""
        return float(self.raw.values.max()) <= 0.0


class Selection:
    """The positions that spell one word of a run.

    Parameters
    ----------
    run : Run
    token : int or str
        A position, or a word: its first occurrence that was explained, all of its tokens.
    layer : int, optional
    method : str, optional

    Raises
    ------
    TargetError
        If the run has no such word, position, layer or method; the mend lists what it has.
    """

    def __init__(
        self, run: Run, token: int | str, layer: int | None = None, method: str | None = None
    ) -> None:
        self.run = run
        self.method = method
        first = run.position_of(token)
        self.positions: tuple[int, ...] = (first,)
        if isinstance(token, str):
            places = find_occurrences(run.words, token)
            place = next((p for p in places if first in p), (first,))
            self.positions = tuple(p for p in place if p in run.targets)
        self.layer = run.default_layer if layer is None else layer
        run.raw_range(first, self.layer, method=method)  # raises for an unknown layer or method
        self.text = self._spelling()

    @property
    def commit(self) -> int:
        """Step at which the word's first token was written, -1 if never."""
        return int(self.run.commit_step[self.positions[0]])

    def step(self, step: Step) -> int:
        """Return a step's number.

        Raises
        ------
        TargetError
            If there is no such step.
        """
        return self.run.map(self.positions[0], step, self.layer, method=self.method).step

    def steps(self) -> list[int]:
        """Steps at which the word has a map."""
        stack = self.trajectory()
        return [int(s) for s in np.flatnonzero(np.isfinite(stack).all(axis=(1, 2)))]

    def trajectory(self) -> FloatArray:
        """Raw maps at every step, mean over the word's tokens, NaN where there is none."""
        parts = np.stack(
            [self.run.trajectory(p, self.layer, method=self.method) for p in self.positions]
        )
        known = np.isfinite(parts)
        total = np.where(known, parts, 0.0).sum(axis=0)
        count = known.sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)

    def raw(self, step: Step) -> HeatMap:
        """Raw map at a step, mean over the word's tokens that have one there.

        Raises
        ------
        TargetError
            If none has.
        """
        at = self.step(step)
        maps = []
        for position in self.positions:
            try:
                maps.append(self.run.map(position, at, self.layer, method=self.method))
            except TargetError:
                if position == self.positions[0]:
                    raise
        if len(maps) == 1:
            return maps[0]
        values = np.mean([heat.values for heat in maps], axis=0).astype(np.float32)
        return replace(
            maps[0],
            values=values,
            raw_range=(float(values.min()), float(values.max())),
            raw_sum=float(values.sum()),
        )

    def shown(self, step: Step, preset: str | Pipeline | None, scope: Normalisation) -> Shown:
        """Return the map in shares of its scope's maximum, refined or raw (None).

        A refined map keeps its absolute height: its own maximum stands where the raw one did.

        Raises
        ------
        TargetError
            If there is no map.
        InputError
            If there is no such preset or scope.
        """
        raw = self.raw(step)
        top = self._top(raw, scope)
        native = share(raw.values, top) if preset is None else self._refined(raw, preset, top)
        return self.show(raw, native, top)

    def show(self, raw: HeatMap, native: FloatArray, top: float) -> Shown:
        """Return a map on the grid together with its pixels."""
        return Shown(native, replace(raw, values=native).on_image(), raw, top)

    def stages(
        self, step: Step, pipeline: str | Pipeline, scope: Normalisation
    ) -> list[tuple[str, Shown]]:
        """Return the raw map and the map after every enabled stage: (stage name, map)."""
        from diffcam_core import refinement

        raw = self.raw(step)
        top = self._top(raw, scope)
        found = [("raw", self.show(raw, share(raw.values, top), top))]
        for name, values in refinement.stages(
            raw.normalised(),
            pipeline,
            token_ids=raw.token_ids,
            n_steps=raw.n_steps,
            image_size=raw.image_size,
            special_ids=raw.special_ids,
            words=raw.words or None,
            context_maps=raw.context,
        ):
            found.append((name, self.show(raw, rescaled(values, raw, top), top)))
        return found

    def numbers(
        self, shown: Shown, preset: str | Pipeline | None, scope: Normalisation
    ) -> MapNumbers:
        """Return the numbers of a map with where they come from."""
        facts = {
            **self.facts(),
            "step": shown.raw.step,
            "preset": preset_name(preset),
            "pipeline": pipeline_json(preset),
            "normalisation": scope,
            "scope_maximum": shown.top,
            "raw_range": list(shown.raw.raw_range),
            "raw_sum": shown.raw.raw_sum,
        }
        return MapNumbers(shown.native, shown.raw.grid.rectangles, shown.raw.values, facts)

    def facts(self) -> dict[str, Any]:
        """Return where the maps come from, for metadata."""
        run = self.run
        return {
            "run": run.path.name,
            "created": run.created,
            "model": run.model,
            "prompt": run.prompt,
            "answer": run.answer,
            "method": run.method if self.method is None else self.method,
            "layer": self.layer,
            "word": self.text,
            "positions": list(self.positions),
            "commit_step": self.commit,
            "run_app_version": str(run.metadata.get("app_version", "")),
        }

    def _refined(self, raw: HeatMap, preset: str | Pipeline, top: float) -> FloatArray:
        return rescaled(raw.refine(preset).values, raw, top)

    def _top(self, raw: HeatMap, scope: Normalisation) -> float:
        if scope not in SCOPES:
            raise InputError(f"there is no normalisation {scope!r}", "Use map or trajectory.")
        if scope == "map":
            return max(0.0, float(raw.values.max()))
        return max(0.0, float(np.nanmax(self.trajectory(), initial=0.0)))

    def _spelling(self) -> str:
        text = "".join(self.run.tokens[p] for p in self.positions).translate(_MARKS).strip()
        for word in self.run.words:
            if word.kind != "mark" and set(word.positions) == set(self.positions):
                return word.text
        return text or f"position {self.positions[0]}"


def share(raw: FloatArray, top: float) -> FloatArray:
    """Return a raw map in shares of a maximum; what is below zero becomes zero."""
    if top <= 0.0:
        return np.zeros_like(raw)
    return np.asarray(np.clip(raw / top, 0.0, 1.0), np.float32)


def rescaled(refined: FloatArray, raw: HeatMap, top: float) -> FloatArray:
    """Give a refined map, in [0, 1] by itself, its absolute height back."""
    peak = float(raw.values.max())
    if top <= 0.0 or peak <= 0.0:
        return np.zeros_like(refined)
    height = np.float32(min(1.0, peak / top))
    return np.asarray(refined * height, np.float32)


def preset_name(preset: str | Pipeline | None) -> str:
    """Return the name of a refinement for captions."""
    if preset is None:
        return "raw"
    return preset if isinstance(preset, str) else preset.name


def preset_words(preset: str | Pipeline | None) -> str:
    """Return the refinement as a caption states it."""
    return "raw map" if preset is None else f"{preset_name(preset)} refinement"


def pipeline_json(preset: str | Pipeline | None) -> Any:
    """Return the stages of a refinement as JSON data, or None for the raw map."""
    if preset is None:
        return None
    from diffcam_core import refinement

    return json.loads(refinement.as_pipeline(preset).to_json())


def resolve(preset: str | Pipeline | None) -> str | Pipeline | None:
    """Return the preset after checking that it exists; "raw" means none.

    Raises
    ------
    InputError
        If it does not.
    """
    if preset is None or preset == "raw":
        return None
    from diffcam_core import refinement

    refinement.as_pipeline(preset)
    return preset


def answer_spans(run: Run, selections: Sequence[Selection]) -> Text:
    """Return the answer in quotation marks with the words of selections in bold."""
    bold = {p for chosen in selections for p in chosen.positions}
    special = {word.positions[0] for word in run.words if word.kind == "special"}
    spans: list[Span] = []
    for position, text in enumerate(run.tokens):
        if position in special or not text:
            continue
        words = text.translate(_MARKS)
        if position not in bold:
            spans.append(Span(words))
            continue
        # Spaces and marks around the letters stay plain.
        core = words.strip()
        while core and not core[-1].isalnum() and len(core) > 1:
            core = core[:-1]
        at = words.index(core) if core else 0
        spans += [Span(words[:at]), Span(core, bold=True), Span(words[at + len(core) :])]
    spans = [span for span in spans if span.text]
    if not spans:
        return ()
    spans[0] = replace(spans[0], text=spans[0].text.lstrip())
    spans[-1] = replace(spans[-1], text=spans[-1].text.rstrip())
    spans = _shortened(spans)
    return (Span("\u201c"), *spans, Span("\u201d"))


def _shortened(spans: list[Span]) -> list[Span]:
    if len(spans) <= _LONGEST_ANSWER:
        return spans
    marked = [i for i, span in enumerate(spans) if span.bold]
    middle = marked[0] if marked else 0
    start = max(0, min(middle - _LONGEST_ANSWER // 2, len(spans) - _LONGEST_ANSWER))
    end = start + _LONGEST_ANSWER
    head = [Span("\u2026 ")] if start else []
    tail = [Span(" \u2026")] if end < len(spans) else []
    return [*head, *spans[start:end], *tail]
