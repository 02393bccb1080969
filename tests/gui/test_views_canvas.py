"""Canvas: pixels against their own colours, linked cameras, modes, peeks, the four states."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QFocusEvent, QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QApplication

from diffcam_studio.theme import load_theme
from diffcam_studio.views import colormaps, outlines
from diffcam_studio.views.canvas import Canvas
from diffcam_studio.views.canvas.arrangement import default_columns, difference_of
from diffcam_studio.views.canvas.reading import patch_at
from diffcam_studio.views.props import (
    Camera,
    CanvasProps,
    ColourScale,
    PanelMessage,
    PanelProps,
    PatchGrid,
)

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")
W, H = 80, 60


def make_panel(key: str = "A", level: float = 0.5, **changes: object) -> PanelProps:
    image = np.full((H, W, 3), (40, 80, 120), np.uint8)
    values = np.full((H, W), level, np.float32)
    cells = np.zeros((6, 8, 4), np.float32)
    x, y = np.arange(8) * 10.0, np.arange(6) * 10.0
    cells[..., 0], cells[..., 2] = x[None], x[None] + 10
    cells[..., 1], cells[..., 3] = y[:, None], y[:, None] + 10
    base = PanelProps(
        key,
        badge=key,
        title="cat",
        subtitle="Step 19, layer 5",
        image=image,
        values=values,
        opacity=0.5,
        patches=PatchGrid(6, 8, cells),
    )
    return replace(base, **changes)


@pytest.fixture
def canvas(qtbot):
    view = Canvas(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(872, 528)
    view.show()
    return view


def colour_at(canvas: Canvas, x: float, y: float, panel: int = 0) -> tuple[int, int, int]:
    """Screen colour at an image point."""
    view = canvas.panels[panel].view
    at = view.image_to_view().map(QPointF(x, y)).toPoint()
    color = view.grab().toImage().pixelColor(at)
    return color.red(), color.green(), color.blue()


def mixed(level: float, opacity: float, cmap: str = "inferno") -> np.ndarray:
    """What a flat map over the flat picture must look like."""
    heat = colormaps.table(cmap)[round(level * 255)].astype(float)
    return opacity * heat + (1 - opacity) * np.array([40.0, 80.0, 120.0])


def close(seen: tuple[int, int, int], wanted: np.ndarray, tolerance: float = 2.0) -> bool:
    return bool(np.all(np.abs(np.array(seen) - wanted) <= tolerance))


@pytest.mark.parametrize(("level", "opacity"), [(0.0, 0.6), (0.5, 0.5), (1.0, 1.0), (0.8, 0.0)])
def test_pixels_are_the_mixture_of_table_and_picture(canvas, level, opacity):
    canvas.set_props(CanvasProps((make_panel(level=level or 1e-6, opacity=opacity),)))
    assert close(colour_at(canvas, 40, 30), mixed(level, opacity))


def test_range_and_table_act_without_a_new_map(canvas):
    panel = make_panel(level=0.5)
    canvas.set_props(CanvasProps((panel,)))
    before = colour_at(canvas, 40, 30)
    scale = ColourScale("viridis", 0.0, 0.5)
    canvas.set_props(CanvasProps((replace(panel, scale=scale),)))
    assert before != colour_at(canvas, 40, 30)
    assert close(colour_at(canvas, 40, 30), mixed(1.0, 0.5, "viridis"))
    assert canvas.panels[0].bar.scale == scale


def test_values_are_enlarged_before_they_are_coloured(canvas):
    """Half way between two cells stands the table's middle, not the mean of two colours."""
    values = np.zeros((2, 2), np.float32)
    values[:, 1] = 1.0
    panel = make_panel(values=values, opacity=1.0)
    canvas.set_props(CanvasProps((panel,)))
    table = colormaps.table("inferno").astype(float)
    middle = np.array(colour_at(canvas, W / 2, H / 2), float)
    distance = np.abs(table - middle).sum(axis=1)
    assert 110 <= int(np.argmin(distance)) <= 145
    assert distance.min() < 6
    mean_of_ends = (table[0] + table[255]) / 2
    assert np.abs(mean_of_ends - middle).sum() > 60


