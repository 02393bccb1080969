"""States of probed layers on the image span, and exact gradients of target scores there.

Let h_l be the output of block l and y a target score of step t. What is computed is the total
derivative dy/dh_l on the rows of the image span, through everything that comes after block l.

**With prefix cache** image and prompt are run once, and every step reads them through the keys and
values of the blocks above. Their graph is built once and kept for the whole trajectory; a step
runs the answer alone, on keys and values cut off as leaves. Two backward passes follow: scores to
leaves, cheap because the answer is short, then leaves to states through the kept graph, the dear
one, which takes targets of several steps together. The last block's output on the prompt is read
by nobody: no gradient exists there, and none is invented.

**Without** every step runs prompt and answer together, once, and is differentiated at once.
The last block is run for the answer only, on keys and values of the prompt: its other rows are read
by nobody, so a backward pass through them would be wasted.

Both share these rules. Blocks up to the lowest probed one run without gradients. Logits exist at
the targets' positions only. Parameters never get gradients, since only states are asked for. No
hooks are used: blocks are driven one by one, so nothing can be left behind.

Chosen by measurement (embedded size, one CPU core, 32 targets, CPU time, floor = 1.00 = one stock
backward per target): one graph and ``vmap`` over the backward with attention weights shared by 8
targets 0.97; with the stock math attention 1.38; a batch of 4 copies of the prompt with one
backward 0.92, but that repeats the forward pass per target where no cache is used and multiplies
the activations. So the first serves both regimes, at the memory of one graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffcam_core.errors import CancelledError, ResourceError, TargetError
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.models.base import DiffusionVLM, Prompt
from diffcam_core.models.llada import KeyValue
from diffcam_core.probing.attention import SharedAttention
from diffcam_core.probing.backward import (
    BatchedBackward,
    Cancel,
    fitting_chunk,
    is_cancelled,
    is_out_of_memory,
)
from diffcam_core.probing.forward import ForwardPasses
from diffcam_core.probing.targets import Target, check_targets, score
from diffcam_core.probing.trajectory import Trajectory


@dataclass(frozen=True)
class ProbeResult:
    """What was measured for some targets of one step.

    Attributes
    ----------
    step : int
    targets : tuple of Target
        K of them.
    states : mapping of int to Tensor
        Layer -> (N, d) output of the block on the image span, N positions including newlines,
        in the model's dtype and on its device; not in any graph.
    gradients : mapping of int to Tensor
        Layer -> (K, N, d) exact gradient of each score; zeros where no path exists.
    scores : ndarray of float64, shape (K,)
        The numbers that were differentiated.
    probabilities : ndarray of float64, shape (K,)
        Probability of each target's token at this step, as the sampler sees it.
    distractors : ndarray of int64, shape (K,)
        Token id subtracted from each score, -1 where there is none.
    """

    step: int
    targets: tuple[Target, ...]
    states: Mapping[int, Tensor]
    gradients: Mapping[int, Tensor]
    scores: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    distractors: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Forward:
    """One step run forward: the answer's last hidden states and what they were computed from."""

    answer: Tensor  # (1, L, d) output of the last block
    inputs: tuple[Tensor, ...]  # what the answer is differentiated for
    states: dict[int, Tensor]  # layer -> (N, d), detached


@dataclass(frozen=True)
class _Piece:
    """Some targets of one step, pulled back as far as the step's own graph goes."""

    step: int
    targets: tuple[Target, ...]
    scores: Tensor
    probabilities: Tensor
    distractors: Tensor
    forward: _Forward
    cotangents: list[Tensor | None]


@dataclass(frozen=True)
class _Prefix:
    """Image and prompt, run once: cached keys and values, and the graph that leads to them."""

    kv: tuple[KeyValue, ...]  # leaves above the lowest probed layer, constants below
    leaves: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]  # the same keys and values inside the graph
    inputs: tuple[Tensor, ...]  # states of the probed layers inside the graph
    states: dict[int, Tensor]


