"""Changing the image in pixels, and reading pixel masks on the cells of its grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcam_core.layout import Grid, ImageLayout
from diffcam_core.metrics.cells import Cells

ByteImage = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.floating] | npt.NDArray[np.bool_]
DoubleArray = npt.NDArray[np.float64]


def cells_of(grid: Grid) -> Cells:
    """Return which pixels each cell of a grid stands for."""
    return Cells.from_rectangles(grid.rectangles, grid.image_size)


def veiled(image: ByteImage, keep: Mask) -> ByteImage:
    """Blend an image (H, W, 3) with its mean colour; keep (H, W) is 1 where it stays as it is."""
    colour = image.reshape(-1, image.shape[-1]).mean(0)
    blend = colour + (image - colour) * np.asarray(keep, np.float64)[..., None]
    result: ByteImage = np.rint(blend).astype(np.uint8)
    return result


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Means of pixel fields over the cells of one grid.

    Attributes
    ----------
    down : ndarray of float64, shape (rows, H)
    across : ndarray of float64, shape (W, cols)
        A cell without a pixel has the mean 0.
    """

    down: DoubleArray
    across: DoubleArray

    @classmethod
    def of(cls, grid: Grid) -> CellMeans:
        """Take the cells of a grid."""
        cells = cells_of(grid)
        return cls(_shares(cells.row_of, grid.rows), _shares(cells.column_of, grid.cols).T)

    def __call__(self, field: Mask) -> DoubleArray:
        """Average an (H, W) field over each cell: (rows, cols)."""
        mean: DoubleArray = self.down @ np.asarray(field, np.float64) @ self.across
        return mean


def cell_means(layout: ImageLayout) -> Mapping[str, CellMeans]:
    """Return the means of every grid, by name."""
    return {grid.name: CellMeans.of(grid) for grid in layout.grids}


def _shares(owner: npt.NDArray[np.intp], count: int) -> DoubleArray:
    """(count, pixels): 1 over the number of a cell's pixels where a pixel is the cell's."""
    mine = owner == np.arange(count)[:, None]
    shares: DoubleArray = mine / np.maximum(mine.sum(1, keepdims=True), 1)
    return shares
