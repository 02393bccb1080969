"""LaViDa with a LLaDA backbone: the model with its tokenizer and its template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.images import as_image
from diffcam_core.layout import ImageLayout
from diffcam_core.models.base import IMAGE_ID, Family, ModelInfo, Prompt
from diffcam_core.models.checkpoint import Checkpoint, LoadReport
from diffcam_core.models.lavida_network import (
    VISION_PREFIX,
    LavidaNetwork,
    lay_out,
    load_network,
)
from diffcam_core.models.llada import Backbone, dialect_of
from diffcam_core.models.tokenizer import TextTokenizer

FAMILY_NAME = "LaViDa-LLaDA"


START, END = "<|startoftext|>", "<|endoftext|>"
HEADER, HEADER_END, TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
MASK = "<|mdm_mask|>"
_LLADA_IDS = {START: 126080, END: 126081, TURN_END: 126348, MASK: 126336}


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
    def max_length(self) -> int:
        """Most tokens that prompt, image and answer can take together."""
        return self.network.config.max_length

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
    return lay_out(checkpoint)[2]


FAMILY = Family(FAMILY_NAME, _recognises, _load, _match)
