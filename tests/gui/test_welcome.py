"""The welcome page: demos tell the truth, choices go out as signals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_studio.demos import DEMOS
from diffcam_studio.theme import load_theme
from diffcam_studio.views.welcome import DemoCard, RecentRow, Recovery, Welcome


@pytest.fixture
def page(qtbot: Any) -> Iterator[Welcome]:
    widget = Welcome(load_theme("dark"))
    widget.resize(1440, 828)
    widget.show()
    yield widget
    widget.close()
    widget.deleteLater()


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.title)
def test_demo_titles_and_prompts_fit_their_scenes(demo: Any) -> None:
    scene = make_scene(demo.seed)
    assert demo.seed in HELD_OUT_SEEDS
    kinds = {thing.kind for thing in scene.objects}
    words = set(demo.title.lower().replace(",", "").replace(" and ", " ").split())
    assert words == kinds
    prompts = {"Describe the image.", *(q.prompt for q in scene.questions)}
    assert demo.prompt in prompts
    # The card cuts the square picture to 4:3; nothing that is named may be cut off.
    for thing in scene.objects:
        assert thing.centre[1] - thing.diameter / 2 >= 0.125
        assert thing.centre[1] + thing.diameter / 2 <= 0.875


def test_a_card_runs_by_mouse_and_by_key(page: Welcome, qtbot: Any) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    page.show_demos([DemoCard("a", "One", "Describe", picture), DemoCard("b", "Two", "Describe")])
    card = page.card("a")
    assert card is not None
    with qtbot.waitSignal(page.demo_chosen) as heard:
        qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
    assert heard.args == ["a"]
    second = page.card("b")
    assert second is not None
    with qtbot.waitSignal(page.demo_chosen) as heard:
        qtbot.keyClick(second, Qt.Key.Key_Return)
    assert heard.args == ["b"]
    page.show_picture("b", picture)
    page.show_picture("gone", picture)


def test_recovery_and_recent_are_offered(page: Welcome, qtbot: Any) -> None:
    page.show_recoveries([Recovery("/x/a.dcam.part", "a", "a, 3 of 16 steps are safe")])
    with qtbot.waitSignal(page.recovery_resume) as heard:
        page._banner_widgets[0].resume.emit()
    assert heard.args == ["/x/a.dcam.part"]
    page.show_recoveries([])
    assert page._banner_widgets == []
    assert page._no_recent.isVisible()
    page.show_recent([RecentRow("/x/a.dcam", "a")])
    assert not page._no_recent.isVisible()
    with qtbot.waitSignal(page.open_path) as heard:
        qtbot.mouseClick(page._recent_widgets[0], Qt.MouseButton.LeftButton)
    assert heard.args == ["/x/a.dcam"]


def test_files_can_be_dropped(page: Welcome, qtbot: Any) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/x/a.png"), QUrl("https://example.org/b.png")])
    event = QDropEvent(
        QPointF(10, 10),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(page.dropped) as heard:
        page.dropEvent(event)
    assert heard.args == [["/x/a.png"]]
