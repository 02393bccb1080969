"""One job: a request in, events out, a run file on the disk.

This is the only place that ties models, denoising, probing, attribution and the run file together.
A job goes through these phases:

prepare
    The image and the prompt become one packed sequence, every option is checked, one forward pass
    is timed, the run file is laid out under its unfinished name, and the `Plan` is sent.
generate
    The answer is written step by step; each step goes to the file and out as a `CanvasStep`.
    At the end the tokens to explain are looked up in the answer, and the `Answer` is sent.
explain
    Denoising steps in ascending order: probe, turn into maps, store, send as a `MapStep`.
write
    The file gets its final name; `Done` is sent.

Whatever ends a job early (cancel, error, full disk, Ctrl-C, kill -9) leaves the unfinished file
(``run.dcam.part``) with every finished step, and ``resume=True`` completes it to the same maps.
The same request with the same seed on the same device gives the same maps, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from diffcam_core.attribution import METHODS, Method, Workload
from diffcam_core.denoising import GenerationConfig, sample_from_backbone
from diffcam_core.errors import (
    CancelledError,
    DiffcamError,
    InputError,
    ResourceError,
    RunFileError,
    TargetError,
)
from diffcam_core.events import (
    Answer,
    CanvasStep,
    Done,
    Event,
    EventSink,
    Failure,
    MapStep,
    Notice,
    Phase,
    Plan,
    Progress,
)
from diffcam_core.images import ImageSource, as_image, scene_record
from diffcam_core.models.checkpoint import some_of
from diffcam_core.probing import Prober, Target, Trajectory, planned_chunk
from diffcam_core.probing.backward import is_out_of_memory
from diffcam_core.request import Request, Steps, make_request, resolve_contrast
from diffcam_core.session import Run, RunWriter, open_run
from diffcam_core.session.aside import tidy
from diffcam_core.session.place import refuse_input, require_place
from diffcam_core.session.schema import differences, final_path, part_path
from diffcam_core.words import find_word, group_words

if TYPE_CHECKING:
    from PIL import Image

    from diffcam_core.models.base import DiffusionVLM, Prompt

Cancel = Callable[[], bool] | threading.Event

__all__ = ["Cancel", "Request", "Steps", "explain", "method_titles", "resume"]

# Targets of a group of steps; what one backward pass takes at best on a CPU.
_GROUP_TARGETS: Final = 8

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def explain(
    model: DiffusionVLM,
    image: ImageSource,
    prompt: str,
    *,
    layers: Sequence[int] | None = None,
    steps: Steps = "all",
    tokens: Sequence[int | str] | None = None,
    method: str = "diffusion-cam",
    contrast: str = "none",
    generation: GenerationConfig | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] = "run.dcam",
    on_event: EventSink | None = None,
    cancel: Cancel | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Let a model answer a question about an image, and map where each word came from.

    Parameters
    ----------
    model : DiffusionVLM
        From `diffcam_core.load_model`.
    image : path, PIL.Image.Image or uint8 array
        See `diffcam_core.images.as_image`.
    prompt : str
        The question.
    layers : sequence of int, optional
        Transformer blocks to look into, 0-based; None: all of them.
    steps : "all", "commit" or sequence of int
        Denoising steps to explain. "commit": each token only at the step that wrote it; its maps
        at other steps are NaN.
    tokens : sequence of int or str, optional
        Positions of the answer, or words of it. None: every position up to and including the
        first end token; the padding behind it is explained only if its positions are given.
    method : str
        Name in `diffcam_core.attribution.METHODS`.
    contrast : str
        What is differentiated: "none", the token's logit; "runner_up", less the logit of the best
        other token at that position and step; "log_probability"; or "word:dog", less the logit of
        the (first token of the) given word.
    generation : GenerationConfig, optional
        None: as the model likes it.
    seed : int
        Seed of the sampler, 0 to 2**63 - 1.
    out : path-like
        The run file. Until the job is complete it is ``out`` + ".part".
    on_event : callable, optional
        Called with every event, on the thread of the caller. If it raises, the job ends.
    cancel : callable or threading.Event, optional
        Asked between units of work (a denoising step, a chunk of gradients).
    resume : bool
        Complete an unfinished run of the same request; start it if there is none.
    overwrite : bool
        Replace an existing file once the new one is complete, and an unfinished one once the
        answer of the new one is written; a job that ends earlier leaves it as it was.

    Returns
    -------
    Run
        Open. After a cancelled job it is the unfinished one (``run.complete`` is False).

    Raises
    ------
    InputError, TargetError
        If the image or an option cannot be used.
    RunFileError
        If the file cannot be written, its name is taken, or it belongs to another request.
    ResourceError
        If memory or the disk ran out.
    CancelledError
        If the job was cancelled before anything worth keeping existed.

    Notes
    -----
    Before any of the errors above (but not for a fault of the program) the last event is a
    `Failure` that names the file with the finished steps, if there are any.
    """
    job = _Job(
        model=model,
        source=image,
        out=Path(os.path.abspath(os.fspath(out))),  # noqa: PTH100 - resolve() would follow links
        emit=on_event if on_event is not None else _ignore,
        is_cancelled=_cancel_check(cancel),
        resume=resume,
        overwrite=overwrite,
    )
    try:
        job.run(
            prompt=prompt,
            layers=layers,
            steps=steps,
            tokens=tokens,
            method=method,
            contrast=contrast,
            generation=generation,
            seed=seed,
        )
    except CancelledError:
        kept = job.keep()
        job.emit(Done(kept, cancelled=True, seconds=job.seconds))
        if not kept:
            raise
        return open_run(kept)
    except DiffcamError as error:
        job.fail(error)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            job.keep()
            raise
        problem = _out_of_memory(model)
        job.fail(problem)
        raise problem from error
    except BaseException:
        # Ctrl-C, a fault in a listener or in the program: the finished steps stay.
        job.keep()
        raise
    return open_run(job.out)


