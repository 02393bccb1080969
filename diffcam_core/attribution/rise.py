"""RISE: scores of randomly veiled images, each credited to what it still shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
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
from diffcam_core.attribution.pixels import cell_means, veiled
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.probing import Prober, StepScorer

MASKS: Final = 500
"""Random masks; the paper takes 4,000 to 8,000."""

SIDE: Final = 7
SHOWN: Final = 0.5
"""Cells along a side of a mask and the chance that one is shown, as in the paper."""

DoubleArray = npt.NDArray[np.float64]


def random_masks(size: tuple[int, int], count: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield smooth random masks, (H, W) float32 in [0, 1], always the same ones for a seed.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    count, seed : int

    Notes
    -----
    A binary lattice of 7 x 7 is enlarged bilinearly to one cell more than the image and cut at a
    random shift within that cell, so that the lattice itself leaves no trace.
    """
    draw = np.random.default_rng(seed)
    height, width = size
    step_y, step_x = -(-height // SIDE), -(-width // SIDE)
    for _ in range(count):
        lattice = (draw.random((SIDE, SIDE)) < SHOWN).astype(np.float32)
        large = cv2.resize(
            lattice, ((SIDE + 1) * step_x, (SIDE + 1) * step_y), interpolation=cv2.INTER_LINEAR
        )
        top, left = draw.integers(0, step_y + 1), draw.integers(0, step_x + 1)
        yield np.asarray(large[top : top + height, left : left + width], np.float32)


def credit(scores: DoubleArray, shown: DoubleArray) -> FloatArray:
    """Weigh masks by their scores.

    Parameters
    ----------
    scores : ndarray of float64, shape (B, K)
    shown : ndarray of float64, shape (B, rows, cols)
        Mean of each mask over each cell.

    Returns
    -------
    ndarray of float32, shape (K, rows, cols)
        ``1 / (B p) sum_b (S_b - mean S) m_b`` with p the chance that a place is shown.
    """
    centred = scores - scores.mean(0)
    total = np.einsum("bk,brc->krc", centred, shown)
    result: FloatArray = (total / (len(scores) * SHOWN)).astype(np.float32)
    return result


def rise(masks: int = MASKS, seed: int = 0) -> Stream:
    """Make the method for a number of masks and a seed.

    Notes
    -----
    Source: Petsiuk et al., RISE, BMVC 2018, section 3. Two departures. The veil is the
    image's mean colour (the paper's program multiplies pixels from which a mean was subtracted,
    which comes to nearly the same). And the mean score is taken from all scores first: it changes
    the expected map by a constant and takes away the noise of masks that show one place more often
    than another, which would drown a score that is a logit and not a probability.
    """

    def stream(prober: Prober, requests: Requests) -> Iterator[StepMaps]:
        prompt = prober.trajectory.prompt
        means = cell_means(prompt.layout)
        size = (prompt.image.shape[0], prompt.image.shape[1])
        shown = {
            name: np.array([mean(mask) for mask in random_masks(size, masks, seed)])
            for name, mean in means.items()
        }

        def images() -> Iterator[npt.NDArray[np.uint8]]:
            yield prompt.image
            for mask in random_masks(size, masks, seed):
                yield veiled(prompt.image, mask)

        scorer = StepScorer(prober.model, prober.trajectory, cancel=prober.cancel)
        # All steps together: each changed image is embedded and read by the prompt once.
        for found in scorer.score(images(), list(requests)):
            maps = {name: credit(found.scores[1:], part) for name, part in shown.items()}
            yield StepMaps(found.step, found.targets, {INPUT_LAYER: maps}, found.probabilities[0])

    return stream


def _passes(work: Workload) -> Passes:
    return Passes(forward=work.steps * (1 + MASKS), backward=0)


RISE = Method(
    name="rise",
    title="RISE",
    source="Petsiuk et al., RISE, BMVC 2018, sec. 3, scores centred",
    sign="signed",
    cost=f"{MASKS} forward passes for each step, vision tower included",
    passes=_passes,
    regimes=BOTH_REGIMES,
    stream=rise(),
    reads="scores of changed images: nothing inside the model",
    use="the truth to compare with, where objects are larger than occlusion's window",
    avoid="small objects and fine outlines: its masks are coarse and its noise is grainy",
    layered=False,
    needs_gradient=False,
)
