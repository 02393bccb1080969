"""Where image tokens lie in a sequence, and which pixels of the original image each stands for.

Everything here follows from the size of the image and the rules of the model alone, so a layout
is known before anything runs. NumPy only.

Words used: a *view* is one square picture that the vision tower sees (``image_size`` pixels a
side). The tower cuts it into patches that may leave a blind strip at the right and bottom edge
(384 = 27 x 14 + 6). Pooling merges patches into *cells*; one cell is one image token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from diffcam_core.events import GridSpec

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """One grid of image tokens.

    Attributes
    ----------
    name : str
        "base" (the whole image in one view) or "tiles" (the any-resolution grid).
    rows, cols : int
    indices : ndarray of int64, shape (rows * cols,)
        Sequence positions, row-major.
    rectangles : ndarray of float32, shape (rows, cols, 4)
        x0, y0, x1, y1 in pixels of the original image, the exact preimage of each cell. A cell
        that covers padding reaches out of the image or lies outside; see :meth:`coverage`.
    image_size : (int, int)
        Width and height of the original image.
    """

    name: str
    rows: int
    cols: int
    indices: IntArray
    rectangles: FloatArray
    image_size: tuple[int, int]

    def spec(self) -> GridSpec:
        """Return the grid for events and files: without positions, cut at the image border.

        A cell that shows nothing but padding becomes an empty rectangle on the border.
        """
        return GridSpec(self.name, self.rows, self.cols, self._inside())

    def coverage(self) -> FloatArray:
        """Return the share of each cell that lies inside the image, (rows, cols), 0 to 1."""
        inside, whole = (
            (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
            for box in (self._inside().astype(np.float64), self.rectangles.astype(np.float64))
        )
        return (inside / whole).astype(np.float32)

    def _inside(self) -> FloatArray:
        limit = np.array([*self.image_size, *self.image_size], dtype=np.float32)
        return np.clip(self.rectangles, np.float32(0), limit)


@dataclass(frozen=True)
class ImageLayout:
    """The image span of one sequence.

    Attributes
    ----------
    image_size : (int, int)
        Width and height of the original image in pixels.
    span : (int, int)
        First sequence position of the image and the first after it.
    grids : tuple of Grid
        "base", and "tiles" where the model cuts the image into tiles.
    newline_positions : ndarray of int64, shape (n,)
        Positions of the learned newline vectors, which have no place in the image.
    """

    image_size: tuple[int, int]
    span: tuple[int, int]
    grids: tuple[Grid, ...]
    newline_positions: IntArray

    @property
    def n_tokens(self) -> int:
        """Length of the span."""
        return self.span[1] - self.span[0]

    def grid(self, name: str) -> Grid:
        """Return the grid of that name; KeyError if there is none."""
        for grid in self.grids:
            if grid.name == name:
                return grid
        raise KeyError(name)


@dataclass(frozen=True)
class ViewGeometry:
    """How a tower cuts one square view into cells.

    Parameters
    ----------
    image_size, patch_size : int
        Side of a view and of a patch in pixels; stride equals the patch, no padding.
    pool_stride : int
        1 for no pooling; 2 halves the grid (rounded up) by bilinear resizing.
    """

    image_size: int
    patch_size: int
    pool_stride: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.patch_size <= self.image_size or self.pool_stride < 1:
            raise ValueError(f"impossible view geometry {self}")

    @property
    def patches(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def cells(self) -> int:
        """Cells (tokens) along a side."""
        return math.ceil(self.patches / self.pool_stride)

    @property
    def covered(self) -> int:
        """Pixels along a side that the patches see; the rest is the blind strip."""
        return self.patches * self.patch_size

    def edges(self, first: int, count: int) -> tuple[DoubleArray, DoubleArray]:
        """Return start and end, in canvas pixels, of ``count`` cells of a row of tiles.

        Cells are counted on through the tiles; each tile restarts at a multiple of
        ``image_size``, so the blind strips stay blank between them.
        """
        index = np.arange(first, first + count)
        tile, within = np.divmod(index, self.cells)
        start = self.image_size * tile.astype(np.float64)
        pitch = self.covered / self.cells
        return start + within * pitch, start + (within + 1) * pitch


@dataclass(frozen=True)
class TilePlan:
    """How an image lies on its any-resolution canvas.

    Attributes
    ----------
    canvas, tiles : (int, int)
        Canvas width and height in pixels; tiles across and down.
    resized, paste : (int, int)
        Size of the scaled image on the canvas and its top left corner.
    pad : (int, int)
        Columns and rows of cells that are cropped from the left (and as many from the right),
        and from the top (and bottom).
    grid : (int, int)
        Rows and columns of cells that are kept; either may be 0 for extreme images.
    """

    canvas: tuple[int, int]
    tiles: tuple[int, int]
    resized: tuple[int, int]
    paste: tuple[int, int]
    pad: tuple[int, int]
    grid: tuple[int, int]


def choose_canvas(
    image_size: tuple[int, int], pinpoints: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Choose the canvas that keeps most of the image, and among equals wastes least.

    Parameters
    ----------
    image_size : (int, int)
        Width and height of the image.
    pinpoints : sequence of (int, int)
        Possible canvases, width and height; of equal ones the first wins.
    """
    width, height = image_size

    def merit(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[0] / width, canvas[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - canvas[0] * canvas[1]

    return max(pinpoints, key=merit)


def plan_tiles(
    image_size: tuple[int, int],
    geometry: ViewGeometry,
    pinpoints: Sequence[tuple[int, int]],
) -> TilePlan:
    """Place an image on its any-resolution canvas (LaViDa, merge type ``spatial_unpad``).

    The arithmetic, float rounding included, is that of the public LLaVA-NeXT processing, on
    which the number of image tokens depends.
    """
    width, height = image_size
    canvas = choose_canvas(image_size, pinpoints)
    scale_x, scale_y = canvas[0] / width, canvas[1] / height
    if scale_x < scale_y:
        resized = (canvas[0], min(math.ceil(height * scale_x), canvas[1]))
    else:
        resized = (min(math.ceil(width * scale_y), canvas[0]), canvas[1])
    tiles = (canvas[0] // geometry.image_size, canvas[1] // geometry.image_size)
    grid_w, grid_h = tiles[0] * geometry.cells, tiles[1] * geometry.cells
    pad_c = pad_r = 0
    if width / height > grid_w / grid_h:
        pad_r = (grid_h - int(height * (grid_w / width))) // 2
    else:
        pad_c = (grid_w - int(width * (grid_h / height))) // 2
    return TilePlan(
        canvas=canvas,
        tiles=tiles,
        resized=resized,
        paste=((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2),
        pad=(pad_c, pad_r),
        grid=(grid_h - 2 * pad_r, grid_w - 2 * pad_c),
    )


def any_resolution_layout(
    image_size: tuple[int, int],
    geometry: ViewGeometry,
    pinpoints: Sequence[tuple[int, int]],
    start: int,
) -> ImageLayout:
    """Lay out base view (the whole image, squashed), then tile rows with a newline after each.

    Parameters
    ----------
    image_size : (int, int)
        Width and height of the original image.
    geometry : ViewGeometry
    pinpoints : sequence of (int, int)
        Possible canvases.
    start : int
        Sequence position of the first image token.
    """
    width, height = image_size
    cells = geometry.cells
    squash_x, squash_y = width / geometry.image_size, height / geometry.image_size
    low, high = geometry.edges(0, cells)
    base = Grid(
        "base",
        cells,
        cells,
        np.arange(start, start + cells * cells, dtype=np.int64),
        _rectangles(low * squash_x, high * squash_x, low * squash_y, high * squash_y),
        (width, height),
    )
    plan = plan_tiles(image_size, geometry, pinpoints)
    rows, cols = plan.grid
    first = start + cells * cells
    row_starts = first + (cols + 1) * np.arange(rows, dtype=np.int64)
    grids = [base]
    # An extremely long image can lose all its tile cells; a grid of no cells helps nobody.
    if rows and cols:
        left, right = geometry.edges(plan.pad[0], cols)
        top, bottom = geometry.edges(plan.pad[1], rows)
        scale_x, scale_y = plan.resized[0] / width, plan.resized[1] / height
        grids.append(
            Grid(
                "tiles",
                rows,
                cols,
                (row_starts[:, None] + np.arange(cols, dtype=np.int64)).reshape(-1),
                _rectangles(
                    (left - plan.paste[0]) / scale_x,
                    (right - plan.paste[0]) / scale_x,
                    (top - plan.paste[1]) / scale_y,
                    (bottom - plan.paste[1]) / scale_y,
                ),
                (width, height),
            )
        )
    return ImageLayout(
        image_size=(width, height),
        span=(start, first + rows * (cols + 1)),
        grids=tuple(grids),
        newline_positions=row_starts + cols,
    )


def square_offset(image_size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return side and paste corner of the square into which "pad" mode centres an image."""
    width, height = image_size
    side = max(width, height)
    return side, ((side - width) // 2, (side - height) // 2)


def single_view_layout(
    image_size: tuple[int, int],
    geometry: ViewGeometry,
    start: int,
    fit: Literal["pad", "squash"] = "pad",
    newline: bool = True,
) -> ImageLayout:
    """Lay out one view, padded to a square or squashed, and one newline after it.

    Parameters
    ----------
    image_size : (int, int)
        Width and height of the original image.
    geometry : ViewGeometry
    start : int
        Sequence position of the first image token.
    fit : {"pad", "squash"}
        Whether the aspect is kept.
    newline : bool
        Whether a newline vector follows the cells.
    """
    width, height = image_size
    cells = geometry.cells
    low, high = geometry.edges(0, cells)
    if fit == "pad":
        side, (left, top) = square_offset(image_size)
        scale_x = scale_y = side / geometry.image_size
    else:
        left = top = 0
        scale_x, scale_y = width / geometry.image_size, height / geometry.image_size
    end = start + cells * cells
    grid = Grid(
        "base",
        cells,
        cells,
        np.arange(start, end, dtype=np.int64),
        _rectangles(
            low * scale_x - left, high * scale_x - left, low * scale_y - top, high * scale_y - top
        ),
        (width, height),
    )
    lines = np.array([end] if newline else [], dtype=np.int64)
    return ImageLayout((width, height), (start, end + len(lines)), (grid,), lines)


def _rectangles(
    left: DoubleArray, right: DoubleArray, top: DoubleArray, bottom: DoubleArray
) -> FloatArray:
    boxes = np.empty((len(top), len(left), 4), dtype=np.float32)
    boxes[..., 0], boxes[..., 2] = left, right
    boxes[..., 1], boxes[..., 3] = top[:, None], bottom[:, None]
    return boxes
