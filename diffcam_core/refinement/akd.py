"""Adaptive kernel denoising: a rank-weighted Gaussian filter whose window grows with the noise.

The values of each window are sorted; the weight of a value falls with its distance in rank from
the median, the more steeply the more even the window is (standard deviation / mean). The filter
goes back to TAM (ICCV 2025), the size rule to Diffusion-CAM (arXiv 2604.11005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.rank_filter import rank_filter
from diffcam_core.refinement.parameters import (
    Context,
    DoubleArray,
    FloatArray,
    Parameters,
    as_batch,
    choice,
    like_input,
    number,
)

# The rule of the paper: T relative to 16 steps, size relative to 512 pixels.
_REFERENCE_STEPS = 16
_REFERENCE_SIZE = 512
# The published program draws ten normals from the same generator before those of the filter.
_DRAWS_BEFORE_FILTER = 10


@dataclass(frozen=True)
class AKD(Parameters):
    """Parameters of adaptive kernel denoising.

    The kernel is the odd number at or above ``base * min(T / 16, steps_cap) *
    min(5 sigma, spread_cap) * min(size / 512, size_cap)`` cut to a whole number, limited to
    ``kernel_min`` ... ``kernel_max``; sigma is the standard deviation of the map.
    """

    KIND: ClassVar[str] = "akd"
    TITLE: ClassVar[str] = "Adaptive kernel denoising (AKD)"
    HELP: ClassVar[str] = "Removes speckle with a median-like filter; noisier maps get a wider one."
    SOURCE: ClassVar[str] = "Diffusion-CAM, arXiv 2604.11005; filter of TAM, ICCV 2025"

    base: float = number(
        3.0, 0.5, 11.0, 0.5, "Base kernel", "Window in cells before the three factors."
    )
    kernel_min: int = number(3, 1, 31, 2, "Smallest kernel", "The window never gets smaller.")
    kernel_max: int = number(11, 1, 31, 2, "Largest kernel", "The window never gets larger.")
    fixed_steps: int = number(
        0, 0, 100_000, 1, "Fixed steps", "Number of steps T in the rule; 0 takes the run's own."
    )
    size_from: str = choice(
        "image", ("image", "map"), "Size from", "Whether the rule uses image pixels or map cells."
    )
    steps_cap: float = number(2.0, 0.1, 4.0, 0.1, "Steps cap", "Largest factor that T can give.")
    spread_gain: float = number(
        5.0, 0.0, 20.0, 0.5, "Spread gain", "Factor on the standard deviation of the map."
    )
    spread_cap: float = number(
        2.0, 0.1, 4.0, 0.1, "Spread cap", "Largest factor that the spread can give."
    )
    size_cap: float = number(
        1.5, 0.1, 4.0, 0.1, "Size cap", "Largest factor that the size can give."
    )
    noise: float = number(
        0.0,
        0.0,
        0.01,
        1e-6,
        "Tie-breaking noise",
        "Standard deviation of noise added first; the published code uses 1e-6.",
    )
    noise_seed: int = number(
        0, 0, 2**32 - 1, 1, "Noise seed", "Seed of that noise; the same field for every map."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_min % 2 == 0 or self.kernel_max % 2 == 0:
            raise InputError(
                f"akd kernel limits {self.kernel_min} and {self.kernel_max} are not both odd",
                "Use odd numbers from 1 to 31",
            )
        if self.kernel_min > self.kernel_max:
            raise InputError(
                f"akd kernel_min {self.kernel_min} exceeds kernel_max {self.kernel_max}",
                "Make the smallest kernel at most the largest",
            )

    def __call__(self, maps: DoubleArray, context: Context) -> DoubleArray:
        """Denoise a checked (K, H, W) batch."""
        return _denoise(maps, self, context.n_steps, context.image_size)


def kernel_size(
    sigma: npt.ArrayLike, n_steps: float, size: float, parameters: AKD | None = None
) -> npt.NDArray[np.int64]:
    """Kernel that the adaptive rule gives.

    Parameters
    ----------
    sigma : float or ndarray
        Standard deviation of each map.
    n_steps : float
        Number of denoising steps T.
    size : float
        Longer side, in image pixels or map cells.

    Returns
    -------
    ndarray of int64, shape of `sigma`
        Odd numbers.
    """
    rule = parameters or AKD()
    raw = (
        rule.base
        * min(n_steps / _REFERENCE_STEPS, rule.steps_cap)
        * np.minimum(rule.spread_gain * np.asarray(sigma, np.float64), rule.spread_cap)
        * min(size / _REFERENCE_SIZE, rule.size_cap)
    )
    odd = raw.astype(np.int64) | 1
    result: npt.NDArray[np.int64] = np.clip(odd, rule.kernel_min, rule.kernel_max)
    return result


def kernels_used(
    maps: npt.ArrayLike,
    parameters: AKD,
    *,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> npt.NDArray[np.int64]:
    """Kernel that `denoise` uses for each map, int64 of shape (K,), K = 1 for a single map."""
    context = Context(n_steps=n_steps, image_size=image_size)
    return _kernels(as_batch(maps), parameters, context.n_steps, context.image_size)


def denoise(
    maps: npt.ArrayLike,
    parameters: AKD | None = None,
    *,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> FloatArray:
    """Apply adaptive kernel denoising.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W) in [0, 1].
    parameters : AKD, optional
    n_steps : int, optional
        Number of denoising steps T of the run; without it T / 16 counts as 1.
    image_size : tuple of int, optional
        Width and height of the image; without it the map's own size counts.

    Returns
    -------
    ndarray of float32, same shape, in [0, 1]

    Raises
    ------
    InputError
        Maps or sizes that cannot be used.
    """
    context = Context(n_steps=n_steps, image_size=image_size)
    return like_input((parameters or AKD())(as_batch(maps), context), maps)


def rank_gaussian_filter(maps: npt.ArrayLike, kernel: int) -> FloatArray:
    """Filter maps with windows of `kernel` x `kernel` cells, see `diffcam_core.rank_filter`.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W).
    kernel : int
        Odd number of at least 1.

    Returns
    -------
    ndarray of float32, same shape
    """
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"Kernel {kernel} is not odd", "Use 1, 3, 5, ...")
    return like_input(rank_filter(as_batch(maps).astype(np.float32), kernel), maps)


def _denoise(
    maps: DoubleArray, rule: AKD, n_steps: int | None, image_size: tuple[int, int] | None
) -> DoubleArray:
    if len(maps) == 0:
        return maps
    kernels = _kernels(maps, rule, n_steps, image_size)
    if rule.noise > 0:
        shape = maps.shape[1:]
        # The generator of the published program, so that its outputs can be reproduced.
        stream = np.random.RandomState(rule.noise_seed)
        stream.normal(size=_DRAWS_BEFORE_FILTER)
        maps = maps + stream.normal(0.0, rule.noise, shape)
    # Single precision sorts twice as fast and is what maps have; the noise would drown in it.
    values = maps if rule.noise > 0 else maps.astype(np.float32)
    result = np.empty_like(maps)
    for kernel in np.unique(kernels):  # at most sixteen sizes, normally one or two
        chosen = kernels == kernel
        result[chosen] = rank_filter(values[chosen], int(kernel))
    return np.clip(result, 0.0, 1.0)


def _kernels(
    maps: DoubleArray, rule: AKD, n_steps: int | None, image_size: tuple[int, int] | None
) -> npt.NDArray[np.int64]:
    steps = rule.fixed_steps or n_steps or _REFERENCE_STEPS
    if rule.size_from == "image" and image_size is not None:
        size = max(image_size)
    else:
        size = max(maps.shape[1:])
    return kernel_size(maps.std(axis=(1, 2)), steps, size, rule)
