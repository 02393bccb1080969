"""The SigLIP vision tower as LLaVA-class models use it: next-to-last layer, no post-norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from diffcam_core.errors import CheckpointError

TOWER_PREFIX = "model.vision_tower.vision_tower.vision_model."

# google/siglip-so400m-patch14-384, which LaViDa's config.json names without stating its sizes.
SO400M: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 384,
    "patch_size": 14,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def vision_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of the tower that a model's ``config.json`` asks for.

    ``num_hidden_layers`` counts the last layer, which is never used (nor needed in the weights).

    Raises
    ------
    CheckpointError
        If they are neither stated nor those of a known tower.
    """
    stated = config.get("vision_config")
    if stated is None:
        name = str(config.get("mm_vision_tower", ""))
        if "siglip-so400m-patch14-384" not in name and "siglip2-so400m-patch14-384" not in name:
            raise CheckpointError(
                f"config.json names the vision tower {name!r}, whose sizes are not known",
                "Add a vision_config with the sizes of the tower.",
            )
        stated = {}
    if not isinstance(stated, Mapping):
        raise CheckpointError(
            "config.json: vision_config is not an object", "Use the model's own config.json."
        )
    sizes = {name: stated.get(name, default) for name, default in SO400M.items()}
    for name in (*_SIZES, "image_size", "patch_size", "num_channels"):
        if isinstance(sizes[name], bool) or not isinstance(sizes[name], int) or sizes[name] < 1:
            raise CheckpointError(
                f"config.json: vision_config.{name} is {sizes[name]!r}",
                "Use the config.json that belongs to these weights.",
            )
    if (
        sizes["num_hidden_layers"] < 2
        or sizes["num_channels"] != 3
        or sizes["patch_size"] > sizes["image_size"]
        or sizes["hidden_size"] % sizes["num_attention_heads"]
    ):
        raise CheckpointError(
            "config.json: the sizes in vision_config do not fit together",
            "Use the config.json that belongs to these weights.",
        )
    return sizes


class SiglipTower(nn.Module):
    """Pixels to patch features of the next-to-last SigLIP layer.

    Parameters
    ----------
    sizes : mapping
        From :func:`vision_sizes`; one layer fewer than ``num_hidden_layers`` is built.
    """

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        config = SiglipVisionConfig(
            **{**sizes, "num_hidden_layers": sizes["num_hidden_layers"] - 1},
            vision_use_head=False,
            attn_implementation="sdpa",
        )
        model = SiglipVisionModel(config)
        # Some 5.x releases of transformers wrap the transformer once more.
        core = getattr(model, "vision_model", model)
        # The features are taken before this norm; the identity also keeps it out of the weights.
        core.post_layernorm = nn.Identity()
        self.core = core
        self.image_size: int = sizes["image_size"]

    def restore_buffers(self, device: torch.device) -> None:
        """Recreate what a checkpoint does not store, after building on the meta device."""
        embeddings = self.core.embeddings
        embeddings.position_ids = torch.arange(embeddings.num_positions, device=device)[None]

    def forward(self, pixels: Tensor) -> Tensor:
        """(V, 3, S, S) pixels in [-1, 1] -> (V, patches, hidden) features."""
        return cast(Tensor, self.core(pixels).last_hidden_state)

    def checkpoint_keys(self) -> dict[str, str]:
        """Parameter name -> key in a checkpoint."""
        return {
            name: TOWER_PREFIX + name.removeprefix("core.") for name, _ in self.named_parameters()
        }
