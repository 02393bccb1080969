"""Hidden states of every layer and position at the steps of a trajectory, without gradients.

What methods read that look at states or attention alone: the logit lens, the token activation map,
attention and its rollout. With prefix cache the prompt is run once for the whole trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.models.base import DiffusionVLM
from diffcam_core.models.llada import KeyValue
from diffcam_core.probing.backward import Cancel, is_cancelled
from diffcam_core.probing.targets import Target, check_targets, score
from diffcam_core.probing.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class StepStates:
    """States of one step. Index 0 is the input of block 0, index l + 1 the output of block l.

    Attributes
    ----------
    prompt : tuple of Tensor
        (P, d) each, image and text.
    answer : tuple of Tensor
        (L, d) each.
    prompt_keys : tuple of Tensor or None
        Per block (1, kv_heads, P, head_dim), keys of the prompt before rotation, where the prompt
        was run alone; None where prompt and answer were one sequence.
    """

    prompt: tuple[Tensor, ...]
    answer: tuple[Tensor, ...]
    prompt_keys: tuple[Tensor, ...] | None


@dataclass(frozen=True, eq=False)
class TargetScores:
    """Scores of K targets of one step.

    Attributes
    ----------
    scores : Tensor
        (K,), in float32 at least.
    probabilities : Tensor
        (K,) float64, as the sampler sees them.
    distractors : Tensor
        (K,) int64: the token id that was subtracted, -1 where there is none.
    """

    scores: Tensor
    probabilities: Tensor
    distractors: Tensor


class ForwardPasses:
    """Run the steps of one trajectory forward.

    Parameters
    ----------
    model : DiffusionVLM
    trajectory : Trajectory
    cancel : callable or threading.Event, optional
        Asked before every step.
    """

    def __init__(
        self, model: DiffusionVLM, trajectory: Trajectory, *, cancel: Cancel | None = None
    ) -> None:
        self._model = model
        self._backbone = model.backbone
        self._trajectory = trajectory
        self._cancel = cancel
        self._prompt: tuple[tuple[Tensor, ...], tuple[KeyValue, ...]] | None = None

    @torch.no_grad()
    def states(self, step: int) -> StepStates:
        """Run one step.

        Raises
        ------
        TargetError
            If there is no such step.
        CancelledError
            If the job is to stop.
        """
        self._check(step, ())
        if is_cancelled(self._cancel):
            raise CancelledError("the job was cancelled", "Start it again to go on.")
        embeds = self._trajectory.prompt.embeds
        ids = torch.as_tensor(self._trajectory.canvases[step], device=embeds.device)
        answer = self._backbone.embed(ids[None]).to(embeds.dtype)
        if self._trajectory.prefix_cache:
            prompt, past = self._run_prompt()
            states = [answer]
            for index in range(self._backbone.n_layers):
                answer, _ = self._backbone.run_block(index, answer, past[index])
                states.append(answer)
            keys = tuple(pair[0] for pair in past)
            return StepStates(prompt, tuple(state[0] for state in states), keys)
        length = embeds.shape[1]
        x = torch.cat((embeds, answer), dim=1)
        states = [x]
        for index in range(self._backbone.n_layers):
            x, _ = self._backbone.run_block(index, x)
            states.append(x)
        return StepStates(
            tuple(state[0, :length] for state in states),
            tuple(state[0, length:] for state in states),
            None,
        )

    @torch.no_grad()
    def score(self, states: StepStates, step: int, targets: Sequence[Target]) -> TargetScores:
        """Score targets on the states of their step; TargetError if one cannot be scored."""
        self._check(step, targets)
        final = states.answer[-1]
        places = [target.position for target in targets]
        rows = final.index_select(0, torch.tensor(places, dtype=torch.long, device=final.device))
        return TargetScores(
            *score(
                self._backbone.head(rows),
                targets,
                mask_id=self._trajectory.mask_id,
                suppressed=frozenset(self._model.suppressed_ids),
            )
        )

    def _run_prompt(self) -> tuple[tuple[Tensor, ...], tuple[KeyValue, ...]]:
        if self._prompt is None:
            x = self._trajectory.prompt.embeds
            states, past = [x[0]], []
            for index in range(self._backbone.n_layers):
                x, pair = self._backbone.run_block(index, x, None, True)
                assert pair is not None
                states.append(x[0])
                past.append(pair)
            self._prompt = tuple(states), tuple(past)
        return self._prompt

    def _check(self, step: int, targets: Sequence[Target]) -> None:
        if not 0 <= step < self._trajectory.n_steps:
            raise TargetError(
                f"there is no denoising step {step}",
                f"Choose a step from 0 to {self._trajectory.n_steps - 1}.",
            )
        check_targets(
            targets,
            self._trajectory.n_positions,
            self._backbone.vocab_size,
            self._model.suppressed_ids,
        )
