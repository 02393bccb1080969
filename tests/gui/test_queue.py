"""Jobs that wait, take turns, are removed or fail, and runs that go from job to file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_engine import STEPS, FakeRunner, Script
from PySide6.QtWidgets import QApplication

from diffcam_studio.demos import DEMOS
from diffcam_studio.jobs import Picture
from diffcam_studio.main_window import MainWindow
from diffcam_studio.worker.queries import PanelFrame

Make = Callable[..., MainWindow]
SECONDS = 60_000


def submit(window: MainWindow, name: str) -> str:
    """Ask for a run; returns the key of its live run."""
    picture = Picture(Script(DEMOS[0].seed).image, name)
    return f"live:{window.controller.start_job(prompt='Describe it.', picture=picture)}"


def is_file(window: MainWindow, name: str) -> bool:
    return any(key.endswith(f"{name}.dcam") for key in window.controller.runs)


def test_the_next_job_begins_behind_what_is_explored(qtbot: Any, make_window: Make) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    c = window.controller
    first = submit(window, "one")
    assert c.state.run == first
    second, third = submit(window, "two"), submit(window, "three")
    assert c.state.run == first
    gate.release(STEPS - 2)
    qtbot.waitUntil(lambda: c.job is not None and c.job.key == second, timeout=SECONDS)
    qtbot.waitUntil(lambda: c.state.run.endswith("one.dcam"), timeout=SECONDS)
    c.go_to(4)
    gate.release(STEPS - 2)
    qtbot.waitUntil(lambda: c.job is not None and c.job.key == third, timeout=SECONDS)
    assert c.state.run.endswith("one.dcam")
    assert c.state.step == 4
    gate.release(STEPS - 2)
    qtbot.waitUntil(lambda: is_file(window, "three"), timeout=SECONDS)
    assert c.state.run.endswith("one.dcam")
    # What is asked for while nothing runs is shown at once.
    fourth = submit(window, "four")
    assert c.state.run == fourth
    gate.release(STEPS - 2)
    qtbot.waitUntil(lambda: c.state.run.endswith("four.dcam"), timeout=SECONDS)


@pytest.mark.parametrize("way", ["queue", "session"])
def test_a_removed_job_takes_its_run_along_and_never_runs(
    qtbot: Any, make_window: Make, way: str
) -> None:
    gate = threading.Semaphore(0)
    runner = FakeRunner(DEMOS[0].seed, gate)
    window = make_window(runner)
    c = window.controller
    first, second = submit(window, "one"), submit(window, "two")
    rows = window.regions.session
    qtbot.waitUntil(lambda: rows.keys == (first, second), timeout=SECONDS)
    if way == "queue":
        window.regions.job_panel.remove.emit(second.removeprefix("live:"))
    else:
        c.show_run(second)
        window.registry.trigger("file.close_run")
    assert c.engine.waiting == ()
    assert c.state.run == first
    qtbot.waitUntil(lambda: rows.keys == (first,), timeout=SECONDS)
    gate.release(STEPS)
    qtbot.waitUntil(lambda: c.job is None and c.state.run.endswith("one.dcam"), timeout=SECONDS)
    assert [request.title for request in runner.ran] == ["one"]


def test_runs_that_wait_or_failed_load_nothing_and_have_names(
    qtbot: Any, make_window: Make
) -> None:
    gate = threading.Semaphore(0)
    runner = FakeRunner(DEMOS[0].seed, gate)
    window = make_window(runner)
    c = window.controller
    submit(window, "one")
    second = submit(window, "two")
    c.show_run(second)
    QApplication.processEvents()
    assert window.canvas.panels[0].props.state == "ready"
    # There is no step to go to: nothing opens, and the action says why.
    assert not window.registry.trigger("run.go_to")
    assert window.registry.reason("run.go_to") == "There is no step yet"
    window.registry.trigger("run.cancel")
    runner.fail = TypeError("nobody thought of this")
    qtbot.waitUntil(lambda: c.job is None and not c.facts.live, timeout=SECONDS)  # type: ignore[union-attr]
    QApplication.processEvents()
    assert c.state.run == second
    assert window.canvas.panels[0].props.state == "ready"
    assert window.status.text("document") == "two"


def test_undo_leaves_the_cursor_with_the_job(qtbot: Any, make_window: Make) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    c = window.controller
    submit(window, "one")
    gate.release(4)
    qtbot.waitUntil(lambda: c.state.step == 3 and c.state.tokens != (), timeout=SECONDS)
    qtbot.waitUntil(c.is_settled, timeout=SECONDS)
    before = c.state
    assert not window.registry.trigger("edit.undo")
    assert c.state == before


def test_what_is_seen_stays_until_the_file_shows_it_anew(qtbot: Any, make_window: Make) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    c = window.controller
    window.run_demo(DEMOS[0].key)
    gate.release(STEPS - 3)
    qtbot.waitUntil(
        lambda: c.facts is not None and int(c.facts.computed.any(axis=1).sum()) == STEPS - 3,
        timeout=SECONDS,
    )
    c.go_to(5)
    qtbot.waitUntil(c.is_settled, timeout=SECONDS)
    blank: list[str] = []

    def look(_parts: object) -> None:
        maps = window.timeline.props.maps
        if window.canvas.panels[0].props.values is None:
            blank.append("canvas")
        if not maps or maps[5] is None:
            blank.append("timeline")
        if c.arrivals.layers is None or c.arrivals.ladder is None:
            blank.append("docks")

    c.changed.connect(look)
    gate.release(1)
    qtbot.waitUntil(lambda: c.state.run.endswith(".dcam"), timeout=SECONDS)
    qtbot.waitUntil(c.is_settled, timeout=SECONDS)
    assert blank == []
    frame = c.arrivals.frames["A"]
    assert isinstance(frame, PanelFrame)
    script = Script(DEMOS[0].seed)
    expected = script.map_step(5).maps["base"][c.state.layer, c.state.tokens[0]]
    np.testing.assert_allclose(frame.raw, expected, atol=2e-3)