def test_map_without_positive_value_is_plain_picture_with_a_tag(canvas):
    canvas.set_props(CanvasProps((make_panel(level=0.0),)))
    assert colour_at(canvas, 40, 30) == (40, 80, 120)
    assert "all zero" in canvas.panels[0].header.title_parts()


def test_nan_counts_as_the_low_end(canvas):
    values = np.full((H, W), 0.7, np.float32)
    values[:, 40:] = np.nan
    canvas.set_props(CanvasProps((make_panel(values=values, opacity=1.0),)))
    assert close(colour_at(canvas, 60, 30), mixed(0.0, 1.0))
    assert canvas.panels[0].read(QPointF(0.9, 0.5)).value is None


def test_readout_says_value_and_patch_in_every_linked_panel(canvas, qtbot):
    panels = (make_panel("A", 0.25), make_panel("B", 0.75))
    canvas.set_props(CanvasProps(panels, "tile"))
    seen = []
    canvas.readouts_changed.connect(seen.append)
    with qtbot.waitSignal(canvas.cursor_moved) as caught:
        canvas.panels[0].view.hovered.emit(QPointF(0.56, 0.25))
    read = caught.args[0]
    assert (read.panel, read.row, read.col) == ("A", 1, 4)
    assert read.value == pytest.approx(0.25)
    assert read.x == pytest.approx(0.56 * W)
    assert [r.value for r in seen[-1]] == pytest.approx([0.25, 0.75])
    assert canvas.panels[1].view.readout[0] == "0.75"
    canvas.set_props(CanvasProps(panels, "tile", link_cursor=False))
    assert canvas.panels[1].view.cursor_at is None


def test_same_props_again_say_nothing_and_paint_the_same(canvas, qtbot):
    props = CanvasProps((make_panel(),))
    canvas.set_props(props)
    canvas.panels[0].view.hovered.emit(QPointF(0.5, 0.5))
    before = canvas.grab().toImage()
    with (
        qtbot.assertNotEmitted(canvas.cursor_moved),
        qtbot.assertNotEmitted(canvas.readouts_changed),
        qtbot.assertNotEmitted(canvas.camera_changed),
    ):
        canvas.set_props(props)
    assert canvas.grab().toImage() == before


def test_minus_in_the_readout_is_u2212(canvas):
    panel = make_panel(level=-0.4, scale=ColourScale("berlin", -1, 1, "Difference", True))
    canvas.set_props(CanvasProps((panel,)))
    canvas.panels[0].view.hovered.emit(QPointF(0.5, 0.5))
    assert canvas.panels[0].view.readout == ("\u22120.40", "patch 3, 4")


