"""Pictures of any size cost what the screen shows of them, and each shows itself."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PySide6.QtGui import QImage

from diffcam_studio.chrome import SessionList, SessionRow, session_list
from diffcam_studio.theme import load_theme
from diffcam_studio.views import pictures
from diffcam_studio.views.canvas import layers
from diffcam_studio.views.canvas.layers import Ground


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((40, 60, 3), colour, np.uint8)


def test_a_thumbnail_is_scaled_from_a_bounded_copy(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Spy(QImage):
        def __init__(self, data: Any, width: int, height: int, *rest: Any) -> None:
            super().__init__(data, width, height, *rest)
            sizes.append(width * height)

    monkeypatch.setattr(pictures, "QImage", Spy)
    # Left half red, right half blue, as large as a photograph.
    photo = np.zeros((1500, 2000, 3), np.uint8)
    photo[:, :1000, 0] = photo[:, 1000:, 2] = 200
    small = pictures.to_pixmap(photo, 28, 20).toImage()
    assert (small.width(), small.height()) == (56, 40)
    assert small.pixelColor(10, 20).getRgb()[:3] == (200, 0, 0)
    assert small.pixelColor(45, 20).getRgb()[:3] == (0, 0, 200)
    assert max(sizes) < 64 * 56 * 40
    # A picture smaller than its box is enlarged as it is.
    assert pictures.to_pixmap(flat((1, 2, 3)), 96, 72).toImage().pixelColor(5, 5).blue() == 3


@pytest.mark.parametrize("grey", [False, True])
def test_only_the_window_of_a_photograph_is_converted(
    grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[int] = []
    convert = cv2.cvtColor

    def spy(pixels: np.ndarray, code: int) -> np.ndarray:
        converted.append(pixels.shape[0] * pixels.shape[1])
        return convert(pixels, code)

    monkeypatch.setattr(layers.cv2, "cvtColor", spy)
    ramp = np.linspace(0, 250, 1600, dtype=np.float32).astype(np.uint8)
    photo = np.zeros((1200, 1600, 3), np.uint8)
    photo[..., 0] = ramp
    window = Ground(photo, grey=grey).window(0.25, 0.0, 0.0, 400, 300)
    assert window.shape == (300, 400, 4)
    assert max(converted) <= 400 * 300
    whole = convert(photo, cv2.COLOR_RGB2GRAY) if grey else photo[..., 0]
    expected = cv2.resize(whole, (400, 300), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(window[..., 2].astype(int), expected.astype(int), atol=2)


def test_a_run_never_shows_the_picture_of_one_that_is_gone(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if Python gave the address of an array that is gone to the next one, as it may.
    monkeypatch.setattr(session_list, "id", lambda _thing: 7, raising=False)
    view = SessionList(load_theme("dark"))
    qtbot.addWidget(view)
    for colour in ((200, 0, 0), (0, 0, 200)):
        view.show_rows([SessionRow("a", "a", "a", picture=flat(colour))])
        shown = view._rows[0].picture
        assert shown is not None
        assert shown.toImage().pixelColor(20, 20).getRgb()[:3] == colour
        view.show_rows([])
