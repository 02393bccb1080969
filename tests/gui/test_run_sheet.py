"""The run sheet: what is typed becomes a wish, wrong input says what to type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
from diffcam_studio.views.run_sheet import REMASKING, SCHEDULES, WORDS_HELP, RunSheet
from diffcam_studio.views.run_wish import SheetFacts, forecast, parse_layers, parse_words

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
    assert parse_words("cat, 3 ,traffic light", 32) == ("cat", 3, "traffic light")
    assert parse_words(" , ", 32) is None
    assert parse_words("x\u00b2, \u00b2", 32) == ("x\u00b2", "\u00b2")
    with pytest.raises(ValueError, match="from 0 to 31"):
        parse_words("cat, 32", 32)


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
    assert sheet._error_lines["layers"].isVisible()
    assert sheet.layers.property("state") == "error"
    sheet.layers.setText("all")
    with qtbot.waitSignal(sheet.run_requested) as heard:
        qtbot.mouseClick(sheet.run_button, Qt.MouseButton.LeftButton)
    assert heard.args[0].prompt == "Describe the image."
    assert not sheet.isVisible()


def test_what_the_engine_would_refuse_is_refused_before_the_run(sheet: RunSheet) -> None:
    sheet.set_image(np.zeros((20, 20, 3), np.uint8), "a.png")
    height = sheet.height()
    sheet.length.setValue(33)
    sheet.block.setValue(16)
    assert not sheet.run_button.isEnabled()
    assert sheet.wish() is None
    said = sheet._error_lines["generation"]
    assert said.isVisible()
    assert "33" in said.text()
    assert sheet.block.property("state") == "error"
    # The whole sentence is readable: the sheet grows by its lines.
    assert said.height() >= said.heightForWidth(said.width()) > 0
    assert sheet.height() > height
    sheet.block.setValue(11)
    assert sheet.run_button.isEnabled()
    sheet.steps.setValue(4)
    assert not sheet.run_button.isEnabled()
    sheet.steps.setValue(3)
    assert sheet.run_button.isEnabled()
    assert not said.isVisible()


def test_positions_are_checked_and_words_are_explained(sheet: RunSheet) -> None:
    sheet.set_image(np.zeros((20, 20, 3), np.uint8), "a.png")
    sheet.words.setText("cat, 40")
    assert not sheet.run_button.isEnabled()
    assert "0 to 31" in sheet._error_lines["words"].text()
    sheet.length.setValue(64)
    assert sheet.run_button.isEnabled()
    # Any word may turn up in an answer that is not written yet: the help says so.
    sheet.words.setText("zebra")
    assert sheet.run_button.isEnabled()
    assert sheet.words.toolTip() == f"<span>{WORDS_HELP}</span>"


def test_layers_are_checked_when_the_model_arrives(sheet: RunSheet) -> None:
    sheet.set_facts(SheetFacts())
    sheet.set_image(np.zeros((20, 20, 3), np.uint8), "a.png")
    sheet.layers.setText("0, 9")
    assert sheet.run_button.isEnabled()
    assert "model is loaded" in sheet.layers.toolTip()
    sheet.set_facts(FACTS)
    assert not sheet.run_button.isEnabled()
    assert "0 to 5" in sheet._error_lines["layers"].text()


def test_escape_closes_without_a_run(sheet: RunSheet, qtbot: Any) -> None:
    with qtbot.waitSignal(sheet.closed):
        qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    assert not sheet.isVisible()


def test_the_forecast_counts_maps(sheet: RunSheet) -> None:
    wish = sheet.wish()
    assert wish is not None
    # 6 layers x 16 steps x 32 tokens
    assert "3\u202f072 maps" in forecast(FACTS, wish)
    assert "maps, 1.0 MB;" in forecast(FACTS, wish)
    few = replace(wish, layers=(0,))
    assert "Up to 512 maps, 0.2 MB;" in forecast(FACTS, few)
    timed = SheetFacts(layers=6, generation={"max_new_tokens": 32}, seconds_per_map=0.01)
    assert "0:31" in forecast(timed, wish)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (42, "0:42"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