def method_titles() -> dict[str, str]:
    """Attribution methods that `explain` knows: name -> title for people."""
    return {name: method.title for name, method in METHODS.items()}


def resume(
    model: DiffusionVLM,
    path: str | os.PathLike[str],
    *,
    on_event: EventSink | None = None,
    cancel: Cancel | None = None,
) -> Run:
    """Complete an unfinished run with nothing but its file.

    Parameters
    ----------
    model : DiffusionVLM
        The same model as before; another one is refused.
    path : path-like
        ``run.dcam`` or ``run.dcam.part``.
    on_event, cancel
        As in `explain`.

    Returns
    -------
    Run
        As `explain` returns it.

    Raises
    ------
    DiffcamError
        As `explain`; `RunFileError` also if there is no such file.
    """
    target = final_path(Path(os.path.abspath(os.fspath(path))))  # noqa: PTH100 - keep links
    require_place(target)
    tidy(target)
    source = part_path(target) if part_path(target).exists() else target
    with open_run(source) as old:
        request = Request.from_json(old.request)
        pixels = np.array(old.image)
    return explain(
        model,
        pixels,
        request.prompt,
        layers=request.layers,
        steps=request.steps,
        tokens=request.tokens,
        method=request.method,
        contrast=request.contrast,
        generation=request.generation,
        seed=request.seed,
        out=target,
        on_event=on_event,
        cancel=cancel,
        resume=True,
    )


