"""From panels to a page: rows and columns, titles, colour bars, curves and the caption."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.figures import colours
from diffcam_core.figures.colours import Scale, tick_labels
from diffcam_core.figures.page import MAX_PIXELS, Box, Page, Picture, Plot, baseline_of
from diffcam_core.figures.panels import Panel, ViewFigure, difference_panel
from diffcam_core.figures.saving import suffix_of
from diffcam_core.figures.styles import (
    COMMIT,
    CURVES,
    DASHES,
    INK,
    MM_PER_INCH,
    PT,
    QUIET,
    Style,
    style_of,
)
from diffcam_core.figures.text import Span, Text, as_text, coloured, plain
from diffcam_core.figures.typeset import LEADING, Line, break_lines, height_of
from diffcam_core.whole_files import write_whole

FloatArray = npt.NDArray[np.float32]
SUFFIXES = ("pdf", "svg", "png")
_TALLEST = 1.3
_CASING = "#0000008C"


@dataclass(frozen=True, eq=False)
class Curve:
    """One value per step; NaN where there is none. ``mark`` is the step of the golden circle."""

    label: str
    values: FloatArray
    mark: int | None = None


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves below the panels with one axis: ``title`` says what goes up."""

    title: str
    curves: tuple[Curve, ...]
    y_range: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure before it is laid out: rows of panels (None leaves a place empty)."""

    rows: tuple[tuple[Panel | None, ...], ...]
    style: Style
    width: float
    labels: tuple[Text, ...] = ()
    caption: Text = ()
    curves: Curves | None = None
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    cuts: Mapping[int, tuple[Panel, float]] = field(default_factory=dict)
    """Flat index of a panel -> the panel right of the wipe line and the line's place."""


def save(sheet: Sheet, path: str | os.PathLike[str], dpi: int = 300) -> Path:
    """Lay a figure out and write it; the suffix decides the kind.

    Raises
    ------
    InputError
        If the suffix is unknown, the resolution cannot be drawn, or the folder not written to.
    ResourceError
        If the disk is full.
    """
    kind = suffix_of(path, SUFFIXES, "a figure")
    if not 30 <= dpi <= 2400:
        raise InputError(f"{dpi} dots per inch cannot be drawn", "Use 30 to 2400.")
    page = lay_out(sheet)
    if kind == "png" and page.width * page.height * (dpi / MM_PER_INCH) ** 2 > MAX_PIXELS:
        raise InputError("the picture would be too large", "Use fewer dots per inch.")
    return write_whole(path, page.render(kind, dpi, sheet.title, sheet.facts))


def export_view(view: ViewFigure, path: str | os.PathLike[str]) -> Path:
    """Write what the canvas shows as a figure with colour bar and caption.

    Parameters
    ----------
    view : ViewFigure
    path : path-like
        Ends with .png, .svg or .pdf.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the view has nothing to draw, or for reasons as in :func:`save`.
    ResourceError
        If the disk is full.
    """
    suffix_of(path, SUFFIXES, "a figure")
    return save(sheet_of(view), path, view.dpi)


