"""Scores of the same targets at the same step for other images, by forward passes alone.

This is the truth-teller's side: occlusion, RISE and every faithfulness measure change the image and
look at what becomes of a token at the SAME denoising step, with the SAME partly masked answer. The
answer is never written anew, so what changes is due to the image alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.models.base import DiffusionVLM
from diffcam_core.probing.backward import Cancel, free_bytes, is_cancelled
from diffcam_core.probing.targets import Target, check_targets, score
from diffcam_core.probing.trajectory import Trajectory

FloatArray = npt.NDArray[np.float64]
# Images run side by side: more gain nothing on a CPU, and an accelerator takes as many as fit.
_BATCH_CPU = 8
_BATCH_GPU = 64


@dataclass(frozen=True, eq=False)
class StepScores:
    """Scores of K targets of one step for B images.

    Attributes
    ----------
    step : int
    targets : tuple of Target
    scores : ndarray of float64, shape (B, K)
        What an attribution differentiates: the logit, less its contrast.
    probabilities : ndarray of float64, shape (B, K)
        Probability of each target's token, as the sampler sees it.
    """

    step: int
    targets: tuple[Target, ...]
    scores: FloatArray
    probabilities: FloatArray


class StepScorer:
    """Runs changed images through the steps of one trajectory.

    Parameters
    ----------
    model : DiffusionVLM
    trajectory : Trajectory
        Canvases, prompt text and regime of the generation that is looked into.
    cancel : callable or threading.Event, optional
        Asked before every batch.
    batch : int, optional
        Images side by side; None: what the device favours and memory allows.
    """

    def __init__(
        self,
        model: DiffusionVLM,
        trajectory: Trajectory,
        *,
        cancel: Cancel | None = None,
        batch: int | None = None,
    ) -> None:
        self._model = model
        self._trajectory = trajectory
        self._cancel = cancel
        self._batch = batch or self._fitting_batch()

    def score(
        self,
        images: Iterable[npt.NDArray[np.uint8]],
        requests: Sequence[tuple[int, Sequence[Target]]],
    ) -> tuple[StepScores, ...]:
        """Score targets of some steps for every image.

        Parameters
        ----------
        images : iterable of uint8 arrays, shape (H, W, 3)
            Each of the size of the explained image. Read lazily, a batch at a time.
        requests : sequence of (step, targets)

        Returns
        -------
        tuple of StepScores
            One for each request, rows in the order of the images.

        Raises
        ------
        TargetError
            If a step or target does not exist, or an image has another size.
        CancelledError
            Between two batches.
        """
        return self._score_all(self._batches(images), requests)

    def score_embeds(
        self, embeds: Tensor, requests: Sequence[tuple[int, Sequence[Target]]]
    ) -> tuple[StepScores, ...]:
        """Score like :meth:`score`, for prompts that are embedded already, (B, P, d)."""
        return self._score_all(torch.split(embeds, self._batch), requests)

    def _score_all(
        self, batches: Iterable[Tensor], requests: Sequence[tuple[int, Sequence[Target]]]
    ) -> tuple[StepScores, ...]:
        wanted = [(step, tuple(targets)) for step, targets in requests]
        for step, targets in wanted:
            self._check(step, targets)
        rows: list[list[tuple[Tensor, Tensor]]] = [[] for _ in wanted]
        for embeds in batches:
            self._check_cancel()
            for found, pair in zip(rows, self._run(embeds, wanted), strict=True):
                found.append(pair)
        return tuple(
            StepScores(step, targets, *(_stack(part, len(targets)) for part in _unzip(found)))
            for (step, targets), found in zip(wanted, rows, strict=True)
        )

    def _batches(self, images: Iterable[npt.NDArray[np.uint8]]) -> Iterable[Tensor]:
        prompt = self._trajectory.prompt
        waiting: list[Tensor] = []
        for image in images:
            if image.shape != prompt.image.shape:
                raise TargetError(
                    f"a changed image has shape {image.shape}, not {prompt.image.shape}",
                    "Change pixels, not the size.",
                )
            waiting.append(self._model.prepare(Image.fromarray(image), prompt.text).embeds)
            if len(waiting) == self._batch:
                yield torch.cat(waiting)
                waiting = []
        if waiting:
            yield torch.cat(waiting)

    @torch.no_grad()
    def _run(
        self, embeds: Tensor, wanted: Sequence[tuple[int, tuple[Target, ...]]]
    ) -> list[tuple[Tensor, Tensor]]:
        """(scores, probabilities), (B, K) each, for every request."""
        backbone = self._model.backbone
        cached = self._trajectory.prefix_cache
        past = backbone(embeds, use_cache=True, logits_at=[]).past if cached else None
        found = []
        for step, targets in wanted:
            ids = torch.as_tensor(self._trajectory.canvases[step], device=embeds.device)
            answer = backbone.embed(ids[None]).to(embeds.dtype).expand(len(embeds), -1, -1)
            at = [target.position for target in targets]
            if past is not None:
                logits = backbone(answer, past=past, logits_at=at).logits
            else:
                shift = embeds.shape[1]
                sequence = torch.cat((embeds, answer), dim=1)
                logits = backbone(sequence, logits_at=[shift + p for p in at]).logits
            pairs = [self._score(rows, targets) for rows in logits]
            found.append((torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])))
        return found

    def _score(self, logits: Tensor, targets: tuple[Target, ...]) -> tuple[Tensor, Tensor]:
        scores, probabilities, _ = score(
            logits,
            targets,
            mask_id=self._trajectory.mask_id,
            suppressed=self._model.suppressed_ids,
        )
        return scores, probabilities

    def _check(self, step: int, targets: tuple[Target, ...]) -> None:
        if not 0 <= step < self._trajectory.n_steps:
            raise TargetError(
                f"there is no denoising step {step}",
                f"Choose a step from 0 to {self._trajectory.n_steps - 1}.",
            )
        check_targets(
            targets,
            self._trajectory.n_positions,
            self._model.backbone.vocab_size,
            self._model.suppressed_ids,
        )

    def _check_cancel(self) -> None:
        if is_cancelled(self._cancel):
            raise CancelledError("the job was cancelled", "Start it again to go on.")

    def _fitting_batch(self) -> int:
        backbone = self._model.backbone
        embeds = self._trajectory.prompt.embeds
        # Keys and values of every layer, and about a dozen rows of one block's work.
        row = backbone.hidden_size * embeds.element_size()
        each = (embeds.shape[1] + self._trajectory.n_positions) * row * (2 * backbone.n_layers + 12)
        cap = _BATCH_CPU if embeds.device.type == "cpu" else _BATCH_GPU
        return max(1, min(cap, free_bytes(embeds.device) // 2 // max(each, 1)))


def _unzip(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _stack(parts: Sequence[Tensor], width: int) -> FloatArray:
    if not parts:
        return np.zeros((0, width))
    return np.asarray(torch.cat(list(parts)).double().cpu().numpy())
