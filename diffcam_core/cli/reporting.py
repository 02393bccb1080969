"""Tell the user what the engine says: JSON lines, plain lines or live progress on a terminal."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

import numpy as np

from diffcam_core.events import (
    Answer,
    CanvasStep,
    Done,
    Event,
    Failure,
    MapStep,
    Notice,
    Plan,
    Progress,
)

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PHASE_WORDS = {
    "load": "Loading the model",
    "prepare": "Reading the image",
    "generate": "Writing the answer",
    "explain": "Explaining",
    "write": "Writing the file",
}


class Reporter(Protocol):
    """Where the events of one job go; used as a context manager around the job."""

    failed: bool
    cancelled: bool
    finished: bool

    def __call__(self, event: Event) -> None:
        """Take one event."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; the terminal is left as it was."""
        ...


def make_reporter(*, as_json: bool) -> Reporter:
    """Choose the reporter that fits where the output goes."""
    if as_json:
        return JsonReporter()
    return RichReporter() if sys.stderr.isatty() else PlainReporter(sys.stderr)


def write_json_line(value: dict[str, Any]) -> None:
    """Write one object as one line of standard output, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Make text from a model or a file safe for a terminal: no control or escape characters."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def in_words(seconds: float) -> str:
    """Say a duration as people do: "0.8 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size_in_words(n_bytes: float) -> str:
    """Say a size: "512 bytes", "1.4 MB"."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 999.5:
            return f"{n_bytes:.1f} {unit}" if n_bytes < 99.5 else f"{n_bytes:.0f} {unit}"
    return f"{n_bytes / 1000:.1f} TB"


def event_to_json(event: Event) -> dict[str, Any]:
    """Turn an event into plain JSON values.

    Maps are summarised by their range for each layer and target (they are in the run file);
    NaN, "was not asked for", becomes null.
    """
    match event:
        case Plan():
            return {
                "event": "plan",
                "run_id": event.run_id,
                "path": event.path,
                "model": event.model,
                "prompt": event.prompt,
                "method": event.method,
                "steps": event.n_steps,
                "positions": event.n_positions,
                "layers": list(event.layers),
                "grids": {g.name: [g.rows, g.cols] for g in event.grids},
                "valid_steps_per_layer": event.valid.sum(0).tolist(),
                "requested_steps": _optional_list(event.requested_steps),
                "forward_passes": event.forward_passes,
                "backward_passes": event.backward_passes,
                "seconds": _number(event.seconds),
                "bytes": event.bytes_on_disk,
            }
        case Progress():
            return {
                "event": "progress",
                "phase": event.phase,
                "done": event.done,
                "total": event.total,
                "eta_seconds": _number(event.eta_seconds),
            }
        case CanvasStep():
            return {
                "event": "canvas",
                "step": event.step,
                "token_ids": event.token_ids.tolist(),
                "texts": list(event.texts),
                "guesses": event.guesses.tolist(),
                "guess_texts": list(event.guess_texts),
                "confidence": _numbers(event.confidence),
                "committed": np.flatnonzero(event.committed).tolist(),
            }
        case Answer():
            return {
                "event": "answer",
                "text": event.text,
                "token_ids": event.token_ids.tolist(),
                "texts": list(event.texts),
                "commit_step": event.commit_step.tolist(),
                "targets": list(event.targets),
                "requested_steps": list(event.requested_steps),
            }
        case MapStep():
            return {
                "event": "maps",
                "step": event.step,
                "layers": list(event.layers),
                "targets": list(event.targets),
                "target_probability": _numbers(event.target_probability),
                "max": {
                    name: [_numbers(row) for row in maps.max((-2, -1))]
                    for name, maps in event.maps.items()
                },
            }
        case Notice():
            return {"event": "notice", "message": event.message, "mend": event.mend}
        case Failure():
            return {
                "event": "failure",
                "kind": event.kind,
                "message": event.message,
                "kept_path": event.kept_path,
            }
        case Done():
            return {
                "event": "done",
                "path": event.path,
                "cancelled": event.cancelled,
                "seconds": round(event.seconds, 3),
                **event.extra,
            }


def _optional_list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def _numbers(values: Any) -> list[float | None]:
    return [_number(float(value)) for value in values]


class JsonReporter:
    """One JSON object a line on standard output, and nothing else there."""

    def __init__(self) -> None:
        self.failed = self.cancelled = self.finished = False

    def __call__(self, event: Event) -> None:
        """Write the event."""
        self.failed = self.failed or isinstance(event, Failure)
        if isinstance(event, Done):
            self.cancelled, self.finished = event.cancelled, not event.cancelled
        write_json_line(event_to_json(event))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""


class PlainReporter:
    """A line now and then, for logs: about ten a phase.

    Parameters
    ----------
    stream : text stream
        Where progress goes (standard error); results go to standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tenths: dict[str, int] = {}
        self.failed = self.cancelled = self.finished = False

    def __call__(self, event: Event) -> None:
        """Write the event, if it is worth a line."""
        match event:
            case Progress():
                tenth = 10 * event.done // max(event.total, 1)
                if tenth > self._tenths.get(event.phase, -1):
                    self._tenths[event.phase] = tenth
                    self._line(_progress_line(event))
            case Notice():
                self._line(_notice_line(event))
            case Plan():
                self._line(_plan_line(event))
            case Answer():
                self._line(f"Answer: {printable(event.text)}")
            case Done():
                self.cancelled, self.finished = event.cancelled, not event.cancelled
                _write_result(event)
            case Failure():
                self.failed = True
                if event.kept_path:
                    self._line(f"Finished steps are kept in {event.kept_path}")
            case CanvasStep() | MapStep():
                pass

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class RichReporter:
    """Live bars with the time left, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self.failed = self.cancelled = self.finished = False

    def __call__(self, event: Event) -> None:
        """Show the event."""
        match event:
            case Progress():
                self._show(event)
            case CanvasStep():
                self._describe("generate", printable(_canvas_text(event)))
            case Notice():
                self._console.print(_notice_line(event), style="yellow")
            case Plan():
                self._console.print(_plan_line(event), style="dim")
            case Answer():
                self._console.print(f"Answer: {printable(event.text)}", style="bold")
            case Done():
                self.cancelled, self.finished = event.cancelled, not event.cancelled
                self._stop()
                _write_result(event)
            case Failure():
                self.failed = True
                self._stop()
                if event.kept_path:
                    self._console.print(f"Finished steps are kept in {event.kept_path}")
            case MapStep():
                pass

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop()

    def _show(self, event: Progress) -> None:
        if self._bars is None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.fields[title]}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[note]}", style="dim"),
                console=self._console,
            )
            self._bars.start()
        if event.phase not in self._tasks:
            title = f"{_PHASE_WORDS[event.phase]:<18}"
            self._tasks[event.phase] = self._bars.add_task(
                "", total=event.total, title=title, left="", note=""
            )
        left = "" if event.eta_seconds is None else f"{in_words(event.eta_seconds)} left"
        self._bars.update(
            self._tasks[event.phase],
            completed=event.done,
            total=event.total,
            left="" if event.done >= event.total else left,
        )

    def _describe(self, phase: str, text: str) -> None:
        if self._bars is not None and phase in self._tasks:
            room = max(0, self._console.width - 66)
            self._bars.update(self._tasks[phase], note=text[:room])

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _canvas_text(event: CanvasStep) -> str:
    return "".join(text or " _" for text in event.texts).strip()


def _progress_line(event: Progress) -> str:
    left = "" if not event.eta_seconds else f", {in_words(event.eta_seconds)} left"
    return f"{_PHASE_WORDS[event.phase]}: {event.done} of {event.total}{left}"


def _notice_line(event: Notice) -> str:
    return printable(f"Note: {event.message}{'. ' + event.mend if event.mend else ''}")


def _plan_line(event: Plan) -> str:
    grids = ", ".join(f"{g.name} {g.rows} x {g.cols}" for g in event.grids)
    time = "" if event.seconds is None else f", about {in_words(event.seconds)}"
    return (
        f"{event.n_steps} denoising steps x {len(event.layers)} layers x up to "
        f"{event.n_positions} tokens, {grids}; up to {event.backward_passes} backward passes"
        f"{time}, at most {size_in_words(event.bytes_on_disk)}"
    )


def _write_result(event: Done) -> None:
    if event.cancelled:
        kept = f"finished steps are kept in {event.path}" if event.path else "nothing was kept"
        sys.stderr.write(f"Stopped: {kept}\n")
        return
    size = size_in_words(Path(event.path).stat().st_size)
    sys.stdout.write(f"{event.path}  ({size}, {in_words(event.seconds)})\n")
    sys.stdout.flush()
