"""A page in millimetres, and its rendering to PNG, SVG and PDF with matplotlib's own objects.

Things are placed from the top left corner. Matplotlib's settings are process-wide, so drawing
holds a lock and puts them back: no setting of the caller changes a figure, nor the other way.

Decisions
---------
PDF: fonts are embedded as TrueType subsets (type 42). SVG: text stays text, and the letters that
occur travel in the file as web fonts, so it looks alike everywhere and stays editable. Pictures go
into both without loss at their native resolution; in PNG they are enlarged to the pixels of the
file before they are coloured, as on the screen. No file holds a date: same input, same bytes.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from fontTools import subset  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image, PngImagePlugin

from diffcam_core.figures.styles import MM_PER_INCH, PT, PT_PER_INCH, Style, settings
from diffcam_core.figures.typeset import LEADING, Line, Piece

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Compose = Callable[[int, int], ByteArray]
"""Pixels (height, width, 3) of a picture at a width and height; (0, 0) asks for the native ones."""

_LOCK = threading.Lock()
_PRODUCER = "Diffusion-CAM Studio"
MAX_PIXELS = 100_000_000


@contextmanager
def _drawing(style: Style) -> Iterator[None]:
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcParams.update(settings(style))
        yield


@dataclass(frozen=True)
class Box:
    """Left, top, width and height in millimetres."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels on the page with lines over them (x, y in shares of the picture)."""

    box: Box
    compose: Compose
    lines: tuple[tuple[FloatArray, str, float, tuple[float, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Plot:
    """Curves over steps: (values, colour, dash, label), marked points, limits."""

    box: Box
    curves: tuple[tuple[FloatArray, str, tuple[float, ...]], ...]
    points: tuple[tuple[float, float], ...]
    point_colour: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    line_width: float


@dataclass(eq=False)
class Page:
    """What stands on a page, collected before anything is drawn."""

    style: Style
    width: float
    height: float = 0.0
    pictures: list[Picture] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    texts: list[tuple[Piece, float, float, float]] = field(default_factory=list)
    strokes: list[tuple[float, float, float, float, str, float]] = field(default_factory=list)
    frames: list[tuple[Box, str, float]] = field(default_factory=list)

    # Placing.

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, points: float) -> None:
        """Draw a straight line, its width in points."""
        self.strokes.append((x1, y1, x2, y2, colour, points))

    def piece(self, piece: Piece, x: float, baseline: float, angle: float = 0.0) -> None:
        """Set one piece of text with its origin at a point; angle counter-clockwise in degrees."""
        self.texts.append((piece, x, baseline, angle))

    def text(
        self,
        line: Line,
        x: float,
        baseline: float,
        *,
        width: float | None = None,
        align: float = 0.0,
        justify: bool = False,
        angle: float = 0.0,
    ) -> None:
        """Set a line of text.

        Parameters
        ----------
        line : Line
        x, baseline : float
            Where it starts; with ``angle`` 90 it runs upward from there.
        width : float, optional
            Room in millimetres, for alignment.
        align : float
            0 left, 0.5 centred, 1 right.
        justify : bool
            Widen the spaces to fill ``width``.
        angle : {0, 90}
        """
        space = line.space
        free = 0.0 if width is None else width - line.width
        gaps = len(line.words) - 1
        if justify and not line.last and gaps and free / gaps <= 0.9 * space + 0.6:
            space, free = space + free / gaps, 0.0
        at = free * align if not justify else 0.0
        for word in line.words:
            for piece in word:
                if angle:
                    self.piece(piece, x, baseline - at, angle)
                else:
                    self.piece(piece, x + at, baseline)
                at += piece.width
            at += space

    def smallest_type(self) -> float:
        """Return the smallest type size on the page in points (0 without text)."""
        return min((piece.size for piece, *_ in self.texts), default=0.0)

    def outside(self) -> list[str]:
        """Return the texts that leave the page; a well-made page has none."""
        found = []
        for piece, x, baseline, angle in self.texts:
            high = 0.75 * piece.size * PT
            left, top, right, bottom = (
                (x - high, baseline - piece.width, x, baseline)
                if angle
                else (x, baseline - high, x + piece.width, baseline)
            )
            edge = -0.05
            if left < edge or top < edge or right > self.width - edge or bottom > self.height:
                found.append(piece.text)
        return found

    # Rendering.

    def render(self, kind: str, dpi: int, title: str, facts: Mapping[str, Any]) -> bytes:
        """Return the bytes of a file of a kind ("png", "svg" or "pdf")."""
        with _drawing(self.style):
            if kind == "png":
                return self._png(dpi, title, facts)
            if kind == "svg":
                return self._svg(title, facts)
            return self._pdf(title, facts)

    def _figure(self, width: float, height: float, dpi: float) -> Any:
        return Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH), dpi=dpi)

    def _png(self, dpi: int, title: str, facts: Mapping[str, Any]) -> bytes:
        scale = dpi / MM_PER_INCH
        columns, rows = round(self.width * scale), int(np.ceil(self.height * scale - 1e-6))
        figure = self._figure(columns / scale, rows / scale, dpi)
        canvas = FigureCanvasAgg(figure)
        for picture in self.pictures:
            left, top = round(picture.box.x * scale), round(picture.box.y * scale)
            width = max(1, round((picture.box.x + picture.box.width) * scale) - left)
            height = max(1, round((picture.box.y + picture.box.height) * scale) - top)
            pixels = picture.compose(width, height)
            figure.figimage(pixels[::-1], left, rows - top - height, origin="lower", zorder=0)
            self._lines_over(
                figure,
                picture,
                (left / columns, (rows - top - height) / rows, width / columns, height / rows),
            )
        self._draw_rest(figure, columns / scale, rows / scale)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Title", title)
        info.add_text("Software", _PRODUCER)
        info.add_itxt("Description", _facts_line(facts))
        stream = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            stream, "PNG", dpi=(dpi, dpi), pnginfo=info, compress_level=6
        )
        return stream.getvalue()

    def _pdf(self, title: str, facts: Mapping[str, Any]) -> bytes:
        figure = self._figure(self.width, self.height, PT_PER_INCH)
        FigureCanvasPdf(figure)
        self._draw_vector(figure)
        stream = BytesIO()
        metadata = {
            "Title": title,
            "Subject": _facts_line(facts),
            "Creator": _PRODUCER,
            "Producer": f"matplotlib {matplotlib.__version__}",
            "CreationDate": None,
        }
        figure.savefig(stream, format="pdf", metadata=metadata)
        return stream.getvalue()

    def _svg(self, title: str, facts: Mapping[str, Any]) -> bytes:
        figure = self._figure(self.width, self.height, PT_PER_INCH)
        FigureCanvasSVG(figure)
        self._draw_vector(figure)
        stream = BytesIO()
        metadata = {
            "Title": title,
            "Description": _facts_line(facts),
            "Creator": _PRODUCER,
            "Date": None,
        }
        figure.savefig(stream, format="svg", metadata=metadata)
        source = stream.getvalue().decode("utf-8")
        # Exact size in print units; the view box stays in points.
        source = re.sub(
            r'(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"|(<svg[^>]*?) height="[^"]*"'
            r'([^>]*?) width="[^"]*"',
            lambda m: (
                (m[1] or m[3])
                + f' width="{self.width:.4f}mm"'
                + (m[2] or m[4] or "")
                + f' height="{self.height:.4f}mm"'
            ),
            source,
            count=1,
        )
        rules = "".join(self._web_fonts())
        style = f'<style type="text/css">{rules}</style>'
        return source.replace("<defs>", f"<defs>\n  {style}", 1).encode("utf-8")

    def _draw_vector(self, figure: Any) -> None:
        for picture in self.pictures:
            box = picture.box
            place = (
                box.x / self.width,
                1 - (box.y + box.height) / self.height,
                box.width / self.width,
                box.height / self.height,
            )
            axes = figure.add_axes(place, zorder=0)
            axes.set_axis_off()
            pixels = picture.compose(0, 0)
            axes.imshow(
                pixels, extent=(0, 1, 1, 0), aspect="auto", interpolation="none", resample=False
            )
            self._lines_over(figure, picture, place)
        self._draw_rest(figure, self.width, self.height)

    @staticmethod
    def _lines_over(
        figure: Any, picture: Picture, place: tuple[float, float, float, float]
    ) -> None:
        if not picture.lines:
            return
        axes = figure.add_axes(place, zorder=1)
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(1, 0)
        for points, colour, width, dash in picture.lines:
            line = Line2D(
                points[:, 0],
                points[:, 1],
                color=colour,
                linewidth=width,
                solid_joinstyle="round",
                dash_capstyle="butt",
            )
            if dash:
                line.set_linestyle((0, tuple(part / width for part in dash)))
            axes.add_line(line)

    def _draw_rest(self, figure: Any, width: float, height: float) -> None:
        """Lines, frames, curves and text; the size may exceed the page by part of a pixel."""
        for x1, y1, x2, y2, colour, points in self.strokes:
            figure.add_artist(
                Line2D(
                    (x1 / width, x2 / width),
                    (1 - y1 / height, 1 - y2 / height),
                    transform=figure.transFigure,
                    color=colour,
                    linewidth=points,
                    solid_capstyle="butt",
                    zorder=3,
                )
            )
        for box, colour, points in self.frames:
            figure.add_artist(
                Rectangle(
                    (box.x / width, 1 - (box.y + box.height) / height),
                    box.width / width,
                    box.height / height,
                    transform=figure.transFigure,
                    fill=False,
                    edgecolor=colour,
                    linewidth=points,
                    joinstyle="miter",
                    zorder=3,
                )
            )
        for plot in self.plots:
            self._draw_plot(figure, plot, width, height)
        for piece, x, baseline, angle in self.texts:
            figure.text(
                x / width,
                1 - baseline / height,
                piece.text,
                fontproperties=_properties(piece.font, piece.size),
                color=piece.colour,
                rotation=angle,
                rotation_mode="anchor",
                ha="left",
                va="baseline",
                parse_math=False,
                zorder=5,
            )

    @staticmethod
    def _draw_plot(figure: Any, plot: Plot, width: float, height: float) -> None:
        box = plot.box
        axes = figure.add_axes(
            (
                box.x / width,
                1 - (box.y + box.height) / height,
                box.width / width,
                box.height / height,
            ),
            zorder=2,
        )
        axes.set_xlim(*plot.x_range)
        axes.set_ylim(*plot.y_range)
        axes.set_xticks([])
        axes.set_yticks([])
        for values, colour, dash in plot.curves:
            steps = np.flatnonzero(np.isfinite(values))
            (line,) = axes.plot(
                steps, values[steps], color=colour, linewidth=plot.line_width, clip_on=False
            )
            if dash:
                line.set_linestyle((0, dash))
        for x, y in plot.points:
            axes.plot(
                [x],
                [y],
                marker="o",
                markersize=4.2 * plot.line_width / 1.2,
                markerfacecolor="white",
                markeredgecolor=plot.point_colour,
                markeredgewidth=plot.line_width,
                clip_on=False,
                zorder=6,
            )

    def _web_fonts(self) -> Iterator[str]:
        letters: dict[str, set[str]] = {}
        for piece, *_ in self.texts:
            letters.setdefault(piece.font, set()).update(piece.text)
        for font in sorted(letters):
            data = _subset(font, "".join(sorted(letters[font])))
            if data:
                family, weight, slant = _names(font)
                source = base64.b64encode(data).decode("ascii")
                yield (
                    f"@font-face{{font-family:'{family}';font-weight:{weight};font-style:{slant};"
                    f"src:url(data:font/ttf;base64,{source}) format('truetype');}}"
                )


