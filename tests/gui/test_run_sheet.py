"""The run sheet: what is typed becomes a wish, wrong input says what to type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from diffcam_core.denoising import REMASKING as CORE_REMASKING
from diffcam_core.denoising import SCHEDULES as CORE_SCHEDULES
from diffcam_core.denoising import GenerationConfig
from diffcam_studio.theme import load_theme
from diffcam_studio.views.job_panel import clock
from diffcam_studio.views.run_sheet import (
    REMASKING,
    SCHEDULES,
    RunSheet,
    SheetFacts,
    forecast,
    parse_layers,
    parse_words,
)

FACTS = SheetFacts(layers=6, generation={"max_new_tokens": 32}, cells=196)


@pytest.fixture
def sheet(qtbot: Any) -> Iterator[RunSheet]:
    host = QWidget()
    host.resize(1440, 900)
    widget = RunSheet(load_theme("dark"), host)
    widget.set_facts(FACTS)
    host.show()
    widget.open()
    yield widget
    host.close()
    host.deleteLater()


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", None), ("", None), ("3", (3,)), ("0, 2-4", (0, 2, 3, 4)), ("4\u20135,4", (4, 5))],
)
def test_layers_are_read(text: str, layers: tuple[int, ...] | None) -> None:
    assert parse_layers(text, 6) == layers


@pytest.mark.parametrize("text", ["x", "4-2", "6", "1,,2", "-1"])
def test_wrong_layers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Type|Enter"):
        parse_layers(text, 6)


def test_words_and_positions() -> None:
    assert parse_words("cat, 3 ,traffic light") == ("cat", 3, "traffic light")
    assert parse_words(" , ") is None


def test_the_choices_are_those_of_the_engine() -> None:
    assert tuple(SCHEDULES) == tuple(CORE_SCHEDULES)
    assert tuple(REMASKING) == tuple(CORE_REMASKING)


def test_a_wish_is_a_valid_generation(sheet: RunSheet) -> None:
    sheet.length.setValue(24)
    sheet.steps.setValue(12)
    sheet.words.setText("cat")
    sheet.layers.setText("2-3")
    wish = sheet.wish()
    assert wish is not None
    assert (wish.layers, wish.tokens, wish.steps) == ((2, 3), ("cat",), "all")
    config = GenerationConfig(**wish.generation)
    assert (config.max_new_tokens, config.steps, config.block_length) == (24, 12, None)


def test_run_needs_an_image_and_right_fields(sheet: RunSheet, qtbot: Any) -> None:
    assert not sheet.run_button.isEnabled()
    sheet.set_image(np.zeros((20, 20, 3), np.uint8), "a.png")
    assert sheet.run_button.isEnabled()
    sheet.layers.setText("9")
    assert not sheet.run_button.isEnabled()
    assert sheet._layer_error.isVisible()
    assert sheet.layers.property("state") == "error"
    sheet.layers.setText("all")
    with qtbot.waitSignal(sheet.run_requested) as heard:
        qtbot.mouseClick(sheet.run_button, Qt.MouseButton.LeftButton)
    assert heard.args[0].prompt == "Describe the image."
    assert not sheet.isVisible()


def test_escape_closes_without_a_run(sheet: RunSheet, qtbot: Any) -> None:
    with qtbot.waitSignal(sheet.closed):
        qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    assert not sheet.isVisible()


def test_the_forecast_counts_maps(sheet: RunSheet) -> None:
    wish = sheet.wish()
    assert wish is not None
    # 6 layers x 16 steps x 32 tokens
    assert "3\u202f072 maps" in forecast(FACTS, wish)
    timed = SheetFacts(layers=6, generation={"max_new_tokens": 32}, seconds_per_map=0.01)
    assert "0:31" in forecast(timed, wish)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (42, "0:42"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
