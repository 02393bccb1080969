"""Small random models, prompts and trajectories to probe."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from diffcam_core.layout import Grid, ImageLayout
from diffcam_core.models import Backbone, LladaConfig
from diffcam_core.models.base import Prompt
from diffcam_core.probing import Trajectory

MASK = 59
SUPPRESSED = (3, 7)
SPAN = (4, 17)  # 3 rows of 4 cells, then one newline


def make_model(dtype=torch.float64, **changes):
    torch.manual_seed(5)
    sizes = {"d_model": 16, "n_heads": 4, "n_layers": 4, "mlp_hidden_size": 28, "vocab_size": 60}
    backbone = Backbone(LladaConfig(**{**sizes, "n_kv_heads": 2, **changes}))
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.35)
            else:
                parameter.uniform_(0.5, 1.5)
    backbone.to(dtype).eval().requires_grad_(False)
    return SimpleNamespace(backbone=backbone, mask_id=MASK, suppressed_ids=SUPPRESSED)


def make_prompt(model, length=22, seed=1):
    torch.manual_seed(seed)
    embeds = torch.randn(1, length, model.backbone.hidden_size).to(model.backbone.dtype)
    ids = np.arange(length, dtype=np.int64)
    ids[SPAN[0] : SPAN[1]] = -200
    grid = Grid(
        name="base",
        rows=3,
        cols=4,
        indices=np.arange(SPAN[0], SPAN[0] + 12),
        rectangles=np.zeros((3, 4, 4), np.float32),
        image_size=(40, 30),
    )
    layout = ImageLayout((40, 30), SPAN, (grid,), np.array([SPAN[1] - 1]))
    return Prompt(embeds, ids, layout, "what", np.zeros((30, 40, 3), np.uint8))


def make_trajectory(prompt, cached, steps=4, length=7):
    generator = np.random.default_rng(2)
    final = generator.integers(8, 50, length)
    order = generator.permutation(length)
    canvases = np.full((steps, length), MASK, np.int64)
    for step in range(1, steps):
        written = order[: step * length // steps]
        canvases[step, written] = final[written]
    return Trajectory(prompt, canvases, MASK, cached), final
