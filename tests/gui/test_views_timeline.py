"""Timeline: what each lane paints, what dragging asks for, keys, timers, the thin form."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QColor, QImage

from diffcam_studio.theme import load_theme
from diffcam_studio.views.props import ColourScale, Commit, Curve, TimelineProps
from diffcam_studio.views.timeline import Timeline, curves
from diffcam_studio.views.timeline.commits import dots
from diffcam_studio.views.timeline.facts import describe
from diffcam_studio.views.timeline.geometry import LABELS
from diffcam_studio.views.timeline.lanes import Lanes
from diffcam_studio.views.timeline.maps import thumbnail_rect

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")
STEPS = 12


def make_props(**changes: object) -> TimelineProps:
    valid = np.ones(STEPS, bool)
    valid[9:] = False
    cells = ["computed"] * STEPS
    cells[5], cells[6], cells[7], cells[8] = "partly", "failed", "not_computed", "queued"
    cells[9:] = ["invalid"] * 3
    shares = [1.0] * STEPS
    shares[5] = 0.5
    commits = [() for _ in range(STEPS)]
    commits[2] = (Commit(0, "a"), Commit(7, "", end=True))
    commits[4] = (Commit(1, "cat", selected=True), Commit(2, "the"))
    rng = np.random.default_rng(0)
    maps = [rng.random((6, 8)).astype(np.float32) for _ in range(STEPS)]
    maps[7] = None
    base = TimelineProps(
        n_steps=STEPS,
        step=3,
        valid=valid,
        cells=tuple(cells),
        shares=tuple(shares),
        maps=tuple(maps),
        maps_title="Maps, layer 5",
        commits=tuple(commits),
        curve=Curve("Mass", np.linspace(0, 0.4, STEPS).astype(np.float32)),
        second_curve=Curve("Probability", np.linspace(0, 1, STEPS).astype(np.float32)),
        masked_share=0.19,
    )
    return replace(base, **changes)


@pytest.fixture
def timeline(qtbot):
    view = Timeline(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(1000, view.height())
    view.show()
    view.set_props(make_props())
    return view


def shot(widget) -> QImage:
    return widget.grab().toImage()


def colours(image: QImage, box: QRect) -> set[str]:
    return {
        image.pixelColor(x, y).name()
        for x in range(box.left(), box.right() + 1)
        for y in range(box.top(), box.bottom() + 1)
    }


def map_rect(lanes, step: int) -> QRect:
    return thumbnail_rect(lanes.lane_geometry, lanes.props.map_aspect, step)


def hex_of(timeline, token: str) -> str:
    return QColor(timeline.theme[token]).name()


def test_valid_lane_is_solid_where_valid_and_hatched_where_not(timeline):
    lanes = timeline.lanes
    image = shot(lanes)
    lane = lanes.lane_geometry.lane_rect("valid")
    y = lane.center().y() + 1
    for step in range(9):
        if step != 3:  # the playhead crosses its own column
            assert image.pixelColor(round(lanes.step_x(step)) + 4, y).name() == hex_of(
                timeline, "valid"
            )
    left, right = round(lanes.step_x(9)), round(lanes.step_x(9)) + 24
    bar = QRect(left - 20, y - 3, right - left, 6)
    seen = colours(image, bar)
    assert hex_of(timeline, "valid") not in seen
    assert len(seen) > 3, "stripes on panel, not a flat bar"


def test_reason_stands_in_the_hatched_bar_if_there_is_room(timeline):
    lanes = timeline.lanes
    with_text = shot(lanes)
    timeline.set_props(make_props(invalid_reason="x" * 200))
    without = shot(lanes)
    middle = QPointF(
        (lanes.step_x(9) + lanes.step_x(11)) / 2, lanes.lane_geometry.lane_rect("valid").y() + 9
    )
    box = QRect(middle.toPoint() - QPoint(30, 4), middle.toPoint() + QPoint(30, 4))
    assert colours(with_text, box) != colours(without, box)


def test_every_cell_state_looks_different_even_without_colour(timeline):
    lanes = timeline.lanes
    cells = ("not_computed", "queued", "computing", "computed", "partly", "failed", "invalid")
    props = make_props(cells=cells + ("computed",) * 5, shares=(0.5,) * STEPS, step=11)
    timeline.set_props(props)
    image = shot(lanes).convertToFormat(QImage.Format.Format_Grayscale8)
    looks = [image.copy(lanes.lane_geometry.cell_rect(step)) for step in range(len(cells))]
    for i, a in enumerate(looks):
        for b in looks[i + 1 :]:
            assert a != b


def test_partly_fills_from_below_by_share(timeline):
    lanes = timeline.lanes
    for share in (0.25, 0.5, 0.75):
        shares = [1.0] * STEPS
        shares[5] = share
        timeline.set_props(make_props(shares=tuple(shares)))
        image = shot(lanes)
        cell = lanes.lane_geometry.cell_rect(5)
        column = [
            image.pixelColor(cell.center().x(), y).name() == hex_of(timeline, "computed")
            for y in range(cell.top() + 1, cell.bottom())
        ]
        filled = sum(column)
        assert abs(filled - share * 14) <= 1.5
        assert column == sorted(column), "the fill stands at the bottom"


def test_missing_map_is_an_outline_and_a_map_has_its_colours(timeline):
    lanes = timeline.lanes
    flat = (*(np.ones((6, 8), np.float32) for _ in range(STEPS - 1)), None)
    timeline.set_props(make_props(maps=flat, scale=ColourScale("inferno", 0, 1)))
    image = shot(lanes)
    box = map_rect(lanes, 1)
    assert image.pixelColor(box.center()).name() == "#fcffa4"  # last entry of inferno
    box = map_rect(lanes, 11)
    assert len(colours(image, box.adjusted(3, 3, -3, -3))) == 1


@pytest.mark.parametrize("aspect", [0.5, 1.0, 4 / 3, 2.0])
def test_thumbnails_keep_the_shape_of_the_picture(timeline, aspect):
    timeline.set_props(make_props(map_aspect=aspect))
    box = map_rect(timeline.lanes, 2)
    assert box.width() / box.height() == pytest.approx(aspect, rel=0.05)
    assert timeline.lanes.lane_geometry.lane_rect("maps").contains(box)
    assert box.width() <= timeline.lanes.lane_geometry.step_width


def test_same_scale_for_all_thumbnails(timeline):
    weak = np.full((6, 8), 0.1, np.float32)
    strong = np.full((6, 8), 1.0, np.float32)
    timeline.set_props(make_props(maps=(weak, strong) + (None,) * 10))
    image = shot(timeline.lanes)
    a = image.pixelColor(map_rect(timeline.lanes, 0).center()).lightness()
    b = image.pixelColor(map_rect(timeline.lanes, 1).center()).lightness()
    assert a < 45 < 150 < b


def test_commits_are_dots_by_kind_and_click_selects(timeline, qtbot):
    lanes = timeline.lanes
    image = shot(lanes)
    found = dots(lanes.lane_geometry, lanes.props, 2)
    assert [commit.end for commit, _, _ in found] == [False, True]
    assert image.pixelColor(found[0][1].toPoint()).name() == hex_of(timeline, "commit")
    assert image.pixelColor(found[1][1].toPoint()).name() == hex_of(timeline, "invalid")
    with qtbot.waitSignal(timeline.commit_clicked) as caught:
        at = dots(lanes.lane_geometry, lanes.props, 4)[1][1].toPoint()
        qtbot.mouseClick(lanes, Qt.MouseButton.LeftButton, pos=at)
    assert caught.args == [4, 2]
    ring = dots(lanes.lane_geometry, lanes.props, 4)[0][1]
    seen = colours(image, QRect(round(ring.x()) + 3, round(ring.y()) - 1, 4, 3))
    assert hex_of(timeline, "accent_line") in seen


def test_dragging_asks_for_steps_once_a_frame_and_ends_at_the_last(timeline, qtbot):
    lanes = timeline.lanes
    asked: list[int] = []
    timeline.step_requested.connect(asked.append)
    settled: list[int] = []
    timeline.step_settled.connect(settled.append)
    y = 10
    qtbot.mousePress(lanes, Qt.MouseButton.LeftButton, pos=QPoint(round(lanes.step_x(0)), y))
    for x in range(round(lanes.step_x(0)), round(lanes.step_x(10)), 2):
        qtbot.mouseMove(lanes, QPoint(x, y))
    moves = (round(lanes.step_x(10)) - round(lanes.step_x(0))) // 2
    qtbot.mouseRelease(lanes, Qt.MouseButton.LeftButton, pos=QPoint(round(lanes.step_x(10)), y))
    assert asked[0] == 0
    assert asked[-1] == 10
    assert settled == [10]
    assert len(asked) < moves
    assert not lanes._pace.is_waiting


def test_many_wishes_in_one_frame_become_one(timeline, qtbot):
    lanes = timeline.lanes
    asked: list[int] = []
    timeline.step_requested.connect(asked.append)
    for step in (1, 2, 4, 5, 6):
        lanes._pace.request(step)
    assert asked == [1]
    qtbot.waitUntil(lambda: len(asked) == 2, timeout=1000)
    assert asked == [1, 6]


def test_click_left_of_the_lanes_does_nothing(timeline, qtbot):
    with qtbot.assertNotEmitted(timeline.step_requested):
        qtbot.mouseClick(timeline.lanes, Qt.MouseButton.LeftButton, pos=QPoint(20, 60))


def test_click_on_an_empty_cell_asks_to_compute_it(timeline, qtbot):
    lanes = timeline.lanes
    with qtbot.waitSignal(timeline.compute_requested) as caught:
        at = lanes.lane_geometry.cell_rect(7).center()
        qtbot.mouseClick(lanes, Qt.MouseButton.LeftButton, pos=at)
    assert caught.args == [7]
    with qtbot.assertNotEmitted(timeline.compute_requested):
        for step in (1, 10):  # computed, impossible
            at = lanes.lane_geometry.cell_rect(step).center()
            qtbot.mouseClick(lanes, Qt.MouseButton.LeftButton, pos=at)


@pytest.mark.parametrize(
    ("key", "modifier", "target"),
    [
        (Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier, 2),
        (Qt.Key.Key_Right, Qt.KeyboardModifier.NoModifier, 4),
        (Qt.Key.Key_Left, Qt.KeyboardModifier.ControlModifier, 2),
        (Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier, 4),
        (Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier, 4),
        (Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier, 0),
        (Qt.Key.Key_End, Qt.KeyboardModifier.NoModifier, 8),
    ],
)
def test_keys(timeline, qtbot, key, modifier, target):
    with qtbot.waitSignal(timeline.step_requested) as caught:
        qtbot.keyClick(timeline.lanes, key, modifier)
    assert caught.args == [target]


def test_transport_buttons(timeline, qtbot):
    for button, target in (
        (timeline.first, 0),
        (timeline.back, 2),
        (timeline.forward, 4),
        (timeline.last, 11),
    ):
        with qtbot.waitSignal(timeline.step_requested) as caught:
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert caught.args == [target]
    with qtbot.waitSignal(timeline.play_toggled) as caught:
        qtbot.mouseClick(timeline.play, Qt.MouseButton.LeftButton)
    assert caught.args == [True]
    timeline.set_props(make_props(playing=True, step=11))
    assert timeline.play.icon_name == "pause"
    assert timeline.play.accessibleName() == "Pause"
    assert not timeline.forward.isEnabled()
    assert timeline.back.isEnabled()


def test_playhead_column_and_line_move_and_leave_nothing_behind(timeline, qtbot):
    fresh = Timeline(load_theme("dark"))
    qtbot.addWidget(fresh)
    fresh.resize(timeline.size())
    fresh.show()
    for step in (4, 8, 1, 11, 0, 6):
        timeline.set_props(make_props(maps=timeline.props.maps, step=step))
        shot(timeline.lanes)
        fresh.set_props(timeline.props)
        fresh.lanes.update()
        assert shot(timeline.lanes) == shot(fresh.lanes)


def test_curves_that_say_the_same_are_not_drawn_again(timeline, monkeypatch):
    drawn = []
    draw = curves._draw_curves
    monkeypatch.setattr(curves, "_draw_curves", lambda *args: (drawn.append(1), draw(*args)))
    base = make_props(maps=timeline.props.maps)
    values = np.linspace(0.1, 0.9, base.n_steps).astype(np.float32)
    for step in (4, 5, 6):
        curve = Curve("Probability", values.copy())
        timeline.set_props(replace(base, step=step, second_curve=curve))
        shot(timeline.lanes)
    assert len(drawn) == 1
    timeline.set_props(replace(base, step=6, second_curve=Curve("Probability", values / 2)))
    shot(timeline.lanes)
    assert len(drawn) == 2


def test_stripes_move_only_while_something_computes_in_sight(timeline):
    lanes = timeline.lanes
    assert not lanes.is_animating
    cells = list(make_props().cells)
    cells[7] = "computing"
    timeline.set_props(make_props(cells=tuple(cells)))
    assert lanes.is_animating
    lanes.set_reduce_motion(True)
    assert not lanes.is_animating
    lanes.set_reduce_motion(False)
    timeline.hide()
    assert not lanes.is_animating
    timeline.show()
    assert lanes.is_animating
    timeline.set_props(make_props())
    assert not lanes.is_animating


def test_lane_heights_of_the_guide(timeline):
    assert timeline.height() == 216
    timeline.set_lanes(("valid", "commits"))
    assert timeline.height() == 216 - 20 - 33 - 41
    assert timeline.lanes.lane_geometry.lane_rect("maps").isEmpty()
    timeline.set_thin(True)
    assert timeline.height() == 44


def test_thin_row_still_scrubs_and_shows_validity(timeline, qtbot):
    timeline.set_thin(True)
    lanes = timeline.lanes
    assert timeline.is_thin
    with qtbot.waitSignal(timeline.step_requested) as caught:
        at = QPoint(round(lanes.step_x(8)), 20)
        qtbot.mousePress(lanes, Qt.MouseButton.LeftButton, pos=at)
    assert caught.args == [8]
    qtbot.mouseRelease(lanes, Qt.MouseButton.LeftButton, pos=at)
    image = shot(lanes)
    y = lanes.height() // 2
    assert image.pixelColor(round(lanes.step_x(1)), y).name() == hex_of(timeline, "valid")
    assert image.pixelColor(round(lanes.step_x(10)), y).name() != hex_of(timeline, "valid")
    timeline.set_thin(False)
    assert timeline.height() == 216


def test_loop_is_set_on_the_ruler(timeline, qtbot):
    lanes = timeline.lanes
    seen: list[tuple[int, int]] = []
    timeline.loop_changed.connect(lambda a, b: seen.append((a, b)))
    shift = Qt.KeyboardModifier.ShiftModifier
    left = QPoint(round(lanes.step_x(6)), 8)
    qtbot.mousePress(lanes, Qt.MouseButton.LeftButton, shift, left)
    qtbot.mouseMove(lanes, QPoint(round(lanes.step_x(2)), 8))
    qtbot.mouseRelease(lanes, Qt.MouseButton.LeftButton, shift, left)
    assert seen[0] == (6, 6)
    assert seen[-1] == (2, 6)


def test_zoom_keeps_the_step_under_the_cursor(timeline):
    lanes = timeline.lanes
    x = lanes.step_x(6)
    before = (x - lanes.step_x(0)) / lanes.lane_geometry.step_width
    lanes.set_zoom(4.0, x)
    after = (x - lanes.step_x(0)) / lanes.lane_geometry.step_width
    assert lanes.zoom == 4.0
    assert after == pytest.approx(before, abs=0.05)
    timeline.set_props(make_props(step=0))
    assert lanes.step_x(0) >= LABELS
    lanes.set_zoom(1.0)
    assert lanes.step_x(0) == pytest.approx(LABELS + lanes.lane_geometry.step_width / 2, abs=1)


def test_narrow_steps_drop_maps_and_words(qtbot):
    lanes = Lanes(load_theme("dark"))
    qtbot.addWidget(lanes)
    lanes.set_props(make_props())
    lanes.resize(LABELS + 16 + 20 * STEPS, lanes.height())
    assert lanes.lane_geometry.step_width == 20
    assert map_rect(lanes, 1).isEmpty()
    assert not map_rect(lanes, 2).isEmpty()
    lanes.resize(LABELS + 16 + 5 * STEPS, lanes.height())
    assert lanes.lane_geometry.step_width == 12  # then the lanes scroll


def test_words_for_tooltips_and_readers(timeline):
    lanes = timeline.lanes
    assert "written: cat the" in describe(lanes.props, 4)
    assert "no gradient path" in describe(lanes.props, 10)
    assert "50 % of the layers" in describe(lanes.props, 5)
    assert "1 end mark" in describe(lanes.props, 2)
    assert "Mass" in describe(lanes.props, 2)
    assert lanes.accessibleDescription().startswith("Step 3")
    failed = [""] * STEPS
    failed[6] = "Step 6 failed: out of memory. Compute again with 4 layers"
    timeline.set_props(make_props(cell_help=tuple(failed)))
    assert lanes.help_at(QPointF(lanes.lane_geometry.cell_rect(6).center())) == failed[6]


def test_empty_and_growing(timeline):
    timeline.set_props(TimelineProps())
    shot(timeline)
    assert not timeline.play.isEnabled()
    timeline.set_props(TimelineProps(n_steps=4, step=0))
    shot(timeline)
    timeline.set_props(make_props())
    shot(timeline)


def test_cannot_be_closed_only_thinned(timeline, qtbot):
    with qtbot.waitSignal(timeline.thin_toggled) as caught:
        qtbot.mouseClick(timeline.thin, Qt.MouseButton.LeftButton)
    assert caught.args == [True]
    assert timeline.isVisible()
