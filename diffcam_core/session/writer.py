"""Write a run file that survives being killed at any moment.

The file is laid out completely, under a hidden name, before the first result is stored, and gets
its name ``run.dcam.part`` by a rename. From then on a step changes only bytes that are already
there and appends map data; see :mod:`diffcam_core.session.storage` for the order of the writes.
When the layout itself must change (the answer becomes known, a text is longer than the room for
it, a killed run is resumed) a new file is laid out, finished steps are copied without decoding
their maps, and the new file takes the old one's place in one rename.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from filelock import FileLock

from diffcam_core.errors import DiffcamError, RunFileError
from diffcam_core.events import Answer, CanvasStep, GridSpec, MapStep, Plan
from diffcam_core.session import schema
from diffcam_core.session.aside import Aside, tidy
from diffcam_core.session.place import require_place
from diffcam_core.session.reader import Run, open_run
from diffcam_core.session.schema import Status
from diffcam_core.session.skeleton import Contents, build
from diffcam_core.session.storage import (
    PartFile,
    acquire_lock,
    explain_os_error,
    publish,
    release_lock,
    sync_folder,
)

_ROOM_PER_TEXT = 24
_MINIMUM_ROOM = 1024


@dataclass
class _Progress:
    """Which steps are on the disk."""

    canvas: set[int] = field(default_factory=set)
    texts: dict[int, str] = field(default_factory=dict)
    status: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    probability: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )


class RunWriter:
    """The one writer of a run file. Make it with :meth:`create` or :meth:`resume`.

    Call :meth:`add_canvas_step` and :meth:`add_map_step` in any order, then :meth:`finish`; or
    :meth:`abandon`, which keeps the unfinished file for a later :meth:`resume`. As a context
    manager it abandons on the way out unless it was finished.

    After an error of the disk nothing more can be written; what was acknowledged before is safe.
    """

    def __init__(
        self, path: Path, lock: FileLock, contents: Contents, *, overwrite: bool = False
    ) -> None:
        self.path = path
        self.part_path = schema.part_path(path)
        self._lock = lock
        self._contents = contents
        self._overwrite = overwrite
        self._aside = Aside(self.part_path)
        self._progress = _Progress()
        self._storage: PartFile | None = None
        self._file: h5py.File | None = None

    # Beginning.

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        plan: Plan,
        answer: Answer | None = None,
        *,
        image: npt.NDArray[np.uint8],
        request: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> RunWriter:
        """Start a new run file.

        Parameters
        ----------
        path : path-like
            Where the finished file shall be; until then it is ``path`` + ".part".
        plan : Plan
            Gives the dimensions, layers, grids, validity, method, prompt and model.
        answer : Answer, optional
            If it is not known yet, give it later to :meth:`set_answer`.
        image : uint8 (H, W, 3)
            The original image, stored without loss.
        request : mapping
            JSON-able. Two runs with equal requests must have equal maps; :meth:`resume` compares.
        metadata : mapping, optional
            JSON-able: versions, licence, ``default_layer``…
        overwrite : bool
            Replace a file of that name (only when the new one is finished) and an unfinished one
            (only when the new one has its answer; until then :meth:`abandon` brings it back).

        Raises
        ------
        RunFileError
            If the name is taken, the folder cannot be written, another process writes the same
            run, or the contents do not fit the format.
        ResourceError
            If the disk is full.
        """
        target = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
        if target.name.endswith(schema.PART_SUFFIX):
            raise RunFileError(
                f"{target.name} is a name for unfinished runs",
                f"Leave out {schema.PART_SUFFIX}.",
            )
        method_info = {"prompt": plan.prompt, "model": plan.model, "run_id": plan.run_id}
        contents = Contents(
            n_steps=int(plan.n_steps),
            n_positions=int(plan.n_positions),
            layers=tuple(int(layer) for layer in plan.layers),
            grids=tuple(plan.grids),
            method=plan.method,
            valid=np.array(plan.valid, dtype=np.bool_),
            request=schema.parse_json(schema.canonical_json(request)),
            metadata=schema.parse_json(schema.canonical_json({**method_info, **(metadata or {})})),
            image=np.ascontiguousarray(image),
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            answer=answer,
            text_room=max(_MINIMUM_ROOM, 2 * int(plan.n_positions) * _ROOM_PER_TEXT),
        )
        contents.check()
        require_place(target)
        tidy(target)
        lock = acquire_lock(target)
        writer = cls(target, lock, contents, overwrite=overwrite)
        try:
            if not overwrite:
                _require_free(target)
        except BaseException:
            writer._close()
            raise
        try:
            with writer._disk("start"):
                writer._aside.keep()
            writer._reset_progress()
            writer._lay_out(None, "start")
        except BaseException:
            writer._bring_back()
            raise
        return writer

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        request: Mapping[str, Any],
        *,
        image: npt.NDArray[np.uint8] | None = None,
        overwrite: bool = False,
    ) -> RunWriter:
        """Go on with an unfinished run.

        Parameters
        ----------
        path : path-like
            The run's final name or its ".part". The unfinished file is taken if there is one,
            else an incomplete file under the final name (kept until the new one is finished).
        request : mapping
            Must equal what was given to :meth:`create`.
        image : uint8 (H, W, 3), optional
            If given, must equal the stored image.
        overwrite : bool
            Replace a finished file of another run that has the final name.

        Returns
        -------
        RunWriter
            :attr:`canvas_steps`, :attr:`finished_steps` and :attr:`answer` say what is there.
            Steps whose maps turn out to be damaged count as not done.

        Raises
        ------
        RunFileError
            If there is nothing to resume, the run is complete, the request differs (the message
            names how), or the file is damaged.
        ResourceError
            If the disk is full.
        """
        target = schema.final_path(Path(os.path.abspath(path)))  # noqa: PTH100 - keep links
        require_place(target)
        tidy(target)
        lock = acquire_lock(target)
        try:
            part = schema.part_path(target)
            source = part if part.exists() else target
            if not source.exists():
                raise RunFileError(
                    f"there is no unfinished run {part.name} in {target.parent}",
                    "Start it without resuming.",
                )
            with open_run(source) as old:
                overwrite = overwrite or source == target or _is_earlier_state(target, old)
                return cls._resume_from(old, target, lock, request, image, overwrite)
        except BaseException:
            release_lock(lock)
            raise

    @classmethod
    def _resume_from(
        cls,
        old: Run,
        target: Path,
        lock: FileLock,
        request: Mapping[str, Any],
        image: npt.NDArray[np.uint8] | None,
        overwrite: bool,
    ) -> RunWriter:
        if old.complete and old.path == target:
            raise RunFileError(f"{target.name} is complete already", "Open it instead.")
        different = schema.differences(request, old.request)
        if image is not None and not (
            image.shape == old.image.shape and np.array_equal(image, old.image)
        ):
            different.append("the image is another one")
        if different:
            raise RunFileError(
                f"{old.path.name} was made for another request: {'; '.join(different)}",
                "Repeat the same request, or start anew under another name.",
            )
        contents = Contents(
            n_steps=old.n_steps,
            n_positions=old.n_positions,
            layers=old.layers,
            grids=tuple(old.grids.values()),
            method=old.method,
            valid=old.valid,
            request=old.request,
            metadata={k: v for k, v in old.metadata.items() if k not in old.closing},
            image=old.image,
            created=old.created,
            answer=old.answer_event,
            text_room=old.text_room,
        )
        writer = cls(target, lock, contents, overwrite=overwrite)
        try:
            writer._reset_progress()
            writer._lay_out(old, "resume")
            if old.answer_event is not None:
                writer._aside.discard()
        except BaseException:
            writer._close()
            raise
        return writer

    # What is there.

    @property
    def answer(self) -> Answer | None:
        """The answer, or None while it is being generated."""
        return self._contents.answer

    @property
    def canvas_steps(self) -> frozenset[int]:
        """Denoising steps whose canvas is in the file."""
        return frozenset(self._progress.canvas)

    @property
    def finished_steps(self) -> frozenset[int]:
        """Steps with nothing left to compute in any layer."""
        done = (self._progress.status != Status.NOT_COMPUTED).all(axis=1)
        return frozenset(int(step) for step in np.flatnonzero(done))

    @property
    def missing_steps(self) -> tuple[int, ...]:
        """Requested steps that are not finished, ascending; empty while there is no answer."""
        if self.answer is None:
            return ()
        return tuple(sorted(set(self.answer.requested_steps) - self.finished_steps))

    @property
    def complete(self) -> bool:
        """Whether the canvas of every step and the maps of every requested step are there."""
        return (
            self.answer is not None
            and len(self._progress.canvas) == self._contents.n_steps
            and not self.missing_steps
        )

    @contextmanager
    def reading(self) -> Iterator[Run]:
        """Open what is on the disk now, for example to send restored steps to a listener."""
        with open_run(self.part_path) as run:
            yield run

    # Writing.

    def set_answer(self, answer: Answer) -> None:
        """Store the finished answer and make room for its maps.

        Raises
        ------
        RunFileError, ResourceError
            As :meth:`create`; the canvas steps stay safe.
        """
        if self.answer is not None:
            raise RunFileError(f"{self.path.name} has its answer already")
        contents = replace(self._contents, answer=answer)
        contents.check()
        self._change_layout(contents)
        self._aside.discard()

    def add_canvas_step(self, event: CanvasStep) -> None:
        """Store the canvas after one denoising step; on return it survives a kill.

        A step that is there already is left as it is.

        Raises
        ------
        RunFileError, ResourceError
            If the step does not fit the plan or cannot be written.
        """
        contents = self._contents
        step = _index(event.step, contents.n_steps, "step")
        if step in self._progress.canvas:
            return
        length = contents.n_positions
        token_ids = _row(event.token_ids, length, np.int64, "token_ids")
        guesses = _row(event.guesses, length, np.int64, "guesses")
        confidence = _row(event.confidence, length, np.float32, "confidence")
        committed = _row(event.committed, length, np.uint8, "committed")
        texts = self._new_texts(event, token_ids, guesses)
        if len(texts) > contents.text_room:
            self._change_layout(replace(contents, text_room=2 * len(texts)))
        packed = np.zeros(self._contents.text_room, np.uint8)
        packed[: len(texts)] = np.frombuffer(texts, np.uint8)
        with self._disk(f"write step {step} of"):
            group = self._open_file()["run/canvas"]
            rows = (token_ids, guesses, confidence, committed, packed)
            for name, row in zip(schema.CANVAS_ROWS, rows, strict=True):
                group[name][step] = row
            group["checksum"][step] = schema.canvas_checksum(rows)
            self._commit()
            group["status"][step] = 1
            self._commit()
        self._progress.canvas.add(step)
        self._progress.texts.update(_parse_texts(texts))

    def add_map_step(self, event: MapStep) -> None:
        """Store the maps of one step; on return they survive a kill.

        Layers that the event leaves out keep their state, and so do layers that are there already
        (what was acknowledged is never written again). The status byte of a (step, layer) is
        written after its maps have reached the file.

        Raises
        ------
        RunFileError
            If the event does not fit the plan, or holds an infinity or a NaN inside a map
            (report such a layer with :meth:`mark_failed`).
        ResourceError
            If the disk is full; every earlier step is kept.
        """
        contents, answer = self._contents, self._require_answer()
        step = _index(event.step, contents.n_steps, "step")
        if tuple(event.targets) != tuple(answer.targets):
            raise RunFileError(
                f"step {step} explains the positions {event.targets}, not {answer.targets}"
            )
        unknown = [layer for layer in event.layers if layer not in contents.layers]
        if unknown or len(set(event.layers)) != len(event.layers):
            raise RunFileError(f"step {step} has layers that are not in the plan: {event.layers}")
        if set(event.maps) != {grid.name for grid in contents.grids}:
            raise RunFileError(f"step {step} has maps for other grids: {sorted(event.maps)}")
        probability = _row(
            event.target_probability, len(answer.targets), np.float32, "target_probability"
        )
        encoded = {
            grid.name: self._encode(event, step, grid, len(answer.targets))
            for grid in contents.grids
        }
        with self._disk(f"write step {step} of"):
            base = self._open_file()[f"run/maps/{contents.method}"]
            for name, layers in encoded.items():
                group = base[name]
                for layer, (stored, low, high, total) in layers.items():
                    if stored.size:
                        group["maps"][step, layer] = stored
                        group["minimum"][step, layer] = low
                        group["maximum"][step, layer] = high
                        group["sum"][step, layer] = total
                    group["checksum"][step, layer] = schema.map_checksum(
                        np.ascontiguousarray(stored, dtype="<f2").tobytes(), low, high, total
                    )
            if probability.size:
                base["target_probability"][step] = probability
            self._commit()
            row = self._progress.status[step].copy()
            for layer in event.layers:
                index = contents.layers.index(layer)
                if row[index] != Status.INVALID:
                    row[index] = Status.COMPUTED
            base["status"][step] = row
            self._commit()
        self._progress.status[step] = row
        self._progress.probability[step] = probability

    def mark_failed(self, step: int, layer: int) -> None:
        """Note that the maps of one (step, layer) were tried and cannot be had.

        Raises
        ------
        RunFileError, ResourceError
            If there is no such step or layer, or it cannot be written.
        """
        self._require_answer()
        step = _index(step, self._contents.n_steps, "step")
        if layer not in self._contents.layers:
            raise RunFileError(f"layer {layer} is not in the plan")
        index = self._contents.layers.index(layer)
        if self._progress.status[step, index] != Status.NOT_COMPUTED:
            return
        with self._disk(f"write step {step} of"):
            status = self._open_file()[f"run/maps/{self._contents.method}/status"]
            status[step, index] = Status.FAILED
            self._commit()
        self._progress.status[step, index] = Status.FAILED

    # Ending.

    def finish(
        self, *, seconds: float | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Path:
        """Give the file its final name; it may be incomplete (a cancelled run).

        Parameters
        ----------
        seconds : float, optional
            Time the job took; added to the metadata.
        metadata : mapping, optional
            Further JSON-able facts that are only known now, a few hundred bytes.

        Returns
        -------
        Path
            The finished file.

        Raises
        ------
        RunFileError, ResourceError
            If it cannot be written or the name was taken meanwhile; the ".part" is kept.
        """
        closing: dict[str, Any] = dict(metadata or {})
        if seconds is not None and math.isfinite(seconds):
            closing["seconds"] = round(float(seconds), 3)
        status = np.ascontiguousarray(self._progress.status)
        probability = np.ascontiguousarray(self._progress.probability, dtype="<f4")
        canvas_status = np.zeros(self._contents.n_steps, np.uint8)
        canvas_status[list(self._progress.canvas)] = 1
        closing["crc32"] = {
            "canvas_status": zlib.crc32(canvas_status.tobytes()),
            "status": zlib.crc32(status.tobytes()),
            "target_probability": zlib.crc32(probability.tobytes()),
        }
        blob = schema.canonical_json(closing)
        if len(blob) > schema.CLOSING_BYTES:
            raise RunFileError(
                f"the closing metadata take {len(blob)} bytes, more than {schema.CLOSING_BYTES}"
            )
        packed = np.zeros(schema.CLOSING_BYTES, np.uint8)
        packed[: len(blob)] = np.frombuffer(blob, np.uint8)
        with self._disk("finish"):
            file = self._open_file()
            file["run/closing"][...] = packed
            self._commit()
            if self.complete:
                file["run/complete"][...] = 1
                self._commit()
            self._file = None
            file.close()
            storage = self._require_storage()
            storage.commit()
            storage.sync()
            storage.close()
            self._storage = None
            try:
                publish(self.part_path, self.path, overwrite=self._overwrite)
            except FileExistsError as error:
                raise RunFileError(
                    f"{self.path.name} appeared while the run was going on",
                    f"The finished run is kept as {self.part_path.name}; rename one of the two.",
                ) from error
        self._close()
        return self.path

    @property
    def replaces_more(self) -> bool:
        """Whether an unfinished run waits that is worth more than this one, which has no answer."""
        return self._aside.exists

    def abandon(self) -> Path:
        """Stop without finishing; the ".part" keeps every acknowledged step.

        Returns
        -------
        Path
            The unfinished file; where :attr:`replaces_more`, the one that was there before.
        """
        if self.replaces_more:
            self._bring_back()
        else:
            self._close()
        return self.part_path

    def discard(self) -> None:
        """Stop and leave nothing of this run; one that it was to replace comes back."""
        self._let_go()
        with suppress(OSError):
            self.part_path.unlink(missing_ok=True)
        self._bring_back()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()

    # Inside.

    def _encode(
        self, event: MapStep, step: int, grid: GridSpec, n_targets: int
    ) -> dict[int, tuple[Any, Any, Any, Any]]:
        values = np.asarray(event.maps[grid.name], dtype=np.float32)
        shape = (len(event.layers), n_targets, grid.rows, grid.cols)
        if values.shape != shape:
            raise RunFileError(
                f"the maps of step {step} on grid {grid.name} have shape {values.shape}, "
                f"not {shape}"
            )
        encoded = {}
        for row, layer in enumerate(event.layers):
            index = self._contents.layers.index(layer)
            state = self._progress.status[step, index]
            if state == Status.INVALID and not np.isnan(values[row]).all():
                raise RunFileError(f"step {step}, layer {layer} has maps but is not valid")
            if state in (Status.COMPUTED, Status.INVALID):
                continue
            try:
                encoded[index] = schema.encode_maps(values[row])
            except ValueError as error:
                raise RunFileError(
                    f"step {step}, layer {layer}: {error}",
                    "Run in a wider number type (dtype float32).",
                ) from error
        return encoded

    def _new_texts(
        self,
        event: CanvasStep,
        token_ids: npt.NDArray[np.int64],
        guesses: npt.NDArray[np.int64],
    ) -> bytes:
        fresh: dict[str, str] = {}
        for ids, texts in ((token_ids, event.texts), (guesses, event.guess_texts)):
            if len(texts) != len(ids):
                raise RunFileError(f"step {event.step} has {len(texts)} texts for {len(ids)} ids")
            for token_id, text in zip(ids.tolist(), texts, strict=True):
                if text and token_id not in self._progress.texts:
                    fresh[str(token_id)] = str(text)
        return schema.canonical_json(fresh) if fresh else b""

    def _require_answer(self) -> Answer:
        if self.answer is None:
            raise RunFileError(f"{self.path.name} has no answer yet", "Call set_answer first.")
        return self.answer

    def _require_storage(self) -> PartFile:
        if self._storage is None:
            raise RunFileError(f"{self.path.name} is closed", "Resume it to go on.")
        return self._storage

    def _open_file(self) -> h5py.File:
        storage = self._require_storage()
        if storage.error is not None:
            raise storage.error
        return self._file

    def _commit(self) -> None:
        self._open_file().flush()
        self._require_storage().commit()

    @contextmanager
    def _disk(self, doing: str) -> Iterator[None]:
        """Turn what the disk or HDF5 says into one line; afterwards the writer is closed."""
        try:
            yield
        except DiffcamError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            # HDF5 reports a write that failed as whatever it was doing at that time; the storage
            # remembers the real reason.
            cause = self._storage.error if self._storage is not None else None
            self._close()
            kept = ""
            if self.part_path.exists():
                kept = f"Every finished step is kept in {self.part_path.name}."
            raise explain_os_error(cause or error, self.path, doing, kept) from error

    def _reset_progress(self) -> None:
        contents = self._contents
        status = np.where(contents.valid, Status.NOT_COMPUTED, Status.INVALID).astype(np.uint8)
        n_targets = len(contents.answer.targets) if contents.answer else 0
        probability = np.full((contents.n_steps, n_targets), np.nan, np.float32)
        self._progress = _Progress(status=status, probability=probability)

    def _change_layout(self, contents: Contents) -> None:
        self._require_storage()
        with self._disk("write"):
            self._shut_file()
        with open_run(self.part_path) as old:
            self._contents = contents
            self._reset_progress()
            self._lay_out(old, "store the answer of")

    def _lay_out(self, old: Run | None, doing: str) -> None:
        """Build the whole file under a hidden name, copy what is done, rename, reopen."""
        temporary = self.part_path.with_name(f".{self.part_path.name}.{secrets.token_hex(4)}")
        try:
            with self._disk(doing):
                storage = PartFile(temporary, create=True)
                self._storage = storage
                file = h5py.File(storage, "w")
                self._file = file
                build(file, self._contents, self._progress.status, self._progress.probability)
                if old is not None:
                    self._copy(file, old)
                    old.close()
                self._shut_file()
                temporary.replace(self.part_path)
                sync_folder(self.part_path.parent)
                self._storage = PartFile(self.part_path)
                self._file = h5py.File(self._storage, "r+")
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _copy(self, file: h5py.File, old: Run) -> None:
        canvas = file["run/canvas"]
        for step in old.canvas_steps:
            rows = list(old.canvas_rows(step))
            texts = rows[-1].tobytes().rstrip(b"\0")
            rows[-1] = np.zeros(self._contents.text_room, np.uint8)
            rows[-1][: len(texts)] = np.frombuffer(texts, np.uint8)
            for name, row in zip(schema.CANVAS_ROWS, rows, strict=True):
                canvas[name][step] = row
            canvas["checksum"][step] = schema.canvas_checksum(rows)
            canvas["status"][step] = 1
            self._progress.canvas.add(step)
            self._progress.texts.update(_parse_texts(texts))
        if self._contents.answer is None or old.answer_event is None:
            return
        base = file[f"run/maps/{self._contents.method}"]
        for step in range(self._contents.n_steps):
            for index, layer in enumerate(self._contents.layers):
                state = old.status[step, index]
                if state == Status.COMPUTED:
                    try:
                        parts = {
                            g.name: old.raw_chunk(step, layer, g.name) for g in self._contents.grids
                        }
                    except RunFileError:
                        continue
                    for name, part in parts.items():
                        group = base[name]
                        if part.packed:
                            group["maps"].id.write_direct_chunk((step, index, 0, 0, 0), part.packed)
                        if part.minimum.size:
                            group["minimum"][step, index] = part.minimum
                            group["maximum"][step, index] = part.maximum
                            group["sum"][step, index] = part.total
                        group["checksum"][step, index] = part.checksum
                elif state != Status.FAILED:
                    continue
                base["status"][step, index] = state
                self._progress.status[step, index] = state
            probability = old.probability_row(step)
            if probability.size:
                base["target_probability"][step] = probability
            self._progress.probability[step] = probability

    def _shut_file(self) -> None:
        """Close the file so that everything is on the disk, or raise."""
        file, storage = self._open_file(), self._require_storage()
        self._file = None
        file.close()
        storage.commit()
        storage.sync()
        self._storage = None
        storage.close()

    def _bring_back(self) -> None:
        """Close, and give the run that was to be replaced its name again."""
        self._let_go()
        # Where even that fails, it stays under its side name, and the next resume finds it.
        with suppress(OSError):
            self._aside.restore()
        self._close()

    def _close(self) -> None:
        """Let go of everything; never raises for a disk that failed."""
        self._let_go()
        release_lock(self._lock)

    def _let_go(self) -> None:
        """Close the file, but stay the one writer."""
        file, storage = self._file, self._storage
        self._file = self._storage = None
        if file is not None:
            with suppress(OSError, RuntimeError, ValueError):
                file.close()
        if storage is not None:
            storage.close()


def _parse_texts(raw: bytes) -> dict[int, str]:
    return {int(key): str(text) for key, text in schema.parse_json(raw or b"{}").items()}


def _index(value: int, count: int, what: str) -> int:
    if not 0 <= value < count:
        raise RunFileError(f"{what} {value} is outside of the plan, which has {count}")
    return int(value)


def _row(values: npt.ArrayLike, length: int, kind: Any, what: str) -> npt.NDArray[Any]:
    row = np.asarray(values)
    if row.shape != (length,):
        raise RunFileError(f"{what} has shape {row.shape}, not ({length},)")
    return row.astype(kind)


def _require_free(target: Path) -> None:
    if target.exists():
        raise RunFileError(
            f"{target.name} exists already in {target.parent}",
            "Choose another name, or allow overwriting.",
        )
    part = schema.part_path(target)
    if part.exists():
        raise RunFileError(
            f"an unfinished run {part.name} exists already in {target.parent}",
            "Resume it, choose another name, or allow overwriting.",
        )


def _is_earlier_state(target: Path, part: Run) -> bool:
    """Say whether ``target`` is the cancelled run that ``part`` was going on with."""
    if not target.exists():
        return False
    try:
        with open_run(target) as run:
            same = run.request == part.request and run.created == part.created
            return same and not run.complete
    except RunFileError:
        return False
