"""The network of a LaViDa: vision tower, projector, packing, and its weights.

The packing reproduces the public LaViDa code, including what looks like an accident there: the
first token after the image (a newline) is dropped, because the splitter takes it for a second
start token. The released model was evaluated that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.layout import (
    ImageLayout,
    any_resolution_layout,
    plan_tiles,
    single_view_layout,
    square_offset,
)
from diffcam_core.models.base import IMAGE_ID
from diffcam_core.models.checkpoint import Checkpoint, LoadReport
from diffcam_core.models.lavida_config import LavidaConfig
from diffcam_core.models.llada import Backbone, dialect_of
from diffcam_core.models.loading import backbone_keys, choose_dtype, language_config
from diffcam_core.models.projector import PROJECTOR_PREFIX, make_projector
from diffcam_core.models.siglip import SiglipTower

NEWLINE_KEY = "model.image_newline"
VISION_PREFIX = "model.vision_tower."
_PAD_GREY = 127  # int(0.5 * 255): the mean of the processor, rounded as upstream does


ByteArray = npt.NDArray[np.uint8]


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
    network, keys, report = lay_out(checkpoint)
    report.refuse_missing(checkpoint.folder)
    report.refuse_foreign_language(checkpoint.folder)
    chosen = choose_dtype(network, checkpoint, keys["backbone.wte.weight"], device, dtype)
    checkpoint.fill(network, keys, device, chosen)
    network.vision_tower.restore_buffers(device)
    return network.eval(), report


def lay_out(checkpoint: Checkpoint) -> tuple[LavidaNetwork, dict[str, str], LoadReport]:
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
