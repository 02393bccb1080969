"""LaViDa with a LLaDA backbone: vision tower, projector, any-resolution packing, its template.

The packing reproduces the public LaViDa code, including what looks like an accident there: the
first token after the image (a newline) is dropped, because the splitter takes it for a second
start token. The released model was evaluated that way.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.images import as_image
from diffcam_core.layout import (
    ImageLayout,
    ViewGeometry,
    any_resolution_layout,
    plan_tiles,
    single_view_layout,
    square_offset,
)
from diffcam_core.models.base import IMAGE_ID, Family, ModelInfo, Prompt
from diffcam_core.models.checkpoint import Checkpoint, LoadReport
from diffcam_core.models.llada import Backbone, LladaConfig, dialect_of
from diffcam_core.models.loading import backbone_keys, choose_dtype, language_config
from diffcam_core.models.projector import PROJECTOR_PREFIX, make_projector
from diffcam_core.models.siglip import SiglipTower, vision_sizes
from diffcam_core.models.tokenizer import TextTokenizer

FAMILY_NAME = "LaViDa-LLaDA"
NEWLINE_KEY = "model.image_newline"
VISION_PREFIX = "model.vision_tower."

SYSTEM_MESSAGE = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
START, END = "<|startoftext|>", "<|endoftext|>"
HEADER, HEADER_END, TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
MASK = "<|mdm_mask|>"
_LLADA_IDS = {START: 126080, END: 126081, TURN_END: 126348, MASK: 126336}

_PINPOINTS = ((384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152))
_PAD_GREY = 127  # int(0.5 * 255): the mean of the processor, rounded as upstream does
_MAX_TILES = 64

ByteArray = npt.NDArray[np.uint8]


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


def views_of(image: Image.Image, config: LavidaConfig) -> ByteArray:
    """Cut an RGB image into the views of the tower.

    Returns
    -------
    ndarray of uint8, shape (V, 3, S, S)
        "anyres": the whole image squashed, then the tiles of the padded canvas row by row;
        "pad": the image centred on a grey square.
    """
    side = config.geometry.image_size
    if config.aspect == "pad":
        length, corner = square_offset(image.size)
        if image.width != image.height:
            square = Image.new("RGB", (length, length), (_PAD_GREY,) * 3)
            square.paste(image, corner)
            image = square
        views = [image.resize((side, side), Image.Resampling.BICUBIC)]
    else:
        plan = plan_tiles(image.size, config.geometry, config.pinpoints)
        canvas = Image.new("RGB", plan.canvas, (0, 0, 0))
        canvas.paste(image.resize(plan.resized, Image.Resampling.BICUBIC), plan.paste)
        views = [image.resize((side, side), Image.Resampling.BICUBIC)]
        views += [
            canvas.crop((x, y, x + side, y + side))
            for y in range(0, plan.canvas[1], side)
            for x in range(0, plan.canvas[0], side)
        ]
    return np.stack([np.asarray(view, dtype=np.uint8).transpose(2, 0, 1) for view in views])


class LavidaNetwork(nn.Module):
    """All weights of a LaViDa, and the packing; trainable until a loader freezes it.

    Parameters
    ----------
    config : LavidaConfig
    """

    def __init__(self, config: LavidaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.d_model
        self.backbone = Backbone(config.language)
        self.vision_tower = SiglipTower(config.vision)
        self.mm_projector = make_projector(config.vision["hidden_size"], width)
        self.image_newline = nn.Parameter(torch.randn(width) / width**0.5)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.device

    def layout_for(self, image_size: tuple[int, int], start: int = 0) -> ImageLayout:
        """Return where an image of that (width, height) lies if its first token is ``start``."""
        config = self.config
        if config.aspect == "pad":
            return single_view_layout(image_size, config.geometry, start)
        return any_resolution_layout(image_size, config.geometry, config.pinpoints, start)

    def pixels(self, views: ByteArray) -> Tensor:
        """(V, 3, S, S) bytes -> the same in [-1, 1], in the weights' type, on their device."""
        scaled = torch.from_numpy(views).to(self.device).to(torch.float32) / 255
        return ((scaled - 0.5) / 0.5).to(self.image_newline.dtype)

    def encode_views(self, pixels: Tensor) -> Tensor:
        """Tower, projector, then pooling: (V, 3, S, S) -> (V, cells * cells, d)."""
        projected = cast(Tensor, self.mm_projector(self.vision_tower(pixels)))
        return self.pool(projected)

    def pool(self, projected: Tensor) -> Tensor:
        """Resize the patch grid of each view bilinearly to cells; nothing for stride 1."""
        geometry = self.config.geometry
        if geometry.pool_stride == 1:
            return projected
        views, _, width = projected.shape
        grid = projected.view(views, geometry.patches, geometry.patches, width).permute(0, 3, 1, 2)
        small = F.interpolate(
            grid, size=(geometry.cells, geometry.cells), mode="bilinear", align_corners=False
        )
        return small.permute(0, 2, 3, 1).reshape(views, -1, width)

    def merge_views(self, cells: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Join (V, cells * cells, d) of one image into its span (N, d), newlines included."""
        if self.config.aspect == "pad":
            return torch.cat((cells[0], self.image_newline[None].to(cells.dtype)))
        geometry = self.config.geometry
        plan = plan_tiles(image_size, geometry, self.config.pinpoints)
        (across, down), (pad_c, pad_r), (rows, cols) = plan.tiles, plan.pad, plan.grid
        side, width = geometry.cells, cells.shape[-1]
        tiles = cells[1:].view(down, across, side, side, width).transpose(1, 2)
        grid = tiles.reshape(down * side, across * side, width)
        grid = grid[pad_r : pad_r + rows, pad_c : pad_c + cols]
        newline = self.image_newline.to(cells.dtype).expand(rows, 1, width)
        lines = torch.cat((grid, newline), dim=1).reshape(rows * (cols + 1), width)
        return torch.cat((cells[0], lines))

    def encode_image(self, image: Image.Image) -> Tensor:
        """Return the image span (N, d) of an upright RGB image."""
        pixels = self.pixels(views_of(image, self.config))
        return self.merge_views(self.encode_views(pixels), image.size)

    def pack(
        self, ids: Sequence[int], images: Sequence[Image.Image]
    ) -> tuple[Tensor, npt.NDArray[np.int64], tuple[ImageLayout, ...]]:
        """Replace each ``IMAGE_ID`` by the tokens of the next image.

        Parameters
        ----------
        ids : sequence of int
            Token ids with one -200 for each image.
        images : sequence of PIL.Image
            Upright RGB images.

        Returns
        -------
        embeds : Tensor
            (1, P, d).
        ids : ndarray of int64, shape (P,)
            With -200 at every image row.
        layouts : tuple of ImageLayout

        Raises
        ------
        InputError
            If the numbers of images differ, or the sequence is longer than the model reads.
        """
        if sum(i == IMAGE_ID for i in ids) != len(images):
            raise InputError(
                f"the prompt has a place for {sum(i == IMAGE_ID for i in ids)} image(s), "
                f"{len(images)} given",
                "Give one image for each place.",
            )
        layouts: list[ImageLayout] = []
        expanded: list[int] = []
        waiting = iter(images)
        for token in ids:
            if token == IMAGE_ID:
                layout = self.layout_for(next(waiting).size, len(expanded))
                layouts.append(layout)
                expanded.extend([IMAGE_ID] * layout.n_tokens)
            else:
                expanded.append(token)
        # Checked before the costly part; the public code would cut the end off instead.
        if len(expanded) > self.config.max_length:
            raise InputError(
                f"prompt and image take {len(expanded)} tokens, the model reads "
                f"{self.config.max_length}",
                "Shorten the prompt.",
            )
        positions = np.asarray(expanded, dtype=np.int64)
        rows = torch.from_numpy(np.maximum(positions, 0)).to(self.device)
        parts: list[Tensor] = []
        text = self.backbone.embed(rows[None])[0]
        done = 0
        for layout, image in zip(layouts, images, strict=True):
            span = self.encode_image(image)
            if span.shape[0] != layout.n_tokens:
                raise AssertionError("image features and layout disagree")
            parts += [text[done : layout.span[0]], span.to(text.dtype)]
            done = layout.span[1]
        parts.append(text[done:])
        return torch.cat(parts)[None], positions, tuple(layouts)

    def checkpoint_keys(self, dialect: str = "llada") -> dict[str, str]:
        """Parameter name of this module -> key in a checkpoint of that dialect."""
        keys = {
            "backbone." + name: key for name, key in backbone_keys(self.backbone, dialect).items()
        }
        keys |= {
            "vision_tower." + name: key for name, key in self.vision_tower.checkpoint_keys().items()
        }
        keys |= {
            "mm_projector." + name: PROJECTOR_PREFIX + name
            for name, _ in self.mm_projector.named_parameters()
        }
        keys["image_newline"] = NEWLINE_KEY
        return keys

    def state_dict_for_checkpoint(self) -> dict[str, Tensor]:
        """Return detached, contiguous parameters under the names of public checkpoints."""
        parameters = dict(self.named_parameters())
        return {
            key: parameters[name].detach().contiguous()
            for name, key in self.checkpoint_keys().items()
        }


def load_network(
    checkpoint: Checkpoint, device: torch.device, dtype: str | torch.dtype | None = None
) -> tuple[LavidaNetwork, LoadReport]:
    """Load all weights of a LaViDa folder, frozen and in evaluation mode.

    Raises
    ------
    CheckpointError
        If a language, vision, projector or newline tensor is missing, or anything is damaged.
    """
    network, keys, report = _lay_out(checkpoint)
    report.refuse_missing(checkpoint.folder)
    report.refuse_foreign_language(checkpoint.folder)
    chosen = choose_dtype(network, checkpoint, keys["backbone.wte.weight"], device, dtype)
    checkpoint.fill(network, keys, device, chosen)
    network.vision_tower.restore_buffers(device)
    return network.eval(), report


def _lay_out(checkpoint: Checkpoint) -> tuple[LavidaNetwork, dict[str, str], LoadReport]:
    """Build the network without weights; its checkpoint keys, and which of them are stored."""
    config = LavidaConfig.from_dict(checkpoint.config)
    dialect = dialect_of(checkpoint.shapes)
    if dialect is None:
        raise CheckpointError(
            f"{checkpoint.folder} holds no LLaDA language model", "Fetch the whole model."
        )
    config = replace(config, language=language_config(checkpoint, dialect))
    checkpoint.refuse_absurd_depth(config.vision["num_hidden_layers"])
    with torch.device("meta"):
        network = LavidaNetwork(config)
    keys = network.checkpoint_keys(dialect)
    return network, keys, checkpoint.match(keys.values())


class LaViDa:
    """A loaded LaViDa-LLaDA: see :class:`diffcam_core.models.base.DiffusionVLM`.

    Parameters
    ----------
    network : LavidaNetwork
        Frozen.
    tokenizer : TextTokenizer
        With LLaDA's special tokens.
    name : str
        How the user called the model.
    folder : Path
    report : LoadReport

    Raises
    ------
    CheckpointError
        If the tokenizer lacks the special tokens of the template.
    """

    family = FAMILY_NAME
    supports_prefix_cache = True
    suppressed_ids: tuple[int, ...] = ()

    def __init__(
        self,
        network: LavidaNetwork,
        tokenizer: TextTokenizer,
        name: str,
        folder: Path,
        report: LoadReport | None = None,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.name = name
        self.folder = folder
        self.report = report or LoadReport()
        absent = [
            token
            for token in (START, END, HEADER, HEADER_END, TURN_END)
            if tokenizer.id_of(token) is None
        ]
        if absent:
            raise CheckpointError(
                f"tokenizer.json of {folder} lacks {', '.join(absent)}",
                "Use the tokenizer that belongs to the model.",
            )
        self.mask_id = self._special(MASK, network.config.language.mask_token_id)
        end = self._special(END, network.config.language.eos_token_id)
        self.eos_ids: tuple[int, ...] = (end, self._special(TURN_END, None))

    def _special(self, token: str, stated: int | None) -> int:
        found = stated if stated is not None else self.tokenizer.id_of(token)
        found = _LLADA_IDS[token] if found is None else found
        if not 0 <= found < self.backbone.vocab_size:
            raise CheckpointError(
                f"{token} has id {found}, outside the {self.backbone.vocab_size} rows of the model",
                "Use the config.json and tokenizer.json that belong to these weights.",
            )
        return found

    @property
    def backbone(self) -> Backbone:
        """The language model."""
        return self.network.backbone

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of its parameters."""
        return self.backbone.dtype

    @property
    def default_generation(self) -> GenerationConfig:
        """How this model is run when the user says nothing."""
        return self.network.config.generation

    @property
    def domain(self) -> str | None:
        """What images it was made for; None for any."""
        return self.network.config.domain

    @property
    def default_layer(self) -> int | None:
        """Layer whose maps are shown first; None where nobody measured."""
        return self.network.config.default_layer

    def layout_for(self, image_size: tuple[int, int], start: int = 0) -> ImageLayout:
        """Return where an image of that (width, height) lies, before anything runs."""
        return self.network.layout_for(image_size, start)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the template around a question, with -200 for the image.

        ``<image>`` or special tokens typed by the user: the former is ordinary text, the latter
        are read as the tokens they name, as the public code does.
        """
        before = (
            f"{START}{HEADER}system{HEADER_END}\n\n{self.network.config.system_message}{TURN_END}"
            f"{HEADER}user{HEADER_END}\n\n"
        )
        question = f"\n{prompt}".rstrip()
        after = f"{question}{TURN_END}{HEADER}assistant{HEADER_END}\n\n"
        # [1:]: the first token after the image is dropped, see the head of this file.
        return [*self.tokenizer.encode(before), IMAGE_ID, *self.tokenizer.encode(after)[1:]]

    def prepare(self, image: Image.Image, prompt: str) -> Prompt:
        """Embed one image and one question.

        Parameters
        ----------
        image : PIL.Image
            Any mode; EXIF orientation is applied and transparency laid on white.
        prompt : str
            The question, without template.

        Returns
        -------
        Prompt

        Raises
        ------
        InputError
            If the image cannot be read or the prompt is empty or too long.
        """
        if not prompt.strip():
            raise InputError("the prompt is empty", "Type a question or an instruction.")
        upright = as_image(image)
        ids = self.prompt_ids(prompt)
        if max(ids) >= self.backbone.vocab_size:
            raise CheckpointError(
                f"tokenizer.json gives id {max(ids)}, the model has {self.backbone.vocab_size} "
                "rows",
                "Use the tokenizer that belongs to the model.",
            )
        with torch.no_grad():
            embeds, expanded, (layout,) = self.network.pack(ids, [upright])
        return Prompt(embeds, expanded, layout, prompt, np.array(upright, dtype=np.uint8))

    def token_text(self, token_id: int) -> str:
        """Return the display text of one token."""
        return self.tokenizer.token_text(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return self.tokenizer.decode(ids)

    def encode_word(self, word: str) -> tuple[int, ...]:
        """Return a word's ids as they would stand inside an answer (after a space).

        Raises
        ------
        InputError
            If the word is empty.
        """
        if not word.strip():
            raise InputError("the word is empty", "Type a word.")
        return tuple(self.tokenizer.encode(" " + word.strip()))

    @property
    def info(self) -> ModelInfo:
        """Facts about the model."""
        backbone, config = self.backbone, self.network.config
        cells = config.geometry.cells
        shape = f"{cells} x {cells}"
        return ModelInfo(
            name=self.name,
            family=self.family,
            folder=str(self.folder),
            parameters=sum(p.numel() for p in self.network.parameters()),
            layers=backbone.n_layers,
            hidden_size=backbone.hidden_size,
            vocab_size=backbone.vocab_size,
            dtype=str(self.dtype).removeprefix("torch."),
            device=str(self.device),
            image_tokens=shape if config.aspect == "pad" else f"{shape} and tiles",
            domain=self.domain,
            unused_keys=self.report.unused,
        )

    def describe(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return self.info.to_dict()


def _recognises(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    # LLaDA-V has the same class name; it stores Llama names and uses anyres_max_N.
    return any(key.startswith(VISION_PREFIX) for key in shapes) and (
        dialect_of(shapes) == "llada"
        or (
            config.get("model_type") == "llava_llada"
            and not str(config.get("image_aspect_ratio")).startswith("anyres_max")
        )
    )


def _load(
    checkpoint: Checkpoint, name: str, device: torch.device, dtype: str | torch.dtype | None
) -> LaViDa:
    tokenizer = TextTokenizer.from_folder(checkpoint.folder)
    network, report = load_network(checkpoint, device, dtype)
    return LaViDa(network, tokenizer, name, checkpoint.folder, report)


def _match(checkpoint: Checkpoint) -> LoadReport:
    return _lay_out(checkpoint)[2]


FAMILY = Family(FAMILY_NAME, _recognises, _load, _match)
