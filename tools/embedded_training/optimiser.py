"""Muon for the matrices of the blocks, AdamW for everything else."""

from __future__ import annotations

import torch
from torch import nn


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
        optimisers.append(torch.optim.Muon(inside, lr=10 * rate, weight_decay=0.01, momentum=0.95))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def set_rate(optimisers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate from its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
