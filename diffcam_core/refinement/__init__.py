"""Refinement of explanation maps: pure functions from arrays to arrays, and pipelines of them.

>>> import numpy as np
>>> from diffcam_core import refinement
>>> maps = np.random.default_rng(0).random((4, 14, 14), dtype=np.float32)
>>> refinement.apply(maps, "paper", n_steps=16).shape
(4, 14, 14)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.refinement.akd import AKD, kernel_size, kernels_used, rank_gaussian_filter
from diffcam_core.refinement.cba import CBA
from diffcam_core.refinement.dacg import DACG
from diffcam_core.refinement.parameters import (
    Context,
    FloatArray,
    ParameterInfo,
    Parameters,
    as_batch,
    like_input,
)
from diffcam_core.refinement.pipeline import (
    MODULES,
    Module,
    ModuleInfo,
    Pipeline,
    Stage,
    make_context,
    module_info,
    run,
)
from diffcam_core.refinement.presets import PRESETS
from diffcam_core.refinement.rescale import Rescale
from diffcam_core.refinement.sicd import SICD
from diffcam_core.refinement.studio import Background, Focus, Rivals, Smooth, others_of

__all__ = [
    "AKD",
    "CBA",
    "DACG",
    "MODULES",
    "PRESETS",
    "SICD",
    "Background",
    "Context",
    "Focus",
    "Module",
    "ModuleInfo",
    "ParameterInfo",
    "Parameters",
    "Pipeline",
    "Rescale",
    "Rivals",
    "Smooth",
    "Stage",
    "apply",
    "as_pipeline",
    "kernel_size",
    "kernels",
    "kernels_used",
    "module_info",
    "others_of",
    "rank_gaussian_filter",
    "stages",
]


def as_pipeline(preset: str | Pipeline) -> Pipeline:
    """Return a pipeline, looked up by name if need be.

    Raises
    ------
    InputError
        When there is no preset of that name.
    """
    if isinstance(preset, Pipeline):
        return preset
    if preset not in PRESETS:
        raise InputError(
            f"There is no refinement preset {preset!r}", f"Use one of {', '.join(PRESETS)}"
        )
    return PRESETS[preset]


def apply(
    maps: npt.ArrayLike,
    preset: str | Pipeline,
    *,
    token_ids: Sequence[Hashable] | npt.NDArray[np.int64] | None = None,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
    special_ids: Iterable[Hashable] = (),
    words: Sequence[str] | None = None,
    context_maps: npt.ArrayLike | None = None,
) -> FloatArray:
    """Refine maps.

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W), finite, in [0, 1].
    preset : str or Pipeline
        "released", "paper", "studio" or a pipeline.
    token_ids : sequence, optional
        Token ids of the whole answer (SICD).
    n_steps : int, optional
        Number of denoising steps T (AKD).
    image_size : tuple of int, optional
        Width and height of the image in pixels (AKD).
    special_ids : iterable, optional
        Ids that are no words: padding, end of text, mask (SICD).
    words : sequence of str, optional
        Words of the answer, used instead of ids where words are counted (SICD).
    context_maps : array_like, optional
        Maps of the other words at the same step and layer, in [0, 1]: (C, H, W) for all maps
        alike, or (K, C, H, W); `others_of` makes the latter from a batch (Rivals).

    Returns
    -------
    ndarray of float32, same shape, in [0, 1]

    Raises
    ------
    InputError
        An unknown preset, or maps or options that cannot be used.
    """
    ladder = stages(
        maps,
        preset,
        token_ids=token_ids,
        n_steps=n_steps,
        image_size=image_size,
        special_ids=special_ids,
        words=words,
        context_maps=context_maps,
    )
    return ladder[-1][1] if ladder else like_input(as_batch(maps), maps)


def stages(
    maps: npt.ArrayLike,
    preset: str | Pipeline,
    *,
    token_ids: Sequence[Hashable] | npt.NDArray[np.int64] | None = None,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
    special_ids: Iterable[Hashable] = (),
    words: Sequence[str] | None = None,
    context_maps: npt.ArrayLike | None = None,
) -> list[tuple[str, FloatArray]]:
    """Refine maps and keep every intermediate result; parameters as for `apply`.

    Returns
    -------
    list of (stage name, maps after it)
        One entry per enabled stage, in order.
    """
    context = make_context(
        token_ids=token_ids,
        n_steps=n_steps,
        image_size=image_size,
        special_ids=special_ids,
        words=words,
        context_maps=context_maps,
    )
    return run(maps, as_pipeline(preset), context)[0]


def kernels(
    maps: npt.ArrayLike,
    preset: str | Pipeline,
    *,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
    context_maps: npt.ArrayLike | None = None,
) -> dict[str, npt.NDArray[np.int64]]:
    """Kernels that the AKD stages of a pipeline use on these maps.

    Returns
    -------
    dict of stage name to ndarray of int64, shape (K,)
        Empty when no AKD stage is enabled.
    """
    context = make_context(n_steps=n_steps, image_size=image_size, context_maps=context_maps)
    return run(maps, as_pipeline(preset), context)[1]
