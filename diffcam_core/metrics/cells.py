"""Which pixels of the image each cell of a map stands for, so that whole cells can be changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.heatmap import axis_weights, lattice_edges

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Cells:
    """A lattice of cells on an image.

    Attributes
    ----------
    column_of : ndarray of int, shape (W,)
        Column of the cell that each pixel column belongs to. Pixels between cells, or outside of
        all (strips that the tower never saw), belong to the nearest cell.
    row_of : ndarray of int, shape (H,)
        The same for pixel rows.
    across, down : ndarray of float32, shapes (W, cols) and (H, rows)
        Weights that interpolate cell values to pixels, as `HeatMap.on_image` does.
    """

    column_of: IntArray
    row_of: IntArray
    across: FloatArray
    down: FloatArray

    @classmethod
    def from_rectangles(cls, rectangles: npt.ArrayLike, image_size: tuple[int, int]) -> Cells:
        """Take the cells of a token grid.

        Parameters
        ----------
        rectangles : array_like (rows, cols, 4)
            x0, y0, x1, y1 of each cell in pixels, as in `GridSpec`.
        image_size : (int, int)
            Width and height of the image.

        Raises
        ------
        InputError
            If the rectangles do not form a lattice, or none has a pixel.
        """
        columns, rows = lattice_edges(rectangles)
        width, height = image_size
        across, down = axis_weights(columns, width), axis_weights(rows, height)
        return cls(_owners(columns, width), _owners(rows, height), across, down)

    @classmethod
    def regular(cls, shape: tuple[int, int], image_size: tuple[int, int]) -> Cells:
        """Cut an image of (width, height) into (rows, cols) equal cells."""
        rows, cols = shape
        width, height = image_size
        if min(rows, cols) < 1 or rows > height or cols > width:
            raise InputError(
                f"an image of {width} x {height} pixels cannot have {rows} x {cols} cells"
            )
        x, y = np.linspace(0, width, cols + 1), np.linspace(0, height, rows + 1)
        boxes = np.empty((rows, cols, 4))
        boxes[..., 0], boxes[..., 2] = x[:-1], x[1:]
        boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
        return cls.from_rectangles(boxes, image_size)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells, those without a pixel included."""
        return self.down.shape[1], self.across.shape[1]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return len(self.row_of), len(self.column_of)

    @property
    def used(self) -> IntArray:
        """Flat indices (row-major) of the cells that have a pixel, ascending."""
        rows, cols = np.unique(self.row_of), np.unique(self.column_of)
        flat = rows[:, None] * self.shape[1] + cols
        return np.asarray(flat.ravel(), np.intp)

    def spread(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Give each pixel its cell's value, (rows, cols) or flat -> (H, W)."""
        grid = np.reshape(values, self.shape)
        return grid[np.ix_(self.row_of, self.column_of)]

    def interpolate(self, values: npt.NDArray[np.generic]) -> FloatArray:
        """Interpolate cell values between centres, (rows, cols) -> float32 (H, W)."""
        grid = np.reshape(values, self.shape).astype(np.float32)
        return np.asarray(self.down @ grid @ self.across.T, np.float32)


def _owners(edges: npt.NDArray[np.float64], size: int) -> IntArray:
    """Cell of each pixel along one axis; the nearest where it lies in none."""
    used = np.flatnonzero(edges[:, 1] > edges[:, 0])
    borders = (edges[used[:-1], 1] + edges[used[1:], 0]) / 2
    return np.asarray(used[np.searchsorted(borders, np.arange(size) + 0.5)], np.intp)
