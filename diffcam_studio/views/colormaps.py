"""Colour tables of the screen, the same that the figures use, and the fast way from map to pixels.

Values are enlarged first and coloured afterwards; colours are never interpolated.
The tables come from ``cmap``, which is imported when the first table is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PySide6.QtGui import QImage

from diffcam_studio.views.props import ByteArray, ColourScale, FloatArray

Kind = Literal["sequential", "diverging", "not uniform"]


@dataclass(frozen=True)
class Colormap:
    """A named table; ``source`` is its name in the cmap library."""

    name: str
    title: str
    source: str
    kind: Kind = "sequential"


_ALL = (
    Colormap("inferno", "Inferno", "bids:inferno"),
    Colormap("viridis", "Viridis", "bids:viridis"),
    Colormap("magma", "Magma", "bids:magma"),
    Colormap("cividis", "Cividis", "cividis"),
    Colormap("batlow", "Batlow", "crameri:batlow"),
    Colormap("grey", "Grey", "matlab:gray"),
    Colormap("berlin", "Berlin", "crameri:berlin", "diverging"),
    Colormap("vik", "Vik", "crameri:vik", "diverging"),
    Colormap("puor", "PuOr", "colorbrewer:PuOr", "diverging"),
    Colormap("jet", "Jet", "matlab:jet", "not uniform"),
)
COLORMAPS: dict[str, Colormap] = {entry.name: entry for entry in _ALL}
DEFAULT = "inferno"
DEFAULT_DIVERGING = "berlin"
DIVERGING_WORDS = {
    "berlin": "blue is less, red is more, black is no change",
    "vik": "blue is less, red is more, white is no change",
    "puor": "orange is less, purple is more, white is no change",
}


def title_of(name: str) -> str:
    """Return the title of a table for menus; an uneven table says so."""
    entry = COLORMAPS[name]
    return f"{entry.title}, not uniform" if entry.kind == "not uniform" else entry.title


@lru_cache(maxsize=32)
def table(name: str) -> ByteArray:
    """Return the read-only uint8 (256, 3) RGB table of a colour map.

    Raises
    ------
    KeyError
        If the name is not one of :data:`COLORMAPS`.
    """
    entry = COLORMAPS[name]
    import cmap

    rgba = np.asarray(cmap.Colormap(entry.source).lut(256))
    rgb = np.ascontiguousarray(np.rint(rgba[:, :3] * 255.0).astype(np.uint8))
    rgb.setflags(write=False)
    return rgb


def index(values: FloatArray, low: float, high: float) -> ByteArray:
    """Return uint8 table indices (same shape); NaN and everything below ``low`` become 0.

    An empty range (``high <= low``) gives zeros, so that a map without contrast is
    never stretched to look like one with it.
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.subtract(values, np.float32(low), dtype=np.float32)
    np.multiply(scaled, np.float32(255.0 / (high - low)), out=scaled)
    np.fmax(scaled, np.float32(0.0), out=scaled)  # fmax and fmin drop NaN, clip would keep it
    np.fmin(scaled, np.float32(255.0), out=scaled)
    return np.add(scaled, np.float32(0.5), out=scaled).astype(np.uint8)


@lru_cache(maxsize=32)
def packed_table(name: str) -> npt.NDArray[np.uint32]:
    """Return the table as (256,) pixels of QImage.Format_RGB32 (0xffRRGGBB)."""
    rgb = table(name).astype(np.uint32)
    packed = np.uint32(0xFF000000) | (rgb[:, 0] << 16) | (rgb[:, 1] << 8) | rgb[:, 2]
    packed.setflags(write=False)
    return packed


def colour_pixels(values: FloatArray, scale: ColourScale) -> ByteArray:
    """Return uint8 (H, W, 4) pixels of QImage.Format_RGB32 of a map (H, W)."""
    indices = index(values, scale.low, scale.high)
    pixels = np.take(packed_table(scale.cmap), indices)
    return pixels.view(np.uint8).reshape(*values.shape, 4)


def blend_pixels(
    ground: ByteArray,
    values: FloatArray,
    scale: ColourScale,
    opacity: float,
    *,
    alpha_by_value: bool = False,
) -> ByteArray:
    """Lay a coloured map over pixels of QImage.Format_RGB32 of the same size.

    Parameters
    ----------
    ground
        uint8 (H, W, 4), not changed.
    values
        float32 (H, W).
    scale
        Table and range.
    opacity
        0..1, share of the map in the mixture.
    alpha_by_value
        Let the opacity grow with the strength of the map (distance from the
        table's neutral end), so that the picture stays bright where nothing happens.

    Returns
    -------
    uint8 (H, W, 4).
    """
    indices = index(values, scale.low, scale.high)
    heat = np.take(packed_table(scale.cmap), indices).view(np.uint8).reshape(ground.shape)
    if not alpha_by_value:
        return np.asarray(cv2.addWeighted(heat, opacity, ground, 1.0 - opacity, 0.0), np.uint8)
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    if scale.diverging:
        ramp = np.abs(ramp * 2.0 - 1.0)
    alpha = np.take(np.sqrt(ramp) * np.float32(opacity), indices)
    return np.asarray(cv2.blendLinear(heat, ground, alpha, np.float32(1.0) - alpha), np.uint8)


def colourise(values: FloatArray, scale: ColourScale) -> ByteArray:
    """Return uint8 (H, W, 3) RGB of a map (H, W) in the colours of ``scale``."""
    return np.take(table(scale.cmap), index(values, scale.low, scale.high), axis=0)


def blend_overlay(
    image: ByteArray,
    values: FloatArray,
    scale: ColourScale,
    opacity: float,
) -> ByteArray:
    """Lay a coloured map (H, W) over a picture uint8 (H, W, 3); returns uint8 (H, W, 3)."""
    heat = colourise(values, scale)
    return np.asarray(cv2.addWeighted(heat, opacity, image, 1.0 - opacity, 0.0), np.uint8)


def to_qimage(rgb: ByteArray) -> QImage:
    """Return a QImage that owns a copy of uint8 (H, W, 3)."""
    height, width = rgb.shape[:2]
    rgb = np.ascontiguousarray(rgb)
    view = QImage(rgb.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return view.convertToFormat(QImage.Format.Format_RGB32)


def thumbnail(
    values: FloatArray,
    scale: ColourScale,
    width: int,
    height: int,
    *,
    image: ByteArray | None = None,
    opacity: float = 1.0,
) -> QImage:
    """Return a small picture of a map (rows, cols), alone or over the run's image."""
    fine = cv2.resize(
        np.ascontiguousarray(values, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    if image is None:
        return to_qimage(colourise(fine, scale))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return to_qimage(blend_overlay(np.asarray(small, np.uint8), fine, scale, opacity))


@lru_cache(maxsize=64)
def _ramp(name: str, length: int, vertical: bool) -> ByteArray:
    order = np.rint(np.linspace(0, 255, length)).astype(np.int64)
    row = table(name)[order]
    return np.ascontiguousarray(row[::-1, None, :] if vertical else row[None, :, :])


def ramp(name: str, length: int, *, vertical: bool = False) -> QImage:
    """Return a strip one pixel thick with the whole table, bright end right or up."""
    return to_qimage(_ramp(name, max(2, length), vertical))
