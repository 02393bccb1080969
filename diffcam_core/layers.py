"""Numbers and names of the places in a model that a map can be made at."""

from __future__ import annotations

from typing import Final

INPUT_LAYER: Final = -1
"""The image embeddings that block 0 reads. Block outputs are numbered from 0."""


def layer_title(layer: int) -> str:
    """Return what people read: "Input", or "Layer 3"."""
    return "Input" if layer == INPUT_LAYER else f"Layer {layer}"
