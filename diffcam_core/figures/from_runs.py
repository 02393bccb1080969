"""Paper figures of runs: one token, its steps, its layers, its refinement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError, TargetError
from diffcam_core.figures.colours import DEFAULT, Scale
from diffcam_core.figures.panels import Panel
from diffcam_core.figures.saving import suffix_of
from diffcam_core.figures.selection import (
    SCOPES,
    Normalisation,
    Selection,
    Shown,
    Step,
    answer_spans,
    preset_words,
    resolve,
)
from diffcam_core.figures.styles import Style, Width, style_of
from diffcam_core.figures.text import Span, Text, as_text
from diffcam_core.layers import layer_title

if TYPE_CHECKING:
    from diffcam_core.figures.sheet import Curves
    from diffcam_core.refinement import Pipeline
    from diffcam_core.session import Run

FloatArray = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]
OPACITY = 0.6
_SUFFIXES = ("pdf", "svg", "png")


def token_figure(
    run: Run,
    token: int | str,
    path: PathLike,
    *,
    step: Step = "commit",
    layer: int | None = None,
    preset: str | Pipeline | None = "studio",
    method: str | None = None,
    compare: Sequence[str | Pipeline | None] = (),
    normalisation: Normalisation = "trajectory",
    colour_map: str = DEFAULT,
    opacity: float = OPACITY,
    regions: tuple[FloatArray, ...] = (),
    style: str | Style = "acl",
    width: Width | None = None,
    dpi: int = 300,
    caption: bool | str | Text = True,
) -> Path:
    """Draw where a word comes from: the image under its map, colour bar and caption.

    Parameters
    ----------
    run : Run
    token : int or str
        A position, or a word (all of its tokens, their mean).
    path : path-like
        Ends with .pdf, .svg or .png.
    step : int or "commit"
    layer : int, optional
        The run's default layer if not given.
    preset : str, Pipeline or None
        Refinement; None or "raw" for the map as computed.
    method : str, optional
    compare : sequence
        Further refinements, drawn to the left, for example ("raw",).
    normalisation : {"trajectory", "map"}
        Over what the maximum counts as 1; printed at the colour bar.
    colour_map : str
    opacity : float
        Share of the map in the mixture, 0 to 1.
    regions : tuple of float32 (n, 2)
        Outlines in image pixels, for example of the object.
    style : {"acl", "neurips", "nature", "slide"}
    width : {"column", "full"} or float
        Millimetres; a column unless panels are compared three or more at a time.
    dpi : int
        Of PNG.
    caption : bool, str or spans
        Whether there is one, or your own.

    Returns
    -------
    Path

    Raises
    ------
    TargetError
        If the run has no such word, step, layer, method or map.
    InputError
        If an option or the path cannot be used.
    ResourceError
        If the disk is full.
    """
    suffix_of(path, _SUFFIXES, "a figure")
    chosen = Selection(run, token, layer, method)
    presets = [*(resolve(other) for other in compare), resolve(preset)]
    scale = Scale(colour_map, scope=_scope(normalisation))
    panels = []
    for refinement in presets:
        shown = chosen.shown(step, refinement, normalisation)
        title = preset_words(refinement) if len(presets) > 1 else ""
        panel = _panel(run, shown, scale, opacity, title[:1].upper() + title[1:])
        numbers = chosen.numbers(shown, refinement, normalisation)
        panels.append(replace(panel, numbers=numbers, regions=regions))
    when = chosen.step(step)
    told = [preset_words(presets[-1])] if len(presets) == 1 else []
    words = (
        *_answer(run, [chosen]),
        *_when(chosen, when),
        Span(" " + _sentence([layer_title(chosen.layer).lower(), *told, _model(run)])),
    )
    return _save(
        path,
        [panels],
        style,
        width,
        "column" if len(panels) < 3 else "full",
        caption,
        words,
        f"{chosen.text}, step {when}, {layer_title(chosen.layer).lower()}",
        [chosen],
        dpi,
    )


def trajectory_figure(
    run: Run,
    token: int | str | Sequence[int | str],
    path: PathLike,
    *,
    steps: int | Sequence[int] = 6,
    layer: int | None = None,
    preset: str | Pipeline | None = "studio",
    method: str | None = None,
    normalisation: Normalisation = "trajectory",
    colour_map: str = DEFAULT,
    opacity: float = OPACITY,
    curve: bool = True,
    show_image: bool = True,
    style: str | Style = "acl",
    width: Width | None = None,
    dpi: int = 300,
    caption: bool | str | Text = True,
) -> Path:
    """Draw how the evidence of one or more words moves over the denoising steps.

    Parameters
    ----------
    token : int, str or a sequence of them
        One row of panels for each.
    steps : int or sequence of int
        How many steps, spread evenly over those with maps with the commit steps among them, or
        which ones. A step without a map of a word leaves its place empty.
    curve : bool
        Below the panels, the probability of each word over the steps; the circle marks the commit
        step.
    show_image : bool
        Begin each row with the plain image.

    Other Parameters
    ----------------
    run, path, layer, preset, method, normalisation, colour_map, opacity, style, width, dpi, caption
        As for :func:`token_figure`.

    Raises
    ------
    TargetError, InputError, ResourceError
        As :func:`token_figure`.
    """
    suffix_of(path, _SUFFIXES, "a figure")
    tokens = [token] if isinstance(token, int | str) else list(token)
    if not tokens:
        raise InputError("no word was named", "Name at least one.")
    chosen = [Selection(run, entry, layer, method) for entry in tokens]
    refinement = resolve(preset)
    scale = Scale(colour_map, scope=_scope(normalisation))
    wanted = _steps_of(chosen, steps)
    rows: list[list[Panel | None]] = []
    for number, word in enumerate(chosen):
        known = set(word.steps())
        row: list[Panel | None] = []
        if show_image:
            row.append(Panel(run.image, title="Image" if number == 0 else ""))
        for step in wanted:
            if step not in known:
                row.append(None)
                continue
            shown = word.shown(step, refinement, normalisation)
            title = _t(step) if number == 0 else ""
            panel = _panel(run, shown, scale, opacity, title)
            row.append(
                replace(
                    panel,
                    framed=step == word.commit,
                    numbers=word.numbers(shown, refinement, normalisation),
                )
            )
        rows.append(row)
    _fill_titles(rows, wanted, show_image)
    labels = [(Span(word.text, bold=True),) for word in chosen] if len(chosen) > 1 else []
    frames = "Golden frames mark" if len(chosen) > 1 else "The golden frame marks"
    curves = _probabilities(run, chosen) if curve else None
    marks = frames if curves is None else _and_circle(frames)
    words = (
        *_answer(run, chosen),
        Span(f"{marks} the step at which the word is written. "),
        Span(_sentence([layer_title(chosen[0].layer), preset_words(refinement), _model(run)])),
    )
    title = f"{', '.join(word.text for word in chosen)}, over steps"
    return _save(
        path, rows, style, width, "full", caption, words, title, chosen, dpi, labels, curves
    )


def layer_figure(
    run: Run,
    token: int | str,
    path: PathLike,
    *,
    step: Step = "commit",
    layers: Sequence[int] | None = None,
    preset: str | Pipeline | None = "studio",
    method: str | None = None,
    normalisation: Normalisation = "trajectory",
    colour_map: str = DEFAULT,
    opacity: float = OPACITY,
    columns: int | None = None,
    style: str | Style = "acl",
    width: Width | None = None,
    dpi: int = 300,
    caption: bool | str | Text = True,
) -> Path:
    """Draw one word's map at every layer (or at some); each layer has its own maximum.

    Parameters
    ----------
    layers : sequence of int, optional
        All layers of the run if not given.
    columns : int, optional
        Panels in a row; at most seven fit into one row by default.

    Other Parameters
    ----------------
    run, token, path, step, preset, method, normalisation, colour_map, opacity, style, width, dpi,
    caption
        As for :func:`token_figure`.

    Raises
    ------
    TargetError, InputError, ResourceError
        As :func:`token_figure`; a layer without a map leaves its place out, and if none has one
        that is an error.
    """
    suffix_of(path, _SUFFIXES, "a figure")
    refinement = resolve(preset)
    scope = {
        "map": "Share of maximum, each map by itself",
        "trajectory": "Share of maximum, over trajectory, each layer by itself",
    }
    _scope(normalisation)
    scale = Scale(colour_map, scope=scope[normalisation])
    panels: list[Panel] = [Panel(run.image, title="Image")]
    found: list[Selection] = []
    problem: TargetError | None = None
    for layer in run.layers if layers is None else layers:
        word = Selection(run, token, layer, method)
        try:
            shown = word.shown(step, refinement, normalisation)
        except TargetError as error:
            problem = error
            continue
        panel = _panel(run, shown, scale, opacity, layer_title(layer))
        numbers = word.numbers(shown, refinement, normalisation)
        panels.append(replace(panel, numbers=numbers))
        found.append(word)
    if not found:
        raise problem if problem is not None else InputError("no layer was named", "Name one.")
    words = (
        *_answer(run, found[:1]),
        *_when(found[0], found[0].step(step)),
        Span(" " + _sentence([preset_words(refinement), _model(run)])),
    )
    title = f"{found[0].text}, over layers"
    rows = _rows(panels, columns)
    return _save(path, rows, style, width, "full", caption, words, title, found[:1], dpi)


def ladder_figure(
    run: Run,
    token: int | str,
    path: PathLike,
    *,
    step: Step = "commit",
    layer: int | None = None,
    preset: str | Pipeline = "paper",
    method: str | None = None,
    normalisation: Normalisation = "trajectory",
    colour_map: str = DEFAULT,
    opacity: float = OPACITY,
    columns: int | None = None,
    style: str | Style = "acl",
    width: Width | None = None,
    dpi: int = 300,
    caption: bool | str | Text = True,
) -> Path:
    """Draw what each module of a refinement does: raw, then after each enabled stage.

    A stage that only rescales is shown together with the stage before it.

    Other Parameters
    ----------------
    run, token, path, step, layer, preset, method, normalisation, colour_map, opacity, columns,
    style, width, dpi, caption
        As for :func:`layer_figure`.

    Raises
    ------
    TargetError, InputError, ResourceError
        As :func:`token_figure`; also if the preset is "raw".
    """
    from diffcam_core import refinement

    suffix_of(path, _SUFFIXES, "a figure")
    pipeline = refinement.as_pipeline(preset)
    chosen = Selection(run, token, layer, method)
    scale = Scale(colour_map, scope=_scope(normalisation))
    panels: list[Panel] = []
    for name, shown in chosen.stages(step, pipeline, normalisation):
        raw = name == "raw" and not panels
        kind = "" if raw else pipeline[name].kind
        title: str | Text = "Raw" if raw else f"+ {_stage_title(pipeline, name)}"
        # After a rescaling the panel of the stage before it is drawn again: same title, new map.
        if kind == "rescale" and len(panels) > 1:
            title = panels.pop().title
        panel = _panel(run, shown, scale, opacity, title)
        panels.append(replace(panel, numbers=chosen.numbers(shown, pipeline, normalisation)))
    when = chosen.step(step)
    words = (
        *_answer(run, [chosen]),
        *_when(chosen, when),
        Span(
            " "
            + _sentence([layer_title(chosen.layer).lower(), preset_words(pipeline), _model(run)])
        ),
    )
    title = f"{chosen.text}, {pipeline.name} refinement"
    rows = _rows(panels, columns)
    return _save(path, rows, style, width, "full", caption, words, title, [chosen], dpi)


# Parts.


def _panel(run: Run, shown: Shown, scale: Scale, opacity: float, title: str | Text) -> Panel:
    if shown.is_zero:
        return Panel(run.image, shown.pixels, scale, opacity=0.0, title=title, note="all zero")
    return Panel(run.image, shown.pixels, scale, opacity, title=title)


def _save(
    path: PathLike,
    rows: Sequence[Sequence[Panel | None]],
    style: str | Style,
    width: Width | None,
    default: Any,
    caption: bool | str | Text,
    words: Text,
    title: str,
    chosen: Sequence[Selection],
    dpi: int,
    labels: Sequence[Text] = (),
    curves: Curves | None = None,
) -> Path:
    from diffcam_core.figures.sheet import Sheet, save

    page = style_of(style)
    facts: dict[str, Any] = chosen[0].facts()
    facts["words"] = [word.text for word in chosen]
    facts["maps"] = [
        {key: dict(panel.numbers.facts)[key] for key in ("step", "layer", "word", "pipeline")}
        for row in rows
        for panel in row
        if panel is not None and panel.numbers is not None
    ]
    sheet = Sheet(
        tuple(tuple(row) for row in rows),
        page,
        page.width(width, default),
        tuple(labels),
        _caption(caption, words),
        curves,
        title,
        facts,
    )
    return save(sheet, path, dpi)


def _caption(caption: bool | str | Text, words: Text) -> Text:
    if isinstance(caption, bool):
        return words if caption else ()
    return as_text(caption)


def _scope(normalisation: Normalisation) -> str:
    if normalisation not in SCOPES:
        raise InputError(f"there is no normalisation {normalisation!r}", "Use map or trajectory.")
    return SCOPES[normalisation]


def _answer(run: Run, chosen: Sequence[Selection]) -> Text:
    spans = answer_spans(run, chosen)
    return (*spans, Span(" ")) if spans else ()


def _when(chosen: Selection, step: int) -> Text:
    last = chosen.run.n_steps - 1
    which = (Span("Word "), Span(chosen.text, bold=True), Span(" at step "), *_t(step))
    if step == chosen.commit:
        return (*which, Span(f" of 0\u2013{last}, where it is written;"))
    return (*which, Span(f" of 0\u2013{last};"))


def _t(step: int) -> Text:
    # No-break spaces keep the equation on one line.
    return (Span("t", italic=True), Span(f"\u00a0=\u00a0{step}"))


def _sentence(parts: Sequence[str]) -> str:
    return ", ".join(part for part in parts if part) + "."


def _model(run: Run) -> str:
    return f"model {run.model}" if run.model else ""


def _and_circle(frames: str) -> str:
    if frames.startswith("Golden"):
        return "Golden frames and circles mark"
    return "The golden frame and circle mark"


def _rows(panels: Sequence[Panel], columns: int | None) -> list[list[Panel | None]]:
    count = len(panels)
    if columns is None:
        columns = count if count <= 7 else -(-count // (-(-count // 7)))
    if columns < 1:
        raise InputError(f"{columns} columns hold nothing", "Use one or more.")
    return [
        [panels[i] if i < count else None for i in range(at, at + min(columns, count))]
        for at in range(0, count, columns)
    ]


def _steps_of(chosen: Sequence[Selection], steps: int | Sequence[int]) -> list[int]:
    known = sorted({step for word in chosen for step in word.steps()})
    if not known:
        raise TargetError(
            f"the word {chosen[0].text!r} has no map at {layer_title(chosen[0].layer).lower()}",
            "Choose another layer, or resume the run.",
        )
    if not isinstance(steps, int):
        missing = [step for step in steps if step not in known]
        if missing or not steps:
            listed = ", ".join(str(step) for step in known[:40])
            what = f"step {missing[0]} has no map of these words" if missing else "no step is named"
            raise TargetError(what, f"The steps with maps are {listed}.")
        return list(steps)
    if steps < 1:
        raise InputError(f"{steps} steps show nothing", "Use one or more.")
    if len(known) <= steps:
        return known
    picked = {known[i] for i in np.rint(np.linspace(0, len(known) - 1, steps)).astype(int)}
    for word in chosen:
        if word.commit in known and word.commit not in picked:
            # The nearest evenly spread step that is no word's commit step makes room.
            kept = {other.commit for other in chosen} | {known[0], known[-1]}
            free = sorted(picked - kept, key=lambda step: abs(step - word.commit))
            picked -= set(free[:1])
            picked.add(word.commit)
    return sorted(picked)


def _fill_titles(rows: list[list[Panel | None]], steps: Sequence[int], show_image: bool) -> None:
    """Give the title of an empty place in the first row to the highest panel of its column."""
    first = 1 if show_image else 0
    for at, step in enumerate(steps):
        column = first + at
        for row in rows:
            panel = row[column]
            if panel is not None:
                if row is not rows[0]:
                    row[column] = replace(panel, title=_t(step))
                break


def _probabilities(run: Run, chosen: Sequence[Selection]) -> Curves | None:
    from diffcam_core.figures.sheet import Curve, Curves

    table = run.target_probability
    curves = []
    for word in chosen:
        values = table[:, list(word.positions)].astype(np.float64)
        # The probability of the whole word is that of its tokens together.
        joint = np.where(np.isfinite(values).all(axis=1), np.prod(values, axis=1), np.nan)
        curves.append(Curve(word.text, joint.astype(np.float32), word.commit))
    if max(int(np.isfinite(curve.values).sum()) for curve in curves) < 3:
        return None
    return Curves("Probability of the word", tuple(curves))


def _stage_title(pipeline: Pipeline, name: str) -> str:
    stage = pipeline[name]
    known = stage.kind in ("akd", "dacg", "cba", "sicd")
    return stage.name.upper() if known else stage.info.title
