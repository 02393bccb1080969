"""The Studio's budgets, in the real window, on a real run, while a real job runs in its thread.

Measured against the limits of the design: slider to pixels (16 ms median, 33 ms at the 95th
percentile), longest stall of the event loop (50 ms), window up (1.5 s), opening a 1 GB run
(300 ms). As the peer in the same run: the same scrub done the simple way, that is read, refine
and enlarge on the GUI thread and show with pyqtgraph's ImageView. As the floor: the longest gap
of a process beside us that only sleeps and looks at the clock, which is what the machine itself
adds to every stall.

    python benchmarks/ui.py [--json FILE] [--quick] [--big-run FILE]

Runs offscreen unless QT_QPA_PLATFORM says otherwise; ``xvfb-run`` with QT_QPA_PLATFORM=xcb
measures a real window.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_API", "pyside6")

import numpy as np
import psutil
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QEventLoop, QObject, QPointF, Qt, QTimer
from PySide6.QtGui import QMouseEvent, QPaintEvent
from PySide6.QtWidgets import QApplication

from diffcam_core.datasets.scenes import make_scene
from diffcam_core.events import Answer, CanvasStep, GridSpec, MapStep, Plan
from diffcam_core.session import RunWriter, open_run
from diffcam_studio.commands import cursor
from diffcam_studio.demos import DEMOS
from diffcam_studio.jobs import Picture
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.settings import Places
from diffcam_studio.state.source import RunFacts
from diffcam_studio.theme import apply_theme, load_theme
from diffcam_studio.views.canvas import MapView

ROOT = Path(__file__).resolve().parent.parent
MEDIAN_MS, P95_MS, STALL_MS, WINDOW_S, OPEN_MS = 16.0, 33.0, 50.0, 1.5, 300.0
BEAT_MS = 2
PATIENCE_MS = 300_000
SAMPLE_MS = 5_000
BIG_BYTES = 1_000_000_000
BIG_STEPS, BIG_LAYERS, BIG_LENGTH = 64, 32, 128
PROMPT = "Describe the image."


@dataclass(frozen=True)
class Row:
    """One line of the table; ``limit`` 0 means that the design sets none."""

    name: str
    value: float
    unit: str
    limit: float = 0.0
    note: str = ""

    @property
    def ratio(self) -> float:
        """Value in shares of its limit."""
        return self.value / self.limit if self.limit else 0.0


# --- the event loop -------------------------------------------------------------------------------


def spin(until: Callable[[], bool], timeout_ms: int = PATIENCE_MS) -> bool:
    """Run the event loop until something holds; False if it never did."""
    loop, watch, end = QEventLoop(), QTimer(), QTimer()
    watch.timeout.connect(lambda: until() and loop.quit())
    watch.start(5)
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(timeout_ms)
    if not until():
        loop.exec()
    return until()


def idle(milliseconds: int) -> None:
    """Run the event loop for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Heart(QObject):
    """A timer on the GUI thread that remembers the longest time between two of its beats."""

    def __init__(self) -> None:
        super().__init__()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._last = 0.0
        self.longest_ms = 0.0

    @contextmanager
    def watch(self) -> Iterator[Heart]:
        """Measure what happens inside; ``longest_ms`` is how much later than asked a beat came."""
        idle(50)
        self.longest_ms, self._last = 0.0, time.perf_counter()
        self._timer.start(BEAT_MS)
        yield self
        # A stall that lasts until now is counted too.
        idle(2 * BEAT_MS)
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest_ms = max(self.longest_ms, (now - self._last) * 1e3 - BEAT_MS)
        self._last = now


def _sleep_and_look(stop: Any, longest: Any) -> None:
    last = time.perf_counter()
    while not stop.wait(BEAT_MS / 1e3):
        now = time.perf_counter()
        longest.value = max(longest.value, (now - last) * 1e3 - BEAT_MS)
        last = now


