"""The whole window on a scripted engine: from one click to an exported figure."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import STEPS, FakeRunner, Script
from PIL import Image
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from diffcam_core.errors import ResourceError
from diffcam_studio.actions import MENUS, SPECS, is_plain
from diffcam_studio.app import main, parse
from diffcam_studio.commands import playing
from diffcam_studio.demos import DEMOS
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state.settings import Places
from diffcam_studio.theme import Theme

Make = Callable[..., MainWindow]
SECONDS = 60_000


def settle(qtbot: Any, window: MainWindow) -> None:
    """Wait until everything asked for has arrived and is shown."""
    qtbot.waitUntil(window.controller.is_settled, timeout=SECONDS)
    QApplication.processEvents()


def run_demo(qtbot: Any, window: MainWindow) -> None:
    """Start the first demo and wait for its file."""
    window.run_demo(DEMOS[0].key)
    c = window.controller
    qtbot.waitUntil(
        lambda: c.facts is not None and not c.facts.live and not c.state.run.startswith("live"),
        timeout=SECONDS,
    )
    settle(qtbot, window)


def test_one_click_runs_scrubs_compares_and_exports(
    qtbot: Any, make_window: Make, tmp_path: Path
) -> None:
    window = make_window()
    c = window.controller
    assert c.state.page == "welcome"
    card = window.welcome.card(DEMOS[0].key)
    assert card is not None
    qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: c.state.run.endswith(".dcam"), timeout=SECONDS)
    settle(qtbot, window)
    script = Script(DEMOS[0].seed)
    assert c.facts is not None
    assert c.facts.answer == script.answer().text
    assert c.facts.phrase(c.state.tokens) == "umbrella"
    # The word was written at a step without a gradient path: the nearest map is shown.
    assert script.commit[2] == STEPS - 1
    assert c.state.step == STEPS - 3
    # Scrub: the picture on the canvas is the map of that step.
    for step in (3, 9, 6):
        c.go_to(step)
    settle(qtbot, window)
    shown = window.canvas.panels[0].props
    assert shown.subtitle == f"Step 6, layer {c.state.layer}"
    frame = c.arrivals.frames["A"]
    assert shown.values is frame.values  # type: ignore[union-attr]
    assert window.timeline.props.step == 6
    # Compare: raw against refined, as a difference.
    window.registry.trigger("view.difference")
    settle(qtbot, window)
    assert [p.letter for p in c.state.panels] == ["A", "B"]
    assert window.canvas.props.mode == "difference"
    assert all(panel.values is not None for panel in window.canvas.props.panels)
    for suffix in ("png", "svg", "pdf", "npz"):
        target = tmp_path / f"view.{suffix}"
        with qtbot.waitSignal(c.written, timeout=SECONDS):
            c.export_view(str(target))
        assert target.stat().st_size > 1000
    with np.load(tmp_path / "view.npz", allow_pickle=False) as data:
        np.testing.assert_allclose(data["panel0_native"], c.arrivals.frames["A"].native)  # type: ignore[union-attr]


def test_maps_do_not_wait_for_a_figure_that_is_written(
    qtbot: Any, make_window: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcam_core import figures

    window = make_window()
    run_demo(qtbot, window)
    c = window.controller
    before = c.arrivals.frames["A"]
    begun, gate = threading.Event(), threading.Event()
    write = figures.export_view

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return write(*args, **options)

    monkeypatch.setattr(figures, "export_view", slow)
    target = tmp_path / "view.png"
    with qtbot.waitSignal(c.written, timeout=SECONDS):
        c.export_view(str(target))
        qtbot.waitUntil(begun.is_set, timeout=SECONDS)
        c.go_to(3)
        settle(qtbot, window)
        assert c.arrivals.frames["A"] is not before
        assert not target.exists()
        gate.set()
    assert target.exists()


def test_live_steps_appear_and_a_hand_on_the_cursor_ends_following(
    qtbot: Any, make_window: Make
) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    c = window.controller
    window.run_demo(DEMOS[0].key)
    gate.release(4)

    def computed() -> int:
        facts = c.facts
        return int(facts.computed.any(axis=1).sum()) if facts is not None else 0

    qtbot.waitUntil(lambda: computed() == 4, timeout=SECONDS)
    settle(qtbot, window)
    assert c.state.step == 3
    assert window.right_stack.currentIndex() == 1
    cells = window.timeline.props.cells
    assert cells[:4] == ("computed",) * 4
    assert cells[4] == "computing"
    assert cells[5] == "queued"
    assert cells[-1] == "invalid"
    assert window.timeline.props.following is True
    c.go_to(1)
    gate.release(2)
    qtbot.waitUntil(lambda: computed() == 6, timeout=SECONDS)
    assert c.state.step == 1
    assert window.timeline.props.following is False
    window.registry.trigger("run.cancel")
    qtbot.waitUntil(lambda: c.job is None, timeout=SECONDS)
    qtbot.waitUntil(lambda: c.state.run.endswith(".part"), timeout=SECONDS)
    settle(qtbot, window)
    assert computed() == 6
    assert c.state.step == 1
    assert window.right_stack.currentIndex() == 0


def test_an_error_is_shown_where_it_happened(qtbot: Any, make_window: Make, tmp_path: Path) -> None:
    window = make_window(FakeRunner(fail=ResourceError("The memory is full", "Use fewer layers")))
    broken = tmp_path / "broken.dcam"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 100)
    window.open_path(str(broken))
    qtbot.waitUntil(lambda: bool(window.welcome_messages.messages), timeout=SECONDS)
    message = window.welcome_messages.messages[0]
    assert message.level == "error"
    assert "broken.dcam" in message.title
    window.run_demo(DEMOS[0].key)
    qtbot.waitUntil(lambda: bool(window.messages.messages), timeout=SECONDS)
    qtbot.waitUntil(lambda: window.controller.job is None, timeout=SECONDS)
    assert "The memory is full" in window.messages.messages[0].title
    assert "The memory is full" in window.log_pane.text()


def test_photographs_run_but_the_sheet_warns(qtbot: Any, make_window: Make, tmp_path: Path) -> None:
    window = make_window()
    rng = np.random.default_rng(0)
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(photo)
    window.open_path(str(photo))
    qtbot.waitUntil(window.run_sheet.isVisible, timeout=SECONDS)
    assert "sticker scenes only" in window.run_sheet._warning.text()
    qtbot.mouseClick(window.run_sheet.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.controller.state.run.endswith(".dcam"), timeout=SECONDS)
    assert window.controller.facts is not None
    assert window.controller.facts.title == "photo"


def test_words_layers_undo_and_refinement(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    c = window.controller
    start = c.state
    assert c.facts is not None
    window.registry.trigger("run.next_noun")
    settle(qtbot, window)
    assert c.facts.phrase(c.state.tokens) == "ball"
    assert window.canvas.panels[0].props.title == "ball"
    window.registry.trigger("run.layer_less")
    assert c.state.layer == start.layer - 1
    settle(qtbot, window)
    refined = c.arrivals.frames["A"]
    window.registry.trigger("view.stage_1")
    settle(qtbot, window)
    assert c.arrivals.ladder is not None
    assert not c.arrivals.ladder.stages[0].enabled
    assert c.state.refinement.off == (c.arrivals.ladder.stages[0].stage,)
    assert c.arrivals.frames["A"] is not refined
    window.registry.trigger("view.raw")
    assert c.state.refinement.raw
    for _ in range(4):
        window.registry.trigger("edit.undo")
    assert c.state == start
    window.registry.trigger("edit.redo")
    assert c.facts.phrase(c.state.tokens) == "ball"


def test_ctrl_click_selects_a_phrase(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    c = window.controller
    window.strip.token_clicked.emit(11, Qt.KeyboardModifier.ControlModifier)
    settle(qtbot, window)
    assert c.state.tokens == (2, 11)
    assert window.canvas.panels[0].props.values is not None


def test_plain_keys_act_on_views_and_never_while_typing(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    c = window.controller
    c.go_to(4)
    qtbot.keyClick(window, Qt.Key.Key_Right)
    assert c.state.step == 5
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert c.state.appearance.scope == "run"
    window.open_palette()
    qtbot.keyClicks(window.palette_card.field, "n")
    assert c.state.appearance.scope == "run"
    qtbot.keyClick(window.palette_card.field, Qt.Key.Key_Escape)
    assert not window.palette_card.isVisible()


def test_held_keys_last_as_long_as_they_are_held(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    window.setFocus()
    qtbot.keyPress(window, Qt.Key.Key_V)
    assert window.canvas.peek == "image"
    qtbot.keyRelease(window, Qt.Key.Key_V)
    assert window.canvas.peek == "none"
    c = window.controller
    before = c.state
    assert not c.store.can_undo
    for key, peek in ((Qt.Key.Key_D, "difference"), (Qt.Key.Key_B, "blink")):
        qtbot.keyPress(window, key)
        assert window.canvas.peek == peek
        settle(qtbot, window)
        raw = window.canvas.props.panels[1]
        assert raw.tag == "Raw"
        assert raw.values is not None
        qtbot.keyRelease(window, key)
        assert window.canvas.peek == "none"
        settle(qtbot, window)
        # Nothing is left of it: no second panel, nothing to undo.
        assert len(window.canvas.props.panels) == 1
        assert c.state == before
        assert not c.store.can_undo


def test_the_palette_finds_and_runs(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    window.controller.go_to(0)
    window.open_palette()
    qtbot.keyClicks(window.palette_card.field, "next co")
    titles = [c.title for c in window.palette_card.found[:2]]
    assert set(titles) == {"Go to next commit", "Next computed step"}
    at = titles.index("Next computed step")
    for _ in range(at):
        qtbot.keyClick(window.palette_card.field, Qt.Key.Key_Down)
    qtbot.keyClick(window.palette_card.field, Qt.Key.Key_Return)
    assert window.controller.state.step == 1
    settle(qtbot, window)


def test_playing_stops_at_the_end_and_loops(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    c = window.controller
    c.go_to(STEPS - 2)
    c.apply(replace(c.state, playback=replace(c.state.playback, speed=4.0)))
    playing.play(c, True)
    qtbot.waitUntil(lambda: not c.state.playback.playing, timeout=SECONDS)
    assert c.state.step == STEPS - 1
    playing.set_loop(c, 2, 3)
    c.go_to(2)
    playing.play(c, True)
    seen: set[int] = set()
    qtbot.waitUntil(lambda: seen.add(c.state.step) or len(seen) == 2, timeout=SECONDS)
    assert seen == {2, 3}
    playing.play(c, False)
    settle(qtbot, window)


def test_themes_switch_live(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    for name in ("light", "dark"):
        window.registry.trigger(f"view.{name}")
        QApplication.processEvents()
        settle(qtbot, window)
        assert window.theme.name == name
        assert window.canvas.theme is window.theme
        assert window.timeline.theme is window.theme
        assert app.palette().window().color() == window.theme.color("window")
        window.tell("error", "Over the canvas")
        themed = [w for w in window.findChildren(QWidget) if isinstance(_theme_of(w), Theme)]
        assert len(themed) > 100
        assert {type(w).__name__ for w in themed if _theme_of(w) is not window.theme} == set()


def _theme_of(widget: QWidget) -> object:
    return getattr(widget, "theme", None)


def test_the_session_comes_back(
    qtbot: Any, make_window: Make, places: Places, tmp_path: Path
) -> None:
    first = make_window()
    run_demo(qtbot, first)
    c = first.controller
    c.go_to(7)
    first.registry.trigger("view.difference")
    first.registry.trigger("view.scope")
    settle(qtbot, first)
    kept = c.state
    first.close_now()
    second = make_window()
    second.controller.restore_session()
    qtbot.waitUntil(lambda: second.controller.facts is not None, timeout=SECONDS)
    settle(qtbot, second)
    assert second.controller.state == kept


def test_closing_while_a_job_runs_asks_first(
    qtbot: Any, make_window: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Semaphore(0)
    window = make_window(FakeRunner(DEMOS[0].seed, gate))
    window.run_demo(DEMOS[0].key)
    qtbot.waitUntil(lambda: window.controller.job is not None, timeout=SECONDS)
    asked: list[str] = []

    def answer(value: bool) -> None:
        def confirm(_title: str, _text: str, verb: str) -> bool:
            asked.append(verb)
            return value

        monkeypatch.setattr(window, "confirm", confirm)

    answer(False)
    assert not window.close()
    assert window.controller.job is not None
    answer(True)
    assert window.close()
    assert asked == ["Cancel job and close"] * 2


def test_enter_and_escape_keep_what_would_be_lost(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Escape):
        poll = QTimer(window)

        def press(key: Qt.Key = key, poll: QTimer = poll) -> None:
            box = QApplication.activeModalWidget()
            if isinstance(box, QMessageBox) and box.isVisible():
                poll.stop()
                QTest.keyClick(box, key)

        poll.timeout.connect(press)
        poll.start(10)
        assert not window.confirm("Close", "A job runs.", "Cancel job and close")


def test_closing_does_not_wait_for_a_busy_engine(qtbot: Any, make_window: Make) -> None:
    busy, free = threading.Event(), threading.Event()
    waited: list[bool] = []

    class Deaf(FakeRunner):
        """Hears of nothing until it is let go."""

        def run(self, *args: Any) -> None:
            busy.set()
            waited.append(free.wait(20))

    window = make_window(Deaf(DEMOS[0].seed))
    window._quitting = True  # as after "Cancel job and close"
    window.run_demo(DEMOS[0].key)
    qtbot.waitUntil(busy.is_set, timeout=SECONDS)
    assert window.close()
    assert not window.isVisible()
    free.set()
    assert window.controller.close()
    assert waited == [True]


def test_an_unfinished_run_is_offered_and_resumed(
    qtbot: Any, make_window: Make, places: Places
) -> None:
    script = Script(DEMOS[0].seed)
    gate = threading.Semaphore(0)
    first = make_window(FakeRunner(script.seed, gate))
    first.run_demo(DEMOS[0].key)
    gate.release(3)
    c = first.controller
    qtbot.waitUntil(
        lambda: c.facts is not None and c.facts.computed.any(axis=1).sum() == 3, timeout=SECONDS
    )
    first.close_now()
    found = list(places.runs.glob("*.part"))
    assert len(found) == 1
    runner = FakeRunner(script.seed)
    second = make_window(runner)
    qtbot.waitUntil(lambda: bool(second.welcome._banner_widgets), timeout=SECONDS)
    second.welcome.recovery_open.emit(str(found[0]))
    qtbot.waitUntil(lambda: second.controller.facts is not None, timeout=SECONDS)
    settle(qtbot, second)
    assert second.controller.facts is not None
    assert second.controller.facts.computed.any(axis=1).sum() == 3
    found[0].rename(found[0].with_suffix(".old"))
    second.controller.resume_job(str(found[0]))
    qtbot.waitUntil(lambda: bool(runner.ran), timeout=SECONDS)
    assert runner.ran[0].resume == str(found[0])
    qtbot.waitUntil(lambda: second.controller.job is None, timeout=SECONDS)
    settle(qtbot, second)


@pytest.mark.parametrize("size", [(1280, 720), (1440, 900), (1920, 1080)])
def test_regions_stand_where_the_style_guide_puts_them(
    qtbot: Any, make_window: Make, size: tuple[int, int]
) -> None:
    window = make_window()
    run_demo(qtbot, window)
    window.messages.clear()
    window.resize(*size)
    QApplication.processEvents()
    settle(qtbot, window)
    top = window.top_bar.mapTo(window, window.top_bar.rect().topLeft())
    assert (top.x(), top.y(), window.top_bar.height()) == (0, 0, 44)
    canvas = window.canvas.mapTo(window, window.canvas.rect().topLeft())
    timeline = window.timeline.mapTo(window, window.timeline.rect().topLeft())
    assert window.status.height() == 28
    if size == (1440, 900):
        assert (canvas.x(), canvas.y()) == (264, 44)
        assert window.canvas.width() == 872
        # The window draws its one-pixel separator where the guide has the line of the timeline.
        assert timeline.y() - 1 == 656
        assert window.timeline.height() == 216
        assert window.strip.height() == 84
    assert canvas.y() + window.canvas.height() + 84 <= timeline.y()


def test_windows_leave_nothing_behind(qtbot: Any, make_window: Make) -> None:
    window = make_window()
    run_demo(qtbot, window)
    ref = weakref.ref(window.controller)
    window.close_now()
    assert not window.controller.io.isRunning()
    assert not window.controller.engine._thread.isRunning()
    assert ref() is not None
    gc.collect()


# --- actions --------------------------------------------------------------------------------------


def test_every_action_does_something(make_window: Make) -> None:
    window = make_window(show=False)
    assert window.registry.unbound() == ()
    for spec in SPECS:
        assert spec.menu in MENUS
        if spec.icon:
            from diffcam_studio.theme import icon_names

            assert spec.icon in icon_names()


def test_no_key_means_two_things() -> None:
    keys = [QKeySequence(k).toString() for spec in SPECS for k in spec.keys]
    assert len(keys) == len(set(keys))
    assert all(keys)


@pytest.mark.parametrize(
    ("key", "plain"),
    [("B", True), ("Shift+Left", True), ("Ctrl+B", False), ("F1", False), ("Space", True)],
)
def test_plain_keys_are_told_apart(key: str, plain: bool) -> None:
    assert is_plain(key) is plain


def test_impossible_actions_say_why(make_window: Make) -> None:
    window = make_window(show=False)
    action = window.registry.action("figure.export")
    assert not action.isEnabled()
    assert action.toolTip() == "Open a run first"
    assert not window.registry.trigger("figure.export")


# --- command line ---------------------------------------------------------------------------------


def test_the_command_line_is_read() -> None:
    options = parse(["run.dcam", "--theme", "light", "--size", "1280x720"])
    assert (options.path, options.theme, options.size) == ("run.dcam", "light", "1280x720")
    with pytest.raises(SystemExit) as error:
        parse(["--theme", "pink"])
    assert error.value.code == 2


def test_a_screenshot_of_the_welcome_page(qtbot: Any, tmp_path: Path) -> None:
    target = tmp_path / "welcome.png"
    assert main(["--screenshot", str(target), "--theme", "light"]) == 0
    with Image.open(target) as picture:
        assert picture.size == (1440, 900)


def test_starting_needs_no_torch_and_nothing_slow() -> None:
    code = (
        "import sys; import diffcam_studio.app, diffcam_studio.main_window, "
        "diffcam_studio.controller; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'h5py', 'scipy', 'cmap'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
