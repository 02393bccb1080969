"""What text supports a target: gradient x state at every text token of prompt and answer.

The image is not the only thing that an answer comes from. For each target of a step this gives the
first-order share of every text token of the prompt and of every token of the canvas (written ones
and masks), at the token embeddings or at the states of any layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.errors import TargetError
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.models.base import IMAGE_ID, DiffusionVLM
from diffcam_core.probing.attention import SharedAttention
from diffcam_core.probing.backward import BatchedBackward, Cancel
from diffcam_core.probing.targets import Target, check_targets, score
from diffcam_core.probing.trajectory import Trajectory

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Rows of one block's work that a target takes in a backward pass, as in `prober`.
_WORK_ROWS = 30


@dataclass(frozen=True, eq=False)
class TextSupport:
    """Support of text for some targets of one step.

    Attributes
    ----------
    step : int
    targets : tuple of Target
        K of them.
    prompt_positions : ndarray of int64, shape (T,)
        Positions in the prompt that hold text, ascending.
    support : mapping of int to ndarray
        Layer -> (K, T + L) float32, signed: first the prompt's text, then the L positions of the
        canvas. A target's own position is among them: what it holds there (mostly a mask) is part
        of what the model read, but it is no other token, so leave it out of a comparison.
    """

    step: int
    targets: tuple[Target, ...]
    prompt_positions: IntArray
    support: Mapping[int, FloatArray]


@dataclass(frozen=True)
class _Graph:
    """One step with a graph from every chosen layer to the answer."""

    answer: Tensor  # (1, L, d) output of the last block
    prompts: dict[int, Tensor]  # layer -> (1, P, d)
    answers: dict[int, Tensor]  # layer -> (1, L, d)


class TextProber:
    """Support of text tokens at the steps of one trajectory.

    Parameters
    ----------
    model : DiffusionVLM
    trajectory : Trajectory
    layers : sequence of int
        Blocks whose output is looked at, or `INPUT_LAYER` for the token embeddings.
    max_chunk : int, optional
        Most targets in one backward pass. None: as many as memory and device favour.
    cancel : callable or threading.Event, optional
        Asked between chunks.

    Raises
    ------
    TargetError
        If a layer does not exist.

    Notes
    -----
    The gradient is the total derivative of the score through everything above the layer; with
    prefix cache through the cached keys and values as well. In both regimes it is exact: the
    support of a token is the slope of the score when its state alone is scaled.
    """

    def __init__(
        self,
        model: DiffusionVLM,
        trajectory: Trajectory,
        layers: Sequence[int] = (INPUT_LAYER,),
        *,
        max_chunk: int | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._backbone = model.backbone
        self._suppressed = frozenset(model.suppressed_ids)
        self._trajectory = trajectory
        self.layers = tuple(layers)
        if not self.layers or not all(
            INPUT_LAYER <= layer < self._backbone.n_layers for layer in self.layers
        ):
            raise TargetError(
                f"the model does not have the layers {self.layers}",
                f"Choose layers from 0 to {self._backbone.n_layers - 1}, or {INPUT_LAYER} for the "
                "token embeddings.",
            )
        self._embeds = trajectory.prompt.embeds.detach().clone()
        self.prompt_positions: IntArray = np.flatnonzero(
            np.asarray(trajectory.prompt.ids) != IMAGE_ID
        ).astype(np.int64)
        length = self._embeds.shape[1] + trajectory.n_positions
        row = self._backbone.hidden_size * self._embeds.element_size()
        need = length * row * (2 * len(self.layers) + _WORK_ROWS)
        self._backward = BatchedBackward(self._embeds.device, need, max_chunk, cancel)

    def stream(self, requests: Iterable[tuple[int, Sequence[Target]]]) -> Iterator[TextSupport]:
        """Measure targets of many steps.

        Yields
        ------
        TextSupport
            One or more for each request, in order, of at most a chunk of targets each.

        Raises
        ------
        TargetError
            If a step or target does not exist.
        CancelledError
            Between chunks.
        ResourceError
            If memory runs out with a single target.
        """
        for step, wanted in requests:
            targets = tuple(wanted)
            self._check(step, targets)
            self._backward.check_cancel()
            graph = self._run(step)
            size = self._backward.chunk
            for done in range(0, max(len(targets), 1), size):
                yield self._measure(step, graph, targets[done : done + size])

    def _run(self, step: int) -> _Graph:
        ids = torch.as_tensor(self._trajectory.canvases[step], device=self._embeds.device)
        with torch.no_grad():
            answer = self._backbone.embed(ids[None]).to(self._embeds.dtype)
        with torch.enable_grad(), SharedAttention():
            if self._trajectory.prefix_cache:
                return self._run_apart(answer)
            return self._run_whole(answer)

    def _run_apart(self, answer: Tensor) -> _Graph:
        """Prompt first, without the answer; the answer reads its keys and values."""
        prompt = self._embeds
        prompts: dict[int, Tensor] = {}
        answers: dict[int, Tensor] = {}
        for index in range(-1, self._backbone.n_layers):
            if index >= 0:
                prompt, pair = self._backbone.run_block(index, prompt, None, True)
                answer, _ = self._backbone.run_block(index, answer, pair)
            if index in self.layers:
                prompt, answer = _tracked(prompt), _tracked(answer)
                prompts[index], answers[index] = prompt, answer
        return _Graph(answer, prompts, answers)

    def _run_whole(self, answer: Tensor) -> _Graph:
        """Prompt and answer as one sequence."""
        length = self._embeds.shape[1]
        prompt = self._embeds
        prompts: dict[int, Tensor] = {}
        answers: dict[int, Tensor] = {}
        for index in range(-1, self._backbone.n_layers):
            if index >= 0:
                x, _ = self._backbone.run_block(index, torch.cat((prompt, answer), dim=1))
                prompt, answer = x[:, :length], x[:, length:]
            if index in self.layers:
                prompt, answer = _tracked(prompt), _tracked(answer)
                prompts[index], answers[index] = prompt, answer
        return _Graph(answer, prompts, answers)

    def _measure(self, step: int, graph: _Graph, targets: tuple[Target, ...]) -> TextSupport:
        ends = [graph.prompts[layer] for layer in self.layers]
        ends += [graph.answers[layer] for layer in self.layers]
        found = self._backward([graph.answer], ends, [self._cotangents(graph.answer, targets)])
        count = len(self.layers)
        text = torch.as_tensor(self.prompt_positions, device=self._embeds.device)
        support = {}
        for layer, g_prompt, g_answer in zip(
            self.layers, found[:count], found[count:], strict=True
        ):
            shares = [
                _products(g_prompt, graph.prompts[layer], len(targets)).index_select(1, text),
                _products(g_answer, graph.answers[layer], len(targets)),
            ]
            support[layer] = np.asarray(torch.cat(shares, dim=1).float().cpu().numpy())
        return TextSupport(step, targets, self.prompt_positions, support)

    def _cotangents(self, answer: Tensor, targets: tuple[Target, ...]) -> Tensor:
        """Gradient of each score for the answer's last states, (K, 1, L, d)."""
        places = [target.position for target in targets]
        with torch.enable_grad():
            rows = answer.detach()[0, places].requires_grad_()
            scores, _, _ = score(
                self._backbone.head(rows),
                targets,
                mask_id=self._trajectory.mask_id,
                suppressed=self._suppressed,
            )
            (found,) = torch.autograd.grad(scores.sum(), rows)
        cotangents = answer.new_zeros(len(targets), *answer.shape)
        for k, place in enumerate(places):
            cotangents[k, 0, place] = found[k]
        return cotangents

    def _check(self, step: int, targets: Sequence[Target]) -> None:
        if not 0 <= step < self._trajectory.n_steps:
            raise TargetError(
                f"there is no denoising step {step}",
                f"Choose a step from 0 to {self._trajectory.n_steps - 1}.",
            )
        check_targets(
            targets, self._trajectory.n_positions, self._backbone.vocab_size, self._suppressed
        )


def _tracked(x: Tensor) -> Tensor:
    """Begin or go on with a graph at these states."""
    # Below the lowest layer nothing needs a gradient yet, and a graph must start at a leaf.
    return x if x.requires_grad else x.detach().requires_grad_()


def _products(gradient: Tensor | None, states: Tensor, count: int) -> Tensor:
    """Sum gradient times state over channels, (K, rows); zeros where no path leads."""
    wide = torch.promote_types(states.dtype, torch.float32)
    found = states.new_zeros(count, states.shape[1], dtype=wide)
    if gradient is not None:
        a = states.detach()[0].to(wide)
        for row, g in zip(found, gradient, strict=True):
            row.copy_((g[0].to(wide) * a).sum(-1))
    return found