def baseline_of(top: float, number: int, size: float) -> float:
    """Return the baseline in millimetres of line ``number`` of a block that starts at ``top``."""
    return top + (number * LEADING + 0.94) * size * PT


def _facts_line(facts: Mapping[str, Any]) -> str:
    return json.dumps(dict(facts), ensure_ascii=True, sort_keys=True, default=str)


def _names(font: str) -> tuple[str, int | str, Literal["normal", "italic"]]:
    table = font_manager.get_font(font)
    style = table.style_name.lower()
    weight: int | str = 600 if "semi" in style else "bold" if "bold" in style else 400
    return table.family_name, weight, "italic" if "italic" in style or "obl" in style else "normal"


def _properties(font: str, size: float) -> Any:
    family, weight, slant = _names(font)
    generic = "serif" if "STIX" in family else "sans-serif"
    near = ["Times New Roman", "Times"] if generic == "serif" else ["Helvetica", "Arial"]
    return font_manager.FontProperties(
        family=[family, *near], weight=weight, style=slant, size=size, fname=font
    )


def _subset(font: str, letters: str) -> bytes:
    """Return a font with only some letters, or nothing for a collection of fonts."""
    with open(font, "rb") as file:  # noqa: PTH123 - the first bytes decide
        if file.read(4) == b"ttcf":
            return b""
    options = subset.Options()
    options.hinting = False
    options.notdef_outline = True
    options.recalc_timestamp = False
    options.drop_tables = [*options.drop_tables, "FFTM"]
    table = TTFont(font, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=letters)
    subsetter.subset(table)
    stream = BytesIO()
    table.save(stream)
    return stream.getvalue()
