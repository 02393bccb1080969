"""What a diffusion multimodal language model is to the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.layout import ImageLayout
from diffcam_core.models.checkpoint import Checkpoint, LoadReport
from diffcam_core.models.llada import Backbone
from diffcam_core.models.tokenizer import TextTokenizer

IMAGE_ID = -200
"""Stands in ids wherever the sequence holds an image token."""


@dataclass(frozen=True)
class Prompt:
    """A prompt with its image, ready for the language model.

    Attributes
    ----------
    embeds : Tensor
        (1, P, d), on the model's device, without gradient.
    ids : ndarray of int64, shape (P,)
        Token ids; ``IMAGE_ID`` (-200) in the image span.
    layout : ImageLayout
        Where the image tokens are, and which pixels they stand for.
    text : str
        What the user typed.
    image : ndarray of uint8, shape (H, W, 3)
        The image that the layout speaks of: upright, without alpha.
    """

    embeds: Tensor
    ids: npt.NDArray[np.int64]
    layout: ImageLayout
    text: str
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a loaded model, for the run file and the model list."""

    name: str
    family: str
    folder: str
    parameters: int
    layers: int
    hidden_size: int
    vocab_size: int
    dtype: str
    device: str
    image_tokens: str
    domain: str | None = None
    unused_keys: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)


@runtime_checkable
class DiffusionVLM(Protocol):
    """A model that reads an image and writes an answer by denoising masks."""

    @property
    def name(self) -> str:
        """How the user called it: "embedded", a folder name or a hub id."""

    @property
    def family(self) -> str:
        """Family, such as "LaViDa-LLaDA"."""

    @property
    def backbone(self) -> Backbone:
        """The language model, frozen."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Text to ids and back."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of its parameters."""

    @property
    def mask_id(self) -> int:
        """Id of the mask token."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end an answer."""

    @property
    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids that must never be written."""

    @property
    def default_generation(self) -> GenerationConfig:
        """How this model is run when the user says nothing."""

    @property
    def supports_prefix_cache(self) -> bool:
        """Whether prompt and image may be read once, never seeing the answer."""

    @property
    def max_length(self) -> int:
        """Most tokens that prompt, image and answer can take together."""

    @property
    def domain(self) -> str | None:
        """What images it was made for, such as "sticker scenes"; None for any."""

    @property
    def default_layer(self) -> int | None:
        """Layer whose maps are shown first; None where nobody measured."""

    def layout_for(self, image_size: tuple[int, int], start: int = 0) -> ImageLayout:
        """Return where an image of that (width, height) lies, before anything runs."""

    def prepare(self, image: Image.Image, prompt: str) -> Prompt:
        """Embed one image and one question.

        Raises
        ------
        InputError
            If the image cannot be read or the prompt is empty or too long.
        """

    def token_text(self, token_id: int) -> str:
        """Return the display text of one token."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens left out."""

    def encode_word(self, word: str) -> tuple[int, ...]:
        """Return a word's ids as they would stand inside an answer (after a space)."""

    def describe(self) -> dict[str, Any]:
        """Return the facts of :class:`ModelInfo`."""


@dataclass(frozen=True)
class Family:
    """How a checkpoint of one family is recognised and loaded.

    Attributes
    ----------
    name : str
    recognises : callable
        From config.json and the stored shapes.
    load : callable
        (checkpoint, name, device, dtype) -> model.
    match : callable
        Which stored tensors have a place in the model, without reading any.
    """

    name: str
    recognises: Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], bool]
    load: Callable[
        [Checkpoint, str, torch.device, str | torch.dtype | None],
        DiffusionVLM,
    ]
    match: Callable[[Checkpoint], LoadReport]
