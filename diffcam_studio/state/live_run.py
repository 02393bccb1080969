"""A run while its job works: built from events, read like a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffcam_core.events import (
    Answer,
    CanvasStep,
    Done,
    Event,
    Failure,
    MapStep,
    Plan,
    Progress,
)
from diffcam_core.words import group_words
from diffcam_studio.state.source import ByteArray, FloatArray, RunFacts, spans_of

_UNKNOWN = -1


class LiveRun:
    """Events in, :class:`RunFacts` and maps out.

    ``apply`` runs on the GUI thread and only stores what came; readers on the
    I/O thread see arrays that are never changed after they were stored.
    """

    def __init__(
        self, key: str, image: ByteArray | None, *, title: str = "", scene: str = ""
    ) -> None:
        self.key = key
        self.title = title
        self.scene = scene
        self.image = image
        self.plan: Plan | None = None
        self.answer: Answer | None = None
        self.progress: Progress | None = None
        self.done: Done | None = None
        self.failure: Failure | None = None
        self._canvas: dict[int, CanvasStep] = {}
        self._maps: dict[int, MapStep] = {}
        self._texts: dict[int, str] = {}
        self._version = 0
        self._facts: tuple[int, RunFacts] | None = None

    @property
    def version(self) -> int:
        """Grows with each event that changes what can be shown."""
        return self._version

    def apply(self, event: Event) -> None:
        """Take in one event of the job."""
        if isinstance(event, Progress):
            self.progress = event
            return
        if isinstance(event, Plan):
            self.plan = event
        elif isinstance(event, CanvasStep):
            self._canvas[event.step] = event
            for ids, texts in (
                (event.token_ids, event.texts),
                (event.guesses, event.guess_texts),
            ):
                for token, text in zip(ids.tolist(), texts, strict=False):
                    if text:
                        self._texts[token] = text
        elif isinstance(event, Answer):
            self.answer = event
            for token, text in zip(event.token_ids.tolist(), event.texts, strict=False):
                self._texts[token] = text
        elif isinstance(event, MapStep):
            self._maps[event.step] = event
        elif isinstance(event, Done):
            self.done = event
        elif isinstance(event, Failure):
            self.failure = event
        else:
            return
        self._version += 1

    def facts(self) -> RunFacts:
        """Everything but the maps, as known so far."""
        version = self._version
        if self._facts is None or self._facts[0] != version:
            self._facts = (version, self._build())
        return self._facts[1]

    def maps(self, step: int, layer: int, grid: str, method: str) -> FloatArray | None:
        """Maps of all targets at one step and layer, or None if not computed yet."""
        del method  # a job computes one method
        event = self._maps.get(step)
        if event is None or layer not in event.layers:
            return None
        values = event.maps.get(grid) if grid else next(iter(event.maps.values()), None)
        return None if values is None else values[event.layers.index(layer)]

    def trajectory(self, position: int, layer: int, grid: str, method: str) -> FloatArray:
        """Maps of one position at every step; NaN where not computed yet."""
        del method
        plan = self.plan
        n_steps = plan.n_steps if plan else 0
        spec = next((g for g in plan.grids if g.name == grid or not grid), None) if plan else None
        if spec is None:
            return np.zeros((n_steps, 0, 0), np.float32)
        out = np.full((n_steps, spec.rows, spec.cols), np.nan, np.float32)
        for step, event in tuple(self._maps.items()):
            if layer not in event.layers or position not in event.targets or step >= n_steps:
                continue
            values = event.maps.get(spec.name)
            if values is not None:
                out[step] = values[event.layers.index(layer), event.targets.index(position)]
        return out

    def close(self) -> None:
        """Nothing to let go of; here because files have it."""

    def _build(self) -> RunFacts:
        plan, answer = self.plan, self.answer
        n_steps = plan.n_steps if plan else 0
        length = plan.n_positions if plan else 0
        layers = plan.layers if plan else ()
        known = sorted(s for s in self._canvas if s < n_steps)
        canvas = np.full((n_steps, length), _UNKNOWN, np.int64)
        guesses = np.full((n_steps, length), _UNKNOWN, np.int64)
        confidence = np.zeros((n_steps, length), np.float32)
        commit = np.full(length, _UNKNOWN, np.int64)
        mask_id = _UNKNOWN
        end_ids: set[int] = set()
        for step in known:
            event = self._canvas[step]
            masked = np.array([not text for text in event.texts], bool)
            written_now = np.asarray(event.committed, bool)
            # An end mark has no display text either, but it was written, not masked.
            ids = event.token_ids
            canvas[step], guesses[step] = ids, event.guesses
            confidence[step] = event.confidence
            commit[written_now] = step
            blank = masked & ~written_now & (commit < 0)
            if mask_id == _UNKNOWN and blank.any():
                mask_id = int(ids[blank][0])
            end_ids |= {int(t) for t in ids[masked & (commit >= 0)] if int(t) != mask_id}
        texts = dict(self._texts)
        last = self._canvas[known[-1]] if known else None
        token_ids = (
            answer.token_ids
            if answer
            else (canvas[known[-1]] if known else np.zeros(length, np.int64))
        )
        if answer is not None:
            commit = np.asarray(answer.commit_step, np.int64)
        tokens = (
            answer.texts
            if answer
            else tuple(
                text or guess for text, guess in zip(last.texts, last.guess_texts, strict=True)
            )
            if last
            else ("",) * length
        )
        for token, text in texts.items():
            if text.strip() in _END_MARKS:
                end_ids.add(token)
        valid = plan.valid if plan else np.zeros((n_steps, len(layers)), bool)
        computed = np.zeros((n_steps, len(layers)), bool)
        targets = answer.targets if answer else ()
        probability = np.full((n_steps, length), np.nan, np.float32)
        for step, event_maps in tuple(self._maps.items()):
            if step >= n_steps:
                continue
            for layer in event_maps.layers:
                if layer in layers:
                    computed[step, layers.index(layer)] = True
            probability[step, list(event_maps.targets)] = event_maps.target_probability
            targets = targets or event_maps.targets
        return RunFacts(
            key=self.key,
            title=self.title or (Path(plan.path).stem if plan else "Run"),
            image=self.image,
            prompt=plan.prompt if plan else "",
            model=plan.model if plan else "",
            methods=(plan.method,) if plan else (),
            answer=answer.text if answer else "",
            token_ids=token_ids,
            tokens=tuple(tokens),
            texts=texts,
            mask_id=mask_id,
            end_ids=frozenset(end_ids),
            n_steps=n_steps,
            layers=layers,
            targets=tuple(targets),
            grids={g.name: g for g in plan.grids} if plan else {},
            canvas=canvas,
            guesses=guesses,
            confidence=confidence,
            commit_step=commit,
            valid=valid,
            computed=computed,
            target_probability=probability,
            words=spans_of(group_words(tokens)),
            default_layer=plan.default_layer if plan else None,
            requested_steps=answer.requested_steps if answer else None,
            steps_known=len(known),
            live=self.done is None and self.failure is None,
            complete=self.done is not None and not self.done.cancelled,
            scene=self.scene,
        )


_END_MARKS = frozenset({"<|endoftext|>", "<|eot_id|>", "<eos>", "</s>", "<|im_end|>"})
