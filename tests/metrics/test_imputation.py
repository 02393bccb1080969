"""ROAD's imputation against a dense brute-force solution and against Quantus."""

from __future__ import annotations

import numpy as np
import pytest

from diffcam_core.datasets.scenes import make_scene
from diffcam_core.errors import InputError
from diffcam_core.metrics.imputation import blurred, impute, mean_colour


def by_brute_force(image, removed):
    """Every equation written out, neighbours inside the image weighted 1/6 and 1/12."""
    height, width = removed.shape
    unknown = {place: n for n, place in enumerate(zip(*np.nonzero(removed), strict=True))}
    left = np.zeros((len(unknown), len(unknown)))
    right = np.zeros((len(unknown), 3))
    for (y, x), n in unknown.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= at[0] < height and 0 <= at[1] < width):
                    continue
                weight = 1 / 6 if 0 in (dy, dx) else 1 / 12
                left[n, n] += weight
                if at in unknown:
                    left[n, unknown[at]] -= weight
                else:
                    right[n] += weight * image[at]
    filled = image.astype(float)
    filled[removed] = np.linalg.solve(left, right)
    return filled


@pytest.fixture(scope="module")
def picture():
    return make_scene(5).render(64)[10:38, 20:50]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_equal_to_brute_force(picture, share):
    removed = np.random.default_rng(1).random(picture.shape[:2]) < share
    removed[:4, :6] = True  # a corner: the border has its own weights
    got = impute(picture, removed, seed=0, noise=0.0)
    expected = by_brute_force(picture, removed)
    assert np.abs(got - expected)[removed].max() <= 0.5 + 1e-6  # rounded to whole levels
    np.testing.assert_array_equal(got[~removed], picture[~removed])


def test_equal_to_quantus(picture):
    perturb = pytest.importorskip("quantus.functions.perturb_func")
    removed = np.random.default_rng(2).random(picture.shape[:2]) < 0.6
    channels_first = picture.transpose(2, 0, 1).astype(float)
    theirs = perturb.noisy_linear_imputation(channels_first, np.flatnonzero(removed), noise=0.0)
    ours = impute(picture, removed, seed=0, noise=0.0)
    assert np.abs(ours - theirs.transpose(1, 2, 0)).max() <= 0.5 + 1e-6


def test_large_images_are_solved_coarsely_within_the_noise():
    picture = make_scene(4).render(256)
    cells = np.random.default_rng(0).random((16, 16)) < 0.7
    removed = np.kron(cells, np.ones((16, 16))).astype(bool)
    exact = impute(picture, removed, 0, noise=0.0, limit=10**9).astype(float)
    coarse = impute(picture, removed, 0, noise=0.0, limit=20_000).astype(float)
    difference = (coarse - exact)[removed]
    assert np.sqrt((difference**2).mean()) < 2.55


def test_noise_is_seeded_and_of_the_stated_size():
    picture = np.full((40, 40, 3), 128, np.uint8)
    removed = np.zeros((40, 40), bool)
    removed[:, 1:] = True
    one, same, other = (impute(picture, removed, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert one[removed].astype(float).std() == pytest.approx(2.55, rel=0.1)
    np.testing.assert_array_equal(one[~removed], 128)


def test_nothing_and_everything(picture):
    nothing, everything = np.zeros(picture.shape[:2], bool), np.ones(picture.shape[:2], bool)
    np.testing.assert_array_equal(impute(picture, nothing, 0), picture)
    np.testing.assert_array_equal(impute(picture, everything, 0, 0.0), mean_colour(picture))
    with pytest.raises(InputError, match="does not fit"):
        impute(picture, nothing[:-1], 0)


def test_colour_and_blur_keep_the_mean_but_no_detail():
    picture = make_scene(3).render(96)
    for fill in (mean_colour(picture), blurred(picture)):
        assert fill.shape == picture.shape and fill.dtype == np.uint8
        np.testing.assert_allclose(fill.mean((0, 1)), picture.mean((0, 1)), atol=4)
        assert (
            np.abs(np.diff(fill.astype(float), axis=0)).mean()
            < 0.2 * np.abs(np.diff(picture.astype(float), axis=0)).mean()
        )
