"""Muon for the matrices of the blocks, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) as `torch.optim.Muon`, in float32 and with equal shapes together.

    torch's own orthogonalises in bfloat16, one matrix at a time, which costs a processor
    without bfloat16 as much as the whole of forward and backward. The two are compared in
    the tests.

    Parameters
    ----------
    parameters : iterable of Tensor
        Matrices.
    lr : float
        Step length; updates have about unit spectral norm.
    momentum, weight_decay : float
        Nesterov momentum and decoupled decay.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for (rows, columns), alike in by_shape.items():
                updates = []
                for parameter in alike:
                    state = self.state[parameter]
                    if not state:
                        state["mean"] = torch.zeros_like(parameter)
                    state["mean"].lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(state["mean"], group["momentum"]))
                directions = orthogonalise(torch.stack(updates))
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for parameter, direction in zip(alike, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-rate)


def orthogonalise(matrices: Tensor) -> Tensor:
    """(n, rows, columns) -> the same with all singular values about 1, by Newton and Schulz."""
    a, b, c = _NEWTON_SCHULZ
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


def make_optimisers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Split the parameters: weight matrices inside blocks go to Muon, the rest to AdamW.

    Parameters
    ----------
    model : nn.Module
        What is trained.
    rate : float
        AdamW's peak learning rate; Muon's is ten times as high (its updates
        have unit spectral norm).
    """
    inside, rest = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = parameter.ndim == 2 and (".layers." in name or ".blocks." in name)
        (inside if in_block else rest).append(parameter)
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    ]
    if inside:
        optimisers.append(Muon(inside, lr=10 * rate, momentum=0.95, weight_decay=0.01))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def set_rate(optimisers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate from its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
