"""Sizes and constants of the embedded model: a LaViDa in miniature."""

from __future__ import annotations

from typing import Any

IMAGE_SIZE = 140
PATCH_SIZE = 10
GRID = IMAGE_SIZE // PATCH_SIZE
TOWER_WIDTH = 192
TOWER_LAYERS = 6
WIDTH = 192
LAYERS = 6
HEADS = 6
TOWER_HEADS = 3
INNER = 512
ANSWER_TOKENS = 32
# Scenes are drawn at twice the tower's size and shrunk as the image processor shrinks a file.
DRAWN_SIZE = 2 * IMAGE_SIZE

VISION: dict[str, Any] = {
    "hidden_size": TOWER_WIDTH,
    "intermediate_size": 4 * TOWER_WIDTH,
    # Counts the last layer, which LaViDa's tower never uses and this file never stores.
    "num_hidden_layers": TOWER_LAYERS + 1,
    "num_attention_heads": TOWER_HEADS,
    "num_channels": 3,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
