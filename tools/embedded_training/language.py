"""Stages 2 and 3: the language model learns to fill in masked answers, then both together."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from diffcam_core.datasets.scenes import TRAINING_SEEDS, make_scene
from diffcam_core.models.lavida import LavidaConfig, LavidaNetwork
from tools.embedded_training.copies import copies_logits
from tools.embedded_training.optimiser import make_optimisers, set_rate
from tools.embedded_training.pictures import to_input, tower_pixels
from tools.embedded_training.recipe import (
    ANSWER_TOKENS,
    DRAWN_SIZE,
    HEADS,
    INNER,
    LAYERS,
    TOWER_WIDTH,
    VISION,
    WIDTH,
)
from tools.embedded_training.tower import rate_factor
from tools.embedded_training.words import SYSTEM_MESSAGE, PairEncoder, draw_pair, make_tokenizer

COPIES = 6
# Language scenes are other scenes than the tower's.
FIRST_SEED = TRAINING_SEEDS.start + 2_000_000
PADDING_WEIGHT = 0.05


def checkpoint_config(tokenizer: Tokenizer) -> dict[str, object]:
    """The embedded model's config.json: LaViDa's keys, small numbers."""
    vocabulary = -(-tokenizer.get_vocab_size() // 64) * 64
    return {
        "model_type": "llava_llada",
        "d_model": WIDTH,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "mlp_hidden_size": INNER,
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_theta": 500000.0,
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "vocab_size": vocabulary,
        "embedding_size": vocabulary,
        "max_sequence_length": 512,
        "mask_token_id": tokenizer.token_to_id("<|mdm_mask|>"),
        "eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "tokenizer_model_max_length": 512,
        "image_aspect_ratio": "pad",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_spatial_pool_mode": "bilinear",
        "mm_spatial_pool_stride": 1,
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": TOWER_WIDTH,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "vision_config": VISION,
        "system_message": SYSTEM_MESSAGE,
        "domain": "sticker scenes",
        # Best F3 of the studio preset on training scenes, see docs/method.md.
        "default_layer": 0,
        "default_generation": {
            "max_new_tokens": ANSWER_TOKENS,
            "block_length": ANSWER_TOKENS,
            "steps": ANSWER_TOKENS // 2,
            "schedule": "shift",
            # As LaViDa's own evaluation scripts; 3.0, the default of its code, answers worse here.
            "shift": 0.33,
        },
    }


@dataclass(frozen=True)
class PairStream(IterableDataset):
    """Endless batches of (pixels, prompt ids, answer ids); one batch has prompts of one length."""

    tokenizer_json: str
    first_seed: int
    batch: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield uint8 (B, 140, 140, 3), int64 (B, prompt), int64 (B, answer)."""
        encoder = PairEncoder(Tokenizer.from_str(self.tokenizer_json))
        waiting: dict[int, list[tuple[np.ndarray, list[int], list[int]]]] = defaultdict(list)
        worker = get_worker_info()
        seed = self.first_seed + (worker.id if worker else 0)
        while True:
            scene = make_scene(seed)
            rng = np.random.default_rng([seed, 0x7E47])
            prompt, answer = draw_pair(scene, rng)
            after = encoder.prompt_ids(prompt)[1]
            pixels = tower_pixels(scene.render(DRAWN_SIZE))
            bucket = waiting[len(after)]
            bucket.append((pixels, after, encoder.answer_ids(answer)))
            if len(bucket) == self.batch:
                pictures, prompts, answers = zip(*bucket, strict=True)
                bucket.clear()
                yield (
                    torch.from_numpy(np.stack(pictures)),
                    torch.tensor(prompts),
                    torch.tensor(answers),
                )
            seed += worker.num_workers if worker else 1


def prefix_embeddings(
    network: LavidaNetwork, cells: Tensor, before: Tensor, after: Tensor
) -> Tensor:
    """Pack text, image cells, newline and text as `LavidaNetwork.pack` does, for a batch."""
    batch = cells.shape[0]
    head = network.backbone.embed(before).expand(batch, -1, -1)
    newline = network.image_newline.expand(batch, 1, -1)
    parts = (head, cells.float(), newline, network.backbone.embed(after))
    return torch.cat(parts, dim=1)


