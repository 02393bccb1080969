"""Writes a tiny random LaViDa checkpoint folder for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIAL = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|mdm_mask|>",
)
MERGES = (("Ġ", "c"), ("a", "t"), ("Ġc", "at"), ("Ġ", "d"), ("o", "g"), ("Ġd", "og"), ("Ġ", "a"))


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Return a config.json with LaViDa's keys."""
    config: dict[str, Any] = {
        "model_type": "llava_llada",
        "d_model": 24,
        "n_heads": 2,
        "n_kv_heads": 2,
        "n_layers": 3,
        "mlp_hidden_size": 40,
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "rope": True,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "vocab_size": 272,
        "embedding_size": 272,
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "pad",
        "mm_spatial_pool_stride": 1,
        "mm_spatial_pool_mode": "bilinear",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_hidden_size": 16,
        "tokenizer_model_max_length": 256,
        "system_message": "Look.",
        "default_generation": {"max_new_tokens": 8},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_channels": 3,
            "image_size": 40,
            "patch_size": 10,
        },
    }
    return {**config, **changes}


def tiny_tokenizer() -> str:
    """Return the JSON of a byte-level BPE with a few merges and LLaDA's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = letters + ["".join(pair) for pair in MERGES]
    bpe = models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=list(MERGES))
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return str(tokenizer.to_str())


def write_tiny_lavida(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write config.json, model.safetensors and tokenizer.json with random weights."""
    import torch
    from safetensors.torch import save_file

    from diffcam_core.models.lavida_config import LavidaConfig
    from diffcam_core.models.lavida_network import LavidaNetwork

    folder.mkdir(parents=True)
    config = tiny_config(**changes)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(tiny_tokenizer())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LavidaNetwork(LavidaConfig.from_dict(config))
    save_file(network.state_dict_for_checkpoint(), folder / "model.safetensors")
    return folder
