"""Occlusion: what the score loses when a window of the image is painted over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from diffcam_core.attribution.method import (
    BOTH_REGIMES,
    FloatArray,
    Method,
    Passes,
    Requests,
    StepMaps,
    Stream,
    Workload,
)
from diffcam_core.attribution.pixels import CellMeans, cell_means, cells_of, veiled
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.layout import ImageLayout
from diffcam_core.probing import Prober, StepScorer

WINDOW: Final = 3
STRIDE: Final = 2
"""Side of the window and its step, in cells of the first grid."""

BoolArray = npt.NDArray[np.bool_]
DoubleArray = npt.NDArray[np.float64]


def starts(count: int, window: int, stride: int) -> list[int]:
    """First cells of windows that cover ``count`` cells; the last one ends at the border."""
    last = max(count - window, 0)
    found = list(range(0, last + 1, stride))
    return found if found[-1] == last else [*found, last]


def windows(layout: ImageLayout, window: int = WINDOW, stride: int = STRIDE) -> list[BoolArray]:
    """Pixel masks (H, W), True where a window of cells of the first grid covers the image.

    The first grid shows the whole image in every layout. Cells without a pixel, those on padding,
    are passed over.
    """
    cells = cells_of(layout.grids[0])
    rows, cols = np.unique(cells.row_of), np.unique(cells.column_of)
    return [
        np.isin(cells.row_of, rows[top : top + window])[:, None]
        & np.isin(cells.column_of, cols[left : left + window])
        for top in starts(len(rows), window, stride)
        for left in starts(len(cols), window, stride)
    ]


def spread(drops: DoubleArray, covers: Iterable[BoolArray], means: CellMeans) -> FloatArray:
    """Give each cell the mean drop of the windows over it, weighed by how far they cover it.

    Parameters
    ----------
    drops : ndarray of float64, shape (B, K)
        Of B windows and K targets.
    covers : iterable of bool arrays, shape (H, W)
        The windows.
    means : CellMeans
        Of the grid.

    Returns
    -------
    ndarray of float32, shape (K, rows, cols)
        0 where no window comes.
    """
    shares = np.array([means(cover) for cover in covers])
    total = shares.sum(0)
    sums = np.einsum("bk,brc->krc", drops, shares)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), 0).astype(np.float32)


def occlusion(window: int = WINDOW, stride: int = STRIDE) -> Stream:
    """Make the method for a window and a step in cells.

    Notes
    -----
    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014,
    section 4.2, with the image's mean colour for their grey square and the drop of the target's
    score for their remaining score. The pixels change, so every view of the image changes, and
    every grid's map is read off the same windows.
    """

    def stream(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
        prompt = prober.trajectory.prompt
        covers = windows(prompt.layout, window, stride)
        means = cell_means(prompt.layout)
        scorer = StepScorer(prober.model, prober.trajectory, cancel=prober.cancel)
        images = (veiled(prompt.image, ~cover) for cover in covers)
        # All steps together: each changed image is embedded and read by the prompt once.
        for found in scorer.score(_first(prompt.image, images), list(requests)):
            drops = found.scores[:1] - found.scores[1:]
            maps = {name: spread(drops, covers, mean) for name, mean in means.items()}
            yield StepMaps(found.step, found.targets, {INPUT_LAYER: maps}, found.probabilities[0])

    return stream


def _first(
    image: npt.NDArray[np.uint8], others: Iterable[npt.NDArray[np.uint8]]
) -> Iterator[npt.NDArray[np.uint8]]:
    yield image
    yield from others


def _passes(work: Workload) -> Passes:
    rows, cols = work.grids[0]
    count = len(starts(rows, WINDOW, STRIDE)) * len(starts(cols, WINDOW, STRIDE))
    return Passes(forward=work.steps * (1 + count), backward=0)


OCCLUSION = Method(
    name="occlusion",
    title="Occlusion",
    source="Zeiler and Fergus, ECCV 2014, sec. 4.2",
    sign="signed",
    cost="for each step, vision tower included, one forward pass for each window of "
    f"{WINDOW} x {WINDOW} cells, at every {STRIDE}nd cell",
    passes=_passes,
    regimes=BOTH_REGIMES,
    stream=occlusion(),
    reads="scores of changed images: nothing inside the model",
    use="the truth to compare with: what really happens without this part of the image",
    avoid="objects that show in several places, or larger than a window: one part stands in",
    layered=False,
    needs_gradient=False,
)