def mask_copies(answers: Tensor, mask_id: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mask each answer `COPIES` times: once wholly, else with shares spread over (0, 1).

    Returns
    -------
    canvases : Tensor
        (B, M, L) ids with masks.
    masked : Tensor
        (B, M, L) bool.
    """
    batch, length = answers.shape
    offsets = torch.rand(batch, 1, generator=generator)
    shares = (torch.arange(COPIES - 1) + offsets) / (COPIES - 1)
    shares = torch.cat((torch.ones(batch, 1), shares), dim=1)
    masked = torch.rand(batch, COPIES, length, generator=generator) < shares[..., None]
    canvases = answers[:, None].expand(-1, COPIES, -1).masked_fill(masked, mask_id)
    return canvases, masked


def initialise(network: LavidaNetwork, tower_state: dict[str, Tensor], pixels: Tensor) -> None:
    """Load the trained tower and scale everything so that the first steps are calm."""
    network.vision_tower.core.load_state_dict(tower_state, strict=True)
    width = network.config.language.d_model
    nn.init.normal_(network.backbone.wte.weight, std=0.3)
    nn.init.normal_(network.image_newline, std=0.3)
    for name, parameter in network.backbone.named_parameters():
        if parameter.ndim == 2 and "wte" not in name:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        if name.endswith(("attn_out.weight", "blocks.ff_out.weight")) or ".ff_out" in name:
            with torch.no_grad():
                parameter.mul_((2 * LAYERS) ** -0.5)
    with torch.no_grad():
        features = network.vision_tower(to_input(pixels))
        first, second = network.mm_projector[0], network.mm_projector[2]
        nn.init.normal_(first.weight, std=features.shape[-1] ** -0.5)
        first.weight.div_(features.std())
        first.bias.copy_(-(first.weight @ features.mean((0, 1))))
        nn.init.normal_(second.weight, std=0.6 * width**-0.5)
        nn.init.zeros_(second.bias)


@torch.no_grad()
def caption_accuracy(
    network: LavidaNetwork, encoder: PairEncoder, seeds: range
) -> dict[str, float]:
    """Quick look at learning: masked-token accuracy of whole captions read from the image alone."""
    network.eval()
    mask_id = encoder.tokenizer.token_to_id("<|mdm_mask|>")
    from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, kinds

    before, after = encoder.prompt_ids(DESCRIBE_PROMPT)
    noun_first = {encoder.tokenizer.encode(f" {kind}").ids[0] for kind in kinds()}
    right: list[float] = []
    nouns: list[float] = []
    for start in range(seeds.start, seeds.stop, 50):
        scenes = [make_scene(seed) for seed in range(start, min(start + 50, seeds.stop))]
        pixels = torch.stack([torch.from_numpy(tower_pixels(s.render(DRAWN_SIZE))) for s in scenes])
        answers = torch.tensor([encoder.answer_ids(scene.caption) for scene in scenes])
        with torch.autocast("cpu", torch.bfloat16):
            cells = network.encode_views(to_input(pixels))
            prefix = prefix_embeddings(
                network, cells, torch.tensor([before]), torch.tensor([after] * len(scenes))
            )
            # Half masked, every second token: what later denoising steps see.
            canvas = answers.clone()
            canvas[:, ::2] = mask_id
            copies = torch.stack(
                (torch.full_like(answers, mask_id), canvas, answers.clone()), dim=1
            )
            copies[:, 2, 1::2] = mask_id
            guesses = copies_logits(
                network.backbone, prefix, network.backbone.embed(copies)
            ).argmax(-1)
        read = (guesses[:, 1] == answers) & (canvas == mask_id)
        read |= (guesses[:, 2] == answers) & (copies[:, 2] == mask_id)
        is_noun = torch.tensor([[int(i) in noun_first for i in row] for row in answers])
        right.append(float(read.float().mean()))
        nouns += read[is_noun].float().tolist()
    network.train()
    return {"tokens": round(sum(right) / len(right), 4), "nouns": round(sum(nouns) / len(nouns), 4)}


def train_language(
    folder: Path, steps: int, batch: int, rate: float, joint: bool = False, log_every: int = 50
) -> None:
    """Train, log and keep ``language.pt`` (or ``joint.pt``); goes on where it was stopped."""
    stage = "joint" if joint else "language"
    tokenizer_path = folder / "tokenizer.json"
    tokenizer = (
        Tokenizer.from_file(str(tokenizer_path))
        if tokenizer_path.exists()
        else make_tokenizer(tokenizer_path)
    )
    encoder = PairEncoder(tokenizer)
    torch.manual_seed(1)
    network = LavidaNetwork(LavidaConfig.from_dict(checkpoint_config(tokenizer)))
    network.vision_tower.core.set_attn_implementation("eager")
    checkpoint = folder / f"{stage}.pt"
    saved = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    if saved is not None:
        network.load_state_dict(saved["model"])
    elif joint:
        network.load_state_dict(torch.load(folder / "language.pt", weights_only=True)["model"])
    else:
        tower = torch.load(folder / "tower.pt", weights_only=True)["model"]
        state = {
            name.removeprefix("tower."): tensor
            for name, tensor in tower.items()
            if name.startswith("tower.") and "post_layernorm" not in name
        }
        pixels = torch.stack(
            [
                torch.from_numpy(tower_pixels(make_scene(s).render(DRAWN_SIZE)))
                for s in TRAINING_SEEDS[-32:]
            ]
        )
        initialise(network, state, pixels)
    network.vision_tower.requires_grad_(joint)
    optimisers = make_optimisers(network, rate)
    first = 0
    if saved is not None:
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = saved["step"]
    seeds = FIRST_SEED + (3_000_000 if joint else 0) + first * batch
    stream = iter(
        DataLoader(
            PairStream(tokenizer.to_str(), seeds, batch),
            batch_size=None,
            num_workers=1,
            prefetch_factor=6,
        )
    )
    mask_id = tokenizer.token_to_id("<|mdm_mask|>")
    padding_id = tokenizer.token_to_id("<|endoftext|>")
    before = torch.tensor([encoder.prompt_ids("")[0]])
    generator = torch.Generator().manual_seed(seeds)
    log = (folder / f"{stage}.jsonl").open("a")
    started, losses = time.time(), []
    for step in range(first, steps):
        set_rate(optimisers, rate_factor(step, steps))
        pixels, prompts, answers = next(stream)
        canvases, masked = mask_copies(answers, mask_id, generator)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(joint):
                features = network.vision_tower(to_input(pixels))
            cells = network.pool(network.mm_projector(features))
            prefix = prefix_embeddings(network, cells, before, prompts)
            logits = copies_logits(network.backbone, prefix, network.backbone.embed(canvases))
        targets = answers[:, None].expand(-1, COPIES, -1)[masked]
        token_losses = nn.functional.cross_entropy(
            logits[masked].float(), targets, reduction="none"
        )
        weight = torch.where(targets == padding_id, PADDING_WEIGHT, 1.0)
        loss = (token_losses * weight).sum() / weight.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
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
                entry |= caption_accuracy(network, encoder, TRAINING_SEEDS[-200:])
                state = {
                    "model": network.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    "step": done,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
            log.write(json.dumps(entry) + "\n")
            log.flush()
