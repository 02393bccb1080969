"""Stages 2 to 4: the language model learns captions, then relations, then both parts together."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from diffcam_core.datasets.scenes import TRAINING_SEEDS, make_scene
from diffcam_core.models.lavida_config import LavidaConfig
from diffcam_core.models.lavida_network import LavidaNetwork
from tools.embedded_training.copies import copies_logits
from tools.embedded_training.optimiser import make_optimisers, set_rate
from tools.embedded_training.pictures import to_input, tower_pixels
from tools.embedded_training.precision import Precision
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
from tools.embedded_training.words import (
    SYSTEM_MESSAGE,
    PairEncoder,
    PairMix,
    draw_pair,
    make_tokenizer,
)

PADDING_WEIGHT = 0.05


@dataclass(frozen=True)
class LanguageStage:
    """One stage of training the language model.

    Attributes
    ----------
    name : str
        Names its checkpoint and its log.
    follows : str or None
        Stage whose checkpoint it goes on from; None begins with the trained tower.
    first_seed : int
        Its first scene; no two stages share a scene.
    mix : PairMix
    copies : int
        Differently masked copies of each answer that share one prefix.
    rate : float
        Peak learning rate as a share of the command's.
    trains_tower : bool
    """

    name: str
    follows: str | None
    first_seed: int
    mix: PairMix
    copies: int = 6
    rate: float = 1.0
    trains_tower: bool = False


LANGUAGE = LanguageStage(
    "language", None, TRAINING_SEEDS.start + 2_000_000, PairMix(captions=0.5, relations=0.38)
)
# Which object lies where is what captions teach least: two hops, from noun to place to noun.
RELATIONS = LanguageStage(
    "relations",
    "language",
    TRAINING_SEEDS.start + 4_000_000,
    PairMix(captions=0.25, relations=0.68),
    copies=3,
    rate=0.5,
)
JOINT = LanguageStage(
    "joint",
    "relations",
    TRAINING_SEEDS.start + 6_000_000,
    PairMix(captions=0.4, relations=0.5),
    rate=0.2,
    trains_tower=True,
)


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
    mix: PairMix

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield uint8 (B, 140, 140, 3), int64 (B, prompt), int64 (B, answer)."""
        encoder = PairEncoder(Tokenizer.from_str(self.tokenizer_json))
        waiting: dict[int, list[tuple[np.ndarray, list[int], list[int]]]] = defaultdict(list)
        worker = get_worker_info()
        seed = self.first_seed + (worker.id if worker else 0)
        while True:
            scene = make_scene(seed)
            rng = np.random.default_rng([seed, 0x7E47])
            prompt, answer = draw_pair(scene, rng, self.mix)
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


def mask_copies(
    answers: Tensor, copies: int, mask_id: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask each answer several times: once wholly, else with shares spread over (0, 1).

    Returns
    -------
    canvases : Tensor
        (B, M, L) ids with masks.
    masked : Tensor
        (B, M, L) bool.
    """
    batch, length = answers.shape
    offsets = torch.rand(batch, 1, generator=generator)
    shares = (torch.arange(copies - 1) + offsets) / (copies - 1)
    shares = torch.cat((torch.ones(batch, 1), shares), dim=1)
    masked = torch.rand(batch, copies, length, generator=generator) < shares[..., None]
    canvases = answers[:, None].expand(-1, copies, -1).masked_fill(masked, mask_id)
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
    network: LavidaNetwork, encoder: PairEncoder, seeds: range, precision: Precision
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
        with precision.autocast():
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


def adopt_checkpoint(source: Path, folder: Path) -> None:
    """Let training go on from a published checkpoint, as if the language stage had ended there."""
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.save(str(folder / "tokenizer.json"))
    network = LavidaNetwork(LavidaConfig.from_dict(checkpoint_config(tokenizer)))
    weights = load_file(source / "model.safetensors")
    names = {key: name for name, key in network.checkpoint_keys().items()}
    state = {names[key]: tensor.float() for key, tensor in weights.items()}
    network.load_state_dict(state, strict=True)
    torch.save({"model": network.state_dict()}, folder / "language.pt")


def starting_network(folder: Path, stage: LanguageStage, tokenizer: Tokenizer) -> LavidaNetwork:
    """The network as the stage before left it."""
    torch.manual_seed(1)
    network = LavidaNetwork(LavidaConfig.from_dict(checkpoint_config(tokenizer)))
    network.vision_tower.core.set_attn_implementation("eager")
    if stage.follows is not None:
        before = torch.load(folder / f"{stage.follows}.pt", weights_only=True)
        network.load_state_dict(before["model"])
        return network
    tower = torch.load(folder / "tower.pt", weights_only=True)["model"]
    state = {
        name.removeprefix("tower."): tensor
        for name, tensor in tower.items()
        if name.startswith("tower.") and "post_layernorm" not in name
    }
    scenes = [make_scene(seed) for seed in TRAINING_SEEDS[-32:]]
    pixels = [torch.from_numpy(tower_pixels(scene.render(DRAWN_SIZE))) for scene in scenes]
    initialise(network, state, torch.stack(pixels))
    return network


def train_language(
    folder: Path,
    stage: LanguageStage,
    steps: int,
    batch: int,
    rate: float,
    precision: Precision,
    log_every: int = 50,
) -> None:
    """Train, log and keep ``STAGE.pt``; goes on where it was stopped."""
    tokenizer_path = folder / "tokenizer.json"
    tokenizer = (
        Tokenizer.from_file(str(tokenizer_path))
        if tokenizer_path.exists()
        else make_tokenizer(tokenizer_path)
    )
    encoder = PairEncoder(tokenizer)
    network = starting_network(folder, stage, tokenizer)
    network.vision_tower.requires_grad_(stage.trains_tower)
    optimisers = make_optimisers(network, stage.rate * rate)
    first = 0
    checkpoint = folder / f"{stage.name}.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["model"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = saved["step"]
    seeds = stage.first_seed + first * batch
    stream = iter(
        DataLoader(
            PairStream(tokenizer.to_str(), seeds, batch, stage.mix),
            batch_size=None,
            num_workers=1,
            prefetch_factor=6,
        )
    )
    mask_id = tokenizer.token_to_id("<|mdm_mask|>")
    padding_id = tokenizer.token_to_id("<|endoftext|>")
    before = torch.tensor([encoder.prompt_ids("")[0]])
    generator = torch.Generator().manual_seed(seeds)
    log = (folder / f"{stage.name}.jsonl").open("a")
    started, losses = time.time(), []
    for step in range(first, steps):
        set_rate(optimisers, rate_factor(step, steps, warm_up=min(200, steps // 8)))
        pixels, prompts, answers = next(stream)
        canvases, masked = mask_copies(answers, stage.copies, mask_id, generator)
        with precision.autocast():
            with torch.set_grad_enabled(stage.trains_tower):
                features = network.vision_tower(to_input(pixels))
            cells = network.pool(network.mm_projector(features))
            prefix = prefix_embeddings(network, cells, before, prompts)
            logits = copies_logits(network.backbone, prefix, network.backbone.embed(canvases))
        targets = answers[:, None].expand_as(canvases)[masked]
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
                entry |= caption_accuracy(network, encoder, TRAINING_SEEDS[-200:], precision)
                state = {
                    "model": network.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    "step": done,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
            log.write(json.dumps(entry) + "\n")
            log.flush()
