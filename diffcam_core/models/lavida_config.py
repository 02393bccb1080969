"""What config.json says of a LaViDa."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.layout import ViewGeometry
from diffcam_core.models.llada import LladaConfig
from diffcam_core.models.siglip import vision_sizes

SYSTEM_MESSAGE = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
_PINPOINTS = ((384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152))
_MAX_TILES = 64


@dataclass(frozen=True)
class LavidaConfig:
    """Rules of one LaViDa checkpoint.

    Attributes
    ----------
    language : LladaConfig
    vision : dict
        Sizes of the tower, see :func:`diffcam_core.models.siglip.vision_sizes`.
    aspect : {"anyres", "pad"}
        Base view and tiles, or one padded view.
    pinpoints : tuple of (int, int)
        Canvases of "anyres", width and height.
    pool_stride : int
        1 (none) or 2.
    max_length : int
        Longest sequence of prompt and image.
    system_message : str
    generation : GenerationConfig
        Defaults for this model (optional key ``default_generation``, an object).
    domain : str or None
        What images the model was trained on, where it is narrow (optional key ``domain``).
    default_layer : int or None
        Layer whose maps are shown first (optional key ``default_layer``), where it was measured.
    """

    language: LladaConfig
    vision: dict[str, Any]
    aspect: Literal["anyres", "pad"] = "anyres"
    pinpoints: tuple[tuple[int, int], ...] = _PINPOINTS
    pool_stride: int = 2
    max_length: int = 4096
    system_message: str = SYSTEM_MESSAGE
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    domain: str | None = None
    default_layer: int | None = None

    @property
    def geometry(self) -> ViewGeometry:
        """How one view becomes cells."""
        return ViewGeometry(self.vision["image_size"], self.vision["patch_size"], self.pool_stride)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LavidaConfig:
        """Read a ``config.json`` with LaViDa's keys.

        Raises
        ------
        CheckpointError
            If it asks for another packing, projector or tower than LaViDa's.
        """
        expected: dict[str, tuple[object, ...]] = {
            "mm_patch_merge_type": ("spatial_unpad",),
            "image_aspect_ratio": ("anyres", "pad"),
            "mm_projector_type": ("mlp2x_gelu",),
            "mm_spatial_pool_mode": ("bilinear",),
            "mm_vision_select_layer": (-2,),
            "mm_vision_select_feature": ("patch",),
            "mm_use_im_start_end": (False, None),
            "mm_resampler_type": (None,),
        }
        for name, allowed in expected.items():
            if name in config and config[name] not in allowed:
                raise CheckpointError(
                    f"config.json asks for {name}={config[name]!r}, which LaViDa's packing does "
                    "not know",
                    f"Supported: {', '.join(map(repr, allowed))}.",
                )
        vision = vision_sizes(config)
        aspect = cast(Literal["anyres", "pad"], config.get("image_aspect_ratio", "anyres"))
        pinpoints: tuple[tuple[int, int], ...] = ()
        if aspect == "anyres":
            pinpoints = _read_pinpoints(config.get("image_grid_pinpoints"), vision["image_size"])
        # The public code halves the grid of every image whatever the stride says; only our own
        # small models ask for none.
        pool = 1 if config.get("mm_spatial_pool_stride") == 1 else 2
        language = LladaConfig.from_dict(config)
        length = config.get("tokenizer_model_max_length") or language.max_sequence_length
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise CheckpointError(
                f"config.json: tokenizer_model_max_length is {length!r}",
                "Use the model's own config.json.",
            )
        domain = config.get("domain")
        return cls(
            language=language,
            vision=vision,
            aspect=aspect,
            pinpoints=pinpoints,
            pool_stride=pool,
            max_length=length,
            system_message=str(config.get("system_message", SYSTEM_MESSAGE)),
            generation=_read_generation(config.get("default_generation", {})),
            domain=None if domain is None else str(domain),
            default_layer=_read_default_layer(config, language.n_layers),
        )


def _read_generation(value: object) -> GenerationConfig:
    if not isinstance(value, Mapping):
        raise CheckpointError(
            "config.json: default_generation is not an object", "Remove that key."
        )
    try:
        return GenerationConfig.from_json(value)
    except InputError as error:
        raise CheckpointError(
            f"config.json: default_generation cannot be used ({error.cause})", "Remove that key."
        ) from error


def _read_default_layer(config: Mapping[str, Any], n_layers: int) -> int | None:
    layer = config.get("default_layer")
    if layer is None:
        return None
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < n_layers:
        raise CheckpointError(
            f"config.json: default_layer is {layer!r}, the model has layers 0 to {n_layers - 1}",
            "Remove that key.",
        )
    return layer


def _read_pinpoints(value: object, side: int) -> tuple[tuple[int, int], ...]:
    """Read canvases: a list of pairs, its text, or a range of tiles such as "(1x1),...,(2x2)"."""
    if value is None:
        value = _PINPOINTS
    if isinstance(value, str):
        ends = re.findall(r"\((\d{1,2})x(\d{1,2})\)", value)
        if ends:
            (first_w, first_h), (last_w, last_h) = (map(int, ends[i]) for i in (0, -1))
            value = [
                (w * side, h * side)
                for w in range(first_w, last_w + 1)
                for h in range(first_h, last_h + 1)
            ]
        else:
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                value = None
    pairs: list[tuple[int, int]] = []
    for pair in value if isinstance(value, list | tuple) else ():
        if (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(n, int) and n > 0 and n % side == 0 for n in pair)
            and (pair[0] // side) * (pair[1] // side) <= _MAX_TILES
        ):
            pairs.append((pair[0], pair[1]))
        else:
            pairs.clear()
            break
    if not pairs:
        raise CheckpointError(
            f"config.json: image_grid_pinpoints are not sizes in multiples of {side} pixels",
            "Use the config.json that belongs to these weights.",
        )
    return tuple(pairs)
