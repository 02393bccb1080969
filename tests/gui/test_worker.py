"""The engine thread and the I/O thread: queue, cancel, latest wins, clean ends."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import END, LAYERS, MASK, STEPS, FakeRunner, Script

from diffcam_core import refinement
from diffcam_core.errors import ResourceError, RunFileError
from diffcam_core.events import Done, Event, Failure, MapStep, Plan
from diffcam_core.session import open_run
from diffcam_studio.state.live_run import LiveRun
from diffcam_studio.state.view_state import Refinement
from diffcam_studio.worker.desk import RunDesk
from diffcam_studio.worker.engine_thread import Cancel, Engine, JobRequest
from diffcam_studio.worker.io_thread import IoThread
from diffcam_studio.worker.queries import (
    CopyQuery,
    LadderQuery,
    LayersQuery,
    MapAddress,
    OpenQuery,
    PanelQuery,
    Refused,
    ThumbnailQuery,
    TimelineQuery,
)
from diffcam_studio.worker.refining import pipeline_of
from diffcam_studio.worker.writing_desk import WritingDesk

SEED = 1336


def request(tmp_path: Path, name: str = "one") -> JobRequest:
    return JobRequest(name, name, "Describe the image.", str(tmp_path / f"{name}.dcam"))


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run file as the scripted engine writes it."""
    wish = request(tmp_path)
    FakeRunner(SEED).run(wish, lambda _event: None, Cancel())
    return Path(wish.out)


# --- engine thread --------------------------------------------------------------------------------


def test_a_job_runs_beside_the_gui_and_leaves_a_file(qtbot: Any, tmp_path: Path) -> None:
    runner = FakeRunner(SEED)
    engine = Engine(lambda: runner)
    events: list[Event] = []
    engine.event.connect(lambda _job, event: events.append(event))
    with qtbot.waitSignal(engine.finished, timeout=60_000):
        engine.submit(request(tmp_path))
    assert isinstance(next(e for e in events if isinstance(e, Plan)), Plan)
    assert sum(isinstance(e, MapStep) for e in events) == STEPS - 2
    assert isinstance(events[-1], Done)
    with open_run(tmp_path / "one.dcam") as run:
        assert run.complete
    assert engine.close()


