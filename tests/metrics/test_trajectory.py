"""Agreement along a trajectory: squares that move by known ways; SciPy for the mass centre."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from diffcam_core.errors import InputError
from diffcam_core.metrics import trajectory as tr


def square(row, col, side=4, shape=(12, 16)):
    map_ = np.zeros(shape, np.float32)
    map_[row : row + side, col : col + side] = 1
    return map_


def test_moving_square_by_hand():
    maps = [square(0, 0), square(0, 8), square(4, 8), square(4, 9), square(4, 9)]
    found = tr.agreement(maps)
    diagonal = np.hypot(12, 16)
    np.testing.assert_allclose(found.drift, np.array([8, 4, 1, 0]) / diagonal)
    np.testing.assert_allclose(found.step_iou, [0, 0, 12 / 20, 1])
    assert found.stable_from == 3 - 1  # an IoU of 0.6 with the last map is enough
    assert tr.agreement(maps, threshold=0.9).stable_from == 3
    assert found.stable_share == pytest.approx(2 / 4)
    assert found.mean_drift == pytest.approx(13 / 4 / diagonal)
    assert found.mean_step_iou == pytest.approx(0.4)


def test_coming_back_is_not_stable():
    """Step 0 is like the last one, but what follows it is not."""
    maps = [square(0, 0), square(8, 8), square(0, 0)]
    assert tr.agreement(maps).stable_from == 2


def test_mass_centre_equals_scipy():
    for seed in range(5):
        map_ = np.random.default_rng(seed).random((7, 11))
        np.testing.assert_allclose(tr.mass_centre(map_), center_of_mass(map_))


def test_iou_equals_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.random((2, 9, 9)) > 0.5
        theirs = functional.jaccard_index(torch.tensor(a), torch.tensor(b), task="binary")
        assert tr.foreground_iou(a, b) == pytest.approx(float(theirs), abs=1e-6)


def test_maps_without_mass():
    empty = np.zeros((12, 16), np.float32)
    found = tr.agreement([empty, empty, square(0, 0)])
    assert np.isnan(found.drift).all() and found.mean_drift is None
    assert found.step_iou.tolist() == [1.0, 0.0]
    assert found.stable_from == 2


def test_one_step_has_nothing_to_agree_with():
    found = tr.agreement([square(0, 0)])
    assert (found.mean_drift, found.mean_step_iou, found.stable_share) == (None, None, None)
    assert found.stable_from == 0


@pytest.mark.parametrize("maps", [[], [np.zeros((2, 2)), np.zeros((2, 3))], [np.zeros(4)]])
def test_unusable_input(maps):
    with pytest.raises(InputError, match="one grid"):
        tr.agreement(maps)
