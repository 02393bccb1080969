"""The whole Studio on the embedded model, offscreen: a run and its tour, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import (
    CONTROL,
    PATIENCE_MS,
    answer_next_box,
    canvas_pixels,
    check_against_file,
    click,
    drop,
    finished_facts,
    press,
    settle,
    show_active,
    tour,
    variety,
    wait_for_run,
)
from fake_engine import FakeRunner
from PIL import Image
from PySide6.QtCore import Qt

from diffcam_core.datasets.scenes import make_scene
from diffcam_core.events import Event, MapStep
from diffcam_core.session import open_run
from diffcam_studio.app import build
from diffcam_studio.demos import DEMOS
from diffcam_studio.jobs import Picture
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state.settings import Places
from diffcam_studio.worker.engine_thread import Cancel, CoreRunner, JobRequest

SEED = DEMOS[0].seed
PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def core() -> CoreRunner:
    """The real engine; the model is loaded once."""
    return CoreRunner()


@pytest.fixture
def studio(qtbot: Any, places: Places, core: CoreRunner) -> Iterator[Callable[[], MainWindow]]:
    """Open the Studio on the embedded model; it is closed at the end of the test."""
    made: list[MainWindow] = []

    def make() -> MainWindow:
        window = build(places=places, make_runner=lambda: core)
        window.resize(1440, 900)
        made.append(window)
        show_active(qtbot, window)
        return window

    yield make
    for window in made:
        window.close_now()
        window.deleteLater()


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A finished run, made without a model."""
    path = tmp_path / "good.dcam"
    request = JobRequest("job", "good", PROMPT, str(path))
    FakeRunner(SEED).run(request, lambda _event: None, Cancel())
    return path


