"""From numbers to colours: the tables and the mixing of screen and paper (numpy and cv2 only).

Both use the same 256 colours and the same arithmetic, so that a figure shows what the window
showed. Values are enlarged first and coloured afterwards: colours are never interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
Kind = Literal["sequential", "diverging", "not uniform"]

MINUS = "\u2212"


@dataclass(frozen=True)
class ColourMap:
    """A named table; ``source`` is its name in the cmap library."""

    name: str
    title: str
    source: str
    kind: Kind = "sequential"


_ALL = (
    ColourMap("inferno", "Inferno", "bids:inferno"),
    ColourMap("viridis", "Viridis", "bids:viridis"),
    ColourMap("magma", "Magma", "bids:magma"),
    ColourMap("cividis", "Cividis", "cividis"),
    ColourMap("batlow", "Batlow", "crameri:batlow"),
    ColourMap("grey", "Grey", "matlab:gray"),
    ColourMap("berlin", "Berlin", "crameri:berlin", "diverging"),
    ColourMap("vik", "Vik", "crameri:vik", "diverging"),
    ColourMap("puor", "PuOr", "colorbrewer:PuOr", "diverging"),
    ColourMap("jet", "Jet", "matlab:jet", "not uniform"),
)
COLOUR_MAPS: dict[str, ColourMap] = {entry.name: entry for entry in _ALL}
DEFAULT = "inferno"
DEFAULT_DIVERGING = "berlin"


@dataclass(frozen=True)
class Scale:
    """How numbers become colours, and the sentence that says so beside the colour bar.

    Parameters
    ----------
    colour_map : str
        One of :data:`COLOUR_MAPS`.
    low, high : float
        Values at the two ends of the bar, in the units of the map.
    scope : str
        What the numbers mean and over what they are normalised; always printed.
    diverging : bool
        Signed values; ``low`` must be ``-high``.
    decimals : int
        Of the labels.
    """

    colour_map: str = DEFAULT
    low: float = 0.0
    high: float = 1.0
    scope: str = "Share of maximum, over trajectory"
    diverging: bool = False
    decimals: int = 2

    def __post_init__(self) -> None:
        """Refuse unknown tables and ranges that are no ranges.

        Raises
        ------
        InputError
            For an unknown colour map, a range that does not ascend or is not finite, or a
            diverging scale that is not symmetric about zero.
        """
        if self.colour_map not in COLOUR_MAPS:
            raise InputError(
                f"there is no colour map {self.colour_map!r}",
                f"Use one of {', '.join(COLOUR_MAPS)}",
            )
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise InputError(
                f"{self.low:g} to {self.high:g} is no colour range", "Give a smaller, then a larger"
            )
        if self.diverging and not np.isclose(self.low, -self.high):
            raise InputError("a range of differences must be symmetric about zero", "Use -x to x")


@lru_cache(maxsize=32)
def table(name: str) -> ByteArray:
    """Return the read-only uint8 (256, 3) RGB table of a colour map.

    Raises
    ------
    InputError
        If there is no such map.
    """
    if name not in COLOUR_MAPS:
        raise InputError(f"there is no colour map {name!r}", f"Use one of {', '.join(COLOUR_MAPS)}")
    import cmap

    rgba = np.asarray(cmap.Colormap(COLOUR_MAPS[name].source).lut(256))
    rgb = np.ascontiguousarray(np.rint(rgba[:, :3] * 255.0).astype(np.uint8))
    rgb.setflags(write=False)
    return rgb


def index(values: FloatArray, low: float, high: float) -> ByteArray:
    """Return uint8 table indices (same shape); NaN and everything below ``low`` become 0."""
    scaled = np.subtract(values, np.float32(low), dtype=np.float32)
    np.multiply(scaled, np.float32(255.0 / (high - low)), out=scaled)
    np.fmax(scaled, np.float32(0.0), out=scaled)  # fmax and fmin drop NaN, clip would keep it
    np.fmin(scaled, np.float32(255.0), out=scaled)
    return np.add(scaled, np.float32(0.5), out=scaled).astype(np.uint8)


def colourise(values: FloatArray, scale: Scale) -> ByteArray:
    """Return uint8 (H, W, 3) of a map (H, W) in the colours of a scale."""
    return np.take(table(scale.colour_map), index(values, scale.low, scale.high), axis=0)


def blend(
    image: ByteArray,
    values: FloatArray,
    scale: Scale,
    opacity: float,
    *,
    alpha_by_value: bool = False,
) -> ByteArray:
    """Lay a coloured map over a picture of the same size, as the window does.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    values : float32 (H, W)
    scale : Scale
    opacity : float
        0 to 1, share of the map in the mixture.
    alpha_by_value : bool
        Let the opacity grow with the strength of the map, so that the picture stays bright where
        nothing happens.

    Returns
    -------
    uint8 (H, W, 3)
    """
    indices = index(values, scale.low, scale.high)
    heat = np.take(table(scale.colour_map), indices, axis=0)
    if not alpha_by_value:
        return np.asarray(cv2.addWeighted(heat, opacity, image, 1.0 - opacity, 0.0), np.uint8)
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    if scale.diverging:
        ramp = np.abs(ramp * 2.0 - 1.0)
    alpha = np.take(np.sqrt(ramp) * np.float32(opacity), indices)
    return np.asarray(cv2.blendLinear(heat, image, alpha, np.float32(1.0) - alpha), np.uint8)


def resample(source: npt.NDArray[np.generic], width: int, height: int) -> npt.NDArray[np.generic]:
    """Resample an array (H, W, ...) bilinearly to pixels; far reductions average areas first."""
    rows, cols = source.shape[:2]
    if (rows, cols) == (height, width):
        return source
    reduces = width * 2 <= cols and height * 2 <= rows
    method = cv2.INTER_AREA if reduces else cv2.INTER_LINEAR
    return np.asarray(
        cv2.resize(np.ascontiguousarray(source), (width, height), interpolation=method)
    )


def tick_labels(scale: Scale, count: int = 5) -> list[tuple[float, str]]:
    """Return (share along the bar, text) of evenly spaced labels; signed on a diverging scale."""
    result = []
    decimals = scale.decimals
    for i in range(count):
        share = i / (count - 1)
        value = scale.low + (scale.high - scale.low) * share
        text = f"{abs(value):.{decimals}f}"
        zero = float(text) == 0
        if scale.diverging:
            text = "0" if zero else f"+{text}" if value > 0 else MINUS + text
        elif value < 0 and not zero:
            text = MINUS + text
        result.append((share, text))
    return result