def sheet_of(view: ViewFigure) -> Sheet:
    """Arrange a view's panels in rows."""
    if not view.panels:
        raise InputError("there is nothing to export", "Open a run and choose a word.")
    style = style_of(view.style)
    panels = list(view.panels)
    cuts: dict[int, tuple[Panel, float]] = {}
    if view.mode in ("wipe", "difference") and len(panels) >= 2:
        first, second = panels[:2]
        if view.mode == "difference":
            panels = [difference_panel(first, second, view.difference)]
        else:
            panels = [first]
            cuts[0] = (second, min(1.0, max(0.0, view.wipe)))
    elif view.mode == "single":
        panels = panels[:1]
    count = len(panels)
    columns = view.columns or {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(count, 4)
    columns = max(1, min(columns, count))
    padded: list[Panel | None] = [*panels, *([None] * (-count % columns))]
    rows = tuple(tuple(padded[at : at + columns]) for at in range(0, len(padded), columns))
    width = style.width(view.width, "column" if columns <= 2 else "full")
    return Sheet(
        rows,
        style,
        width,
        caption=as_text(view.caption),
        title=view.title or plain(panels[0].heading).replace("\n", "; "),
        facts=view.facts,
        cuts=cuts,
    )


# Layout.


def lay_out(sheet: Sheet) -> Page:
    """Place everything; nothing is drawn yet."""
    return _Layout(sheet).page()


class _Layout:
    """Measures and places one sheet; lengths in millimetres."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.style = sheet.style
        self.unit = sheet.style.unit
        self.out = Page(sheet.style, sheet.width)
        self.gap = 1.6 * self.unit
        self.columns = max(len(row) for row in sheet.rows)
        shown = [p for row in sheet.rows for p in row if p is not None]
        shown += [panel for panel, _ in sheet.cuts.values()]
        scales = {p.scale for p in shown if p.values is not None}
        self.shared = next(iter(scales)) if len(scales) == 1 else None
        self.each = len(scales) > 1
        self.tallest = max(p.size[1] / p.size[0] for p in shown)

    def page(self) -> Page:
        """Place everything and close the page."""
        sheet = self.sheet
        left = 0.0
        labels = [break_lines(text, self.style, self.style.size, None) for text in sheet.labels]
        if labels:
            left = max(line.width for lines in labels for line in lines) + 2.0 * self.unit
        cell, bar = self._cell_width(left)
        cell_height = cell * min(self.tallest, _TALLEST)
        block = self.columns * cell + (self.columns - 1) * self.gap
        start = left + max(0.0, (sheet.width - left - bar - block) / 2)
        titled = any(p is not None and (p.heading or p.note) for p in sheet.rows[0])
        y = 0.0 if titled else 0.5 * self.unit
        top_of_maps: float | None = None
        bottom_of_maps = 0.0
        for number, row in enumerate(sheet.rows):
            y += self._titles(row, number, start, cell, y)
            if top_of_maps is None:
                top_of_maps = y
            below = 0.0
            for column, panel in enumerate(row):
                if panel is None:
                    continue
                box = self._inside(
                    panel, Box(start + column * (cell + self.gap), y, cell, cell_height)
                )
                self._picture(panel, box, number * self.columns + column)
                if self.each and panel.values is not None:
                    below = max(below, self._bar_below(panel.scale, box))
            if labels:
                size = self.style.size
                lines = labels[number]
                middle = y + cell_height / 2 - height_of(lines, size) / 2
                for at, line in enumerate(lines):
                    self.out.text(
                        line,
                        0.0,
                        baseline_of(middle, at, size),
                        width=left - 2.0 * self.unit,
                        align=1.0,
                    )
            bottom_of_maps = y + cell_height
            y += cell_height + below + (self.gap if number + 1 < len(sheet.rows) else 0.0)
        if self.shared is not None and top_of_maps is not None:
            self._bar_right(self.shared, start + block, top_of_maps, bottom_of_maps)
            if not self._scope_beside(self.shared, bottom_of_maps - top_of_maps):
                y = self._scope_below(self.shared, start, block + bar, y)
        if sheet.curves is not None:
            y = self._curves(sheet.curves, y, start, bar)
        y = self._caption(y)
        self.out.height = y + 0.6 * self.unit
        return self.out

    # Cells.

    def _cell_width(self, left: float) -> tuple[float, float]:
        """Width of a cell and of the colour bar at the right; both depend on the other's height."""
        rows = len(self.sheet.rows)
        bar = 0.0
        cell = 0.0
        # The bar only grows from turn to turn, so that the cells never overlap it.
        for _ in range(6):
            room = self.sheet.width - left - bar - self.gap * (self.columns - 1)
            cell = room / self.columns
            if self.columns == 1 and rows == 1:
                cell = min(cell, cell * _TALLEST / max(self.tallest, _TALLEST))
            if self.shared is None:
                break
            height = rows * cell * min(self.tallest, _TALLEST) + (rows - 1) * self.gap
            needed = self._bar_width(self.shared, height)
            if needed <= bar:
                break
            bar = needed
        if cell < 4.0:
            raise InputError(
                f"{self.columns} panels do not fit into {self.sheet.width:g} mm",
                "Use a wider figure or fewer panels.",
            )
        return cell, bar

    def _inside(self, panel: Panel, cell: Box) -> Box:
        """Largest box of the picture's proportions in a cell, centred."""
        ratio = panel.size[1] / panel.size[0]
        width = min(cell.width, cell.height / ratio)
        height = width * ratio
        return Box(
            cell.x + (cell.width - width) / 2, cell.y + (cell.height - height) / 2, width, height
        )

    def _titles(
        self, row: Sequence[Panel | None], number: int, start: float, cell: float, y: float
    ) -> float:
        """Titles of a row, their last lines level; returns the height they take."""
        size = self.style.size
        found: dict[int, list[Line]] = {}
        heads = {
            column: panel.heading
            for column, panel in enumerate(row)
            if panel is not None and (panel.heading or panel.note)
        }
        for column, head in heads.items():
            panel = row[column]
            assert panel is not None
            if panel.note:
                head = (*head, Span(f" {panel.note}" if head else panel.note, colour=QUIET))
            cut = self.sheet.cuts.get(number * self.columns + column)
            room = cell if cut is None else cell * cut[1] - 1.0
            found[column] = break_lines(head, self.style, size, max(8.0, room))
        others = {
            column: break_lines(
                self.sheet.cuts[number * self.columns + column][0].heading,
                self.style,
                size,
                max(8.0, cell * (1 - self.sheet.cuts[number * self.columns + column][1]) - 1.0),
            )
            for column in heads
            if number * self.columns + column in self.sheet.cuts
        }
        every = [*found.values(), *others.values()]
        if not every:
            return 0.0
        most = max(len(lines) for lines in every)
        centred = self.columns > 2
        for column, lines in found.items():
            x = start + column * (cell + self.gap)
            cut = self.sheet.cuts.get(number * self.columns + column)
            for at, line in enumerate(lines):
                base = baseline_of(y, most - len(lines) + at, size)
                width = cell if cut is None else cell * cut[1]
                self.out.text(line, x, base, width=width, align=0.5 if centred else 0.0)
        for column, lines in others.items():
            x = start + column * (cell + self.gap)
            for at, line in enumerate(lines):
                base = baseline_of(y, most - len(lines) + at, size)
                self.out.text(line, x, base, width=cell, align=1.0)
        return most * size * LEADING * PT + 0.5 * self.unit

    def _picture(self, panel: Panel, box: Box, flat: int) -> None:
        cut = self.sheet.cuts.get(flat)
        compose = panel.compose
        if cut is not None:
            second, share = cut

            def compose(width: int = 0, height: int = 0) -> npt.NDArray[np.uint8]:
                left = panel.compose(width, height)
                right = second.compose(left.shape[1], left.shape[0])
                at = round(share * left.shape[1])
                return np.concatenate([left[:, :at], right[:, at:]], axis=1)

            x = box.x + share * box.width
            self.out.line(x, box.y, x, box.y + box.height, "#0B0C0E", 1.6)
            self.out.line(x, box.y, x, box.y + box.height, "#FFFFFF", 0.8)
        size = np.array(panel.size, np.float32)
        thin = 0.75 * self.unit
        lines: list[tuple[FloatArray, str, float, tuple[float, ...]]] = []
        for outline in panel.regions:
            points = np.asarray(outline, np.float32) / size
            lines.append((points, _CASING, 2.2 * thin, ()))
            lines.append((points, "#FFFFFF", 1.0 * thin, (3.0 * thin, 2.2 * thin)))
        lines += [
            (np.asarray(line, np.float32) / size, "#45BFF2", 1.2 * thin, ())
            for line in panel.contour
        ]
        self.out.pictures.append(Picture(box, compose, tuple(lines)))
        if panel.framed:
            half = 0.5 * PT
            frame = Box(box.x - half, box.y - half, box.width + 2 * half, box.height + 2 * half)
            self.out.frames.append((frame, COMMIT, 1.0 * max(1.0, self.unit)))

    # Colour bars.

    def _labels(self, scale: Scale, height: float) -> list[tuple[float, Line]]:
        count = 5 if height >= 22 * self.unit else 3
        small = self.style.small_size
        return [
            (share, break_lines((Span(text),), self.style, small, None)[0])
            for share, text in tick_labels(scale, count)
        ]

    def _bar_width(self, scale: Scale, height: float) -> float:
        small = self.style.small_size
        wide = max(line.width for _, line in self._labels(scale, height))
        scope = self._scope_beside(scale, height)
        beside = 1.2 * self.unit + len(scope) * small * LEADING * PT if scope else 0.0
        return (1.8 + 2.4 + 0.9 + 0.5) * self.unit + wide + beside

    def _scope_beside(self, scale: Scale, height: float) -> list[Line]:
        """Lines of the sentence turned beside the bar; none if it needs more than two."""
        words = (Span(scale.scope, colour=QUIET),)
        lines = break_lines(words, self.style, self.style.small_size, height)
        return lines if len(lines) <= 2 else []

    def _scope_below(self, scale: Scale, x: float, width: float, y: float) -> float:
        """Set the sentence in a line under the maps, at the bar's side; returns the new bottom."""
        small = self.style.small_size
        y += 0.5 * self.unit
        lines = break_lines((Span(scale.scope, colour=QUIET),), self.style, small, width)
        for at, line in enumerate(lines):
            self.out.text(line, x, baseline_of(y, at, small), width=width, align=1.0)
        return y + height_of(lines, small)

    def _bar_right(self, scale: Scale, x: float, top: float, bottom: float) -> None:
        """Vertical bar over the full height of the maps, its sentence turned beside it."""
        unit, small = self.unit, self.style.small_size
        height = bottom - top
        x += 1.8 * unit
        thick, tick = 2.4 * unit, 0.9 * unit
        self._strip(scale, Box(x, top, thick, height), vertical=True)
        half = 0.34 * small * PT
        widest = 0.0
        for share, line in self._labels(scale, height):
            y = bottom - share * height
            inset = self.style.line * PT / 2
            edge = min(bottom - inset, max(top + inset, y))
            self.out.line(x + thick, edge, x + thick + tick, edge, INK, self.style.line)
            # The end labels stay inside the block, so that nothing meets titles or curves.
            base = min(bottom, max(top + 2 * half, y + half))
            self.out.text(line, x + thick + tick + 0.5 * unit, base)
            widest = max(widest, line.width)
        x += thick + tick + 0.5 * unit + widest + 1.2 * unit
        for at, line in enumerate(self._scope_beside(scale, height)):
            free = height - line.width
            self.out.text(
                line, baseline_of(x, at, small) - 0.12 * small * PT, bottom - free / 2, angle=90
            )

    def _bar_below(self, scale: Scale, box: Box) -> float:
        """Horizontal bar under one panel; returns the height it takes."""
        unit, small = self.unit, self.style.small_size
        top = box.y + box.height + 1.4 * unit
        thick, tick = 1.8 * unit, 0.8 * unit
        self._strip(scale, Box(box.x, top, box.width, thick), vertical=False)
        labels = tick_labels(scale, 3)
        base = baseline_of(top + thick + tick, 0, small)
        for share, text in labels:
            (line,) = break_lines((Span(text),), self.style, small, None)
            x = box.x + share * box.width
            inset = self.style.line * PT / 2
            edge = min(box.x + box.width - inset, max(box.x + inset, x))
            self.out.line(edge, top + thick, edge, top + thick + tick, INK, self.style.line)
            left = min(box.x + box.width - line.width, max(box.x, x - line.width / 2))
            self.out.text(line, left, base)
        y = top + thick + tick + small * LEADING * PT
        scope = break_lines((Span(scale.scope, colour=QUIET),), self.style, small, box.width)
        for at, line in enumerate(scope):
            self.out.text(line, box.x, baseline_of(y, at, small), width=box.width, align=0.5)
        return y + height_of(scope, small) - box.y - box.height

    def _strip(self, scale: Scale, box: Box, *, vertical: bool) -> None:
        colours_of = colours.table(scale.colour_map)

        def compose(width: int = 0, height: int = 0) -> npt.NDArray[np.uint8]:
            length = (height if vertical else width) or 256
            order = np.rint(np.linspace(0, 255, length)).astype(np.int64)
            strip = colours_of[order]
            across = max(1, width if vertical else height)
            if vertical:
                return np.repeat(strip[::-1, None, :], across, axis=1)
            return np.repeat(strip[None, :, :], across, axis=0)

        self.out.pictures.append(Picture(box, compose))

    # Curves and caption.

    def _curves(self, curves: Curves, y: float, start: float, bar: float) -> float:
        style, unit, small = self.style, self.unit, self.style.small_size
        y += 5.6 * unit
        height = 20.0 * unit
        low, high = curves.y_range
        y_labels = [
            break_lines((Span(f"{low + (high - low) * i / 2:g}"),), style, small, None)[0]
            for i in range(3)
        ]
        names = [
            break_lines((Span(c.label, bold=True),), style, small, None)[0] for c in curves.curves
        ]
        widest_name = max(line.width for line in names)
        indent = max(line.width for line in y_labels) + 1.6 * unit
        x = max(start, indent)
        right = self.sheet.width - max(widest_name + 2.5 * unit, bar)
        box = Box(x, y, right - x, height)
        steps = max(len(curve.values) for curve in curves.curves)
        last = max(1, steps - 1)
        drawn = tuple(
            (
                np.asarray(curve.values, np.float32),
                CURVES[i % len(CURVES)],
                DASHES[i % len(DASHES)],
            )
            for i, curve in enumerate(curves.curves)
        )
        points = tuple(
            (float(curve.mark), float(curve.values[curve.mark]))
            for curve in curves.curves
            if curve.mark is not None
            and 0 <= curve.mark < len(curve.values)
            and np.isfinite(curve.values[curve.mark])
        )
        self.out.plots.append(
            Plot(box, drawn, points, COMMIT, (0, last), (low, high), 1.5 * style.line)
        )
        half = 0.34 * small * PT
        for i, line in enumerate(y_labels):
            at = y + height * (1 - i / 2)
            self.out.line(x - 0.9 * unit, at, x, at, INK, style.line)
            self.out.text(line, x - 1.6 * unit - line.width, at + half)
        for step in _step_ticks(last):
            at = x + box.width * step / last
            self.out.line(at, y + height, at, y + height + 0.9 * unit, INK, style.line)
            (line,) = break_lines((Span(str(step)),), style, small, None)
            base = baseline_of(y + height + 0.9 * unit, 0, small)
            self.out.text(line, at - line.width / 2, base)
        title = break_lines((Span(curves.title),), style, small, None)[0]
        self.out.text(title, x + 1.2 * unit, y - 0.9 * unit)
        below = (Span("Denoising step "), Span("t", italic=True))
        (axis,) = break_lines(below, style, small, None)
        bottom = y + height + 0.9 * unit + small * LEADING * PT
        self.out.text(axis, x, baseline_of(bottom, 0, small), width=box.width, align=0.5)
        self._end_labels(curves, drawn, box)
        return bottom + small * LEADING * PT

    def _end_labels(
        self, curves: Curves, drawn: Sequence[tuple[FloatArray, str, tuple[float, ...]]], box: Box
    ) -> None:
        """Names at the curves' right ends, moved apart where they would meet."""
        small = self.style.small_size
        low, high = curves.y_range
        pitch = 1.05 * small * PT
        wanted: list[tuple[float, int]] = []
        for i, (values, _, _) in enumerate(drawn):
            known = np.flatnonzero(np.isfinite(values))
            value = float(values[known[-1]]) if known.size else low
            wanted.append((box.y + box.height * (1 - (value - low) / (high - low)), i))
        wanted.sort()
        heights: list[float] = []
        for y, _ in wanted:
            heights.append(max(y, heights[-1] + pitch) if heights else y)
        overflow = max(0.0, heights[-1] - (box.y + box.height)) if heights else 0.0
        for y, (_, i) in zip(heights, wanted, strict=True):
            words = coloured((Span(curves.curves[i].label, bold=True),), drawn[i][1])
            (line,) = break_lines(words, self.style, small, None)
            base = y - overflow + 0.34 * small * PT
            self.out.text(line, box.x + box.width + 1.6 * self.unit, base)

    def _caption(self, y: float) -> float:
        if not self.sheet.caption:
            return y
        size = self.style.caption_size
        y += 1.8 * self.unit
        lines = break_lines(self.sheet.caption, self.style, size, self.sheet.width)
        for at, line in enumerate(lines):
            base = baseline_of(y, at, size)
            self.out.text(line, 0.0, base, width=self.sheet.width, justify=True)
        return y + height_of(lines, size)


def _step_ticks(last: int) -> list[int]:
    """Round step numbers from 0 to the last, about seven of them."""
    pitch = next(p for p in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if last / p <= 8)
    return list(range(0, last + 1, pitch))


def with_caption(sheet: Sheet, caption: Text) -> Sheet:
    """Return the sheet with another caption."""
    return replace(sheet, caption=caption)
