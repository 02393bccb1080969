"""Exports: names get their suffix, captions name every map that a figure shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import PATIENCE_MS, settle, wait_for_run
from fake_engine import FakeRunner
from PySide6.QtWidgets import QFileDialog

from diffcam_studio.demos import DEMOS
from diffcam_studio.files import with_suffix
from diffcam_studio.main_window import MainWindow
from diffcam_studio.presenter.citing import CitedMap, caption_of
from diffcam_studio.state.live_run import LiveRun
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState

Make = Callable[..., MainWindow]
FIGURES = "PDF (*.pdf);;SVG (*.svg);;PNG (*.png)"


@pytest.mark.parametrize(
    ("asked", "chosen", "path"),
    [
        ("fig", "SVG (*.svg)", "fig.svg"),
        ("fig.v2", "PNG (*.png)", "fig.v2.png"),
        ("fig.PNG", "SVG (*.svg)", "fig.PNG"),
        ("fig", "", "fig.pdf"),
    ],
)
def test_a_name_gets_the_suffix_of_its_filter(asked: str, chosen: str, path: str) -> None:
    assert with_suffix(asked, chosen, FIGURES) == path


def test_completed_names_are_written_and_replace_nothing_unasked(
    qtbot: Any, make_window: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(FakeRunner(DEMOS[0].seed))
    window.run_demo(DEMOS[0].key)
    wait_for_run(qtbot, window)
    window.registry.trigger("view.difference")
    settle(qtbot, window)
    answer = (str(tmp_path / "fig"), "SVG (*.svg)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: answer)
    with qtbot.waitSignal(window.controller.written, timeout=PATIENCE_MS):
        window.files.export_figure()
    figure = tmp_path / "fig.svg"
    text = " ".join("".join(figure.read_text("utf-8").split("\n")).replace(">", "> ").split())
    for word in ("Difference", "A:", "B:", "raw", "studio"):
        assert word in text
    asked: list[str] = []
    monkeypatch.setattr(window.files, "_confirm", lambda *words: bool(asked.append(words[1])))
    figure.write_text("mine")
    window.files.export_figure()
    assert asked == ["fig.svg exists. Replace it?"]
    settle(qtbot, window)
    assert figure.read_text() == "mine"


def facts() -> RunFacts:
    bare = LiveRun("live:a", None, title="a").facts()
    return replace(bare, key="/x/a.dcam", answer="A cat.", n_steps=16, model="embedded", live=False)


RAW = CitedMap("A", "cat", 3, 5, "raw")


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        (
            (RAW,),
            "\u201ccat\u201d in \u201cA cat.\u201d, step 3 of 0\u201315, layer 5. No refinement.",
        ),
        (
            (RAW, replace(RAW, letter="F", refinement="studio")),
            "A: no refinement; F: studio refinement. Shown is F \u2212 A.",
        ),
        (
            (RAW, replace(RAW, letter="B", step=9, words="A")),
            "Words of \u201cA cat.\u201d, layer 5, steps 0\u201315. No refinement. "
            "A: \u201ccat\u201d, step 3; B: \u201cA\u201d, step 9.",
        ),
    ],
)
def test_captions_say_what_is_shared_once_and_what_differs_by_letter(
    maps: tuple[CitedMap, ...], says: str
) -> None:
    state = ViewState(mode="difference")
    caption = caption_of(state, facts(), maps)
    assert says in caption
    assert caption.endswith("Share of maximum, over trajectory. Embedded model.")


def test_after_a_stage_keeps_its_name() -> None:
    one = CitedMap("A", "cat", 3, 5, "after AKD")
    assert "After AKD." in caption_of(ViewState(), facts(), (one,))
    assert np.char.count(one.title, "AKD") == 1