def test_patch_at_by_brute_force():
    patches = make_panel().patches
    rng = np.random.default_rng(0)
    for x, y in rng.uniform((-5, -5), (W + 5, H + 5), (200, 2)):
        inside = 0 <= x < W and 0 <= y < H
        assert patch_at(patches, x, y) == ((int(y // 10), int(x // 10)) if inside else None)


def test_wheel_keeps_the_point_under_the_cursor_and_links_cameras(canvas):
    canvas.set_props(CanvasProps((make_panel("A"), make_panel("B")), "tile"))
    view = canvas.panels[0].view
    at = QPointF(60, 90)
    before = view.image_to_view().inverted()[0].map(at)
    event = QWheelEvent(
        at,
        view.mapToGlobal(at),
        QPoint(),
        QPoint(0, 480),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view.viewport(), event)
    after = view.image_to_view().inverted()[0].map(at)
    assert canvas.camera.zoom > 1.5
    assert (after - before).manhattanLength() < 0.05
    assert canvas.panels[1].view.camera == canvas.camera
    canvas.fit()
    assert canvas.camera == Camera()
    assert canvas.panels[0].view.camera == Camera()


def test_unlinked_panels_zoom_alone(canvas):
    props = CanvasProps((make_panel("A"), make_panel("B")), "tile", link_zoom=False)
    canvas.set_props(props)
    canvas.panels[0].view.zoom_about(QPointF(50, 50), 3.0)
    assert canvas.panels[0].view.camera.zoom == pytest.approx(3.0)
    assert canvas.panels[1].view.camera == Camera()
    canvas.set_props(props)
    assert canvas.panels[0].view.camera.zoom == pytest.approx(3.0)


def test_zoomed_drawing_is_still_the_right_place(canvas):
    values = np.zeros((H, W), np.float32)
    values[20:40, 30:50] = 1.0
    canvas.set_props(CanvasProps((make_panel(values=values, opacity=1.0),)))
    canvas.set_camera(Camera(2.0, 0.5, 0.5))
    assert close(colour_at(canvas, 40, 30), mixed(1.0, 1.0))
    assert close(colour_at(canvas, 27, 30), mixed(0.0, 1.0))
    assert close(colour_at(canvas, 33, 30), mixed(1.0, 1.0))


def test_wipe_shows_both_and_moves(canvas, qtbot):
    panels = (make_panel("A", 0.2, opacity=1.0), make_panel("B", 0.9, opacity=1.0))
    canvas.set_props(CanvasProps(panels, "wipe", pair=(0, 1)))
    assert close(colour_at(canvas, 10, 30), mixed(0.2, 1.0))
    assert close(colour_at(canvas, 70, 30), mixed(0.9, 1.0))
    with qtbot.waitSignal(canvas.wipe_moved) as caught:
        canvas.panels[0].view.split_moved.emit(0.95)
    assert caught.args == [0.95]
    assert close(colour_at(canvas, 70, 30), mixed(0.2, 1.0))


def test_difference_is_second_minus_first_on_a_symmetric_scale(canvas):
    a, b = make_panel("A", 0.2), make_panel("B", 0.8)
    shown = difference_of(a, b)
    assert np.allclose(shown.values, 0.6)
    assert (shown.scale.low, shown.scale.high) == (pytest.approx(-0.6), pytest.approx(0.6))
    assert shown.scale.diverging
    assert "blue is less" in shown.scale.scope
    canvas.set_props(CanvasProps((a, b), "difference", pair=(0, 1)))
    assert canvas.panels[0].header.title_parts()[:2] == ["Difference", "B \u2212 A"]
    assert canvas.panels[0].bar.isVisible()
    other = replace(b, values=np.zeros((3, 3), np.float32))
    assert difference_of(a, other).state == "no_path"


def press(widget, key, kind=QEvent.Type.KeyPress, repeat=False):
    event = QKeyEvent(kind, key, Qt.KeyboardModifier.NoModifier, "", repeat)
    QApplication.sendEvent(widget, event)


@pytest.mark.parametrize(
    ("key", "peek"),
    [
        (Qt.Key.Key_V, "image"),
        (Qt.Key.Key_B, "blink"),
        (Qt.Key.Key_D, "difference"),
    ],
)
def test_hold_to_peek(canvas, key, peek):
    panels = (make_panel("A", 0.2, opacity=1.0), make_panel("B", 0.9, opacity=1.0))
    canvas.set_props(CanvasProps(panels))
    before = colour_at(canvas, 40, 30)
    press(canvas, key)
    press(canvas, key, repeat=True)
    assert canvas.peek == peek
    held = colour_at(canvas, 40, 30)
    assert held != before
    if peek == "image":
        assert held == (40, 80, 120)
    if peek == "blink":
        assert close(held, mixed(0.9, 1.0))
    press(canvas, key, QEvent.Type.KeyRelease)
    assert canvas.peek == "none"
    assert colour_at(canvas, 40, 30) == before


def test_peek_ends_when_the_focus_leaves(canvas):
    canvas.set_props(CanvasProps((make_panel(),)))
    press(canvas, Qt.Key.Key_V)
    QApplication.sendEvent(canvas, QFocusEvent(QEvent.Type.FocusOut))
    assert canvas.peek == "none"


def test_blink_runs_only_in_its_mode_and_in_sight(canvas, qtbot):
    panels = (make_panel("A", 0.2), make_panel("B", 0.9))
    canvas.set_props(CanvasProps(panels))
    assert not canvas._blink.isActive()
    canvas.set_props(CanvasProps(panels, "blink", blink_hz=50.0))
    assert canvas._blink.isActive()
    assert canvas._blink.interval() >= 1000 / 6  # two frames a period, at most 3 Hz
    first = canvas.panels[0].props.key
    qtbot.waitUntil(lambda: canvas.panels[0].props.key != first, timeout=2000)
    canvas.hide()
    assert not canvas._blink.isActive()


def test_loading_keeps_the_frame_and_greys_the_label_late(canvas, qtbot):
    panel = make_panel(level=0.9, opacity=1.0)
    canvas.set_props(CanvasProps((panel,)))
    waiting = replace(panel, state="loading", values=None, image=None, subtitle="Step 20")
    canvas.set_props(CanvasProps((waiting,)))
    view = canvas.panels[0]
    assert view.view.isVisible()
    assert not view.message.isVisible()
    assert view.line.isVisible()
    assert not view.header.stale
    assert close(colour_at(canvas, 40, 30), mixed(0.9, 1.0))
    qtbot.waitUntil(lambda: view.header.stale, timeout=2000)
    canvas.set_props(CanvasProps((panel,)))
    assert not view.header.stale
    assert not view.line.isVisible()
    assert not view._slow.isActive()


def test_error_offers_the_mend(canvas, qtbot):
    message = PanelMessage("error", "Step 25 failed", "Out of memory.", "Compute again")
    canvas.set_props(CanvasProps((make_panel(state="error", message=message),)))
    panel = canvas.panels[0]
    assert panel.message.isVisible()
    assert not panel.view.isVisible()
    assert panel.message.button.text() == "Compute again"
    with qtbot.waitSignal(canvas.action_requested) as caught:
        qtbot.mouseClick(panel.message.button, Qt.MouseButton.LeftButton)
    assert caught.args == ["A", "retry"]


def test_empty_canvas_has_one_action(canvas, qtbot):
    canvas.set_props(CanvasProps())
    panel = canvas.panels[0]
    assert panel.message.message.title == "No image yet"
    with qtbot.waitSignal(canvas.action_requested) as caught:
        qtbot.mouseClick(panel.message.button, Qt.MouseButton.LeftButton)
    assert caught.args[1] == "open-image"


def test_tiles_fill_the_grid_and_say_which_is_active(canvas, qtbot):
    panels = tuple(make_panel(letter) for letter in "ABCDEF")
    canvas.set_props(CanvasProps(panels, "tile", active=4))
    assert len(canvas.panels) == 6
    boxes = [panel.geometry() for panel in canvas.panels]
    assert len({box.x() for box in boxes}) == 3
    assert len({box.y() for box in boxes}) == 2
    assert all(not a.intersects(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    edge = canvas.panels[4].grab().toImage().pixelColor(0, 40)
    assert edge == QColor(canvas.theme["accent_line"])
    with qtbot.waitSignal(canvas.panel_activated) as caught:
        qtbot.mouseClick(canvas.panels[1].view.viewport(), Qt.MouseButton.LeftButton)
    assert caught.args == [1]
    canvas.set_props(CanvasProps(panels[:1]))
    assert len(canvas.panels) == 1


@pytest.mark.parametrize("count", range(1, 9))
def test_default_columns_leave_at_most_one_row_open(count):
    columns = default_columns(count)
    rows = -(-count // columns)
    assert rows * columns - count < columns


def test_header_buttons_ask(canvas, qtbot):
    mask = np.zeros((H, W), bool)
    mask[20:40, 20:50] = True
    canvas.set_props(CanvasProps((make_panel(regions=outlines.outline_of(mask)),)))
    header = canvas.panels[0].header
    with qtbot.waitSignal(canvas.panel_toggled) as caught:
        qtbot.mouseClick(header.regions, Qt.MouseButton.LeftButton)
    assert caught.args == ["A", "regions", False]
    assert not header.contour.isEnabled()
    with qtbot.waitSignal(canvas.panel_asked) as caught:
        qtbot.mouseClick(header.split, Qt.MouseButton.LeftButton)
    assert caught.args == ["A", "split"]
    for button in (header.contour, header.regions, header.pin, header.link, header.more):
        assert button.accessibleName()
        assert button.toolTip()


def test_outline_is_painted_where_the_mask_ends(canvas):
    mask = np.zeros((H, W), bool)
    mask[20:40, 20:50] = True
    canvas.set_props(CanvasProps((make_panel(level=0.3, opacity=1.0),)))
    plain = canvas.panels[0].view.grab().toImage()
    canvas.set_props(
        CanvasProps((make_panel(level=0.3, opacity=1.0, regions=outlines.outline_of(mask)),))
    )
    drawn = canvas.panels[0].view.grab().toImage()
    to_view = canvas.panels[0].view.image_to_view()
    changed = 0
    for x in np.linspace(21, 49, 40):
        at = to_view.map(QPointF(x, 20)).toPoint()
        changed += plain.pixelColor(at) != drawn.pixelColor(at)
    assert changed == 40  # casing is solid even where the dashes pause
    inside = to_view.map(QPointF(35, 30)).toPoint()
    assert plain.pixelColor(inside) == drawn.pixelColor(inside)


def test_outline_encloses_exactly_the_mask():
    rng = np.random.default_rng(1)
    import cv2

    blob = cv2.GaussianBlur(rng.random((40, 50)).astype(np.float32), (0, 0), 4)
    mask = blob > np.median(blob)
    canvas_ = np.zeros((400, 500), np.uint8)
    lines = [np.rint(line * 10).astype(np.int32) for line in outlines.outline_of(mask)]
    cv2.fillPoly(canvas_, lines, 1)
    drawn = canvas_[5::10, 5::10].astype(bool)
    assert (drawn != mask).mean() < 0.01


def test_contour_lies_on_the_level():
    y, x = np.mgrid[0:60, 0:80]
    values = (np.hypot(x + 0.5 - 40, y + 0.5 - 30)).astype(np.float32)
    (line,) = outlines.contours_of(values, 12.0, (80, 60))
    radius = np.hypot(line[:, 0] - 40, line[:, 1] - 30)
    assert np.abs(radius - 12.0).max() < 0.1
    assert np.array_equal(line[0], line[-1]), "a line around a peak stays closed"
    steps = np.hypot(*np.diff(line, axis=0).T)
    assert steps.max() < 4.0
    assert steps.sum() == pytest.approx(2 * np.pi * 12, rel=0.02)


def test_new_theme_reaches_everything(canvas):
    canvas.set_props(CanvasProps((make_panel(),)))
    light = load_theme("light")
    canvas.set_theme(light)
    panel = canvas.panels[0]
    assert panel.view.theme is light
    assert panel.header.theme is light
    assert panel.bar.theme is light
    corner = panel.grab().toImage().pixelColor(2, panel.height() - 2)
    assert corner == QColor(light["canvas"])


def test_keyboard_focus_is_seen_and_click_focus_is_not(canvas):
    canvas.set_props(CanvasProps((make_panel(),)))
    canvas.activateWindow()
    for reason, seen in (
        (Qt.FocusReason.TabFocusReason, True),
        (Qt.FocusReason.MouseFocusReason, False),
    ):
        canvas.clearFocus()
        canvas.setFocus(reason)
        if canvas.hasFocus():
            assert canvas.panels[0].view.focused is seen
