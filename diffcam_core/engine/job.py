"""One job, from the request to the finished file.

This is the only place that ties models, denoising, probing, attribution and the run file together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffcam_core.attribution import METHODS
from diffcam_core.denoising import GenerationConfig, sample_from_backbone
from diffcam_core.engine.answering import Texts, answer_of, canvas_event
from diffcam_core.engine.mapping import (
    Clock,
    blank_step,
    cost_of,
    groups_of,
    targets_of,
    without_broken,
)
from diffcam_core.engine.planning import check_disk, metadata_of, plan_of
from diffcam_core.errors import CancelledError, DiffcamError, RunFileError, TargetError
from diffcam_core.events import (
    Answer,
    Done,
    EventSink,
    Failure,
    MapStep,
    Notice,
    Phase,
    Plan,
    Progress,
)
from diffcam_core.images import ImageSource, as_image, scene_record
from diffcam_core.probing import Prober, Target, Trajectory
from diffcam_core.request import Request, Steps, make_request, resolve_contrast
from diffcam_core.session import RunWriter, open_run
from diffcam_core.session.schema import differences, part_path

if TYPE_CHECKING:
    from PIL import Image

    from diffcam_core.models.base import DiffusionVLM, Prompt


class Job:
    """The state of one call of `explain`."""

    def __init__(
        self,
        *,
        model: DiffusionVLM,
        source: ImageSource,
        out: Path,
        emit: EventSink,
        is_cancelled: Callable[[], bool],
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.model = model
        self.out = out
        self.emit = emit
        self._source = source
        self._is_cancelled = is_cancelled
        self._resume = resume
        self._overwrite = overwrite
        self._writer: RunWriter | None = None
        self._started = time.monotonic()
        self._text = Texts(model)
        self._noted: set[str] = set()

    @property
    def seconds(self) -> float:
        """Time since the job began."""
        return time.monotonic() - self._started

    def run(
        self,
        *,
        prompt: str,
        layers: Sequence[int] | None,
        steps: Steps,
        tokens: Sequence[int | str] | None,
        method: str,
        contrast: str,
        generation: GenerationConfig | None,
        seed: int,
    ) -> None:
        """Do the whole job; on return the file is complete."""
        self._progress("prepare", 0, 3)
        request = make_request(
            self.model, prompt, layers, steps, tokens, method, contrast, generation, seed, METHODS
        )
        distractor = resolve_contrast(self.model, contrast)
        picture = as_image(self._source)
        self._check_domain(picture)
        self._check_cancel()
        self._progress("prepare", 1, 3)
        packed = self.model.prepare(picture, prompt)
        self._check_cancel()
        self._progress("prepare", 2, 3)
        plan = plan_of(self.model, request, packed, self.out)
        pixels = np.asarray(packed.image, np.uint8)
        if self._resume and self._is_complete(request, pixels):
            self.emit(plan)
            self._notice(f"{self.out.name} is complete already; nothing was computed")
            self.emit(Done(str(self.out), seconds=self.seconds))
            return
        check_disk(plan, self.out.parent)
        writer = self._open_writer(request, plan, pixels, scene_record(picture))
        self.emit(plan)
        self._progress("prepare", 3, 3)

        answer = self._generate(writer, request, packed, distractor)
        generated = self.seconds
        first_map = self._explain(writer, request, plan, packed, answer, distractor)
        self._progress("write", 0, 1)
        writer.finish(seconds=self.seconds)
        self._writer = None
        self._progress("write", 1, 1)
        extra = {"generate_seconds": round(generated, 3)}
        if first_map is not None:
            extra["first_map_seconds"] = round(first_map, 3)
        self.emit(Done(str(self.out), seconds=self.seconds, extra=extra))

    def keep(self) -> str:
        """Let go of the file; return the path of what is worth keeping, or ""."""
        writer, self._writer = self._writer, None
        if writer is None:
            return ""
        started = bool(writer.canvas_steps)
        path = writer.abandon()
        if not started:
            path.unlink(missing_ok=True)
        return str(path) if path.exists() else ""

    def fail(self, error: DiffcamError) -> None:
        """Keep what is done and tell the listener why the job ended."""
        if isinstance(error, TargetError) and self._writer is not None and not self._writer.answer:
            # The answer does not hold what was asked for, so this request can never be resumed,
            # and its remains would only stand in the way of the next one.
            self._writer.abandon().unlink(missing_ok=True)
            self._writer = None
        kept = self.keep()
        self.emit(Failure(type(error).__name__, str(error), kept or None))

    # prepare

    def _check_domain(self, picture: Image.Image) -> None:
        if self.model.domain != "sticker scenes" or scene_record(picture) is not None:
            return
        from diffcam_core.datasets.scene_check import is_sticker_scene

        if not is_sticker_scene(picture):
            self._notice(
                "this model reads sticker scenes only, and the image does not look like one: "
                "its words and maps will mean little",
                "Make a scene with diffcam scenes, or load another model for photographs.",
            )

    def _is_complete(self, request: Request, pixels: npt.NDArray[np.uint8]) -> bool:
        if part_path(self.out).exists() or not self.out.exists():
            return False
        with open_run(self.out) as run:
            if not run.complete:
                return False
            different = differences(request.to_json(), run.request)
            if not np.array_equal(run.image, pixels):
                different.append("the image is another one")
        if different:
            raise RunFileError(
                f"{self.out.name} was made for another request: {'; '.join(different)}",
                "Choose another name for this one.",
            )
        return True

    def _open_writer(
        self,
        request: Request,
        plan: Plan,
        pixels: npt.NDArray[np.uint8],
        scene: Mapping[str, Any] | None,
    ) -> RunWriter:
        if self._resume and (part_path(self.out).exists() or self.out.exists()):
            writer = RunWriter.resume(self.out, request.to_json(), image=pixels)
            # Which file it was; its steps are sent again as they are met.
            self._notice(
                f"going on with {writer.part_path.name}: {len(writer.finished_steps)} steps are "
                "explained already"
                if writer.answer is not None
                else f"going on with {writer.part_path.name}: the answer is written again"
            )
        else:
            writer = RunWriter.create(
                self.out,
                plan,
                image=pixels,
                request=request.to_json(),
                metadata=metadata_of(self.model, request, plan, scene),
                overwrite=self._overwrite,
            )
        self._writer = writer
        return writer

    # generate

    def _generate(
        self, writer: RunWriter, request: Request, packed: Prompt, distractor: str | int
    ) -> Answer:
        stored = writer.answer
        if stored is not None:
            self._resend_canvas(writer)
            self.emit(stored)
            return stored
        model, config = self.model, request.generation
        total = config.n_steps
        self._progress("generate", 0, total)
        begin = time.monotonic()
        commit_step = np.full(config.max_new_tokens, -1, np.int64)
        canvas = np.full(config.max_new_tokens, model.mask_id, np.int64)
        done_before = writer.canvas_steps
        records = sample_from_backbone(
            model.backbone,
            packed.embeds,
            config,
            model.mask_id,
            seed=request.seed,
            suppressed_ids=model.suppressed_ids,
            cancel=self._is_cancelled,
            prefix_cache=bool(config.prefix_cache),
        )
        for record in records:
            commit_step[record.committed] = record.step
            canvas = record.canvas
            event = canvas_event(
                record.step,
                canvas,
                record.guesses,
                record.confidence,
                record.committed,
                self._text,
            )
            if record.step not in done_before:
                writer.add_canvas_step(event)
            self.emit(event)
            done = record.step + 1
            left = (time.monotonic() - begin) / done * (total - done)
            self._progress("generate", done, total, left)
        answer, some_left_out = answer_of(
            model, request, canvas, commit_step, distractor, self._text
        )
        if some_left_out:
            self._notice("tokens that are the distractor itself are not explained")
        writer.set_answer(answer)
        self.emit(answer)
        return answer

    def _resend_canvas(self, writer: RunWriter) -> None:
        with writer.reading() as run:
            rows = (run.canvas, run.guesses, run.confidence, run.committed)
        total = rows[0].shape[0]
        for step in range(total):
            canvas, guesses, confidence, committed = (row[step] for row in rows)
            self.emit(canvas_event(step, canvas, guesses, confidence, committed, self._text))
        self._progress("generate", total, total, 0.0)

    # explain

    def _explain(
        self,
        writer: RunWriter,
        request: Request,
        plan: Plan,
        packed: Prompt,
        answer: Answer,
        contrast: str | int,
    ) -> float | None:
        """Compute or restore every requested step; return when the first map was sent."""
        targets = targets_of(answer, contrast, only_commits=request.steps == "commit")
        finished = writer.finished_steps
        groups = groups_of(targets)
        missing = [group for group in groups if not finished.issuperset(group)]
        clock = Clock(sum(cost_of(targets[step]) for group in missing for step in group))
        first: float | None = None
        done = 0
        self._progress("explain", 0, len(targets))
        prober = self._prober(writer, request, plan, packed) if missing else None
        for group in groups:
            self._check_cancel()
            events: Iterator[MapStep]
            if prober is None or finished.issuperset(group):
                events, cost = (_restored(writer, step) for step in group), 0.0
            else:
                events = self._compute(prober, request, plan, answer, group, targets)
                cost = sum(cost_of(targets[step]) for step in group)
            for event in events:
                if event.step not in finished:
                    self._store(writer, event)
                # The steps of a group come out together, when all its work is done.
                clock.add(cost)
                cost = 0.0
                self.emit(event)
                first = self.seconds if first is None else first
                done += 1
                self._progress("explain", done, len(targets), clock.left)
        return first

    def _prober(self, writer: RunWriter, request: Request, plan: Plan, packed: Prompt) -> Prober:
        with writer.reading() as run:
            written = np.array(run.canvas, np.int64)
        trajectory = Trajectory.from_written(
            packed, list(written), self.model.mask_id, bool(request.generation.prefix_cache)
        )
        layers = [layer for column, layer in enumerate(plan.layers) if plan.valid[:, column].any()]
        return Prober(self.model, trajectory, layers, cancel=self._is_cancelled)

    def _compute(
        self,
        prober: Prober,
        request: Request,
        plan: Plan,
        answer: Answer,
        group: tuple[int, ...],
        targets: Mapping[int, tuple[Target, ...]],
    ) -> Iterator[MapStep]:
        """Probe some steps together and turn what comes back into maps, step by step."""
        compute = METHODS[request.method].compute
        layout = prober.trajectory.prompt.layout
        events = {step: blank_step(step, plan, answer) for step in group}
        left = {step: len(targets[step]) for step in group}
        for result in prober.stream((step, targets[step]) for step in group):
            event = events[result.step]
            rows = [answer.targets.index(target.position) for target in result.targets]
            for layer in prober.layers:
                column = plan.layers.index(layer)
                found = compute(result.states[layer], result.gradients[layer], layout)
                for name, values in found.items():
                    event.maps[name][column, rows] = values
            event.target_probability[rows] = result.probabilities
            left[result.step] -= len(rows)
            if not left[result.step]:
                yield events.pop(result.step)

    def _store(self, writer: RunWriter, event: MapStep) -> None:
        """Write the maps of a step; layers whose arithmetic overflowed are marked, not written."""
        sound, broken = without_broken(event)
        writer.add_map_step(sound)
        if not broken:
            return
        for layer in broken:
            writer.mark_failed(event.step, layer)
            for maps in event.maps.values():
                maps[event.layers.index(layer)] = np.nan
        self._notice(
            f"layer {broken[0]} gave maps that are not finite numbers; they are left out",
            f"Load the model in float32 (it runs in {self.model.dtype}).".replace("torch.", ""),
        )

    # talking

    def _progress(
        self, phase: Phase, done: int, total: int, eta_seconds: float | None = None
    ) -> None:
        self.emit(Progress(phase, done, total, eta_seconds))

    def _notice(self, message: str, mend: str = "") -> None:
        if message not in self._noted:
            self._noted.add(message)
            self.emit(Notice(message, mend))

    def _check_cancel(self) -> None:
        if self._is_cancelled():
            raise CancelledError("the job was cancelled", "Resume it to go on.")


def _restored(writer: RunWriter, step: int) -> MapStep:
    with writer.reading() as run:
        return run.map_step(step)
