"""One map: numbers on the native token grid, with everything needed to show it honestly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.events import GridSpec

if TYPE_CHECKING:
    from diffcam_core.refinement import Pipeline

FloatArray = npt.NDArray[np.float32]
FineArray = npt.NDArray[np.float64]

_SAME_EDGE = 1e-3
"""Pixels by which the edges of one lattice line may differ (float32 rounding)."""


@dataclass(frozen=True, eq=False, repr=False)
class HeatMap:
    """A map of one token at one step and layer.

    Parameters
    ----------
    values : float32 (rows, cols)
        In native units: raw maps as computed, refined maps in [0, 1]. NaN is not allowed.
    grid : GridSpec
        Which image pixels each cell stands for.
    raw_range : (float, float)
        Smallest and largest value of the raw map, kept through refinement, so that the absolute
        scale can always be printed.
    raw_sum : float
        Sum of the raw map.
    image_size : (int, int)
        Width and height of the original image in pixels.
    step, layer, token : int
        Denoising step, layer index and answer position.
    method : str
        Name of the attribution method.
    token_ids : tuple of int
        The answer's ids; single-instance causal debiasing looks for repetitions in them.
    n_steps : int
        Denoising steps of the whole run; adaptive denoising depends on it.
    history : tuple of str
        What was done to the raw map, in order; empty for a raw map.
    special_ids : tuple of int
        Ids that are no words (end marks, mask), for the refinement's count of repetitions.
    words : tuple of str
        The answer's words, for the same count.
    context : float32 (others, rows, cols), optional
        Maps of the other words at the same layer, each at its own commit step and in [0, 1];
        refinement may subtract what they share with this one.
    """

    values: FloatArray
    grid: GridSpec
    raw_range: tuple[float, float]
    raw_sum: float
    image_size: tuple[int, int]
    step: int
    layer: int
    token: int
    method: str
    token_ids: tuple[int, ...]
    n_steps: int
    history: tuple[str, ...] = ()
    special_ids: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    context: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse values that do not lie on the grid."""
        if np.shape(self.values) != (self.grid.rows, self.grid.cols):
            raise InputError(
                f"a map of shape {np.shape(self.values)} does not lie on grid {self.grid.name} "
                f"of {self.grid.rows} x {self.grid.cols} cells"
            )

    def __repr__(self) -> str:
        low, high = self.raw_range
        rows, cols = self.values.shape
        done = "".join(f", {entry}" for entry in self.history)
        return (
            f"<HeatMap token {self.token} step {self.step} layer {self.layer}: {self.method} on "
            f"{self.grid.name} {rows} x {cols}, raw {low:.4g} to {high:.4g}{done}>"
        )

    def normalised(self, scope_range: tuple[float, float] | None = None) -> FloatArray:
        """Scale to [0, 1].

        Parameters
        ----------
        scope_range : (float, float), optional
            The values that become 0 and 1, for example the range over a trajectory; what lies
            outside is clipped. Without it: the range of this map.

        Returns
        -------
        float32 (rows, cols)
            Zeros if the range is empty (a constant map shows nothing).

        Raises
        ------
        InputError
            If ``scope_range`` is not two finite ascending numbers.
        """
        fine = self.values.astype(np.float64)
        low, high = (fine.min(), fine.max()) if scope_range is None else scope_range
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise InputError(f"{scope_range} is not a range from a smaller to a larger number")
        if high == low:
            return np.zeros_like(self.values, dtype=np.float32)
        scaled = (fine - float(low)) / (float(high) - float(low))
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)

    def refine(self, preset: str | Pipeline) -> HeatMap:
        """Refine the map (it is scaled to [0, 1] by its own range first).

        Parameters
        ----------
        preset : str or Pipeline
            "released", "paper", "studio", or stages of your own.

        Returns
        -------
        HeatMap
            On the same grid; ``history`` names what was done.
        """
        from diffcam_core import refinement

        refined = refinement.apply(
            self.normalised(),
            preset,
            token_ids=self.token_ids,
            n_steps=self.n_steps,
            image_size=self.image_size,
            special_ids=self.special_ids,
            words=self.words or None,
            context_maps=self.context,
        )
        name = preset if isinstance(preset, str) else preset.name
        values = np.asarray(refined, dtype=np.float32)
        return replace(self, values=values, history=(*self.history, name))

    def on_image(self) -> FloatArray:
        """Interpolate to the pixels of the original image.

        Between the centres of the cells' rectangles the values go over linearly in x and in y.
        Beyond the outermost centres, and along an axis on which a pixel lies in no rectangle
        (strips that the tower never saw), the nearest cell's value holds. Cells of padding have no
        pixels (their rectangles are empty) and do not count.

        Returns
        -------
        float32 (H, W)
            In the units of ``values``. Pixel (y, x) is sampled at its centre (x + 0.5, y + 0.5).

        Raises
        ------
        InputError
            If the rectangles do not form a lattice or no cell has a pixel.
        """
        width, height = self.image_size
        columns, rows = lattice_edges(self.grid.rectangles)
        across, down = axis_weights(columns, width), axis_weights(rows, height)
        return (down @ self.values.astype(np.float32) @ across.T).astype(np.float32)


