"""What a figure shows, as frozen data: panels, their maps in numbers, and the view of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.figures import colours
from diffcam_core.figures.colours import MINUS, Scale
from diffcam_core.figures.styles import Style, Width
from diffcam_core.figures.text import Span, Text, as_text

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
Mode = Literal["single", "tile", "wipe", "difference"]


@dataclass(frozen=True, eq=False)
class MapNumbers:
    """The numbers behind one panel, for a data file.

    Parameters
    ----------
    native : float32 (rows, cols)
        The map as shown, on its token grid.
    rectangles : float32 (rows, cols, 4)
        x0, y0, x1, y1 of each cell in pixels of the original image.
    raw : float32 (rows, cols), optional
        The map as computed, in native units.
    facts : mapping
        What JSON can hold: run, step, layer, token, word, method, pipeline, ranges, versions.
    """

    native: FloatArray
    rectangles: FloatArray
    raw: FloatArray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays that do not lie on one grid.

        Raises
        ------
        InputError
            If their shapes differ.
        """
        shape = np.shape(self.native)
        raw_fits = self.raw is None or np.shape(self.raw) == shape
        if len(shape) != 2 or np.shape(self.rectangles) != (*shape, 4) or not raw_fits:
            raise InputError("the map, its raw values and its cells are not on one grid")


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture with its map.

    Parameters
    ----------
    image : uint8 (H, W, 3), optional
        The picture; without it the map stands alone.
    values : float32 (h, w), optional
        Map over the whole picture at any resolution; NaN counts as the low end. Without it the
        picture stands alone.
    scale : Scale
    opacity : float
        Share of the map in the mixture, 0 to 1.
    alpha_by_value, grey_image : bool
        Opacity grows with the map; picture below the map in grey.
    title : str or spans
        Over the panel.
    letter : str
        By which the caption and a difference name the panel among others, such as "A".
    note : str
        Small line over the panel's right end, such as "all zero".
    regions, contour : tuple of float32 (n, 2)
        Outlines of objects and threshold lines, x and y in image pixels.
    framed : bool
        Golden frame: the step at which the word was written.
    numbers : MapNumbers, optional
        For :func:`~diffcam_core.figures.export_data`.
    """

    image: ByteArray | None = None
    values: FloatArray | None = None
    scale: Scale = field(default_factory=Scale)
    opacity: float = 0.6
    alpha_by_value: bool = False
    grey_image: bool = False
    title: str | Text = ""
    letter: str = ""
    note: str = ""
    regions: tuple[FloatArray, ...] = ()
    contour: tuple[FloatArray, ...] = ()
    framed: bool = False
    numbers: MapNumbers | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises
        ------
        InputError
            If there is neither picture nor map, or an array has another shape or type.
        """
        if self.image is None and self.values is None:
            raise InputError("a panel has neither a picture nor a map")
        if self.image is not None and (
            self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8
        ):
            raise InputError("the picture of a panel is not uint8 (H, W, 3)")
        if self.values is not None and (self.values.ndim != 2 or self.values.size == 0):
            raise InputError("the map of a panel is not (H, W)")
        if not 0.0 <= self.opacity <= 1.0:
            raise InputError(f"an opacity of {self.opacity:g} is not a share", "Use 0 to 1")

    @property
    def heading(self) -> Text:
        """The title, after the letter where there is one."""
        title = as_text(self.title)
        if not self.letter:
            return title
        return (Span(f"{self.letter}: " if title else self.letter, bold=True), *title)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in image pixels."""
        source = self.image if self.image is not None else self.values
        assert source is not None
        return int(source.shape[1]), int(source.shape[0])

    def compose(self, width: int = 0, height: int = 0) -> ByteArray:
        """Return uint8 (height, width, 3); without a size at the picture's own resolution."""
        if not width or not height:
            width, height = self.size
        ground: ByteArray | None = None
        if self.image is not None:
            image = self.image
            if self.grey_image:
                grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
                image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
            ground = np.asarray(colours.resample(image, width, height), np.uint8)
        if self.values is None:
            assert ground is not None
            return ground
        values = np.asarray(self.values, np.float32)
        fine = np.asarray(colours.resample(values, width, height), np.float32)
        if ground is None:
            return colours.colourise(fine, self.scale)
        return colours.blend(
            ground, fine, self.scale, self.opacity, alpha_by_value=self.alpha_by_value
        )


@dataclass(frozen=True, eq=False)
class ViewFigure:
    """What the window's canvas shows now.

    Parameters
    ----------
    panels : tuple of Panel
        One for "single"; any number for "tile"; two for "wipe" (left, right) and "difference"
        (the second minus the first, unless one ready-made panel of differences is given).
    mode : {"single", "tile", "wipe", "difference"}
        Blinking panels are exported as tiles: paper does not blink.
    columns : int, optional
        Of tiles.
    wipe : float
        Share of the width that belongs to the first panel.
    difference : Scale, optional
        Colours of the difference; without it symmetric about zero and wide enough.
    caption : str or spans
        Below the panels.
    style, width, dpi
        Page style, width ("column", "full" or millimetres) and resolution of PNG.
    facts : mapping
        Written into the file's metadata, as JSON.
    """

    panels: tuple[Panel, ...]
    mode: Mode = "single"
    columns: int | None = None
    wipe: float = 0.5
    difference: Scale | None = None
    caption: str | Text = ""
    style: str | Style = "acl"
    width: Width | None = None
    dpi: int = 300
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def difference_panel(first: Panel, second: Panel, scale: Scale | None = None) -> Panel:
    """Return a panel with the second map minus the first on a symmetric scale.

    Its title says what is subtracted from what: the letters, and the title of each.

    Raises
    ------
    InputError
        If one has no map, or their maps differ in shape.
    """
    a, b = first.values, second.values
    if a is None or b is None or a.shape != b.shape:
        raise InputError("a difference needs two maps of one size", "Choose two panels with maps.")
    values = np.subtract(b, a)
    first = replace(first, letter=first.letter or "A")
    second = replace(second, letter=second.letter or "B")
    letters = f"{second.letter} {MINUS} {first.letter}"
    named = [panel.heading for panel in (first, second) if panel.title]
    title = (Span(f"Difference, {letters}"), *(s for head in named for s in (Span("\n"), *head)))
    if scale is None:
        peak = float(np.nanmax(np.abs(values), initial=0.0))
        limit = float(np.ceil(peak * 10 - 1e-6)) / 10 if peak > 0.1 else 0.1
        scope = f"Difference {letters}: blue is less, red is more, black is no change"
        scale = Scale(colours.DEFAULT_DIVERGING, -limit, limit, scope, True, 2)
    return replace(
        second,
        title=title,
        letter="",
        values=values,
        scale=scale,
        contour=(),
        framed=False,
        note="",
        numbers=None,
    )
