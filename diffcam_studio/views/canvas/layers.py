"""A picture and its map as device pixels, for any window at any zoom.

The map is enlarged to device pixels first and coloured afterwards, on every
change of camera, so that colours are never interpolated at any zoom.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_studio.views import colormaps
from diffcam_studio.views.props import ByteArray, PanelProps


class Ground:
    """A picture, with halves for far views and the last window drawn.

    The picture stays the RGB array that it is: only what a window shows is made RGB32 or grey,
    so that a photograph of any size costs no more than the screen.
    """

    def __init__(self, image: ByteArray, *, grey: bool) -> None:
        self.source = image
        self.grey = grey
        self._halves: list[ByteArray] = []
        self._key: tuple[float, ...] = ()
        self._window: ByteArray = np.zeros((0, 0, 4), np.uint8)

    def window(self, zoom: float, x: float, y: float, width: int, height: int) -> ByteArray:
        """Return uint8 (height, width, 4); the same window twice costs nothing."""
        key = (zoom, x, y, width, height)
        if key != self._key:
            source, level = self._level(zoom)
            rgb = resample(source, zoom / level, x * level, y * level, width, height)
            if self.grey:
                one = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
                pixels = cv2.cvtColor(one, cv2.COLOR_GRAY2BGRA)
            else:
                pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
            self._window = np.asarray(pixels, np.uint8)
            self._key = key
        return self._window

    def _level(self, zoom: float) -> tuple[ByteArray, float]:
        # Far reduced pictures are halved by area first: a plain resample would alias.
        source, level, depth = self.source, 1.0, 0
        while zoom / level <= 0.5 and min(source.shape[:2]) > 2:
            if depth == len(self._halves):
                half = cv2.resize(
                    source,
                    (max(1, source.shape[1] // 2), max(1, source.shape[0] // 2)),
                    interpolation=cv2.INTER_AREA,
                )
                self._halves.append(np.asarray(half, np.uint8))
            source = self._halves[depth]
            level = source.shape[1] / self.source.shape[1]
            depth += 1
        return source, level


class Layer:
    """A picture and its map, ready to be drawn at any zoom."""

    def __init__(self, props: PanelProps, ground: Ground | None, *, overlay: bool) -> None:
        self.ground = ground
        self.values = props.values if overlay or ground is None else None
        self.scale = props.scale
        self.opacity = props.opacity
        self.alpha_by_value = props.alpha_by_value

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in image pixels."""
        source = self.ground.source if self.ground is not None else self.values
        assert source is not None
        return source.shape[1], source.shape[0]

    def compose(self, zoom: float, x: float, y: float, width: int, height: int) -> ByteArray:
        """Return uint8 (height, width, 4): device pixel (0, 0) starts at image point (x, y).

        ``zoom`` is device pixels for each image pixel.
        """
        ground = None
        if self.ground is not None:
            ground = self.ground.window(zoom, x, y, width, height)
        if self.values is None:
            assert ground is not None
            return ground
        columns, rows = self.size
        across = self.values.shape[1] / columns
        down = self.values.shape[0] / rows
        fine = resample(
            self.values, zoom / across, x * across, y * down, width, height, zoom / down
        )
        if ground is None:
            return colormaps.colour_pixels(fine, self.scale)
        return colormaps.blend_pixels(
            ground, fine, self.scale, self.opacity, alpha_by_value=self.alpha_by_value
        )


def resample(
    source: npt.NDArray[Any],
    zoom: float,
    x: float,
    y: float,
    width: int,
    height: int,
    zoom_y: float | None = None,
) -> npt.NDArray[Any]:
    """Resample a window of an array bilinearly; the border repeats its last row and column."""
    zoom_y = zoom if zoom_y is None else zoom_y
    rows, columns = source.shape[:2]
    if (
        abs(x * zoom) < 1
        and abs(y * zoom_y) < 1
        and abs(columns * zoom - width) < 1
        and abs(rows * zoom_y - height) < 1
    ):  # the whole array to within a pixel: the faster way
        return cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
    matrix = np.array(
        [[1 / zoom, 0.0, x + 0.5 / zoom - 0.5], [0.0, 1 / zoom_y, y + 0.5 / zoom_y - 0.5]]
    )
    return cv2.warpAffine(
        source,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