def test_an_image_becomes_evidence_to_walk_through(
    qtbot: Any,
    studio: Callable[[], MainWindow],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Drop an image, ask for its commit steps, then word, arrows, refinement, export."""
    picture = tmp_path / "scene.png"
    Image.fromarray(make_scene(SEED).render(280)).save(picture)
    window = studio()
    c = window.controller
    assert drop(window.welcome, picture)
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)

    sheet = window.run_sheet
    sheet.prompt.setCurrentText(PROMPT)
    click(sheet.scope.button("commit"))
    assert sheet.scope.current == "commit"
    click(sheet.run_button)
    assert not sheet.isVisible()
    assert c.job is not None

    facts = wait_for_run(qtbot, window)
    assert facts.complete
    assert facts.answer.strip()
    with open_run(facts.key) as run:
        assert run.complete
        assert run.answer == facts.answer
        assert run.n_steps == facts.n_steps
        np.testing.assert_array_equal(run.computed, facts.computed)
        np.testing.assert_array_equal(run.image, np.asarray(Image.open(picture)))
    assert variety(canvas_pixels(window)) > 20
    tour(qtbot, window, tmp_path, monkeypatch)


def test_cancel_keeps_what_is_done(
    qtbot: Any, studio: Callable[[], MainWindow], places: Places
) -> None:
    """A job that is cancelled after its first maps leaves a file that opens and resumes."""
    window = studio()
    c = window.controller
    stored: list[int] = []

    def hear(_job: str, event: Event) -> None:
        if isinstance(event, MapStep):
            stored.append(event.step)
            press(window, Qt.Key.Key_Period, CONTROL)

    c.engine.event.connect(hear)
    picture = Picture(make_scene(SEED).render(280), "scene")
    job = c.start_job(prompt=PROMPT, picture=picture)
    facts = wait_for_run(qtbot, window)
    c.engine.event.disconnect(hear)

    done = c.jobs.states[job].live.done
    assert done is not None
    assert done.cancelled
    assert not facts.complete
    assert facts.key == str(places.runs / "scene.dcam.part")
    kept = {int(s) for s in np.flatnonzero(facts.computed.any(axis=1))}
    assert kept == set(stored)
    assert 0 < len(kept) < int(facts.valid.any(axis=1).sum())
    with open_run(facts.key) as run:
        assert not run.complete
        np.testing.assert_array_equal(run.computed, facts.computed)

    c.go_to(stored[0])
    settle(qtbot, window)
    check_against_file(window, facts)
    assert variety(canvas_pixels(window)) > 20
    assert any("cancelled" in m.title for m in window.messages.messages)

    # Another window, later: the run is offered again, and opens.
    window.close_now()
    again = studio()
    again.open_path(facts.key)
    qtbot.waitUntil(lambda: finished_facts(again) is not None, timeout=PATIENCE_MS)
    settle(qtbot, again)
    restored = finished_facts(again)
    assert restored is not None
    np.testing.assert_array_equal(restored.computed, facts.computed)
    assert any(m.action == "Resume" for m in again.messages.messages)


def test_closing_while_a_job_runs_asks_and_keeps_the_steps(
    qtbot: Any, studio: Callable[[], MainWindow], places: Places
) -> None:
    window = studio()
    c = window.controller
    c.start_job(prompt=PROMPT, picture=Picture(make_scene(SEED).render(280), "scene"))
    qtbot.waitUntil(
        lambda: c.facts is not None and bool(c.facts.computed.any()), timeout=PATIENCE_MS
    )
    kept = answer_next_box("Keep")
    assert not window.close()
    assert len(kept) == 1
    assert window.isVisible()
    assert c.job is not None
    told = answer_next_box("Cancel job and close")
    assert window.close()
    assert len(told) == 1
    assert not window.isVisible()
    assert c.close()  # the engine ends out of sight
    with open_run(places.runs / "scene.dcam.part") as run:
        assert run.computed.any()
        assert not run.complete


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.97])
def test_a_truncated_run_shows_an_error_and_the_window_lives(
    qtbot: Any, make_window: Callable[..., MainWindow], run_file: Path, share: float
) -> None:
    data = run_file.read_bytes()
    broken = run_file.with_name("broken.dcam")
    broken.write_bytes(data[: int(len(data) * share)])
    window = make_window()
    c = window.controller

    window.open_path(str(broken))
    stack = window.welcome_messages
    qtbot.waitUntil(lambda: bool(stack.messages) and c.io.is_idle(), timeout=PATIENCE_MS)
    assert [m.level for m in stack.messages] == ["error"]
    assert "broken.dcam" in stack.messages[0].title
    assert stack.messages[0].detail, "The message does not say how to mend it"
    assert stack.isVisible()
    assert c.state.page == "welcome"
    assert not c.runs

    window.open_path(str(run_file))
    qtbot.waitUntil(lambda: c.facts is not None, timeout=PATIENCE_MS)
    settle(qtbot, window)
    assert c.state.page == "workspace"
    assert variety(canvas_pixels(window)) > 20

    # In the workspace the message lies over the canvas, and the run stays shown.
    before = c.state
    window.open_path(str(broken))
    qtbot.waitUntil(lambda: bool(window.messages.messages), timeout=PATIENCE_MS)
    assert window.messages.messages[-1].level == "error"
    assert c.state == before


@pytest.mark.parametrize("name", ["notes.txt", "notes.png", "empty.jpg"])
def test_a_text_file_dropped_as_an_image_is_refused_in_words(
    qtbot: Any, make_window: Callable[..., MainWindow], tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_text("" if "empty" in name else "Not a picture.\n" * 40)
    window = make_window()
    stack = window.welcome_messages
    assert drop(window.welcome, file)
    qtbot.waitUntil(lambda: bool(stack.messages), timeout=PATIENCE_MS)
    assert [m.level for m in stack.messages] == ["error"]
    assert name in stack.messages[0].title
    assert stack.messages[0].detail, "The message does not say how to mend it"
    assert not window.run_sheet.isVisible()
    assert window.controller.picture is None

    picture = tmp_path / "scene.png"
    Image.fromarray(make_scene(SEED).render(128)).save(picture)
    assert drop(window.welcome, picture)
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=PATIENCE_MS)


def test_runs_and_images_are_dropped_on_the_workspace_too(
    qtbot: Any, make_window: Callable[..., MainWindow], run_file: Path, tmp_path: Path
) -> None:
    window = make_window()
    c = window.controller
    assert drop(window.welcome, run_file)
    qtbot.waitUntil(lambda: c.facts is not None, timeout=PATIENCE_MS)
    settle(qtbot, window)
    text = tmp_path / "notes.txt"
    text.write_text("Not a picture.")
    assert drop(window, text)
    qtbot.waitUntil(lambda: bool(window.messages.messages), timeout=PATIENCE_MS)
    assert window.messages.messages[-1].level == "error"
    assert c.facts is not None
    assert c.facts.key == str(run_file)