def lattice_edges(rectangles: npt.ArrayLike) -> tuple[FineArray, FineArray]:
    """Take a grid apart into its columns and rows.

    Parameters
    ----------
    rectangles : array_like (rows, cols, 4)
        x0, y0, x1, y1 of each cell.

    Returns
    -------
    columns : float64 (cols, 2)
        x0, x1 of each column.
    rows : float64 (rows, 2)
        y0, y1 of each row.

    Raises
    ------
    InputError
        If the cells of a column differ in x, or those of a row in y.
    """
    boxes = np.asarray(rectangles, dtype=np.float64)
    if not is_lattice(boxes):
        raise InputError("the cells of this grid do not form rows and columns")
    return _line_edges(boxes[:, :, [0, 2]], 0), _line_edges(boxes[:, :, [1, 3]], 1)


def is_lattice(rectangles: npt.ArrayLike) -> bool:
    """Say whether cells form ascending rows and columns of finite, not negative size.

    Parameters
    ----------
    rectangles : array_like (rows, cols, 4)
        x0, y0, x1, y1 of each cell. Empty cells (padding) agree with any line.

    Returns
    -------
    bool
    """
    boxes = np.asarray(rectangles, dtype=np.float64)
    if boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.size == 0 or not np.isfinite(boxes).all():
        return False
    if (boxes[..., 2] < boxes[..., 0]).any() or (boxes[..., 3] < boxes[..., 1]).any():
        return False
    for pair, axis in ((boxes[:, :, [0, 2]], 0), (boxes[:, :, [1, 3]], 1)):
        edges = _line_edges(pair, axis)
        full = pair[..., 1] > pair[..., 0]
        spread = np.abs(pair - np.expand_dims(edges, axis)).max(axis=-1)
        if (spread[full] > _SAME_EDGE).any():
            return False
        used = edges[edges[:, 1] > edges[:, 0]]
        if (np.diff(used.mean(axis=1)) <= 0).any():
            return False
    return True


def axis_weights(edges: npt.ArrayLike, size: int) -> FloatArray:
    """Weights of every cell of one axis for every pixel of it.

    Parameters
    ----------
    edges : array_like (cells, 2)
        Start and end of each cell in pixels, ascending; empty cells get no weight.
    size : int
        Number of pixels.

    Returns
    -------
    float32 (size, cells)
        Rows sum to 1; at most two weights of a row are not zero.

    Raises
    ------
    InputError
        If every cell is empty.
    """
    lines = np.asarray(edges, dtype=np.float64)
    used = np.flatnonzero(lines[:, 1] > lines[:, 0])
    if used.size == 0:
        raise InputError("no cell of this grid has a pixel of the image")
    start, end = lines[used, 0], lines[used, 1]
    centres = (start + end) / 2
    pixels = np.arange(size) + 0.5
    upper = np.clip(np.searchsorted(centres, pixels), 1, max(1, used.size - 1))
    if used.size == 1:
        upper[:] = 0
    lower = np.maximum(upper - 1, 0)
    gap = centres[upper] - centres[lower]
    share = np.clip((pixels - centres[lower]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    # A pixel in no cell lies between the end of one and the start of the next.
    blind = (pixels > end[lower]) & (pixels < start[upper])
    nearer_upper = start[upper] - pixels < pixels - end[lower]
    share = np.where(blind, nearer_upper.astype(np.float64), share)
    weights = np.zeros((size, len(lines)), dtype=np.float32)
    index = np.arange(size)
    weights[index, used[lower]] += (1.0 - share).astype(np.float32)
    weights[index, used[upper]] += share.astype(np.float32)
    return weights


def _line_edges(pair: FineArray, axis: int) -> FineArray:
    """Edges of each column (axis 0) or row (axis 1), taken from its first cell with pixels."""
    full = pair[..., 1] > pair[..., 0]
    first = np.expand_dims(full.argmax(axis=axis), axis)
    index = np.expand_dims(first, -1)
    return np.take_along_axis(pair, index, axis=axis).squeeze(axis)