class _Job:
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
        self._texts: dict[int, str] = {}
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
        if not hasattr(self.model, "backbone"):
            raise InputError(
                f"the model is {self.model!r:.80}, which is not a loaded one",
                'Load it first, like load_model("embedded").',
            )
        require_place(self.out)
        refuse_input(self.out, self._source)
        tidy(self.out)
        self._progress("prepare", 0, 3)
        request = make_request(
            self.model, prompt, layers, steps, tokens, method, contrast, generation, seed, METHODS
        )
        distractor = resolve_contrast(self.model, contrast)
        picture = as_image(self._source)
        self._check_domain(picture)
        self._tell_unused_weights()
        self._check_cancel()
        self._progress("prepare", 1, 3)
        packed = self.model.prepare(picture, prompt)
        _check_length(self.model, packed, request)
        self._check_cancel()
        self._progress("prepare", 2, 3)
        plan = self._plan(request, packed)
        pixels = np.asarray(packed.image, np.uint8)
        if self._resume and self._is_complete(request, pixels):
            self.emit(plan)
            self._notice(f"{self.out.name} is complete already; nothing was computed")
            self.emit(Done(str(self.out), seconds=self.seconds))
            return
        self._check_disk(plan)
        metadata = _metadata(self.model, request, plan, packed, scene_record(picture))
        writer = self._open_writer(request, plan, pixels, metadata)
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
        if not writer.canvas_steps or writer.replaces_more:
            writer.discard()
            return ""
        path = writer.abandon()
        return str(path) if path.exists() else ""

    def fail(self, error: DiffcamError) -> None:
        """Keep what is done and tell the listener why the job ended."""
        if isinstance(error, TargetError) and self._writer is not None and not self._writer.answer:
            # The answer does not hold what was asked for, so this request can never be resumed,
            # and its remains would only stand in the way of the next one.
            self._writer.discard()
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

    def _tell_unused_weights(self) -> None:
        unused = tuple(self.model.describe().get("unused_keys", ()))
        if unused:
            self._notice(
                f"{len(unused)} tensors of the checkpoint have no place in the model and were "
                f"passed over: {some_of(unused)}",
                "diffcam models FOLDER names all of them.",
            )

    def _plan(self, request: Request, packed: Prompt) -> Plan:
        config = request.generation
        n_steps, length = config.n_steps, config.max_new_tokens
        grids = tuple(grid.spec() for grid in packed.layout.grids)
        method = METHODS[request.method]
        valid = _validity(self.model, method, request.layers, n_steps)
        if not valid.any():
            raise TargetError(
                f"{method.title} has no map at layer {request.layers[-1]}",
                _usable_layers(method, self.model.backbone.n_layers),
            )
        if request.steps == "commit":
            explained, pairs = n_steps, length
        elif request.steps == "all":
            explained, pairs = n_steps, n_steps * length
        else:
            explained, pairs = len(request.steps), len(request.steps) * length
        sizes = tuple((grid.rows, grid.cols) for grid in grids)
        work = Workload(explained, pairs, int(valid.any(axis=0).sum()), sizes)
        passes = method.passes(work)
        per_forward = self._time_forward(packed, length)
        cells = sum(grid.rows * grid.cols for grid in grids)
        canvas = 29 * n_steps * length
        maps = pairs * len(request.layers) * (2 * cells + 12)
        plan = Plan(
            run_id=_run_id(request, packed.image),
            method=request.method,
            n_steps=n_steps,
            n_positions=length,
            layers=request.layers,
            grids=grids,
            valid=valid,
            requested_steps=None if request.steps == "commit" else request.asked_steps,
            prompt=request.prompt,
            model=self.model.name,
            forward_passes=n_steps + passes.forward,
            backward_passes=passes.backward,
            # A backward pass with respect to activations only costs about one forward pass.
            seconds=per_forward * (n_steps + passes.forward + passes.backward),
            bytes_on_disk=packed.image.size + canvas + maps + 200_000,
            path=str(self.out),
        )
        return replace(plan, default_layer=_default_layer(plan, self.model))

    def _time_forward(self, packed: Prompt, length: int) -> float:
        """Seconds of one forward pass over prompt and answer, without gradients."""
        backbone = self.model.backbone
        with torch.no_grad():
            masks = torch.full((1, length), self.model.mask_id, device=packed.embeds.device)
            answer = backbone.embed(masks)
            sequence = torch.cat([packed.embeds.to(answer.dtype), answer], dim=1)
            _wait_for(sequence)
            begin = time.perf_counter()
            output = backbone(sequence, logits_at=(sequence.shape[1] - 1,))
            _wait_for(output.logits)
            return time.perf_counter() - begin

    def _check_disk(self, plan: Plan) -> None:
        folder = self.out.parent
        if not folder.is_dir():
            return  # the writer says so in its own words
        usage = shutil.disk_usage(folder)
        # Maps compress to about half; refuse only what can hardly fit. Some file systems do not
        # know their size and say 0.
        if usage.total and usage.free < plan.bytes_on_disk // 2:
            raise ResourceError(
                f"{folder} has {usage.free / 1e6:.0f} MB left, and the run may take up to "
                f"{plan.bytes_on_disk / 1e6:.0f} MB",
                "Free some space, or ask for fewer layers, steps or tokens.",
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
        metadata: Mapping[str, Any],
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
                metadata=metadata,
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
            event = self._canvas_event(
                record.step, canvas, record.guesses, record.confidence, record.committed
            )
            if record.step not in done_before:
                writer.add_canvas_step(event)
            self.emit(event)
            done = record.step + 1
            left = (time.monotonic() - begin) / done * (total - done)
            self._progress("generate", done, total, left)
        answer = self._answer(request, canvas, commit_step, distractor)
        writer.set_answer(answer)
        self.emit(answer)
        return answer

    def _resend_canvas(self, writer: RunWriter) -> None:
        with writer.reading() as run:
            rows = (run.canvas, run.guesses, run.confidence, run.committed)
        total = rows[0].shape[0]
        for step in range(total):
            canvas, guesses, confidence, committed = (row[step] for row in rows)
            self.emit(self._canvas_event(step, canvas, guesses, confidence, committed))
        self._progress("generate", total, total, 0.0)

    def _canvas_event(
        self,
        step: int,
        canvas: IntArray,
        guesses: IntArray,
        confidence: FloatArray,
        committed: npt.NDArray[np.bool_],
    ) -> CanvasStep:
        return CanvasStep(
            step=step,
            token_ids=canvas,
            guesses=guesses,
            confidence=confidence,
            committed=committed,
            texts=tuple("" if i == self.model.mask_id else self._text(i) for i in canvas.tolist()),
            guess_texts=tuple(self._text(i) for i in guesses.tolist()),
        )

    def _answer(
        self, request: Request, canvas: IntArray, commit_step: IntArray, distractor: str | int
    ) -> Answer:
        texts = tuple(self._text(token_id) for token_id in canvas.tolist())
        end = _end_of(canvas, self.model.eos_ids)
        targets = _find_targets(request.tokens, texts, end)
        # A token less itself is nothing to differentiate.
        telling = tuple(p for p in targets if canvas[p] != distractor)
        if not telling:
            raise TargetError(
                "every token that was asked for is the distractor itself", "Choose another word."
            )
        if len(telling) < len(targets):
            self._notice("tokens that are the distractor itself are not explained")
        if request.steps == "commit":
            asked = tuple(sorted({int(commit_step[position]) for position in telling}))
        else:
            asked = request.asked_steps
        return Answer(
            token_ids=canvas,
            texts=texts,
            text=self.model.decode(canvas[:end].tolist()).strip(),
            commit_step=commit_step,
            targets=telling,
            requested_steps=asked,
        )

    def _text(self, token_id: int) -> str:
        found = self._texts.get(token_id)
        if found is None:
            found = self._texts[token_id] = self.model.token_text(token_id)
        return found

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
        targets = {
            step: tuple(
                Target(position, int(answer.token_ids[position]), contrast)
                for position in answer.targets
                if request.steps != "commit" or answer.commit_step[position] == step
            )
            for step in answer.requested_steps
        }
        finished = writer.finished_steps
        groups = _groups(targets)
        missing = [group for group in groups if not finished.issuperset(group)]
        clock = _Clock(sum(_cost(targets[step]) for group in missing for step in group))
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
                cost = sum(_cost(targets[step]) for step in group)
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
            chunk = run.metadata.get("targets_per_pass")
        trajectory = Trajectory.from_written(
            packed, list(written), self.model.mask_id, bool(request.generation.prefix_cache)
        )
        layers = _readable_layers(plan)
        # A file from elsewhere may say anything; the prober checks what it is given.
        chunk = chunk if isinstance(chunk, int) and chunk > 0 else None
        return Prober(self.model, trajectory, layers, max_chunk=chunk, cancel=self._is_cancelled)

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
        method = METHODS[request.method]
        events = {step: _blank(step, plan, answer) for step in group}
        left = {step: len(targets[step]) for step in group}
        for found in method.stream(prober, ((step, targets[step]) for step in group)):
            event = events[found.step]
            rows = [answer.targets.index(target.position) for target in found.targets]
            for layer, grids in found.maps.items():
                column = plan.layers.index(layer)
                for name, values in grids.items():
                    event.maps[name][column, rows] = values
            event.target_probability[rows] = found.probabilities
            left[found.step] -= len(rows)
            if not left[found.step]:
                yield events.pop(found.step)

    def _store(self, writer: RunWriter, event: MapStep) -> None:
        """Write the maps of a step; layers whose arithmetic overflowed are marked, not written."""
        broken = tuple(
            layer
            for index, layer in enumerate(event.layers)
            if any(not _is_sound(maps[index]) for maps in event.maps.values())
        )
        if not broken:
            writer.add_map_step(event)
            return
        good = [i for i, layer in enumerate(event.layers) if layer not in broken]
        writer.add_map_step(
            replace(
                event,
                layers=tuple(event.layers[i] for i in good),
                maps={name: maps[good] for name, maps in event.maps.items()},
            )
        )
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


class _Clock:
    """Time left, from the speed measured so far."""

    def __init__(self, cost: float) -> None:
        self._cost_left = cost
        self._cost_done = 0.0
        self._begin = time.monotonic()

    def add(self, cost: float) -> None:
        """Note that work of this cost is done."""
        self._cost_done += cost
        self._cost_left -= cost

    @property
    def left(self) -> float | None:
        """Seconds, or None while nothing has been measured."""
        if self._cost_left <= 0:
            return 0.0
        if not self._cost_done:
            return None
        return (time.monotonic() - self._begin) / self._cost_done * self._cost_left


def _cost(targets: Sequence[Target]) -> float:
    """Forward passes that one step of probing is worth: its own two, and one for each target."""
    return 2.0 + len(targets)


def _groups(targets: Mapping[int, Sequence[Target]]) -> list[tuple[int, ...]]:
    """Join neighbouring steps of few targets, since a backward pass takes several at no cost.

    The grouping follows from the request and the answer alone and a group is computed as a whole,
    so a resumed run adds the same numbers in the same order as an undisturbed one.
    """
    groups: list[tuple[int, ...]] = []
    present: list[int] = []
    size = 0
    for step, wanted in targets.items():
        if present and size + len(wanted) > _GROUP_TARGETS:
            groups.append(tuple(present))
            present, size = [], 0
        present.append(step)
        size += len(wanted)
    return [*groups, tuple(present)] if present else groups


def _blank(step: int, plan: Plan, answer: Answer) -> MapStep:
    """A step of which nothing is known yet."""
    count = len(answer.targets)
    return MapStep(
        step=step,
        layers=plan.layers,
        targets=answer.targets,
        maps={
            grid.name: np.full((len(plan.layers), count, grid.rows, grid.cols), np.nan, np.float32)
            for grid in plan.grids
        },
        target_probability=np.full(count, np.nan, np.float32),
    )


def _restored(writer: RunWriter, step: int) -> MapStep:
    with writer.reading() as run:
        return run.map_step(step)


def _is_sound(maps: FloatArray) -> bool:
    """Whether every map is finite throughout, or NaN throughout (not asked for)."""
    finite = np.isfinite(maps).all((-2, -1))
    absent = np.isnan(maps).all((-2, -1))
    return bool((finite | absent).all())


def _end_of(canvas: IntArray, eos_ids: Sequence[int]) -> int:
    """Position of the first end token, or the length if there is none."""
    ends = np.flatnonzero(np.isin(canvas, np.asarray(eos_ids, np.int64)))
    return int(ends[0]) if ends.size else int(canvas.size)


def _find_targets(
    tokens: tuple[int | str, ...] | None, texts: tuple[str, ...], end: int
) -> tuple[int, ...]:
    if tokens is None:
        return tuple(range(min(end + 1, len(texts))))
    words = group_words(texts[:end])
    chosen: set[int] = set()
    for token in tokens:
        places = (token,) if isinstance(token, int) else find_word(words, token)
        if not places:
            known = ", ".join(dict.fromkeys(word.text for word in words if word.kind != "special"))
            raise TargetError(
                f"the answer does not hold {token!r}", f"Its words are: {known[:300] or 'none'}."
            )
        chosen.update(places)
    return tuple(sorted(chosen))


def _validity(
    model: DiffusionVLM, method: Method, layers: tuple[int, ...], n_steps: int
) -> npt.NDArray[np.bool_]:
    """(steps, layers): whether the method has a map there.

    For methods that need gradients: whether a gradient path to the whole image span exists. With
    and without prefix cache every step reads the image: at its own positions of the sequence, or
    through the cached keys and values, which stay in the graph. Only what leaves the last block at
    the image's positions is read by nothing that the answer depends on.
    """
    columns = [method.has_map(layer, model.backbone.n_layers) for layer in layers]
    return np.tile(np.array(columns, np.bool_), (n_steps, 1))


def _usable_layers(method: Method, n_layers: int) -> str:
    """Tell which layers to choose instead, and why."""
    last = n_layers - 2 if method.needs_gradient else n_layers - 1
    why = " (nothing reads what leaves the last one)" if method.needs_gradient else ""
    return f"Choose layers from {max(method.first_layer, 0)} to {last}{why}."


# Small print.


def _run_id(request: Request, pixels: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(repr(sorted(request.to_json().items())).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()[:16]


def _default_layer(plan: Plan, model: DiffusionVLM) -> int:
    """The layer to show first: the model's own, else block 10 of 32, as published, to scale."""
    usable = _readable_layers(plan)
    own = model.default_layer
    aim = model.backbone.n_layers * 10 / 32 if own is None else own
    return min(usable, key=lambda layer: (abs(layer - aim), layer))


def _readable_layers(plan: Plan) -> list[int]:
    """Layers that have a map at some step."""
    return [layer for column, layer in enumerate(plan.layers) if plan.valid[:, column].any()]


def _check_length(model: DiffusionVLM, packed: Prompt, request: Request) -> None:
    """Refuse an answer that does not fit behind the prompt into what the model can read."""
    taken = packed.embeds.shape[1]
    room = model.max_length - taken
    if request.generation.max_new_tokens > room:
        raise InputError(
            f"an answer of {request.generation.max_new_tokens} tokens does not fit: the model "
            f"reads {model.max_length}, prompt and image take {taken}",
            f"Ask for at most {max(room, 0)} new tokens, or shorten the prompt.",
        )


def _metadata(
    model: DiffusionVLM,
    request: Request,
    plan: Plan,
    packed: Prompt,
    scene: Mapping[str, Any] | None,
) -> dict[str, Any]:
    known = {} if scene is None else {"scene": json.dumps(scene, sort_keys=True)}
    return known | {
        "default_layer": plan.default_layer,
        "method_title": METHODS[request.method].title,
        "model_facts": model.describe(),
        "mask_id": model.mask_id,
        "eos_ids": list(model.eos_ids),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        # Decides rounding; a resumed job goes on with it.
        "targets_per_pass": planned_chunk(
            model,
            packed,
            plan.n_positions,
            _readable_layers(plan),
            bool(request.generation.prefix_cache),
        ),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "validity": "a gradient path to the whole image span exists"
        + (" (through the prefix cache)" if request.generation.prefix_cache else "")
        if METHODS[request.method].needs_gradient
        else "the method has a map there",
    }


def _ignore(_event: Event) -> None:
    """Listen to nothing."""


def _cancel_check(cancel: Cancel | None) -> Callable[[], bool]:
    if cancel is None:
        return lambda: False
    if callable(cancel):
        return cancel
    return cancel.is_set


def _wait_for(tensor: torch.Tensor) -> None:
    """Let an accelerator finish, so that a clock can be read."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
    elif tensor.device.type == "mps":
        torch.mps.synchronize()


def _out_of_memory(model: DiffusionVLM) -> ResourceError:
    return ResourceError(
        f"memory ran out on {model.device}",
        "Close other programs, ask for fewer layers or tokens, or load the model in bfloat16; "
        "then resume.",
    )
