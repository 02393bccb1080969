"""The denoising loop: an answer of masks becomes text, one record a step.

The loop knows no model. It asks a function for the logits of the present canvas, scores the
masked positions of the present block (`remasking`), writes as many of them as the schedule
says (`schedules`) and never touches a written position again.

Nothing here keeps gradients, and no gradient mode is left switched off between two records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.denoising.remasking import certainty
from diffcam_core.denoising.schedules import tokens_per_step
from diffcam_core.errors import CancelledError, CheckpointError, InputError

if TYPE_CHECKING:
    from diffcam_core.models.llada import Backbone, Past

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_Array = TypeVar("_Array", bound=npt.NDArray[Any])

Predict = Callable[[Tensor], Tensor]
"""Canvas ids, int64 -> logits with one more axis V; any device, any float type."""

Cancel = Callable[[], bool] | threading.Event


@dataclass(frozen=True)
class StepRecord:
    """State of the answer canvas after one step; arrays are read-only.

    Attributes
    ----------
    step : int
        Number of the step, from 0.
    canvas : ndarray of int64, shape (L,)
        Token ids after the step; the mask id where nothing is written yet.
    guesses : ndarray of int64, shape (L,)
        The most probable allowed token of every position at this step (without noise).
    confidence : ndarray of float32, shape (L,)
        Probability at this step, without noise: of the token in the canvas where one is
        written, else of the guess. In [0, 1], whatever rule ordered the writing.
    committed : ndarray of bool, shape (L,)
        Written at this very step.
    n_written : int
        Positions written so far.
    """

    step: int
    canvas: IntArray
    guesses: IntArray
    confidence: FloatArray
    committed: BoolArray
    n_written: int


def sample(
    predict: Predict,
    config: GenerationConfig,
    mask_id: int,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
    suppressed_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
) -> Iterator[StepRecord]:
    """Denoise one answer.

    Parameters
    ----------
    predict : callable
        Canvas ids (L,) int64 on the CPU -> logits (L, V); called once a step, without
        gradients.
    config : GenerationConfig
        Its `prefix_cache` concerns `predict` and is not looked at here.
    mask_id : int
        The id that means "not written yet". Never written, though its probability counts in
        the softmax, as in the published sampler.
    seed : int
        Seed of the noise (temperature above 0, remasking "random"); the same seed gives the
        same answer on the same kind of device.
    generator : torch.Generator, optional
        Used instead of `seed`; must be on the device of the logits.
    suppressed_ids : sequence of int
        Ids that cannot be written; they have probability 0.
    cancel : callable or threading.Event, optional
        Asked before every step.

    Yields
    ------
    StepRecord
        ``config.n_steps`` of them; the last one holds no mask.

    Raises
    ------
    InputError
        At once, if an id or the seed cannot be used; at the first step, if the logits do
        not fit the canvas or every token is suppressed.
    CancelledError
        Before a step, when `cancel` says so.
    CheckpointError
        If the model gives logits that are not numbers.

    Notes
    -----
    Source: the LLaDA sampler of LaViDa (Apache-2.0), restated: candidate = argmax of
    ``logits - temperature * log(-log u)`` in float64 (u uniform), certainty from the softmax
    in float64 without noise, the k most certain masked positions of the block are written.
    Equal certainties are written from left to right.
    """

    def predict_batch(ids: Tensor) -> Tensor:
        return predict(ids[0])[None]

    steps = sample_batch(
        predict_batch,
        config,
        mask_id,
        1,
        seed=seed,
        generator=generator,
        suppressed_ids=suppressed_ids,
        cancel=cancel,
    )
    return (records[0] for records in steps)


def sample_batch(
    predict: Predict,
    config: GenerationConfig,
    mask_id: int,
    batch: int,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
    suppressed_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
) -> Iterator[tuple[StepRecord, ...]]:
    """Denoise several answers of equal length side by side.

    As `sample`, but `predict` maps ids (B, L) to logits (B, L, V) and every step yields one
    record for each of the B answers. Without noise (temperature 0, no "random") each answer
    is the one that it would be alone, up to the rounding of batched logits.
    """
    if batch < 1:
        raise InputError(f"a batch of {batch} answers was asked for", "Ask for 1 or more")
    if mask_id < 0:
        raise InputError(f"the mask id is {mask_id}", "Give the model's mask id, 0 or above")
    if generator is None and not -(2**63) <= seed < 2**64:
        raise InputError(f"the seed {seed} is too large", "Give a seed from 0 to 2**63 - 1")
    suppressed = sorted({int(i) for i in suppressed_ids})
    if suppressed and suppressed[0] < 0:
        raise InputError(f"suppressed id {suppressed[0]} is negative", "Give token ids")
    noise = _Noise(seed, generator)
    return _denoise(predict, config, mask_id, batch, noise, suppressed, cancel)


def sample_from_backbone(
    backbone: Backbone,
    prompt_embeds: Tensor,
    config: GenerationConfig,
    mask_id: int,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
    suppressed_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
    prefix_cache: bool = True,
) -> Iterator[StepRecord]:
    """Denoise one answer with a language backbone.

    Parameters
    ----------
    backbone : Backbone
    prompt_embeds : Tensor, shape (1, P, d)
        Packed prompt, image included.
    prefix_cache : bool
        What ``config.prefix_cache = None`` means for this model. True: one forward over the
        prompt, then L positions a step; the prompt never sees the answer. False: every step
        reads prompt and answer together.
    config, mask_id, seed, generator, suppressed_ids, cancel
        As in `sample`.

    Raises
    ------
    InputError
        Also if `prompt_embeds` is not one prompt of the backbone's width.
    """
    if prompt_embeds.ndim != 3 or prompt_embeds.shape[0] != 1:
        raise InputError(
            f"the prompt has shape {tuple(prompt_embeds.shape)}, which is not (1, P, d)",
            "Give one prompt, or use sample_batch_from_backbone",
        )
    steps = sample_batch_from_backbone(
        backbone,
        prompt_embeds,
        config,
        mask_id,
        seed=seed,
        generator=generator,
        suppressed_ids=suppressed_ids,
        cancel=cancel,
        prefix_cache=prefix_cache,
    )
    return (records[0] for records in steps)


def sample_batch_from_backbone(
    backbone: Backbone,
    prompt_embeds: Tensor,
    config: GenerationConfig,
    mask_id: int,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
    suppressed_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
    prefix_cache: bool = True,
) -> Iterator[tuple[StepRecord, ...]]:
    """Denoise B answers to B prompts of equal length, shape (B, P, d).

    As `sample_from_backbone`; every step yields one record for each answer.
    """
    if prompt_embeds.ndim != 3 or prompt_embeds.shape[-1] != backbone.hidden_size:
        raise InputError(
            f"the prompt has shape {tuple(prompt_embeds.shape)}, which is not "
            f"(B, P, {backbone.hidden_size})",
            "Prepare the prompt with the model that is to answer it",
        )
    if not 0 <= mask_id < backbone.vocab_size:
        raise InputError(
            f"the mask id {mask_id} is not among the model's {backbone.vocab_size} tokens",
            "Give the model's own mask id",
        )
    cached = prefix_cache if config.prefix_cache is None else config.prefix_cache
    predict = (_Cached if cached else _Uncached)(backbone, prompt_embeds.detach())
    return sample_batch(
        predict,
        config,
        mask_id,
        prompt_embeds.shape[0],
        seed=seed,
        generator=generator,
        suppressed_ids=suppressed_ids,
        cancel=cancel,
    )


class _Cached:
    """Predicts an answer behind a prompt that is read once, at the first step."""

    def __init__(self, backbone: Backbone, prompt: Tensor) -> None:
        self._backbone, self._prompt = backbone, prompt
        self._past: Past | None = None

    def __call__(self, ids: Tensor) -> Tensor:
        if self._past is None:
            self._past = self._backbone(self._prompt, use_cache=True, logits_at=()).past
        embeds = self._backbone.embed(ids.to(self._prompt.device))
        logits: Tensor = self._backbone(embeds, past=self._past).logits
        return logits


class _Uncached:
    """Predicts an answer by reading prompt and answer together at every step."""

    def __init__(self, backbone: Backbone, prompt: Tensor) -> None:
        self._backbone, self._prompt = backbone, prompt

    def __call__(self, ids: Tensor) -> Tensor:
        answer = self._backbone.embed(ids.to(self._prompt.device))
        embeds = torch.cat((self._prompt.to(answer.dtype), answer), dim=1)
        start = self._prompt.shape[1]
        wanted = range(start, embeds.shape[1])
        logits: Tensor = self._backbone(embeds, logits_at=wanted).logits
        return logits


class _Noise:
    """The generator of a run, made on the device of the first logits."""

    def __init__(self, seed: int, generator: torch.Generator | None) -> None:
        self._seed, self._generator = seed, generator

    def on(self, device: torch.device) -> torch.Generator:
        if self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        if self._generator.device.type != device.type:
            raise InputError(
                f"the generator is on {self._generator.device}, the logits are on {device}",
                "Give a generator of the model's device, or a seed",
            )
        return self._generator


def _denoise(
    predict: Predict,
    config: GenerationConfig,
    mask_id: int,
    batch: int,
    noise: _Noise,
    suppressed: list[int],
    cancel: Cancel | None,
) -> Iterator[tuple[StepRecord, ...]]:
    length, block = config.max_new_tokens, config.block
    canvas = np.full((batch, length), mask_id, dtype=np.int64)
    written = np.zeros((batch, length), dtype=bool)
    step = 0
    for index, counts in enumerate(tokens_per_step(config)):
        inside = slice(index * block, (index + 1) * block)
        for count in counts:
            if _is_cancelled(cancel):
                raise CancelledError(f"generation was cancelled after {step} steps")
            with torch.no_grad():
                logits = predict(torch.from_numpy(canvas.copy()))
                view = _read(logits, config, mask_id, (batch, length), noise, suppressed, step)
                certain = np.where(written[:, inside], -np.inf, view.certainty[:, inside])
                order = np.argsort(-certain, axis=1, kind="stable")[:, :count]
                committed = np.zeros((batch, length), dtype=bool)
                np.put_along_axis(committed[:, inside], order, True, axis=1)
                canvas[committed] = view.candidates[committed]
                written |= committed
                shown = np.where(written, canvas, view.guesses)
                confidence = view.probability_of(shown)
            yield tuple(
                StepRecord(
                    step=step,
                    canvas=_frozen(canvas[row].copy()),
                    guesses=_frozen(view.guesses[row]),
                    confidence=_frozen(confidence[row]),
                    committed=_frozen(committed[row]),
                    n_written=int(written[row].sum()),
                )
                for row in range(batch)
            )
            step += 1


@dataclass(frozen=True)
class _Reading:
    """What one forward says about every position; (B, L) arrays on the CPU."""

    probabilities: Tensor  # (B, L, V) float64, on the model's device
    guesses: IntArray
    candidates: IntArray
    certainty: npt.NDArray[np.float64]

    def probability_of(self, ids: IntArray) -> FloatArray:
        index = torch.from_numpy(ids).to(self.probabilities.device)[..., None]
        found = self.probabilities.gather(-1, index)[..., 0]
        return found.float().cpu().numpy()


def _read(
    logits: Tensor,
    config: GenerationConfig,
    mask_id: int,
    shape: tuple[int, int],
    noise: _Noise,
    suppressed: list[int],
    step: int,
) -> _Reading:
    if logits.shape[:-1] != shape:
        raise InputError(
            f"the model gave logits of shape {tuple(logits.shape)} for an answer of {shape[1]} "
            "tokens",
            "predict must return one row of logits for each position of the canvas",
        )
    vocabulary = logits.shape[-1]
    highest = max([mask_id, *suppressed])
    if highest >= vocabulary:
        raise InputError(
            f"token id {highest} is not among the model's {vocabulary} tokens",
            "Check the mask id and the suppressed ids",
        )
    if len({mask_id, *suppressed}) == vocabulary:
        raise InputError("every token is suppressed", "Leave at least one token to write")
    # Apple's GPUs have no float64; a canvas of logits is small enough to bring over.
    wide = (logits.cpu() if logits.device.type == "mps" else logits).to(torch.float64)
    if suppressed:
        wide = wide.index_fill(-1, torch.tensor(suppressed, device=wide.device), -torch.inf)
    probabilities = wide.softmax(-1)
    if bool(torch.isnan(probabilities).any()):
        raise CheckpointError(
            f"the model's logits at step {step} are not numbers",
            "Load it in float32 or bfloat16; if that does not help, the weights are damaged",
        )
    allowed = wide.index_fill(-1, torch.tensor([mask_id], device=wide.device), -torch.inf)
    guesses = allowed.argmax(-1)
    generator = noise.on(wide.device)
    candidates = guesses
    if config.temperature > 0:
        uniform = torch.rand(
            allowed.shape, generator=generator, dtype=torch.float64, device=wide.device
        )
        candidates = (allowed - config.temperature * torch.log(-torch.log(uniform))).argmax(-1)
    scores = certainty(config.remasking, probabilities, candidates, generator)
    return _Reading(
        probabilities, guesses.cpu().numpy(), candidates.cpu().numpy(), scores.cpu().numpy()
    )


def _is_cancelled(cancel: Cancel | None) -> bool:
    if cancel is None:
        return False
    return cancel.is_set() if isinstance(cancel, threading.Event) else cancel()


def _frozen(array: _Array) -> _Array:
    array.setflags(write=False)
    return array
