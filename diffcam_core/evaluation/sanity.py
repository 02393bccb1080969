"""Sanity checks on a model: randomise its parameters, or its input, and explain again.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018. The trajectory stays: same steps,
same partly masked answers, same targets; only the weights, or the image, lose their meaning. The
maps before and after are compared by `diffcam_core.metrics.sanity`.

Whatever happens, the weights come back: they are copied before they are touched, and the copy is
written back, to the bit, when the block is left.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from diffcam_core.errors import CancelledError, InputError
from diffcam_core.metrics.sanity import Similarity, mean_similarity, similarity
from diffcam_core.models.base import DiffusionVLM
from diffcam_core.probing.trajectory import Trajectory

Maps = Mapping[Hashable, npt.NDArray[np.floating]]
"""Maps of one explanation by any key (token, layer, grid …); (rows, cols) each."""

Explain = Callable[[Trajectory], Maps]
"""Explains the same targets of a trajectory; always the same keys."""

Cancel = Callable[[], bool] | threading.Event
Mode = Literal["cascade", "independent"]
Scramble = Literal["noise", "shuffle"]


@dataclass(frozen=True)
class Randomised:
    """Maps after one stage of randomisation against the maps of the trained model.

    Attributes
    ----------
    stage : str
        "head", "block 7" …, the last thing that was randomised; or the kind of input.
    by_key : mapping
        Similarity of each map.
    """

    stage: str
    by_key: Mapping[Hashable, Similarity]

    @property
    def mean(self) -> Similarity:
        """Mean over the maps."""
        return mean_similarity(list(self.by_key.values()))


def stages(model: DiffusionVLM) -> tuple[tuple[str, nn.Module], ...]:
    """Parts of the language model from the output down: head, then blocks from last to first.

    The embedding stays: without it there would be no targets. A tied head is the embedding.
    """
    backbone = model.backbone
    head = [("head", backbone.ff_out)] if backbone.ff_out is not None else []
    blocks = [(f"block {n}", block) for n, block in enumerate(backbone.blocks)]
    return (*head, *reversed(blocks))


def parameter_randomisation(
    model: DiffusionVLM,
    trajectory: Trajectory,
    explain: Explain,
    *,
    mode: Mode = "cascade",
    seed: int = 0,
    cancel: Cancel | None = None,
) -> tuple[Randomised, ...]:
    """Randomise the language model stage by stage and compare the maps.

    Parameters
    ----------
    model : DiffusionVLM
        Changed in place while this runs, and restored before it returns or raises: nothing else
        may use it meanwhile.
    trajectory : Trajectory
    explain : callable
        See :data:`Explain`.
    mode : {"cascade", "independent"}
        Whether what was randomised stays so for the following stages. A cascade holds a copy of
        everything it has changed.
    seed : int
        Of the new weights, which do not depend on the mode.
    cancel : callable or threading.Event, optional
        Asked before each stage.

    Returns
    -------
    tuple of Randomised
        One for each stage, from the output down.

    Raises
    ------
    CancelledError
        Between stages.
    InputError
        If the explanations have different keys.
    """
    before = explain(trajectory)
    found: list[Randomised] = []
    parts = stages(model)
    groups = [parts] if mode == "cascade" else [(part,) for part in parts]
    for group in groups:
        with restored(*(module for _, module in group)):
            for name, module in group:
                _check_cancel(cancel)
                randomise(module, f"{seed}/{name}")
                found.append(Randomised(name, _compare(before, explain(trajectory))))
    return tuple(found)


def input_randomisation(
    model: DiffusionVLM,
    trajectory: Trajectory,
    explain: Explain,
    *,
    kind: Scramble = "noise",
    seed: int = 0,
) -> Randomised:
    """Explain the same targets with an image that means nothing.

    Parameters
    ----------
    model : DiffusionVLM
    trajectory : Trajectory
    explain : callable
    kind : {"noise", "shuffle"}
        Independent pixels of the image's own colours, or its blocks of an eighth of a side in
        random order.
    seed : int

    Returns
    -------
    Randomised
        Of one stage.
    """
    before = explain(trajectory)
    image = scrambled(trajectory.prompt.image, kind, seed)
    prompt = model.prepare(Image.fromarray(image), trajectory.prompt.text)
    return Randomised(kind, _compare(before, explain(replace(trajectory, prompt=prompt))))


def scrambled(image: npt.NDArray[np.uint8], kind: Scramble, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return an image of the same size and the same colours that shows nothing."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        pixels = image.reshape(-1, image.shape[2])
        return pixels[rng.permutation(len(pixels))].reshape(image.shape)
    if kind != "shuffle":
        raise InputError(f"there is no input randomisation {kind!r}", "Use noise or shuffle.")
    height, width = (max(1, side // 8) for side in image.shape[:2])
    rows, cols = (image.shape[0] // height, image.shape[1] // width)
    result = image.copy()
    for here, there in enumerate(rng.permutation(rows * cols)):
        (y, x), (v, u) = divmod(here, cols), divmod(int(there), cols)
        result[y * height : (y + 1) * height, x * width : (x + 1) * width] = image[
            v * height : (v + 1) * height, u * width : (u + 1) * width
        ]
    return result


@torch.no_grad()
def randomise(module: nn.Module, seed: str) -> None:
    """Draw every parameter anew, from a normal distribution of its own mean and deviation.

    Its scale stays, so that activations do not vanish or explode and what changes is what was
    learned. Drawn on the CPU in float32: the same on every device.
    """
    for name, parameter in module.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
        wide = parameter.detach().to("cpu", torch.float32)
        deviation = wide.std(correction=0) if wide.numel() > 1 else torch.zeros(())
        drawn = torch.randn(wide.shape, generator=generator) * deviation + wide.mean()
        parameter.copy_(drawn.to(parameter.dtype))


@contextmanager
def restored(*modules: nn.Module) -> Iterator[None]:
    """Put every parameter of some modules back, to the bit, whatever happens inside."""
    kept: dict[int, tuple[nn.Parameter, Tensor]] = {}
    for module in modules:
        for parameter in module.parameters():
            if id(parameter) not in kept:
                kept[id(parameter)] = (parameter, parameter.detach().to("cpu", copy=True))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, copy in kept.values():
                parameter.copy_(copy)


def _compare(before: Maps, after: Maps) -> dict[Hashable, Similarity]:
    if set(before) != set(after) or not before:
        raise InputError(
            "the explanations before and after randomisation hold different maps",
            "Explain the same targets, layers and grids both times.",
        )
    return {key: similarity(before[key], after[key]) for key in before}


def _check_cancel(cancel: Cancel | None) -> None:
    if cancel is None:
        return
    if cancel.is_set() if isinstance(cancel, threading.Event) else cancel():
        raise CancelledError("the sanity check was cancelled", "Start it again to go on.")
