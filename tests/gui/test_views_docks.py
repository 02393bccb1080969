"""Layers, ladder, inspector: what is asked for, what is painted, nothing emitted by props."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QSignalSpy

from diffcam_studio.theme import load_theme
from diffcam_studio.views import colormaps
from diffcam_studio.views.colour_bar import ColourBar, tick_labels
from diffcam_studio.views.inspector import Inspector, RangeEditor
from diffcam_studio.views.ladder import RefinementLadder
from diffcam_studio.views.layer_list import LayersSection
from diffcam_studio.views.painting import number, signed
from diffcam_studio.views.props import (
    AppearanceProps,
    ColourScale,
    LadderProps,
    LadderRow,
    LayerListProps,
    LayerRow,
    MetricProps,
    MetricsProps,
    ParameterProps,
    ProvenanceProps,
)

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")


def make_layers(count: int = 8, selected: int = 5) -> LayerListProps:
    rng = np.random.default_rng(0)
    rows = tuple(
        LayerRow(i, f"Layer {i}", rng.random((6, 8)).astype(np.float32), i / 100, i / count)
        for i in range(count)
    )
    return LayerListProps(rows, selected, metric="F3", metrics=("F3", "Mass"))


def make_ladder(**changes: object) -> LadderProps:
    flat = np.full((6, 8), 0.5, np.float32)
    rows = (
        LadderRow(
            "akd",
            "AKD",
            "Kernel 5",
            values=flat,
            delta=0.005,
            parameters=(
                ParameterProps("size", "Size", 5, 3, 11, 2, 5, decimals=0),
                ParameterProps("mode", "Mode", 0, 0, 1, 1, 0, choices=((0.0, "a"), (1.0, "b"))),
            ),
        ),
        LadderRow("cba", "CBA", "Halve below 0.18", enabled=False, values=flat, delta=0.03),
        LadderRow("sicd", "SICD", "2 repeated words", values=flat, delta=-0.012),
    )
    base = LadderProps(rows, "studio", (("paper", "Paper"), ("studio", "Studio")), "F3", flat)
    return replace(base, **changes)


@pytest.fixture
def layers(qtbot):
    view = LayersSection(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(263, 320)
    view.set_props(make_layers())
    view.show()
    return view


@pytest.fixture
def ladder(qtbot):
    view = RefinementLadder(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(303, 300)
    view.set_props(make_ladder())
    view.show()
    return view


@pytest.fixture
def inspector(qtbot):
    view = Inspector(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(303, 700)
    view.show()
    return view


def test_layer_click_and_keys_ask(layers, qtbot):
    with qtbot.waitSignal(layers.layer_requested) as caught:
        at = layers.list.row_rect(2).center()
        qtbot.mouseClick(layers.list, Qt.MouseButton.LeftButton, pos=at)
    assert caught.args == [2]
    for key, wanted in ((Qt.Key.Key_Up, 4), (Qt.Key.Key_Down, 6), (Qt.Key.Key_Home, 0)):
        with qtbot.waitSignal(layers.layer_requested) as caught:
            qtbot.keyClick(layers.list, key)
        assert caught.args == [wanted]
    layers.set_props(make_layers(selected=7))
    with qtbot.assertNotEmitted(layers.layer_requested):
        qtbot.keyClick(layers.list, Qt.Key.Key_Down)


def test_selected_layer_has_a_bar_at_the_left_and_an_accent_value_bar(layers):
    image = layers.list.grab().toImage()
    for layer in (4, 5):
        y = layers.list.row_rect(layer).center().y()
        selected = layer == 5
        edge = image.pixelColor(0, y) == QColor(layers.theme["accent_line"])
        assert edge is selected
        bar = image.pixelColor(130, y)
        assert bar == QColor(layers.theme["accent_line" if selected else "strong"])


def test_many_layers_become_small_rows(layers):
    assert layers.list.row_height == 32
    layers.set_props(make_layers(32))
    assert layers.list.row_height == 20
    layers.set_props(make_layers(60, selected=55))
    assert layers.height() < 60 * 20 or layers.sizeHint().height() <= 40 * 20 + 60


def test_layer_metric_is_asked_for(layers, qtbot):
    with qtbot.waitSignal(layers.metric_requested) as caught:
        qtbot.keyClick(layers.metric_choice, Qt.Key.Key_Down)
    assert caught.args == ["Mass"]


def test_switch_asks_and_props_do_not(ladder, qtbot):
    spy = QSignalSpy(ladder.stage_toggled)
    ladder.set_props(make_ladder(preset="paper"))
    assert spy.count() == 0
    with qtbot.waitSignal(ladder.stage_toggled) as caught:
        qtbot.mouseClick(ladder.stages["cba"].switch, Qt.MouseButton.LeftButton)
    assert caught.args == ["cba", True]
    with qtbot.waitSignal(ladder.stage_toggled) as caught:
        qtbot.keyClick(ladder.stages["akd"].switch, Qt.Key.Key_Space)
    assert caught.args == ["akd", False]


def test_parameters_open_and_follow_the_hand(ladder, qtbot):
    row = ladder.stages["akd"]
    assert row.height() == 40
    qtbot.mouseClick(row, Qt.MouseButton.LeftButton, pos=QPoint(150, 20))
    assert row.is_open
    assert row.height() == 40 + 2 * 28 + 8
    slider = row.parameters["size"].slider
    assert slider.number == 5
    moved = QSignalSpy(ladder.parameter_changed)
    settled = QSignalSpy(ladder.parameter_settled)
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 2, 8))
    assert moved.at(0) == ["akd", "size", 11.0]
    assert settled.count() == 0
    qtbot.mouseMove(slider, QPoint(2, 8))
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(2, 8))
    assert moved.at(moved.count() - 1) == ["akd", "size", 3.0]
    assert settled.count() == 1
    assert settled.at(0) == ["akd", "size", 3.0]
    with qtbot.waitSignal(ladder.parameter_changed) as caught:
        qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert caught.args == ["akd", "size", 5.0]


def test_props_do_not_move_a_knob_in_the_hand(ladder, qtbot):
    row = ladder.stages["akd"]
    row.set_open(True)
    slider = row.parameters["size"].slider
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 2, 8))
    ladder.set_props(make_ladder())
    assert slider.number == 11
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 2, 8))
    ladder.set_props(make_ladder())
    assert slider.number == 5


def test_choice_parameter_and_preset(ladder, qtbot):
    row = ladder.stages["akd"]
    row.set_open(True)
    with qtbot.waitSignal(ladder.parameter_changed) as caught:
        qtbot.keyClick(row.parameters["mode"].choice, Qt.Key.Key_Down)
    assert caught.args == ["akd", "mode", 1.0]
    with qtbot.waitSignal(ladder.preset_requested) as caught:
        qtbot.keyClick(ladder.preset, Qt.Key.Key_Up)
    assert caught.args == ["paper"]


def test_change_is_green_up_red_down_and_grey_when_off(ladder):
    def inks(stage: str) -> set[str]:
        view = ladder.stages[stage]
        image = view.grab().toImage()
        return {
            image.pixelColor(x, y).name()
            for x in range(view.width() - 90, view.width() - 32)
            for y in range(10, 30)
        }

    theme = ladder.theme
    good, bad = QColor(theme["valid_text"]), QColor(theme["failed_text"])

    def nearest(names: set[str], wanted: QColor) -> int:
        return min(
            sum(
                abs(a - b) for a, b in zip(QColor(n).getRgb()[:3], wanted.getRgb()[:3], strict=True)
            )
            for n in names
        )

    assert nearest(inks("akd"), good) < 60 < nearest(inks("akd"), bad)
    assert nearest(inks("sicd"), bad) < 60 < nearest(inks("sicd"), good)
    assert nearest(inks("cba"), good) > 60


def test_rows_stay_the_same_objects_when_values_change(ladder):
    before = dict(ladder.stages)
    ladder.stages["akd"].set_open(True)
    ladder.set_props(make_ladder(raw_value=0.2))
    assert ladder.stages == before
    assert ladder.stages["akd"].is_open
    rows = make_ladder().rows
    ladder.set_props(make_ladder(rows=(rows[2], rows[0])))
    assert list(ladder.stages) == ["sicd", "akd"]
    assert ladder.stages["akd"] is before["akd"]


def test_appearance_asks(inspector, qtbot):
    look = inspector.appearance
    with qtbot.waitSignal(look.cmap_requested) as caught:
        qtbot.keyClick(look.cmap, Qt.Key.Key_Down)
    assert caught.args == ["viridis"]
    with qtbot.waitSignal(look.opacity_changed) as caught:
        qtbot.keyClick(look.opacity, Qt.Key.Key_Right)
    assert caught.args == [pytest.approx(0.61)]
    with qtbot.waitSignal(look.normalise_requested) as caught:
        qtbot.mouseClick(look.normalise.button("run"), Qt.MouseButton.LeftButton)
    assert caught.args == ["run"]


def test_appearance_props_emit_nothing(inspector):
    look = inspector.appearance
    spies = [
        QSignalSpy(signal)
        for signal in (
            look.cmap_requested,
            look.opacity_changed,
            look.range_changed,
            look.normalise_requested,
        )
    ]
    scale = ColourScale("magma", 0.1, 0.8)
    counts = np.arange(40)
    look.set_props(AppearanceProps("Panel B", scale, opacity=0.3, histogram=counts))
    assert [spy.count() for spy in spies] == [0, 0, 0, 0]
    assert look.opacity.number == pytest.approx(0.3)
    assert look.cmap.current == "magma"
    assert look.range.range == (0.1, 0.8)
    assert look.target.text() == "Panel B"


@pytest.fixture
def editor(qtbot):
    view = RangeEditor(load_theme("dark"))
    qtbot.addWidget(view)
    view.resize(212, view.height())
    view.set_props(AppearanceProps(histogram=np.full(50, 10)))
    view.show()
    return view


def test_range_knobs_never_cross(editor, qtbot):
    y = editor.height() - 8
    high = QPoint(round(editor.knob_x(1)), y)
    qtbot.mousePress(editor, Qt.MouseButton.LeftButton, pos=high)
    qtbot.mouseMove(editor, QPoint(-50, y))
    low, top = editor.range
    assert low == 0.0
    assert top > low
    with qtbot.waitSignal(editor.settled):
        qtbot.mouseRelease(editor, Qt.MouseButton.LeftButton, pos=QPoint(-50, y))
    with qtbot.waitSignal(editor.changed) as caught:
        qtbot.mouseDClick(editor, Qt.MouseButton.LeftButton, pos=QPoint(100, y))
    assert caught.args == [0.0, 1.0]


def test_range_of_a_difference_stays_symmetric(editor, qtbot):
    scale = ColourScale("berlin", -0.6, 0.6, "Difference", True)
    editor.set_props(AppearanceProps(scale=scale, domain=(-1.0, 1.0)))
    y = editor.height() - 8
    at = QPoint(round(editor.knob_x(1)), y)
    qtbot.mousePress(editor, Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseMove(editor, QPoint(at.x() - 20, y))
    qtbot.mouseRelease(editor, Qt.MouseButton.LeftButton, pos=QPoint(at.x() - 20, y))
    low, high = editor.range
    assert low == pytest.approx(-high)
    assert high < 0.6


def test_range_by_keys(editor, qtbot):
    with qtbot.waitSignal(editor.changed) as caught:
        qtbot.keyClick(editor, Qt.Key.Key_Left)
    assert caught.args == [0.0, pytest.approx(0.99)]
    qtbot.keyClick(editor, Qt.Key.Key_Down)
    with qtbot.waitSignal(editor.changed) as caught:
        qtbot.keyClick(editor, Qt.Key.Key_Right)
    assert caught.args == [pytest.approx(0.01), pytest.approx(0.99)]


def test_histogram_outside_the_range_is_fainter(editor):
    scale = ColourScale("inferno", 0.0, 0.5)
    editor.set_props(AppearanceProps(scale=scale, histogram=np.full(50, 10)))
    image = editor.grab().toImage()

    def brightest(left: int) -> int:
        return max(image.pixelColor(x, 20).lightness() for x in range(left, left + 20))

    panel = QColor(editor.theme["panel"]).lightness()
    assert brightest(40) > brightest(160) > panel


def test_metrics_and_their_reason(inspector):
    view = inspector.metrics
    metrics = (
        MetricProps("f3", "F3", 0.379, 0.186),
        MetricProps("iou", "Obj-IoU", 0.624, -0.1),
        MetricProps("c", "Contrast", None),
    )
    view.set_props(MetricsProps(metrics, "cat region"))
    assert view.region.isVisible()
    assert view._views["f3"].accessibleName() == "F3, 0.379, change +0.186"
    assert view._views["iou"].accessibleName().endswith("change \u22120.100")
    view.set_props(MetricsProps(reason="This word has no region"))
    assert not view._views
    assert view._reason.text() == "This word has no region"
    assert not view.region.isVisible()


def test_provenance_copies_its_code(inspector, qtbot):
    view = inspector.provenance
    view.set_props(ProvenanceProps((("Run", "a.dcam"),), "run = 1"))
    with qtbot.waitSignal(view.copy_requested) as caught:
        qtbot.mouseClick(view.copy, Qt.MouseButton.LeftButton)
    assert caught.args == ["run = 1"]
    assert QGuiApplication.clipboard().text() == "run = 1"
    qtbot.mouseClick(view.show_code, Qt.MouseButton.LeftButton)
    assert view.is_open


def test_sections_fold_from_their_header(inspector, qtbot):
    section = inspector.appearance
    with qtbot.waitSignal(section.folded) as caught:
        qtbot.mouseClick(section.header, Qt.MouseButton.LeftButton, pos=QPoint(60, 16))
    assert caught.args == [True]
    assert not section.body.isVisible()
    assert section.header.isVisible()


def test_theme_reaches_every_section(inspector):
    inspector.set_props(ladder=make_ladder())
    light = load_theme("light")
    inspector.set_theme(light)
    for widget in (
        inspector.appearance.cmap,
        inspector.appearance.opacity,
        inspector.appearance.range,
        inspector.appearance.normalise,
        inspector.ladder.stages["akd"],
        inspector.ladder.stages["akd"].switch,
        inspector.metrics.header,
        inspector.provenance.copy,
    ):
        assert widget.theme is light


def test_colour_bar_prints_the_scope_whole(qtbot):
    scale = ColourScale(
        "berlin", -0.6, 0.6, "Difference E \u2212 A: blue is less, red is more", True, 1
    )
    bar = ColourBar(load_theme("dark"), scale)
    qtbot.addWidget(bar)
    bar.resize(104, 300)
    assert " ".join(bar.scope_lines()) == scale.scope
    assert [text for _, text in tick_labels(scale)] == [
        "\u22120.6",
        "\u22120.3",
        "0",
        "+0.3",
        "+0.6",
    ]
    assert scale.scope in bar.accessibleName()
    image = bar.grab().toImage()
    top = 16 * len(bar.scope_lines()) + 12
    table = colormaps.table("berlin")
    assert image.pixelColor(6, top + 3).getRgb()[:3] == pytest.approx(table[-1], abs=8)
    assert image.pixelColor(6, 300 - 8 - 3).getRgb()[:3] == pytest.approx(table[0], abs=8)


@pytest.mark.parametrize("name", list(colormaps.COLORMAPS))
def test_tables_are_those_of_cmap(name):
    import cmap

    wanted = np.asarray(cmap.Colormap(colormaps.COLORMAPS[name].source)(np.linspace(0, 1, 256)))
    seen = colormaps.table(name)
    assert seen.shape == (256, 3)
    assert np.abs(seen - wanted[:, :3] * 255).max() <= 0.51
    packed = colormaps.packed_table(name)
    assert np.array_equal((packed >> 16) & 255, seen[:, 0])
    assert np.array_equal(packed & 255, seen[:, 2])


def test_index_by_brute_force():
    values = np.array([[np.nan, -1.0, 0.0, 0.2], [0.5, 0.7, 1.0, 9.0]], np.float32)
    seen = colormaps.index(values, 0.2, 0.7)
    for value, got in zip(values.ravel(), seen.ravel(), strict=True):
        share = 0.0 if np.isnan(value) else min(1.0, max(0.0, (float(value) - 0.2) / 0.5))
        assert abs(int(got) - share * 255) <= 0.51
    assert not colormaps.index(values, 0.5, 0.5).any()


def test_alpha_by_value_leaves_the_quiet_part_of_the_picture():
    ground = np.full((2, 2, 4), 200, np.uint8)
    values = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    seen = colormaps.blend_pixels(ground, values, ColourScale(), 1.0, alpha_by_value=True)
    assert np.array_equal(seen[0, 0], ground[0, 0])
    table = colormaps.table("inferno")[255]
    assert np.array_equal(seen[0, 1, :3], table[::-1])


def test_numbers():
    assert signed(0.005, 3) == "+0.005"
    assert signed(-0.012, 3) == "\u22120.012"
    assert signed(-0.0001, 3) == "0.000"
    assert number(-0.5, 2) == "\u22120.50"
    assert number(-0.001, 2) == "0.00"
