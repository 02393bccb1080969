"""A scripted engine: real events, a real run file, known maps, no model and no torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from diffcam_core.datasets.scenes import make_scene
from diffcam_core.errors import CancelledError
from diffcam_core.events import Answer, CanvasStep, Done, Event, GridSpec, MapStep, Plan, Progress
from diffcam_core.session import RunWriter
from diffcam_studio.worker.engine_thread import Cancel, JobRequest, ModelFacts

MASK, END = 0, 1
SIDE, LAYERS, LENGTH, STEPS = 14, 6, 32, 16


def grid(width: int, height: int) -> GridSpec:
    """A 14 x 14 grid over the whole picture."""
    boxes = np.empty((SIDE, SIDE, 4), np.float32)
    x, y = np.linspace(0, width, SIDE + 1), np.linspace(0, height, SIDE + 1)
    boxes[..., 0], boxes[..., 2] = x[:-1], x[1:]
    boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
    return GridSpec("base", SIDE, SIDE, boxes)


class Script:
    """What a fake run says and shows, all from one scene seed."""

    def __init__(self, seed: int = 1336, size: int = 448) -> None:
        self.seed = seed
        self.scene = make_scene(seed)
        self.image, masks = self.scene.draw(size)
        words = self.scene.caption.replace(",", " ,").replace(".", " .").split()
        texts = ["" if w in ",." else " " for w in words]
        self.tokens = [t + w for t, w in zip(texts, words, strict=True)]
        self.vocabulary = {MASK: "", END: "<|eot_id|>"}
        ids: list[int] = []
        for token in self.tokens:
            known = [i for i, t in self.vocabulary.items() if t == token]
            number = known[0] if known else len(self.vocabulary)
            self.vocabulary[number] = token
            ids.append(number)
        self.ids = np.array(ids + [END] * (LENGTH - len(ids)), np.int64)
        self.texts = tuple(self.vocabulary[int(i)] for i in self.ids)
        rng = np.random.default_rng(seed)
        # Ends first, then words in a mixed order: what a schedule of a real model does.
        order = [*range(len(ids), LENGTH), *rng.permutation(len(ids)).tolist()]
        self.commit = np.zeros(LENGTH, np.int64)
        for rank, position in enumerate(order):
            self.commit[position] = rank * STEPS // LENGTH
        self.small = {
            thing.kind: cv2.resize(
                masks[i].astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA
            )
            for i, thing in enumerate(self.scene.objects)
        }
        self.noise = rng.random((STEPS, LAYERS, LENGTH, SIDE, SIDE)).astype(np.float32)
        self.grid = grid(size, size)
        self.valid = np.ones((STEPS, LAYERS), bool)
        self.valid[STEPS - 2 :] = False
        self.targets = tuple(range(len(ids)))

    def plan(self, request: JobRequest, method: str = "diffusion-cam") -> Plan:
        """Plan of the run."""
        return Plan(
            run_id=request.job,
            method=method,
            n_steps=STEPS,
            n_positions=LENGTH,
            layers=tuple(range(LAYERS)),
            grids=(self.grid,),
            valid=self.valid,
            requested_steps=None,
            prompt=request.prompt,
            model="Fake model, 6 layers",
            forward_passes=STEPS,
            backward_passes=STEPS,
            seconds=5.0,
            bytes_on_disk=2_000_000,
            path=request.out,
        )

    def canvas_step(self, step: int) -> CanvasStep:
        """State of the answer after one step."""
        written = self.commit <= step
        ids = np.where(written, self.ids, MASK)
        sure = np.where(written, 0.9, 0.15 + 0.6 * step / STEPS).astype(np.float32)
        return CanvasStep(
            step=step,
            token_ids=ids,
            guesses=self.ids.copy(),
            confidence=sure,
            committed=self.commit == step,
            texts=tuple(self.vocabulary[int(i)] for i in ids),
            guess_texts=self.texts,
        )

    def answer(self) -> Answer:
        """The finished answer."""
        steps = tuple(int(s) for s in np.flatnonzero(self.valid.any(axis=1)))
        text = "".join(self.tokens)
        return Answer(self.ids, self.texts, text, self.commit, self.targets, steps)

    def map_step(self, step: int) -> MapStep:
        """Maps of one step: noise that gives way to the object of the word."""
        maps = np.empty((LAYERS, len(self.targets), SIDE, SIDE), np.float32)
        progress = (step + 1) / STEPS
        for layer in range(LAYERS):
            for row, position in enumerate(self.targets):
                word = self.tokens[position].strip()
                shape = self.small.get(word, np.zeros((SIDE, SIDE), np.float32))
                strength = progress * (layer + 1) / LAYERS
                maps[layer, row] = 0.3 * self.noise[step, layer, position] ** 4 + strength * shape
        probability = np.linspace(0.2, 0.95, len(self.targets)).astype(np.float32) * progress
        return MapStep(
            step, tuple(range(LAYERS)), self.targets, {"base": maps}, probability.astype(np.float32)
        )


class FakeRunner:
    """Runs scripts. ``gate`` set to a semaphore lets one explained step through per release."""

    def __init__(
        self,
        seed: int = 1336,
        gate: threading.Semaphore | None = None,
        fail: Exception | None = None,
        beat: float = 0.0,
    ) -> None:
        self.seed, self.gate, self.fail, self.beat = seed, gate, fail, beat
        self.ran: list[JobRequest] = []
        self.thread_names: list[str] = []

    def warm_up(self, source: str) -> ModelFacts:
        """Pretend to load a model."""
        return ModelFacts(source, "Fake", LAYERS, "cpu", {"max_new_tokens": LENGTH})

    def run(self, request: JobRequest, emit: Callable[[Event], None], cancel: Cancel) -> None:
        """Send the events of a job and write its file."""
        self.ran.append(request)
        script = Script(self.seed)
        emit(Progress("load", 0, 1, None))
        if self.fail is not None:
            raise self.fail
        plan = script.plan(request)
        out = Path(request.out)
        metadata = {
            "mask_id": MASK,
            "eos_ids": [END],
            "prompt": request.prompt,
            "model": "Fake model, 6 layers",
            "scene": json.dumps({"seed": script.seed}),
        }
        writer = RunWriter.create(
            out,
            plan,
            image=script.image,
            request={"prompt": request.prompt},
            metadata=metadata,
        )
        emit(plan)
        try:
            for step in range(STEPS):
                self._wait(cancel)
                event = script.canvas_step(step)
                writer.add_canvas_step(event)
                emit(event)
                emit(Progress("generate", step + 1, STEPS, 1.0))
            answer = script.answer()
            writer.set_answer(answer)
            emit(answer)
            for index, step in enumerate(answer.requested_steps):
                self._pass_gate(cancel)
                maps = script.map_step(step)
                writer.add_map_step(maps)
                emit(maps)
                done = index + 1
                left = float(len(answer.requested_steps) - done)
                emit(Progress("explain", done, len(answer.requested_steps), left))
        except CancelledError:
            writer.abandon()
            emit(Done(f"{out}.part", cancelled=True, seconds=1.0))
            return
        writer.finish(seconds=2.0)
        emit(Done(str(out), seconds=2.0))

    def _pass_gate(self, cancel: Cancel) -> None:
        while self.gate is not None and not self.gate.acquire(timeout=0.02):
            self._check(cancel)
        self._wait(cancel)

    def _wait(self, cancel: Cancel) -> None:
        if self.beat:
            threading.Event().wait(self.beat)
        self._check(cancel)

    @staticmethod
    def _check(cancel: Cancel) -> None:
        if cancel.is_set():
            raise CancelledError("The job was cancelled")