class Prober:
    """Probe many steps and targets of one trajectory, sharing what can be shared.

    Parameters
    ----------
    model : DiffusionVLM
        Any model whose backbone runs block by block.
    trajectory : Trajectory
        What was read at each step, and in which regime.
    layers : sequence of int, optional
        Blocks to probe, in any order, or `INPUT_LAYER`; None means all blocks.
    max_chunk : int, optional
        Most targets in one backward pass. None: as many as memory and device favour.
    cancel : callable or threading.Event, optional
        Asked between chunks.

    Raises
    ------
    TargetError
        If a layer does not exist or the sequence does not hold the image span.

    Notes
    -----
    Nothing runs before it is needed: methods that read no gradients never pay for the graph.
    The same request on the same device in passes of the same size gives the same bytes: nothing
    here is random.
    """

    def __init__(
        self,
        model: DiffusionVLM,
        trajectory: Trajectory,
        layers: Sequence[int] | None = None,
        *,
        max_chunk: int | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.model = model
        self._backbone = model.backbone
        self._suppressed = frozenset(model.suppressed_ids)
        self.trajectory = trajectory
        self.layers = _checked_layers(layers, self._backbone.n_layers)
        self._lowest = min(self.layers)
        # A copy, because a tensor made in inference mode could not be saved for a backward pass.
        self._embeds = trajectory.prompt.embeds.detach().clone()
        self._span = slice(*trajectory.prompt.layout.span)
        if not 0 <= self._span.start < self._span.stop <= self._embeds.shape[1]:
            raise TargetError(
                f"the image span {trajectory.prompt.layout.span} does not lie within the prompt "
                f"of {self._embeds.shape[1]} positions",
                "Pack the prompt with the model that is probed.",
            )
        self._max_chunk = max_chunk
        self.cancel = cancel

    @cached_property
    def forward(self) -> ForwardPasses:
        """States and scores of the same trajectory without gradients, sharing their own prefix."""
        return ForwardPasses(self.model, self.trajectory, cancel=self.cancel)

    @cached_property
    def _prefix(self) -> _Prefix | None:
        return self._run_prefix() if self.trajectory.prefix_cache else None

    @cached_property
    def _backward(self) -> BatchedBackward:
        # The graph comes first, so that what it takes no longer counts as free.
        need = self._bytes_per_target()
        return BatchedBackward(self._embeds.device, need, self._max_chunk, self.cancel)

    def check_cancel(self) -> None:
        """Raise CancelledError if the job is to stop."""
        if is_cancelled(self.cancel):
            raise CancelledError("the job was cancelled", "Start it again to go on.")

    @property
    def chunk(self) -> int:
        """Targets in one backward pass; shrinks when memory runs out."""
        return self._backward.chunk

    def probe(self, step: int, targets: Sequence[Target]) -> ProbeResult:
        """Probe some targets of one step; see :meth:`stream` for many steps or large models."""
        return _joined(tuple(self.stream([(step, targets)])))

    def stream(self, requests: Iterable[tuple[int, Sequence[Target]]]) -> Iterator[ProbeResult]:
        """Probe targets of many steps.

        Parameters
        ----------
        requests : iterable of (step, targets)
            In the order in which results are wanted. Read lazily.

        Yields
        ------
        ProbeResult
            One or more for each request, in order: at most ``chunk`` targets each, so that the
            gradients of all targets never exist together. With prefix cache, requests of few
            targets (each token at its commit step) share backward passes.

        Raises
        ------
        TargetError
            If a step, position, token or contrast does not exist.
        CancelledError
            Between chunks.
        ResourceError
            If memory runs out with a single target.
        """
        waiting: list[_Piece] = []
        for step, wanted in requests:
            targets = tuple(wanted)
            self.check(step, targets)
            self.check_cancel()
            forward = self._run_step(step)
            # A request without targets still gets its (empty) answer.
            size = self.chunk
            for done in range(0, max(len(targets), 1), size):
                piece = self._pull_to_inputs(step, forward, targets[done : done + size])
                if sum(len(p.targets) for p in waiting) + len(piece.targets) > self.chunk:
                    yield from self._finish(waiting)
                    waiting = []
                waiting.append(piece)
        yield from self._finish(waiting)

    def probabilities(self, step: int, targets: Sequence[Target]) -> npt.NDArray[np.float64]:
        """Probability of each target's token at a step, (K,), by a forward pass alone."""
        self.check(step, tuple(targets))
        with torch.no_grad():
            hidden = self._run_step(step, with_graph=False).answer
            logits = self._backbone.head(_rows_of(hidden, targets))
            return self._score(logits, targets)[1].cpu().numpy()

    def valid(self, steps: Iterable[int] | None = None) -> npt.NDArray[np.bool_]:
        """Say at which steps and layers a gradient path to the whole image span exists.

        Found on the graph itself: a fixed random cotangent on every answer row is pulled back,
        and each row of the span must receive something.

        Parameters
        ----------
        steps : iterable of int, optional
            None means all.

        Returns
        -------
        ndarray of bool, shape (steps, layers)
            Columns in the order of ``layers``.
        """
        chosen = range(self.trajectory.n_steps) if steps is None else tuple(steps)
        rows = []
        for step in chosen:
            self.check(step, ())
            forward = self._run_step(step)
            # Always drawn on the CPU, in float32: the same numbers on every device.
            draw = torch.Generator().manual_seed(0)
            noise = torch.randn(forward.answer.shape, generator=draw).to(forward.answer)
            found = self._to_states(self._to_inputs(forward, noise[None]))
            rows.append([g is not None and bool((g[0] != 0).any(-1).all()) for g in found])
        return np.array(rows, dtype=np.bool_).reshape(-1, len(self.layers))

    # forward

    def _run_prefix(self) -> _Prefix:
        """Run image and prompt once, with a graph above the lowest probed layer."""
        x = self._embeds
        kv: list[KeyValue] = []
        leaves: list[Tensor] = []
        ends: list[Tensor] = []
        kept: dict[int, Tensor] = {}
        if self._lowest == INPUT_LAYER:
            kept[INPUT_LAYER] = x = x.detach().requires_grad_()
        with _naming_memory():
            for index in range(self._backbone.n_layers):
                above = index > self._lowest
                with SharedAttention(), torch.set_grad_enabled(above):
                    x, pair = self._backbone.run_block(index, x, None, True)
                assert pair is not None
                if index == self._lowest:
                    x = x.detach().requires_grad_()
                if above:
                    ends += pair
                    pair = (pair[0].detach().requires_grad_(), pair[1].detach().requires_grad_())
                    leaves += pair
                kv.append(pair)
                if index in self.layers:
                    kept[index] = x
        return _Prefix(
            kv=tuple(kv),
            leaves=tuple(leaves),
            ends=tuple(ends),
            inputs=tuple(kept[layer] for layer in self.layers),
            states={layer: self._on_span(kept[layer]) for layer in self.layers},
        )

    def _run_step(self, step: int, *, with_graph: bool = True) -> _Forward:
        ids = torch.as_tensor(self.trajectory.canvases[step], device=self._embeds.device)
        with torch.no_grad():
            answer = self._backbone.embed(ids[None]).to(self._embeds.dtype)
        with _naming_memory(), SharedAttention():
            if self._prefix is not None:
                return self._run_cached(answer, self._prefix, with_graph)
            return self._run_whole(answer, with_graph)

    def _run_cached(self, answer: Tensor, prefix: _Prefix, with_graph: bool) -> _Forward:
        for index in range(self._backbone.n_layers):
            with torch.set_grad_enabled(with_graph and index > self._lowest):
                answer, _ = self._backbone.run_block(index, answer, prefix.kv[index])
        return _Forward(answer, prefix.leaves, prefix.states)

    def _run_whole(self, answer: Tensor, with_graph: bool) -> _Forward:
        backbone = self._backbone
        length = self._embeds.shape[1]
        last = backbone.n_layers - 1
        x = final = torch.cat((self._embeds, answer), dim=1)
        kept: dict[int, Tensor] = {}
        if self._lowest == INPUT_LAYER:
            kept[INPUT_LAYER] = x = x.detach().requires_grad_()
        for index in range(backbone.n_layers):
            with torch.set_grad_enabled(with_graph and index > self._lowest):
                before = x
                x, pair = backbone.run_block(index, before, None, index == last)
                if pair is not None:
                    prompt_kv = (pair[0][:, :, :length], pair[1][:, :, :length])
                    final, _ = backbone.run_block(index, before[:, length:], prompt_kv)
            if index == self._lowest:
                x = x.detach().requires_grad_()
            if index in self.layers:
                kept[index] = x
        return _Forward(
            answer=final,
            inputs=tuple(kept[layer] for layer in self.layers),
            states={layer: self._on_span(kept[layer]) for layer in self.layers},
        )

    def _on_span(self, x: Tensor) -> Tensor:
        return x.detach()[0, self._span].clone()

    # backward

    def _pull_to_inputs(self, step: int, forward: _Forward, targets: tuple[Target, ...]) -> _Piece:
        """Score the targets and differentiate the scores for what the step read."""
        with _naming_memory(), torch.enable_grad():
            rows = _rows_of(forward.answer.detach(), targets).requires_grad_()
            scores, probabilities, distractors = self._score(self._backbone.head(rows), targets)
            # Score k depends on row k alone, so the gradient of the sum holds every gradient.
            (row_gradients,) = torch.autograd.grad(scores.sum(), rows)
        cotangents = forward.answer.new_zeros(len(targets), *forward.answer.shape)
        for k, target in enumerate(targets):
            cotangents[k, 0, target.position] = row_gradients[k]
        return _Piece(
            step=step,
            targets=targets,
            scores=scores.detach(),
            probabilities=probabilities,
            distractors=distractors,
            forward=forward,
            cotangents=self._to_inputs(forward, cotangents),
        )

    def _to_inputs(self, forward: _Forward, cotangents: Tensor) -> list[Tensor | None]:
        """Pull (M, 1, L, d) on the answer back to the step's inputs."""
        if not (forward.answer.requires_grad and forward.inputs):
            return [None] * len(forward.inputs)
        rows = None if self._prefix is not None else self._span
        return self._backward([forward.answer], forward.inputs, [cotangents], rows)

    def _to_states(self, found: list[Tensor | None]) -> list[Tensor | None]:
        """Pull the step's inputs back to the probed states: (M, N, d) for each layer."""
        if self._prefix is not None:
            given = [
                (end, cotangent)
                for end, cotangent in zip(self._prefix.ends, found, strict=True)
                if cotangent is not None
            ]
            if not given:
                return [None] * len(self.layers)
            ends, cotangents = zip(*given, strict=True)
            found = self._backward(ends, self._prefix.inputs, cotangents, self._span)
        return [None if gradient is None else gradient[:, 0] for gradient in found]

    def _finish(self, pieces: Sequence[_Piece]) -> Iterator[ProbeResult]:
        """Take pieces, perhaps of several steps, all the way to the states."""
        if not pieces:
            return
        together = []
        for parts in zip(*(piece.cotangents for piece in pieces), strict=True):
            present = [part for part in parts if part is not None]
            together.append(torch.cat(present) if present else None)
        found = self._to_states(together)
        start = 0
        for piece in pieces:
            part = slice(start, start + len(piece.targets))
            start = part.stop
            states = piece.forward.states
            yield ProbeResult(
                step=piece.step,
                targets=piece.targets,
                states=states,
                gradients={
                    layer: states[layer].new_zeros(len(piece.targets), *states[layer].shape)
                    if gradient is None
                    else gradient[part]
                    for layer, gradient in zip(self.layers, found, strict=True)
                },
                scores=piece.scores.double().cpu().numpy(),
                probabilities=piece.probabilities.cpu().numpy(),
                distractors=piece.distractors.cpu().numpy(),
            )

    def _score(self, logits: Tensor, targets: Sequence[Target]) -> tuple[Tensor, Tensor, Tensor]:
        return score(logits, targets, mask_id=self.trajectory.mask_id, suppressed=self._suppressed)

    def check(self, step: int, targets: Sequence[Target]) -> None:
        """Raise TargetError unless the step exists and every target can be scored."""
        if not 0 <= step < self.trajectory.n_steps:
            raise TargetError(
                f"there is no denoising step {step}",
                f"Choose a step from 0 to {self.trajectory.n_steps - 1}.",
            )
        check_targets(
            targets, self.trajectory.n_positions, self._backbone.vocab_size, self._suppressed
        )

    def _bytes_per_target(self) -> int:
        return _bytes_per_target(
            self.model,
            self.trajectory.prompt,
            self.trajectory.n_positions,
            self.layers,
            self.trajectory.prefix_cache,
        )


def planned_chunk(
    model: DiffusionVLM,
    prompt: Prompt,
    n_positions: int,
    layers: Sequence[int] | None,
    prefix_cache: bool,
) -> int:
    """Return how many targets a :class:`Prober` would take in one pass, from the memory free now.

    Rounding depends on it, so a job that is to be resumed to the same bytes writes it down and
    hands it to the prober as ``max_chunk``.
    """
    chosen = _checked_layers(layers, model.backbone.n_layers)
    need = _bytes_per_target(model, prompt, n_positions, chosen, prefix_cache)
    return fitting_chunk(prompt.embeds.device, need)


def _bytes_per_target(
    model: DiffusionVLM,
    prompt: Prompt,
    n_positions: int,
    layers: tuple[int, ...],
    prefix_cache: bool,
) -> int:
    """Estimate what one target more in a chunk takes: results, cotangents, one block's work."""
    length = prompt.embeds.shape[1] + (0 if prefix_cache else n_positions)
    row = model.backbone.hidden_size * prompt.embeds.element_size()
    # Cotangents of keys and values of every block above the lowest probed one.
    held = 4 * (model.backbone.n_layers - 1 - min(layers)) if prefix_cache else 0
    # A block's backward holds about 16 d + 3 f numbers a row, and f is rarely above 4 d.
    return length * row * (len(layers) + held + 28)


def probe(
    model: DiffusionVLM,
    prompt: Prompt,
    trajectory: Trajectory,
    step: int,
    targets: Sequence[Target],
    layers: Sequence[int] | None = None,
    *,
    max_chunk: int | None = None,
    cancel: Cancel | None = None,
) -> ProbeResult:
    """Probe one step once; a :class:`Prober` shares the prompt's pass between steps.

    ``prompt`` takes the place of the trajectory's own. Everything else as in :class:`Prober`.
    """
    prober = Prober(
        model, replace(trajectory, prompt=prompt), layers, max_chunk=max_chunk, cancel=cancel
    )
    return prober.probe(step, targets)


def _rows_of(hidden: Tensor, targets: Sequence[Target]) -> Tensor:
    places = [target.position for target in targets]
    positions = torch.tensor(places, dtype=torch.long, device=hidden.device)
    return hidden[0].index_select(0, positions)


def _checked_layers(layers: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    chosen = tuple(range(n_layers)) if layers is None else tuple(layers)
    if not chosen or len(set(chosen)) != len(chosen):
        raise TargetError(
            "no layer is chosen" if not chosen else "a layer is chosen twice",
            "Name each layer to probe once.",
        )
    for layer in chosen:
        if not INPUT_LAYER <= layer < n_layers:
            raise TargetError(
                f"the model has no layer {layer}",
                f"Choose layers from 0 to {n_layers - 1}, or {INPUT_LAYER} for the input.",
            )
    return chosen


def _joined(results: Sequence[ProbeResult]) -> ProbeResult:
    """Put the pieces of one step together."""
    first = results[0]
    if len(results) == 1:
        return first
    return replace(
        first,
        targets=tuple(target for result in results for target in result.targets),
        gradients={
            layer: torch.cat([result.gradients[layer] for result in results])
            for layer in first.gradients
        },
        scores=np.concatenate([result.scores for result in results]),
        probabilities=np.concatenate([result.probabilities for result in results]),
        distractors=np.concatenate([result.distractors for result in results]),
    )


@contextmanager
def _naming_memory() -> Iterator[None]:
    """Give an out-of-memory error a cause and a mend; leave any other as it is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "memory ran out while running the model with gradients",
            "Probe higher layers only, use a smaller image, close other programs, or load the "
            "model in bfloat16.",
        ) from error