class Floor:
    """A process that does nothing: its longest gap is the machine's share of our stalls."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._longest = context.Value("d", 0.0)
        arguments = (self._stop, self._longest)
        self._process = context.Process(target=_sleep_and_look, args=arguments, daemon=True)
        self._process.start()

    def take(self) -> float:
        """Longest gap in ms since the last call."""
        value = float(self._longest.value)
        self._longest.value = 0.0
        return value

    def close(self) -> None:
        """End the process."""
        self._stop.set()
        self._process.join(5)


class Eyes:
    """Knows when the canvas has painted what was asked for."""

    def __init__(self) -> None:
        self.window: MainWindow | None = None
        self._wanted: Callable[[], bool] | None = None
        self._loop: QEventLoop | None = None
        self.frames = 0
        self.gui_cpu_ms: list[float] = []
        plain = MapView.paintEvent
        eyes = self

        def paint(view: MapView, event: QPaintEvent) -> None:
            plain(view, event)
            eyes._painted(view)

        MapView.paintEvent = paint  # type: ignore[method-assign]

    def _painted(self, view: MapView) -> None:
        window = self.window
        if window is None or not window.canvas.panels or view is not window.canvas.panels[0].view:
            return
        self.frames += 1
        if self._wanted is not None and self._loop is not None and self._wanted():
            self._wanted = None
            # Comes after the rest of this repaint has reached the window's pixels.
            QTimer.singleShot(0, self._loop.quit)

    def shows_present_state(self) -> bool:
        """Whether the canvas holds the map of the present step, layer and words."""
        assert self.window is not None
        c, panel = self.window.controller, self.window.canvas.panels[0]
        letter = c.state.panels[0].letter
        frame = c.arrivals.frames.get(letter)
        step = f"Step {c.state.step}, layer {c.state.layer}"
        return (
            letter in c.arrivals.fresh
            and frame is not None
            and panel.props.values is getattr(frame, "values", None)
            and panel.props.subtitle == step
            and panel.props.opacity == c.state.appearance.opacity
        )

    def measure(self, act: Callable[[], object]) -> float:
        """Do something; return ms until the canvas shows it, infinite if it never does."""
        self._loop = QEventLoop()
        self._wanted = self.shows_present_state
        end = QTimer()
        end.setSingleShot(True)
        end.timeout.connect(self._loop.quit)
        end.start(SAMPLE_MS)
        start, own = time.perf_counter(), time.thread_time()
        act()
        self._loop.exec()
        taken = (time.perf_counter() - start) * 1e3
        # What the GUI thread itself computed: the same on a busy machine and on an idle one.
        self.gui_cpu_ms.append((time.thread_time() - own) * 1e3)
        missed, self._wanted = self._wanted is not None, None
        return float("inf") if missed else taken


# --- the job in the background --------------------------------------------------------------------


class Work:
    """Keeps the engine thread busy with real jobs on the embedded model."""

    def __init__(self, window: MainWindow) -> None:
        self._c = window.controller
        self._pixels = make_scene(DEMOS[1].seed).render(640)
        self._on = False
        self.jobs = 0
        self._c.job_ended.connect(self._again)

    def start(self) -> None:
        """Start, and wait until maps are being computed; the shown run stays."""
        self._on = True
        shown = self._c.state.run
        self._submit()
        spin(self.is_explaining)
        if shown and shown != self._c.state.run:
            self._c.show_run(shown)

    def stop(self) -> None:
        """Cancel and let the engine thread rest."""
        self._on = False
        self._c.cancel_job()
        spin(lambda: self._c.job is None)

    def is_explaining(self) -> bool:
        """Whether the job computes maps now."""
        job = self._c.job
        progress = job.live.progress if job is not None else None
        return progress is not None and progress.phase == "explain"

    def ensure(self) -> None:
        """Wait for the next job if one has just ended: no sample is taken beside an idle engine."""
        if self._on and not self.is_explaining():
            shown = self._c.state.run
            spin(self.is_explaining)
            if shown and shown != self._c.state.run:
                self._c.show_run(shown)
                spin(self._c.is_settled)

    def _submit(self) -> None:
        self.jobs += 1
        self._c.start_job(
            prompt=PROMPT,
            picture=Picture(self._pixels, f"load-{self.jobs}"),
            generation={"max_new_tokens": 64, "block_length": 64, "steps": 64},
            tokens=tuple(range(64)),
            seed=self.jobs,
        )

    def _again(self, _job: str) -> None:
        if self._on:
            QTimer.singleShot(0, self._submit)


# --- scrubbing ------------------------------------------------------------------------------------


class Hand:
    """Moves the playhead with mouse events, and everything else as its slider would."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._lanes = window.timeline.lanes
        self._random = random.Random(0)

    def _mouse(self, kind: QEvent.Type, step: int) -> None:
        at = QPointF(self._lanes.step_x(step), 8.0)
        up = kind == QEvent.Type.MouseButtonRelease
        held = Qt.MouseButton.NoButton if up else Qt.MouseButton.LeftButton
        button = Qt.MouseButton.NoButton
        if kind != QEvent.Type.MouseMove:
            button = Qt.MouseButton.LeftButton
        there = QPointF(self._lanes.mapToGlobal(at))
        event = QMouseEvent(kind, at, there, button, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(self._lanes, event)

    def press(self) -> None:
        """Take hold of the playhead."""
        self._mouse(QEvent.Type.MouseButtonPress, self._window.controller.state.step)

    def drag(self, step: int) -> None:
        """Move the playhead."""
        self._mouse(QEvent.Type.MouseMove, step)

    def let_go(self) -> None:
        """Release the playhead."""
        self._mouse(QEvent.Type.MouseButtonRelease, self._window.controller.state.step)

    def steps(self, facts: RunFacts) -> list[int]:
        """Steps that have a map at the present layer."""
        layer = self._window.controller.state.layer
        return [s for s in range(facts.n_steps) if facts.is_computed(s, layer)]

    def other(self, values: list[Any], now: Any) -> Any:
        """Any value but the present one."""
        return self._random.choice([v for v in values if v != now])

    def sequence(self, values: list[int], count: int) -> list[int]:
        """Forth and back over all steps, as a hand drags."""
        there = [*values, *values[-2:0:-1]]
        start = there.index(self._window.controller.state.step) + 1
        return [there[(start + i) % len(there)] for i in range(count)]


def scrubs(
    eyes: Eyes, work: Work, hand: Hand, window: MainWindow, count: int, cost: list[Row]
) -> dict[str, list[float]]:
    """Milliseconds from each kind of move to its pixels; GUI-thread CPU goes to ``cost``."""
    c = window.controller
    facts = c.facts
    assert facts is not None
    steps = hand.steps(facts)
    words = [w.positions for w in facts.words if set(w.positions) <= set(facts.targets)]
    result: dict[str, list[float]] = {}

    def take(name: str, moves: int, move: Callable[[int], Callable[[], object]]) -> None:
        taken = []
        eyes.gui_cpu_ms.clear()
        for i in range(moves):
            work.ensure()
            act = move(i)
            taken.append(eyes.measure(act))
            idle(8)
        result[name] = taken
        spent = statistics.median(eyes.gui_cpu_ms)
        cost.append(Row(f"{name}: CPU of the GUI thread", spent, "ms", 8.0, "median"))

    c.go_to(steps[0])
    spin(c.is_settled)
    hand.press()
    order = hand.sequence(steps, count)
    take("step, one after the other", count, lambda i: lambda: hand.drag(order[i]))
    take(
        "step, at random",
        count,
        lambda _i: partial(hand.drag, hand.other(steps, c.state.step)),
    )
    hand.let_go()
    take(
        "word",
        count // 2,
        lambda _i: partial(c.select_positions, hand.other(words, c.state.tokens)),
    )

    def layers() -> list[int]:
        return [n for n in facts.layers if facts.is_computed(c.state.step, n)]

    take(
        "layer",
        count // 2,
        lambda _i: partial(cursor.select_layer, c, hand.other(layers(), c.state.layer)),
    )
    slider = window.inspector.appearance.opacity_changed
    take(
        "opacity",
        count // 2,
        lambda i: lambda: slider.emit(0.2 + 0.6 * ((i * 37) % 100) / 100),
    )
    preset = list(c.arrivals.ladder.stages) if c.arrivals.ladder is not None else []
    numbers = [
        (s.stage, p) for s in preset for p in s.parameters if not p.choices and p.maximum > 1
    ]
    if numbers:
        stage, number = numbers[0]
        span = number.maximum - number.minimum

        def change(i: int) -> Callable[[], object]:
            value = number.minimum + span * (((i * 37) % 97) + 1) / 98
            value = round(value / number.step) * number.step
            moved = vs.change_parameter(c.state, stage, number.name, float(value))
            if moved == c.state:
                value += number.step
                moved = vs.change_parameter(c.state, stage, number.name, float(value))
            return lambda: c.apply(moved, f"{stage}.{number.name}")

        take("refinement parameter", count // 2, change)
        c.apply(vs.reset_stage(c.state, stage))
        spin(c.is_settled)
    return result


def latency_rows(title: str, found: dict[str, list[float]]) -> list[Row]:
    """Median and 95th percentile of every kind of move."""
    rows = []
    for name, taken in found.items():
        lost = sum(not np.isfinite(t) for t in taken)
        known = [t for t in taken if np.isfinite(t)] or [float(SAMPLE_MS)]
        note = f"n = {len(taken)}" + (f", {lost} never came" if lost else "")
        median, high = statistics.median(known), float(np.percentile(known, 95))
        rows.append(Row(f"{title}: {name}, median", median, "ms", MEDIAN_MS, note))
        rows.append(Row(f"{title}: {name}, p95", high, "ms", P95_MS, f"worst {max(known):.0f}"))
    return rows


def naive_scrubs(path: str, facts: RunFacts, tokens: tuple[int, ...], layer: int, count: int,
                 heart: Heart, work: Work) -> tuple[list[float], float]:  # fmt: skip
    """The peer: everything on the GUI thread, shown with ImageView, 70 % over the picture."""
    view = pg.ImageView()
    view.ui.histogram.hide()
    view.ui.roiBtn.hide()
    view.ui.menuBtn.hide()
    view.resize(*[872, 560])
    view.show()
    steps = [s for s in range(facts.n_steps) if facts.is_computed(s, layer)]
    chooser = random.Random(0)
    colours = pg.colormap.get("inferno").getLookupTable(0.0, 1.0, 256)
    image = facts.image.astype(np.float32) if facts.image is not None else None
    taken = []
    step = steps[0]
    with open_run(path) as run, heart.watch() as beat:
        for _ in range(count):
            work.ensure()
            step = chooser.choice([s for s in steps if s != step])
            start = time.perf_counter()
            # `Run.map` takes one answer position; the first of the word stands for it.
            shown = run.map(token=tokens[0], step=step, layer=layer).refine("studio").on_image()
            top = float(shown.max()) or 1.0
            lit = colours[np.clip(shown / top * 255, 0, 255).astype(np.uint8)].astype(np.float32)
            mixed = lit if image is None else 0.3 * image + 0.7 * lit
            view.setImage(mixed.transpose(1, 0, 2).astype(np.uint8), autoRange=False,
                          autoLevels=False, levels=(0, 255))  # fmt: skip
            view.ui.graphicsView.viewport().repaint()
            taken.append((time.perf_counter() - start) * 1e3)
            idle(8)
        view.close()
    view.deleteLater()
    return taken, beat.longest_ms


# --- a large file ---------------------------------------------------------------------------------


def make_big_run(path: Path) -> None:
    """Write a valid run of at least 1 GB whose maps are noise, so that nothing compresses."""
    rng = np.random.default_rng(0)
    scene = make_scene(DEMOS[0].seed)
    picture = scene.render(768)
    side = picture.shape[0]
    grids = tuple(_grid(name, n, side) for name, n in (("base", 24), ("tiles", 44)))
    steps, layers = BIG_STEPS, tuple(range(BIG_LAYERS))
    ids = np.arange(2, BIG_LENGTH + 2, dtype=np.int64)
    texts = tuple(f" word{i}" for i in range(BIG_LENGTH))
    commit = np.arange(BIG_LENGTH, dtype=np.int64) * steps // BIG_LENGTH
    plan = Plan(
        run_id="big", method="diffusion-cam", n_steps=steps, n_positions=BIG_LENGTH,
        layers=layers, grids=grids, valid=np.ones((steps, len(layers)), bool),
        requested_steps=None, prompt=PROMPT, model="Noise, 32 layers", forward_passes=steps,
        backward_passes=steps, seconds=1.0, bytes_on_disk=BIG_BYTES, path=str(path),
    )  # fmt: skip
    metadata = {"mask_id": 0, "eos_ids": [1]}
    writer = RunWriter.create(
        path, plan, image=picture, request={"prompt": PROMPT}, metadata=metadata
    )
    for step in range(steps):
        written = commit <= step
        writer.add_canvas_step(
            CanvasStep(
                step=step,
                token_ids=np.where(written, ids, 0),
                guesses=ids.copy(),
                confidence=rng.random(BIG_LENGTH).astype(np.float32),
                committed=commit == step,
                texts=tuple(t if w else "" for t, w in zip(texts, written, strict=True)),
                guess_texts=texts,
            )
        )
    targets = tuple(range(BIG_LENGTH))
    writer.set_answer(Answer(ids, texts, "".join(texts), commit, targets, tuple(range(steps))))
    noise = {
        g.name: rng.random((len(layers), BIG_LENGTH, g.rows, g.cols), np.float32) for g in grids
    }
    for step in range(steps):
        maps = {name: np.roll(values, step, axis=1) for name, values in noise.items()}
        share = np.full(BIG_LENGTH, (step + 1) / steps, np.float32)
        writer.add_map_step(MapStep(step, layers, targets, maps, share))
        sys.stderr.write(f"\rwriting the 1 GB run: step {step + 1} of {steps} ")
    writer.finish(seconds=1.0)
    sys.stderr.write("\n")


def _grid(name: str, n: int, side: int) -> GridSpec:
    edges = np.linspace(0, side, n + 1, dtype=np.float32)
    boxes = np.empty((n, n, 4), np.float32)
    boxes[..., 0], boxes[..., 2] = edges[:-1], edges[1:]
    boxes[..., 1], boxes[..., 3] = edges[:-1, None], edges[1:, None]
    return GridSpec(name, n, n, boxes)


def forget_pages(path: Path) -> None:
    """Ask the system to drop the file from its cache, where it can."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_times(eyes: Eyes, window: MainWindow, path: Path) -> tuple[float, float]:
    """Milliseconds until the run is there (answer, timeline), and until its first map is seen."""
    c = window.controller
    there: list[float] = []
    start = time.perf_counter()

    def opened(_path: str) -> None:
        there.append((time.perf_counter() - start) * 1e3)

    c.opened.connect(opened)
    key = str(path.absolute())
    eyes_wait = eyes.measure(lambda: window.open_path(key))
    while c.state.run != key or not eyes.shows_present_state():
        # The canvas repainted for the old run first.
        more = eyes.measure(lambda: None)
        if not np.isfinite(more):
            break
        eyes_wait = (time.perf_counter() - start) * 1e3
    c.opened.disconnect(opened)
    return there[0] if there else float("inf"), eyes_wait


# --- window up ------------------------------------------------------------------------------------

_START = """
import sys, time
begun = time.monotonic()
from diffcam_studio import app
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication
import diffcam_studio.main_window as mw
import diffcam_studio.controller
imported = time.monotonic()
class Watch(QObject):
    done = False
    def eventFilter(self, thing, event):
        if event.type() == QEvent.Type.UpdateRequest and not self.done:
            if isinstance(thing, mw.MainWindow):
                self.done = True
                QTimer.singleShot(0, finish)
        return False
def finish():
    print(begun, imported, time.monotonic(), flush=True)
    for w in QApplication.topLevelWidgets():
        if isinstance(w, mw.MainWindow):
            w.close_now()
qt = QApplication(sys.argv[:1])
watch = Watch()
qt.installEventFilter(watch)
app.WARM_UP_MS = 3_600_000
sys.exit(app.main([]))
"""


def start_times(runs: int, folder: Path) -> list[tuple[float, float, float]]:
    """Seconds: whole start to first painted frame, of it the interpreter, of it our imports."""
    found = []
    home = {k: str(folder / "home") for k in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    for _ in range(runs):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _START], cwd=ROOT, env={**os.environ, **home},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        begun, imported, shown = map(float, done.stdout.split()[-3:])
        found.append((shown - start, begun - start, imported - begun))
    return found


# --- the whole ------------------------------------------------------------------------------------


def first_map(window: MainWindow, heart: Heart) -> tuple[list[Row], str]:
    """Click a demo in a fresh window: stall until the first map, and how long that took."""
    c = window.controller
    seen: list[float] = []
    with heart.watch():
        start = time.perf_counter()
        window.run_demo(DEMOS[0].key)

        def mapped() -> bool:
            panels = window.canvas.panels
            there = bool(panels) and panels[0].props.values is not None
            if there and not seen:
                seen.append(time.perf_counter() - start)
            return there

        spin(mapped)
        to_map = heart.longest_ms
        spin(lambda: c.job is None and c.facts is not None and c.facts.complete
             and not c.facts.key.startswith("live:"))  # fmt: skip
        spin(c.is_settled)
    whole = time.perf_counter() - start
    rows = [
        Row("stall, a demo until its first map", to_map, "ms", STALL_MS, "model is loaded"),
        Row("stall, the same run to its end", heart.longest_ms, "ms", STALL_MS),
        Row("first map after the click", seen[0] if seen else float("inf"), "s", 3.0),
        Row("the whole run, all steps and layers", whole, "s", 30.0),
    ]
    return rows, c.state.run


def memory_rows(eyes: Eyes, window: MainWindow, hand: Hand, frames: int) -> list[Row]:
    """Growth of this process over many frames of one run, after the caches have filled."""
    c = window.controller
    facts = c.facts
    assert facts is not None
    steps = hand.steps(facts)
    process = psutil.Process()

    def walk(count: int) -> None:
        eyes.frames = 0
        while eyes.frames < count:
            hand.drag(hand.other(steps, c.state.step))
            eyes.measure(lambda: None) if not eyes.shows_present_state() else idle(0)

    hand.press()
    walk(max(500, frames // 10))
    gc.collect()
    before = process.memory_info().rss
    started = time.perf_counter()
    walk(frames)
    seconds = time.perf_counter() - started
    hand.let_go()
    gc.collect()
    grown = (process.memory_info().rss - before) / 2**20
    return [
        Row(f"memory growth over {frames} frames", grown, "MB", 50.0, "limit of this program"),
        Row("frames drawn in a second", frames / seconds, "1/s", 0.0, "engine at rest"),
    ]


def say(text: str) -> None:
    """Tell whoever waits what is being measured."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def bench(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure everything; rows in the order of the table."""
    rows: list[Row] = []
    say("starting the program")
    starts = start_times(arguments.starts, folder)
    later = starts[1:] or starts
    rows.append(Row("window up, median", statistics.median(s[0] for s in later), "s", WINDOW_S,
                    f"n = {len(later)}, worst {max(s[0] for s in later):.2f}"))  # fmt: skip
    rows.append(Row("of it: interpreter", statistics.median(s[1] for s in later), "s"))
    rows.append(Row("of it: imports", statistics.median(s[2] for s in later), "s"))
    rows.append(Row("window up, first start", starts[0][0], "s", WINDOW_S,
                    f"of it imports {starts[0][2]:.2f}"))  # fmt: skip

    eyes, heart, floor = Eyes(), Heart(), Floor()
    window = build_window(folder)
    eyes.window = window
    c = window.controller
    c.warm_up()
    spin(lambda: c.model is not None or bool(c.model_error))
    if c.model is None:
        raise SystemExit(f"The embedded model could not be loaded: {c.model_error}")
    work, hand = Work(window), Hand(window)
    try:
        say("a demo run")
        floor.take()
        found, run = first_map(window, heart)
        rows += found
        facts = c.runs[run]
        say("scrubbing beside a job")
        work.start()

        with heart.watch():
            taken = scrubs(eyes, work, hand, window, arguments.scrubs, rows)
        rows += latency_rows("embedded run", taken)
        rows.append(Row("stall, scrubbing", heart.longest_ms, "ms", STALL_MS))

        say("the simple way")
        tokens, layer = c.state.tokens, c.state.layer
        naive, stall = naive_scrubs(run, facts, tokens, layer, arguments.scrubs, heart, work)
        ours = taken["step, at random"]
        factor = statistics.median(naive) / statistics.median(ours)
        rows += latency_rows("peer, all on the GUI thread", {"step, at random": naive})
        rows.append(Row("peer: stall, scrubbing", stall, "ms", STALL_MS, f"{factor:.1f} x ours"))

        say("theme, panels, export")
        work.ensure()
        # Where the word was written there is a map to export.
        window.registry.trigger("run.word_step")
        spin(c.is_settled)
        written: list[str] = []
        c.written.connect(written.append)
        with heart.watch():
            c.export_view(str(folder / "view.pdf"))
            spin(lambda: bool(written), 60_000)
        c.written.disconnect(written.append)
        if not (folder / "view.pdf").exists():
            raise SystemExit(f"The view was not exported: {window.messages.messages}")
        rows.append(Row("stall, exporting a PDF", heart.longest_ms, "ms", STALL_MS))

        work.ensure()
        with heart.watch():
            for theme in ("light", "dark"):
                window.choose_theme(theme)
                idle(300)
        rows.append(Row("stall, switching the theme", heart.longest_ms, "ms", STALL_MS))

        work.ensure()
        with heart.watch():
            for action in ("view.split_layer", "view.difference", "view.single"):
                window.registry.trigger(action)
                spin(c.is_settled, 20_000)
                idle(100)
        rows.append(Row("stall, eight panels, difference", heart.longest_ms, "ms", STALL_MS))

        # One panel that follows the cursor again; those of the split are pinned.
        c.apply(replace(c.state, panels=(vs.Panel("A"),), active_panel=0, mode="single"))

        say("the run being computed")
        rows += live_rows(eyes, heart, work, hand, window, arguments.scrubs // 2)
        c.show_run(run)
        if not arguments.skip_big:
            say("the 1 GB run")
            rows += big_rows(arguments, folder, eyes, heart, work, hand, window)
            c.show_run(run)
            spin(c.is_settled)
        rows.append(Row("longest gap of an idle process beside us", floor.take(), "ms", 0.0,
                        "what the machine adds"))  # fmt: skip
        work.stop()
        say("memory")
        rows += memory_rows(eyes, window, hand, arguments.frames)
        rss = psutil.Process().memory_info().rss / 2**20
        rows.append(Row("memory of the Studio at the end", rss, "MB", 1500.0))
    finally:
        floor.close()
        work._on = False
        window.close_now()
        window.deleteLater()
        idle(50)
    return rows


def live_rows(
    eyes: Eyes, heart: Heart, work: Work, hand: Hand, window: MainWindow, count: int
) -> list[Row]:
    """Scrub the very run that the job is computing, over the steps that are there."""
    c = window.controller
    work.ensure()
    job = c.job
    if job is None:
        return []
    c.show_run(job.key)
    c.apply(vs.set_playback(c.state, follow_job=False))
    spin(lambda: c.job is not job or len(hand.steps(c.runs[job.key])) > 3)
    taken: list[float] = []
    with heart.watch():
        while len(taken) < count and c.job is job:
            facts = c.facts
            if facts is None or not facts.live:
                break
            step = hand.other(hand.steps(facts), c.state.step)
            taken.append(eyes.measure(lambda step=step: c.go_to(step)))
            idle(8)
    if not taken:
        return []
    rows = latency_rows("run being computed", {"step, at random": taken})
    rows.append(Row("stall, scrubbing it", heart.longest_ms, "ms", STALL_MS))
    return rows


def big_rows(
    arguments: argparse.Namespace,
    folder: Path,
    eyes: Eyes,
    heart: Heart,
    work: Work,
    hand: Hand,
    window: MainWindow,
) -> list[Row]:
    """Open and scrub a run of more than 1 GB."""
    c = window.controller
    path = Path(arguments.big_run) if arguments.big_run else folder / "big.dcam"
    if not path.exists():
        # As a process of its own: writing must not share the interpreter with what is measured.
        subprocess.run([sys.executable, __file__, "--make-big-run", str(path)], check=True)
    size = path.stat().st_size
    if size < BIG_BYTES:
        raise SystemExit(f"{path} has {size} bytes, less than 1 GB")
    home = c.state.run
    opened, seen, stalls = [], [], []
    for round_ in range(5):
        if round_:
            c.close_run(str(path.absolute()))
            c.show_run(home)
            spin(c.is_settled)
        forget_pages(path)
        work.ensure()
        with heart.watch():
            there, mapped = open_times(eyes, window, path)
        opened.append(there)
        seen.append(mapped)
        stalls.append(heart.longest_ms)
    note = f"{size / 1e9:.2f} GB, not in the page cache"
    rows = [
        Row("opening 1 GB: answer and timeline", statistics.median(opened), "ms", OPEN_MS, note),
        Row("opening 1 GB: first map on the screen", statistics.median(seen), "ms", OPEN_MS,
            f"worst {max(seen):.0f}"),
        Row("stall, opening 1 GB", max(stalls), "ms", STALL_MS),
    ]  # fmt: skip
    spin(c.is_settled)
    with heart.watch():
        taken = scrubs(eyes, work, hand, window, max(20, arguments.scrubs // 3), rows)
    rows += latency_rows("1 GB run", taken)
    rows.append(Row("stall, scrubbing 1 GB", heart.longest_ms, "ms", STALL_MS))
    return rows


def build_window(folder: Path) -> MainWindow:
    """Make the window as the program does, with folders of its own."""
    from diffcam_studio.app import build

    window = build(places=Places(folder / "config", folder / "data"))
    window.resize(1440, 900)
    window.show()
    spin(window.isVisible)
    idle(500)
    return window


def print_table(rows: list[Row]) -> None:
    """Print the rows; what is over its limit is marked."""
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}} {'value':>9}      {'limit':>7} {'ratio':>7}")
    for row in rows:
        limit = f"{row.limit:7g} {row.ratio:6.2f}{'!' if row.ratio > 1 else ' '}"
        shown = limit if row.limit else " " * 15
        print(f"{row.name:{width}} {row.value:9.2f} {row.unit:4} {shown}  {row.note}")


def main() -> None:
    """Measure, print a table, optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--scrubs", type=int, default=300, help="moves of each kind")
    parser.add_argument("--frames", type=int, default=20_000, help="frames of the memory test")
    parser.add_argument("--starts", type=int, default=6, help="starts of the program")
    parser.add_argument("--big-run", metavar="FILE", help="keep the 1 GB run here and use it again")
    parser.add_argument("--skip-big", action="store_true", help="leave the 1 GB run out")
    parser.add_argument("--quick", action="store_true", help="few moves, to see that it works")
    parser.add_argument("--make-big-run", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_big_run:
        make_big_run(Path(arguments.make_big_run))
        return
    if arguments.quick:
        arguments = argparse.Namespace(
            **{**vars(arguments), "scrubs": 20, "frames": 300, "starts": 2}
        )
    # As the program's entry point does.
    sys.setswitchinterval(0.001)
    app = QApplication(sys.argv[:1])
    apply_theme(app, load_theme("dark"))
    with tempfile.TemporaryDirectory(prefix="diffcam-ui-") as folder:
        before = os.getloadavg()[0]
        rows = bench(arguments, Path(folder))
    machine = {
        "python": platform.python_version(),
        "cores": psutil.cpu_count(),
        "platform": app.platformName(),
        "load_before": before,
        "load_after": os.getloadavg()[0],
    }
    print_table(rows)
    print(f"{machine['cores']} cores, load {before:.1f} before and "
          f"{machine['load_after']:.1f} after, platform {machine['platform']}")  # fmt: skip
    if arguments.json:
        entries = [{**asdict(row), "ratio": row.ratio} for row in rows]
        arguments.json.write_text(json.dumps({"machine": machine, "rows": entries}, indent=1))


if __name__ == "__main__":
    main()
