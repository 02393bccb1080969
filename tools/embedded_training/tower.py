"""Stage 1: the SigLIP tower learns from dense patch labels what every patch shows."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from diffcam_core.datasets.scenes import TRAINING_SEEDS, kinds, make_scene
from tools.embedded_training.optimiser import make_optimisers, set_rate
from tools.embedded_training.pictures import (
    N_CLASSES,
    patch_shares,
    picture_batches,
    to_input,
    tower_pixels,
)
from tools.embedded_training.precision import Precision
from tools.embedded_training.recipe import DRAWN_SIZE, TOWER_LAYERS, TOWER_WIDTH, VISION

KEPT = 112


class PatchNamer(nn.Module):
    """The tower without its unused last layer, and a linear head over patch classes."""

    def __init__(self) -> None:
        super().__init__()
        config = SiglipVisionConfig(
            **(VISION | {"num_hidden_layers": TOWER_LAYERS}), vision_use_head=False
        )
        self.tower = SiglipVisionModel(config)
        # Plain attention trains faster here than the fused kernel, whose backward is slow on a CPU.
        self.tower.set_attn_implementation("eager")
        self.head = nn.Linear(TOWER_WIDTH, N_CLASSES)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch states (B, patches, width) after the last stored layer, not normalised."""
        return self.tower(pixels, output_hidden_states=True).hidden_states[-1]

    def forward(self, pixels: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Class logits (B, patches, classes), or of the kept patches (B, k) only."""
        states = self.tower.embeddings(pixels)
        if kept is not None:
            states = states.gather(1, kept[..., None].expand(-1, -1, states.shape[-1]))
        for layer in self.tower.encoder.layers:
            states = layer(states, attention_mask=None)
        return self.head(nn.functional.layer_norm(states, states.shape[-1:]))


def choose_patches(shares: torch.Tensor) -> torch.Tensor:
    """Patches to train on, int64 (B, KEPT): all that show objects, then random ground.

    Most of a scene is ground, which the tower knows after minutes; leaving half
    of it out makes a step 1.7 times as fast. The last quarter of the training
    sees whole pictures again.
    """
    on_object = shares[..., : len(kinds())].sum(-1) > 0
    return (on_object + torch.rand(on_object.shape)).topk(KEPT, dim=1).indices


@torch.no_grad()
def whole_object_accuracy(
    namer: PatchNamer, seeds: range, precision: Precision
) -> tuple[float, float, dict[str, float]]:
    """Share of objects named right, of ground patches right, and accuracy by kind."""
    namer.eval()
    right: dict[str, list[float]] = {kind: [] for kind in kinds()}
    ground: list[float] = []
    for start in range(seeds.start, seeds.stop, 50):
        scenes = [make_scene(seed) for seed in range(start, min(start + 50, seeds.stop))]
        drawn = [scene.draw(DRAWN_SIZE) for scene in scenes]
        pixels = torch.stack([torch.from_numpy(tower_pixels(p)) for p, _ in drawn])
        with precision.autocast():
            logits = namer(to_input(pixels))
        scores = logits.float().log_softmax(-1)
        for scene, (_, masks), score in zip(scenes, drawn, scores, strict=True):
            shares = torch.from_numpy(patch_shares(scene, masks))
            for thing in scene.objects:
                weight = shares[:, kinds().index(thing.kind)]
                summed = (score[:, : len(kinds())] * weight[:, None]).sum(0)
                right[thing.kind].append(float(int(summed.argmax()) == kinds().index(thing.kind)))
            pure = shares[:, len(kinds()) :].amax(-1) > 0.99
            ground.append(float((score.argmax(-1) == shares.argmax(-1))[pure].float().mean()))
    namer.train()
    everything = [value for values in right.values() for value in values]
    by_kind = {kind: sum(v) / max(len(v), 1) for kind, v in right.items()}
    return sum(everything) / len(everything), sum(ground) / len(ground), by_kind


def train_tower(
    folder: Path, steps: int, batch: int, rate: float, precision: Precision, log_every: int = 50
) -> None:
    """Train, log to ``tower.jsonl`` and keep ``tower.pt``; goes on where it was stopped."""
    torch.manual_seed(0)
    namer = PatchNamer()
    optimisers = make_optimisers(namer, rate)
    checkpoint = folder / "tower.pt"
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        namer.load_state_dict(saved["model"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = saved["step"]
    stream = picture_batches(TRAINING_SEEDS.start + first * batch, batch)
    log = (folder / "tower.jsonl").open("a")
    started, losses = time.time(), []
    for step in range(first, steps):
        set_rate(optimisers, rate_factor(step, steps))
        pixels, shares = next(stream)
        shares = shares.float()
        kept = choose_patches(shares) if step < 0.75 * steps else None
        with precision.autocast():
            logits = namer(to_input(pixels), kept)
        scores = logits.float().log_softmax(-1)
        if kept is not None:
            shares = shares.gather(1, kept[..., None].expand(-1, -1, N_CLASSES))
        # Patches of one ground teach little after the first minutes; objects are the bottleneck.
        weight = 0.1 + 0.9 * shares[..., : len(kinds())].sum(-1)
        loss = -((shares * scores).sum(-1) * weight).sum() / weight.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(namer.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        done = step + 1
        if done % log_every == 0 or done == steps:
            entry: dict[str, object] = {
                "step": done,
                "images": done * batch,
                "loss": round(sum(losses) / len(losses), 4),
                "seconds": round(time.time() - started, 1),
            }
            losses = []
            if done % (4 * log_every) == 0 or done == steps:
                objects, ground, by_kind = whole_object_accuracy(
                    namer, TRAINING_SEEDS[-300:], precision
                )
                worst = sorted(by_kind, key=by_kind.__getitem__)[:6]
                entry |= {"objects": round(objects, 4), "ground": round(ground, 4), "worst": worst}
                state = {
                    "model": namer.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    "step": done,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
            log.write(json.dumps(entry) + "\n")
            log.flush()


def rate_factor(step: int, steps: int, warm_up: int = 200) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    if step < warm_up:
        return (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.49 * (1 + math.cos(math.pi * share))
