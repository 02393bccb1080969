"""What a run will do and cost, before it begins: the plan, and what is checked against it."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from diffcam_core.errors import ResourceError, TargetError
from diffcam_core.events import Plan
from diffcam_core.request import Request

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM, Prompt


def plan_of(model: DiffusionVLM, request: Request, packed: Prompt, out: Path) -> Plan:
    """Return what a run will do and cost; one forward pass is timed for it.

    Raises
    ------
    TargetError
        If no layer has a gradient path to the image.
    """
    config = request.generation
    n_steps, length = config.n_steps, config.max_new_tokens
    grids = tuple(grid.spec() for grid in packed.layout.grids)
    valid = _validity(model, request.layers, n_steps)
    if not valid.any():
        raise TargetError(
            f"nothing reads the image's states after layer {request.layers[-1]}, the last one",
            f"Choose layers from 0 to {model.backbone.n_layers - 2}.",
        )
    if request.steps == "commit":
        explained, pairs = n_steps, length
    elif request.steps == "all":
        explained, pairs = n_steps, n_steps * length
    else:
        explained, pairs = len(request.steps), len(request.steps) * length
    per_forward = _time_forward(model, packed, length)
    cells = sum(grid.rows * grid.cols for grid in grids)
    canvas = 29 * n_steps * length
    maps = pairs * len(request.layers) * (2 * cells + 12)
    plan = Plan(
        run_id=_run_id(request, packed.image),
        method=request.method,
        n_steps=n_steps,
        n_positions=length,
        layers=request.layers,
        grids=grids,
        valid=valid,
        requested_steps=None if request.steps == "commit" else request.asked_steps,
        prompt=request.prompt,
        model=model.name,
        forward_passes=n_steps + explained,
        backward_passes=pairs,
        # A backward pass with respect to activations only costs about one forward pass.
        seconds=per_forward * (n_steps + 2 * explained + pairs),
        bytes_on_disk=packed.image.size + canvas + maps + 200_000,
        path=str(out),
    )
    return replace(plan, default_layer=_default_layer(plan, model))


def check_disk(plan: Plan, folder: Path) -> None:
    """Refuse a run that can hardly fit on the disk.

    Raises
    ------
    ResourceError
        If the folder has less room than half of what the run may take.
    """
    if not folder.is_dir():
        return  # the writer says so in its own words
    usage = shutil.disk_usage(folder)
    # Maps compress to about half; refuse only what can hardly fit. Some file systems do not
    # know their size and say 0.
    if usage.total and usage.free < plan.bytes_on_disk // 2:
        raise ResourceError(
            f"{folder} has {usage.free / 1e6:.0f} MB left, and the run may take up to "
            f"{plan.bytes_on_disk / 1e6:.0f} MB",
            "Free some space, or ask for fewer layers, steps or tokens.",
        )


def _time_forward(model: DiffusionVLM, packed: Prompt, length: int) -> float:
    """Seconds of one forward pass over prompt and answer, without gradients."""
    backbone = model.backbone
    with torch.no_grad():
        masks = torch.full((1, length), model.mask_id, device=packed.embeds.device)
        answer = backbone.embed(masks)
        sequence = torch.cat([packed.embeds.to(answer.dtype), answer], dim=1)
        _wait_for(sequence)
        begin = time.perf_counter()
        output = backbone(sequence, logits_at=(sequence.shape[1] - 1,))
        _wait_for(output.logits)
        return time.perf_counter() - begin


def metadata_of(
    model: DiffusionVLM, request: Request, plan: Plan, scene: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what a run file says about how it was made, beside the request."""
    known = {} if scene is None else {"scene": json.dumps(scene, sort_keys=True)}
    return known | {
        "default_layer": plan.default_layer,
        "model_facts": model.describe(),
        "mask_id": model.mask_id,
        "eos_ids": list(model.eos_ids),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "validity": "a gradient path to the whole image span exists"
        + (" (through the prefix cache)" if request.generation.prefix_cache else ""),
    }


def _validity(model: DiffusionVLM, layers: tuple[int, ...], n_steps: int) -> npt.NDArray[np.bool_]:
    """(steps, layers): whether a gradient path to the whole image span exists.

    With and without prefix cache every step reads the image: at its own positions of the
    sequence, or through the cached keys and values, which stay in the graph. Only what leaves the
    last block at the image's positions is read by nothing that the answer depends on.
    """
    valid = np.ones((n_steps, len(layers)), np.bool_)
    valid[:, [layer == model.backbone.n_layers - 1 for layer in layers]] = False
    return valid


def _default_layer(plan: Plan, model: DiffusionVLM) -> int:
    """The layer to show first: the model's own, else block 10 of 32, as published, to scale."""
    usable = [layer for column, layer in enumerate(plan.layers) if plan.valid[:, column].any()]
    own = model.default_layer
    aim = model.backbone.n_layers * 10 / 32 if own is None else own
    return min(usable, key=lambda layer: (abs(layer - aim), layer))


def _run_id(request: Request, pixels: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(repr(sorted(request.to_json().items())).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()[:16]


def _wait_for(tensor: torch.Tensor) -> None:
    """Let an accelerator finish, so that a clock can be read."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
    elif tensor.device.type == "mps":
        torch.mps.synchronize()