def test_jobs_wait_for_each_other_and_can_be_reordered(qtbot: Any, tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    runner = FakeRunner(SEED, gate)
    engine = Engine(lambda: runner)
    for name in ("one", "two", "three", "four"):
        engine.submit(request(tmp_path, name))
    assert engine.current is not None
    assert [r.job for r in engine.waiting] == ["two", "three", "four"]
    engine.move("four", 0)
    engine.remove("three")
    assert [r.job for r in engine.waiting] == ["four", "two"]
    ended: list[str] = []
    engine.finished.connect(ended.append)
    gate.release(3 * STEPS)
    qtbot.waitUntil(lambda: len(ended) == 3, timeout=60_000)
    assert ended == ["one", "four", "two"]
    assert engine.close()


def test_cancel_keeps_the_finished_steps(qtbot: Any, tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    runner = FakeRunner(SEED, gate)
    engine = Engine(lambda: runner)
    events: list[Event] = []
    engine.event.connect(lambda _job, event: events.append(event))
    engine.submit(request(tmp_path))
    gate.release(3)
    qtbot.waitUntil(lambda: sum(isinstance(e, MapStep) for e in events) == 3, timeout=60_000)
    with qtbot.waitSignal(engine.finished, timeout=60_000):
        engine.cancel()
    done = events[-1]
    assert isinstance(done, Done)
    assert done.cancelled
    with open_run(done.path) as run:
        assert not run.complete
        assert run.computed.any(axis=1).sum() == 3
    assert engine.close()


@pytest.mark.parametrize(
    "error",
    [
        ResourceError("The memory is full", "Use fewer layers"),
        RuntimeError("a fault"),
        TypeError("nobody thought of this"),
        KeyError("missing"),
        AssertionError("never"),
    ],
)
def test_a_job_that_fails_says_so_and_the_next_one_runs(
    qtbot: Any, tmp_path: Path, error: Exception
) -> None:
    runner = FakeRunner(SEED, fail=error)
    engine = Engine(lambda: runner)
    events: list[Event] = []
    engine.event.connect(lambda _job, event: events.append(event))
    with qtbot.waitSignal(engine.finished, timeout=60_000):
        engine.submit(request(tmp_path))
    failure = events[-1]
    assert isinstance(failure, Failure)
    assert str(error) in failure.message
    runner.fail = None
    with qtbot.waitSignal(engine.finished, timeout=60_000):
        engine.submit(request(tmp_path, "two"))
    assert isinstance(events[-1], Done)
    assert engine.close()


@pytest.mark.parametrize("error", [TypeError("not a folder"), AssertionError()])
def test_a_model_that_fails_in_an_unknown_way_is_refused_in_words(
    qtbot: Any, error: Exception
) -> None:
    class Broken(FakeRunner):
        def warm_up(self, source: str) -> Any:
            raise error

    engine = Engine(Broken)
    with qtbot.waitSignal(engine.refused, timeout=60_000) as told:
        engine.warm_up()
    assert told.args == [str(error) or "AssertionError"]
    assert engine.close()


def test_closing_while_a_job_runs_ends_the_thread(qtbot: Any, tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    runner = FakeRunner(SEED, gate)
    engine = Engine(lambda: runner)
    with qtbot.waitSignal(engine.event, timeout=60_000):
        engine.submit(request(tmp_path))
    engine.submit(request(tmp_path, "two"))
    assert engine.close()
    assert [r.job for r in runner.ran] == ["one"]


def test_signals_do_not_wear_out_none_and_true(qtbot: Any) -> None:
    """PySide6 6.12 loses a reference to None or True per call on Python 3.11 (anchors 0.2)."""
    engine = Engine(FakeRunner)
    heard: list[str] = []
    engine.started.connect(heard.append)
    before = sys.getrefcount(None), sys.getrefcount(True)
    for _ in range(1000):
        engine.started.emit("x")
    after = sys.getrefcount(None), sys.getrefcount(True)
    assert len(heard) == 1000
    assert after[0] - before[0] > -200
    assert after[1] - before[1] > -200
    assert engine.close()


# --- I/O thread -----------------------------------------------------------------------------------


class SlowDesk:
    """Answers with the question's step, one at a time, when told to."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.answered: list[int] = []
        self.closed = False

    def answer(self, query: Any) -> int:
        if query.step == 13:
            raise RunFileError("The file has gone", "Open it again")
        if query.step == 14:
            raise TypeError("nobody thought of this")
        assert self.gate.acquire(timeout=30)
        self.answered.append(query.step)
        return int(query.step)

    def is_cacheable(self, query: Any) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def panel(run: str = "x", step: int = 0, **changes: Any) -> PanelQuery:
    address = MapAddress(run, changes.pop("positions", (2,)), changes.pop("layer", 4))
    refined = changes.pop("refinement", Refinement())
    return PanelQuery(address, step, refined, changes.pop("scope", "trajectory"), **changes)


def test_ten_thousand_moves_make_two_answers(qtbot: Any) -> None:
    desk = SlowDesk()
    io = IoThread(desk)
    io.start()
    got: list[int] = []
    io.answered.connect(lambda _slot, _query, answer: got.append(answer))
    for step in range(10_000):
        io.ask("panel:A", panel(step=step + 100))
    assert io.pending() <= 1
    desk.gate.release(10)
    qtbot.waitUntil(lambda: bool(got) and got[-1] == 10_099, timeout=30_000)
    assert len(got) <= 2
    assert io.close()
    assert desk.closed


def test_panels_go_before_neighbours_and_the_cache_answers(qtbot: Any) -> None:
    desk = SlowDesk()
    io = IoThread(desk)
    got: list[str] = []
    io.answered.connect(lambda slot, _query, _answer: got.append(slot))
    io.ask("near:1", panel(step=2), 9)
    io.ask("timeline", panel(step=3), 4)
    io.ask("panel:A", panel(step=1), 2)
    desk.gate.release(3)
    io.start()
    qtbot.waitUntil(lambda: len(got) == 3, timeout=30_000)
    assert got == ["panel:A", "timeline", "near:1"]
    assert io.peek(panel(step=2)) == 2
    io.ask("panel:A", panel(step=2))
    qtbot.waitUntil(lambda: len(got) == 4, timeout=30_000)
    assert desk.answered == [1, 3, 2]
    assert io.close()


def test_errors_are_answers_and_the_thread_lives_on(qtbot: Any) -> None:
    desk = SlowDesk()
    io = IoThread(desk)
    io.start()
    got: list[Any] = []
    io.answered.connect(lambda _slot, _query, answer: got.append(answer))
    io.ask("panel:A", panel(step=13))
    qtbot.waitUntil(lambda: len(got) == 1, timeout=30_000)
    assert got[0] == Refused("The file has gone", "Open it again")
    io.ask("panel:A", panel(step=14))
    qtbot.waitUntil(lambda: len(got) == 2, timeout=30_000)
    assert got[1] == Refused("nobody thought of this")
    desk.gate.release()
    io.ask("panel:A", panel(step=5))
    qtbot.waitUntil(lambda: len(got) == 3, timeout=30_000)
    assert got[2] == 5
    assert io.close()


# --- live runs and the desk -----------------------------------------------------------------------


def live_of(script: Script, steps: int, maps: int) -> LiveRun:
    live = LiveRun("live:x", script.image, title="x")
    live.apply(script.plan(JobRequest("x", "x", "p", "x.dcam")))
    for step in range(steps):
        live.apply(script.canvas_step(step))
    if steps == STEPS:
        live.apply(script.answer())
    for step in range(maps):
        live.apply(script.map_step(step))
    return live


def test_a_live_run_says_what_its_file_will_say(run_file: Path) -> None:
    script = Script(SEED)
    live = live_of(script, STEPS, STEPS - 2).facts()
    desk = RunDesk()
    facts = desk.answer(OpenQuery(str(run_file))).facts
    assert live.answer == facts.answer
    assert live.tokens == facts.tokens
    assert live.words == facts.words
    assert live.targets == facts.targets
    assert live.mask_id == facts.mask_id == MASK
    assert live.end_ids == facts.end_ids == {END}
    for name in ("canvas", "guesses", "commit_step", "valid"):
        np.testing.assert_array_equal(getattr(live, name), getattr(facts, name))
    np.testing.assert_array_equal(live.computed & live.valid, facts.computed)
    desk.close()


def test_a_live_run_grows_step_by_step() -> None:
    script = Script(SEED)
    live = live_of(script, 5, 0)
    facts = live.facts()
    assert facts.steps_known == 5
    assert (facts.canvas[5:] == -1).all()
    assert set(facts.commit_step.tolist()) <= {-1, 0, 1, 2, 3, 4}
    assert live.maps(0, 0, "", "") is None
    assert facts.live
    before = live.version
    live.apply(script.map_step(3))
    assert live.version == before + 1
    np.testing.assert_array_equal(live.maps(3, 2, "", ""), script.map_step(3).maps["base"][2])
    trajectory = live.trajectory(2, 4, "base", "")
    assert np.isfinite(trajectory[3]).all()
    assert np.isnan(trajectory[[0, 1, 2, 4]]).all()


def test_scopes_mean_what_they_say(run_file: Path) -> None:
    script = Script(SEED)
    desk = RunDesk()
    truth = np.stack([script.map_step(s).maps["base"] for s in range(STEPS - 2)])
    raw = Refinement(raw=True)
    for scope, top in (
        ("map", truth[6, 4, 2].max()),
        ("trajectory", truth[:, 4, 2].max()),
        ("run", truth[:, 4].max()),
    ):
        frame = desk.answer(panel(str(run_file), 6, refinement=raw, scope=scope))
        np.testing.assert_allclose(frame.scope_max, top, rtol=1e-3)
        np.testing.assert_allclose(frame.native, truth[6, 4, 2] / top, atol=2e-3)
    desk.close()


def test_a_refined_map_keeps_its_absolute_height(run_file: Path) -> None:
    desk = RunDesk()
    weak = desk.answer(panel(str(run_file), 0))
    strong = desk.answer(panel(str(run_file), STEPS - 3))
    assert weak.native.max() == pytest.approx(weak.raw_range[1] / weak.scope_max, rel=1e-3)
    assert weak.native.max() < strong.native.max()
    with open_run(run_file) as run:
        truth = run.map(2, 5, 4).refine("studio")
    frame = desk.answer(panel(str(run_file), 5, scope="map"))
    np.testing.assert_allclose(frame.native, truth.values, atol=1e-5)
    desk.close()


def test_missing_maps_give_reasons(run_file: Path) -> None:
    desk = RunDesk()
    assert desk.answer(panel(str(run_file), STEPS - 1)).state == "no_path"
    assert desk.answer(panel(str(run_file), 3, positions=())).state == "not_computed"
    assert desk.answer(panel(str(run_file), 3, positions=(31,))).state == "not_computed"
    with pytest.raises(RunFileError):
        desk.answer(panel("live:gone", 3))
    desk.close()


def test_stages_layers_and_timeline_agree_with_the_panel(run_file: Path) -> None:
    desk = RunDesk()
    address = MapAddress(str(run_file), (2,), 4)
    refined = Refinement("paper")
    ladder = desk.answer(LadderQuery(address, 6, refined, "trajectory"))
    assert [s.stage for s in ladder.stages] == ["akd", "dacg", "cba", "rescale", "sicd"]
    last = desk.answer(panel(str(run_file), 6, refinement=refined))
    np.testing.assert_allclose(ladder.stages[-1].values, last.native, atol=1e-6)
    first = desk.answer(panel(str(run_file), 6, refinement=refined, stage=0))
    np.testing.assert_allclose(ladder.raw, first.native, atol=1e-6)
    values = dict(last.metrics)
    assert ladder.metric == "F3"
    total = ladder.raw_value + sum(s.delta for s in ladder.stages)
    assert total == pytest.approx(values["F3"], abs=1e-6)
    layers = desk.answer(LayersQuery(address, 6, refined, "trajectory", "F3"))
    assert len(layers.values) == LAYERS
    assert layers.values[4] == pytest.approx(values["F3"])
    timeline = desk.answer(TimelineQuery(address, refined, "trajectory"))
    np.testing.assert_allclose(timeline.maps[6], last.native, atol=1e-6)
    assert timeline.maps[STEPS - 1] is None
    assert 0.0 < timeline.curve[6] <= 1.0
    desk.close()


def test_pipelines_follow_switches_and_parameters() -> None:
    plain = refinement.PRESETS["studio"]
    assert pipeline_of(Refinement()) == plain
    edited = pipeline_of(
        Refinement(off=("focus", "gone"), changes=(("smooth", "sigma", 1.5), ("akd", "x", 1.0)))
    )
    assert edited == plain.with_parameters("smooth", sigma=1.5).with_enabled("focus", False)
    assert pipeline_of(Refinement("no such preset")) == plain
    assert pipeline_of(Refinement(changes=(("smooth", "sigma", 99.0),))) == plain


def test_copies_and_thumbnails(run_file: Path, tmp_path: Path) -> None:
    desk, writing = RunDesk(), WritingDesk()
    written = writing.answer(CopyQuery(str(run_file), str(tmp_path / "copy")))
    assert Path(written.path).read_bytes() == run_file.read_bytes()
    small = desk.answer(ThumbnailQuery(str(run_file)))
    assert small.pixels.ndim == 3
    assert str(STEPS) in small.line
    with pytest.raises(RunFileError):
        writing.answer(CopyQuery(str(run_file), str(tmp_path / "no" / "copy.dcam")))
    desk.close()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    desk = RunDesk()
    fake = tmp_path / "x.dcam"
    fake.write_bytes(b"not a run")
    with pytest.raises(RunFileError):
        desk.answer(OpenQuery(str(fake)))
    desk.close()
