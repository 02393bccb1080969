"""What stands where pixels were taken away: a colour, a blur, or ROAD's noisy linear guess."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from diffcam_core.errors import InputError

ByteImage = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Field = npt.NDArray[np.float64]

BLUR_SHARE: Final = 0.1
"""Standard deviation of the blur as a share of the shorter side. RISE takes 5 of 224 pixels, which
leaves large objects readable; at a tenth nothing but broad colour is left."""

NOISE: Final = 0.01
"""Standard deviation of ROAD's noise, on the scale 0 to 1."""

MOST_PIXELS: Final = 50_000
"""Pixels up to which the linear system is solved exactly; a larger image is solved at half its
size, again and again, and enlarged. The fill is smooth, so that this changes it by less than its
noise (see the tests), and the time grows faster than the number of pixels."""

_BESIDE, _ACROSS = 1 / 6, 1 / 12
_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


def mean_colour(image: ByteImage) -> ByteImage:
    """Return an image of the same size in the mean colour of `image`."""
    colour = np.rint(image.reshape(-1, image.shape[-1]).mean(0)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colour, image.shape))


def blurred(image: ByteImage, share: float = BLUR_SHARE) -> ByteImage:
    """Return a Gaussian blur of the image; `share` of the shorter side is its deviation."""
    sigma = share * min(image.shape[:2])
    soft = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft, np.uint8)


def impute(
    image: ByteImage,
    removed: BoolArray,
    seed: int,
    noise: float = NOISE,
    limit: int = MOST_PIXELS,
) -> ByteImage:
    """Fill removed pixels by ROAD's noisy linear imputation.

    Every removed pixel is the weighted mean of its neighbours inside the image (1/6 beside, 1/12
    across, scaled to sum to 1 at the border), known or removed alike; plus Gaussian noise, so that
    the shape of the hole cannot be read from its smoothness.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, C)
    removed : ndarray of bool, shape (H, W)
        If nothing is left, the fill is the mean colour.
    seed : int
        Of the noise.
    noise : float
        Its standard deviation on the scale 0 to 1.
    limit : int
        Pixels up to which the system is solved exactly, see `MOST_PIXELS`.

    Returns
    -------
    ndarray of uint8, shape (H, W, C)
        Pixels that were not removed are unchanged.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Notes
    -----
    Source: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods
    (ROAD), ICML 2022, "noisy linear imputation".
    """
    if removed.shape != image.shape[:2]:
        raise InputError(
            f"a mask of {removed.shape} pixels does not fit an image of {image.shape[:2]}"
        )
    if not removed.any():
        return image.copy()
    if removed.all():
        filled = mean_colour(image).astype(np.float64)
    else:
        filled = _solve(image.astype(np.float64), removed, limit)
    filled += np.random.default_rng(seed).normal(0.0, 255 * noise, image.shape)
    result = image.copy()
    result[removed] = np.clip(np.rint(filled[removed]), 0, 255).astype(np.uint8)
    return result


def _solve(image: Field, removed: BoolArray, limit: int) -> Field:
    """Image with the removed pixels at the solution of the linear system, (H, W, C)."""
    height, width = removed.shape
    field = image.copy()
    if removed.size > limit and min(height, width) >= 2:
        size = ((width + 1) // 2, (height + 1) // 2)
        known = (~removed).astype(np.float64)
        weight = _resized(known, size, cv2.INTER_AREA)
        colour = _resized(image * known[..., None], size, cv2.INTER_AREA)
        gone = weight <= 0
        small = colour / np.where(gone, 1.0, weight)[..., None]
        if gone.any():
            small = _solve(small, gone, limit)
        field[removed] = _resized(small, (width, height), cv2.INTER_LINEAR)[removed]
        return field
    matrix, known_part = _equations(image, removed)
    # Symmetric and diagonally dominant: no pivoting, and an ordering made for such matrices.
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    field[removed] = factors.solve(known_part)
    return field


def _equations(image: Field, removed: BoolArray) -> tuple[csc_matrix, Field]:
    """Matrix (n, n) and right side (n, C) of the n removed pixels, row-major."""
    rows, cols = np.nonzero(removed)
    count = len(rows)
    number = np.full((removed.shape[0] + 2, removed.shape[1] + 2), -1)
    number[1:-1, 1:-1][removed] = np.arange(count)
    inside = np.pad(np.ones_like(removed), 1)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    diagonal, right = np.zeros(count), np.zeros((count, image.shape[2]))
    entries: list[tuple[npt.NDArray[Any], npt.NDArray[Any], Field]] = []
    for dy, dx in _NEIGHBOURS:
        at = (rows + 1 + dy, cols + 1 + dx)
        weight = _BESIDE if dy == 0 or dx == 0 else _ACROSS
        other = number[at]
        diagonal += weight * inside[at]
        unknown = np.flatnonzero(other >= 0)
        entries.append((unknown, other[unknown], np.full(len(unknown), -weight)))
        right += weight * np.where(other[:, None] < 0, padded[at], 0.0)
    every = np.arange(count)
    entries.append((every, every, diagonal))
    i, j, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    return csc_matrix((values, (i, j)), shape=(count, count)), right


def _resized(field: Field, size: tuple[int, int], how: int) -> Field:
    resized: Any = cv2.resize(field, size, interpolation=how)
    return np.asarray(resized, np.float64).reshape(size[1], size[0], *field.shape[2:])
