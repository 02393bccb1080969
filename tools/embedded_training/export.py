"""Last stage: write the newest weights as a LaViDa checkpoint folder and prove it loads alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer

from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, TRAINING_SEEDS, make_scene
from diffcam_core.models import load_model
from diffcam_core.models.lavida_config import LavidaConfig
from diffcam_core.models.lavida_network import LavidaNetwork
from tools.embedded_training.language import checkpoint_config, prefix_embeddings
from tools.embedded_training.pictures import to_input, tower_pixels
from tools.embedded_training.recipe import DRAWN_SIZE
from tools.embedded_training.words import PairEncoder


def export_checkpoint(folder: Path, target: Path) -> None:
    """Write config.json, tokenizer.json and bfloat16 weights; check packing and prompt.

    Raises
    ------
    RuntimeError
        If the loaded checkpoint packs another sequence than training did.
    """
    stages = ("joint", "relations", "language")
    newest = next(p for p in (folder / f"{stage}.pt" for stage in stages) if p.exists())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = checkpoint_config(tokenizer)
    network = LavidaNetwork(LavidaConfig.from_dict(config))
    network.load_state_dict(torch.load(newest, weights_only=True)["model"])
    target.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.to(torch.bfloat16)
        for name, tensor in network.state_dict_for_checkpoint().items()
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer.save(str(target / "tokenizer.json"))
    _check_packing(target, PairEncoder(tokenizer))


@torch.no_grad()
def _check_packing(target: Path, encoder: PairEncoder) -> None:
    model = load_model(str(target), device="cpu", dtype=torch.float32)
    picture = make_scene(TRAINING_SEEDS[-1]).render(DRAWN_SIZE)
    packed = model.prepare(Image.fromarray(picture), DESCRIBE_PROMPT)
    before, after = encoder.prompt_ids(DESCRIBE_PROMPT)
    pixels = torch.from_numpy(np.stack([tower_pixels(picture)]))
    cells = model.network.encode_views(to_input(pixels))
    ours = prefix_embeddings(model.network, cells, torch.tensor([before]), torch.tensor([after]))
    if ours.shape != packed.embeds.shape or float((ours - packed.embeds).abs().max()) > 1e-4:
        raise RuntimeError(
            "the exported model packs another sequence than the one it was trained on"
        )
