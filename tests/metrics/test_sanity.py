"""Comparisons of two maps against SciPy, scikit-image, torchmetrics and Quantus."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from diffcam_core.errors import InputError
from diffcam_core.metrics import sanity


def pairs():
    rng = np.random.default_rng(0)
    for shape in ((14, 14), (9, 16), (27, 27)):
        a = rng.random(shape)
        yield a, rng.random(shape)
        yield a, np.clip(a + 0.1 * rng.standard_normal(shape), 0, 1)
        yield np.round(a * 3) / 3, np.round(rng.random(shape) * 2) / 2  # many equal values


def test_rank_correlation_equals_scipy():
    for a, b in pairs():
        assert sanity.rank_correlation(a, b) == pytest.approx(
            spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12
        )


def test_rank_correlation_equals_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional")
    torch = pytest.importorskip("torch")
    for a, b in pairs():
        theirs = functional.spearman_corrcoef(torch.tensor(a.ravel()), torch.tensor(b.ravel()))
        assert sanity.rank_correlation(a, b) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_ssim_equals_scikit_image(window):
    metrics = pytest.importorskip("skimage.metrics")
    for a, b in pairs():
        theirs = metrics.structural_similarity(a, b, win_size=window, data_range=1.0)
        assert sanity.ssim(a, b, window) == pytest.approx(theirs, abs=1e-9)


def test_equal_to_quantus():
    functions = pytest.importorskip("quantus.functions.similarity_func")
    for a, b in pairs():
        assert sanity.rank_correlation(a, b) == pytest.approx(
            float(functions.correlation_spearman(a.ravel(), b.ravel())), abs=1e-9
        )


def test_similarity_of_equal_reversed_and_signed_maps():
    a = np.random.default_rng(1).random((14, 14))
    same = sanity.similarity(a, a)
    assert (same.rank, same.ssim) == (pytest.approx(1), pytest.approx(1))
    assert sanity.similarity(a, 3 * a + 2).ssim == pytest.approx(1)  # scale says nothing
    turned = sanity.similarity(a - 0.5, 0.5 - a)
    assert turned.rank == pytest.approx(-1) and turned.absolute_rank == pytest.approx(1)


def test_constant_maps_share_no_order():
    a, flat = np.random.default_rng(1).random((5, 5)), np.full((5, 5), 0.3)
    assert sanity.similarity(a, flat).rank == 0.0
    assert np.isfinite(sanity.similarity(flat, flat).ssim)


def test_small_maps_use_a_smaller_window():
    a, b = np.random.default_rng(2).random((2, 4, 6))
    assert sanity.ssim(a, b) == sanity.ssim(a, b, 3)
    with pytest.raises(InputError, match="window"):
        sanity.ssim(np.zeros((2, 9)), np.zeros((2, 9)))


def test_mean_and_unusable_input():
    one, two = sanity.Similarity(0.2, 0.4, 0.0), sanity.Similarity(0.4, 0.4, 1.0)
    mean = sanity.mean_similarity([one, two])
    assert (mean.rank, mean.absolute_rank, mean.ssim) == (
        pytest.approx(0.3),
        pytest.approx(0.4),
        pytest.approx(0.5),
    )
    with pytest.raises(InputError):
        sanity.mean_similarity([])
    with pytest.raises(InputError, match="one grid"):
        sanity.similarity(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(InputError, match="finite"):
        sanity.similarity(np.zeros((3, 3)), np.full((3, 3), np.nan))
