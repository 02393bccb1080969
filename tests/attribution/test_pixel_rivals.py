"""Occlusion and RISE against one changed image at a time, on one grid and on two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_checkpoint import write_tiny_lavida

import diffcam_core as dc
from diffcam_core.attribution import METHODS, Workload
from diffcam_core.attribution.occlusion import occlusion, spread, starts, windows
from diffcam_core.attribution.pixels import cell_means, veiled
from diffcam_core.attribution.rise import SHOWN, credit, random_masks, rise
from diffcam_core.errors import CancelledError
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.probing import Prober, Target, Trajectory

REQUESTS = [(0, [Target(1, 7)]), (2, [Target(0, 11, "runner_up"), Target(3, 9)])]


@pytest.fixture(scope="module")
def pad(tiny_lavida: Path):
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(scope="module")
def anyres(tmp_path_factory):
    folder = write_tiny_lavida(
        tmp_path_factory.mktemp("anyres") / "model",
        image_aspect_ratio="anyres",
        image_grid_pinpoints="(1x1),...,(2x2)",
    )
    return dc.load_model(folder, device="cpu")


@pytest.fixture(params=["pad", "anyres"])
def model(request):
    return request.getfixturevalue(request.param)


def make_prober(model, cached=True, cancel=None):
    picture = np.random.default_rng(5).integers(0, 256, (36, 60, 3), dtype=np.uint8)
    prompt = model.prepare(Image.fromarray(picture), "a cat")
    canvases = np.full((3, 4), model.mask_id)
    canvases[1:, 2] = 12
    trajectory = Trajectory(prompt, canvases, model.mask_id, cached)
    return Prober(model, trajectory, [INPUT_LAYER], cancel=cancel)


def score_alone(prober, image, step, targets):
    prompt = prober.model.prepare(Image.fromarray(image), prober.trajectory.prompt.text)
    other = Prober(prober.model, replace(prober.trajectory, prompt=prompt), [0])
    return other.probe(step, targets).scores


def owners(edges, size):
    """Cell of each pixel along one axis, one pixel at a time; the nearest if it is in none."""
    found = []
    for pixel in range(size):
        gaps = [
            (max(low - pixel - 0.5, pixel + 0.5 - high, 0), index)
            for index, (low, high) in enumerate(edges)
            if min(high, size) > max(low, 0)
        ]
        found.append(min(gaps)[1])
    return np.array(found)


def cells_of(grid):
    width, height = grid.image_size
    boxes = grid.rectangles.astype(float)
    return (
        owners([(b[1], b[3]) for b in boxes[:, 0]], height),
        owners([(b[0], b[2]) for b in boxes[0]], width),
    )


def means_of(grid, field):
    rows, cols = cells_of(grid)
    found = np.zeros((grid.rows, grid.cols))
    for r in range(grid.rows):
        for c in range(grid.cols):
            part = field[np.ix_(rows == r, cols == c)]
            found[r, c] = part.mean() if part.size else 0
    return found


def test_windows_cover_every_pixel_and_end_at_the_border():
    assert starts(14, 3, 2) == [0, 2, 4, 6, 8, 10, 11]
    assert starts(16, 3, 2) == [0, 2, 4, 6, 8, 10, 12, 13]
    assert starts(3, 3, 2) == starts(2, 3, 2) == [0]


@pytest.mark.parametrize("cached", [True, False], ids=["prefix-cache", "full"])
def test_occlusion_is_the_drop_of_one_window_at_a_time(model, cached):
    prober = make_prober(model, cached)
    prompt = prober.trajectory.prompt
    base = prompt.layout.grids[0]
    rows, cols = cells_of(base)
    used_rows, used_cols = sorted(set(rows)), sorted(set(cols))
    colour = prompt.image.reshape(-1, 3).mean(0)
    covers = []
    for top in starts(len(used_rows), 2, 1):
        for left in starts(len(used_cols), 2, 1):
            cover = np.isin(rows, used_rows[top : top + 2])[:, None] & np.isin(
                cols, used_cols[left : left + 2]
            )
            covers.append(cover)
    for mine, given in zip(windows(prompt.layout, 2, 1), covers, strict=True):
        np.testing.assert_array_equal(mine, given)
    assert np.any(covers, axis=0).all()
    parts = list(occlusion(2, 1)(prober, iter(REQUESTS)))
    assert [(part.step, part.targets) for part in parts] == [(s, tuple(t)) for s, t in REQUESTS]
    for part, (step, targets) in zip(parts, REQUESTS, strict=True):
        before = score_alone(prober, prompt.image, step, targets)
        drops = []
        for cover in covers:
            image = prompt.image.copy()
            image[cover] = np.rint(colour)
            drops.append(before - score_alone(prober, image, step, targets))
        for grid in prompt.layout.grids:
            shares = np.array([means_of(grid, cover) for cover in covers])
            total = shares.sum(0)
            for k in range(len(targets)):
                weighed = sum(d[k] * s for d, s in zip(drops, shares, strict=True))
                expected = np.divide(weighed, total, out=np.zeros_like(total), where=total > 0)
                found = part.maps[INPUT_LAYER][grid.name][k]
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            part.probabilities, prober.probabilities(step, targets), rtol=1e-4
        )
    assert len(prompt.layout.grids) == (2 if prober.model.network.config.aspect == "anyres" else 1)


def test_rise_is_the_covariance_of_scores_and_masks(model):
    prober = make_prober(model)
    prompt = prober.trajectory.prompt
    parts = list(rise(12, seed=3)(prober, iter(REQUESTS)))
    masks = list(random_masks((36, 60), 12, 3))
    colour = prompt.image.reshape(-1, 3).mean(0)
    for part, (step, targets) in zip(parts, REQUESTS, strict=True):
        scores = []
        for mask in masks:
            image = colour * (1 - mask[..., None]) + prompt.image * mask[..., None]
            scores.append(score_alone(prober, np.rint(image).astype(np.uint8), step, targets))
        mean = np.mean(scores, axis=0)
        for grid in prompt.layout.grids:
            expected = sum(
                (s - mean)[:, None, None] * means_of(grid, m)
                for s, m in zip(scores, masks, strict=True)
            ) / (12 * SHOWN)
            found = part.maps[INPUT_LAYER][grid.name]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_same_seed_same_bytes(model):
    found = [
        [
            part.maps[INPUT_LAYER]["base"].tobytes()
            for part in rise(5, seed)(make_prober(model), REQUESTS)
        ]
        for seed in (4, 4, 5)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_masks_are_smooth_fair_and_free_of_their_lattice():
    masks = np.array(list(random_masks((40, 61), 3000, 0)))
    assert masks.shape == (3000, 40, 61)
    assert masks.min() >= 0 and masks.max() <= 1
    np.testing.assert_allclose(masks.mean(0), SHOWN, atol=0.04)
    assert np.abs(np.diff(masks, axis=1)).max() < 0.4


def test_credit_ignores_a_constant():
    rng = np.random.default_rng(0)
    scores, shown = rng.normal(size=(9, 2)), rng.random((9, 3, 4))
    np.testing.assert_allclose(credit(scores + 100, shown), credit(scores, shown), atol=1e-5)


def test_drops_go_to_the_cells_they_cover():
    class Means:
        def __call__(self, cover):
            return cover.astype(float)

    covers = [np.array([[True, True, False]]), np.array([[False, True, False]])]
    found = spread(np.array([[1.0], [3.0]]), covers, Means())
    np.testing.assert_allclose(found, [[[1, 2, 0]]])


def test_veil_is_the_mean_colour():
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(veiled(image, np.ones((6, 5))), image)
    gone = veiled(image, np.zeros((6, 5), bool))
    np.testing.assert_array_equal(gone, np.broadcast_to(np.rint(image.mean((0, 1))), image.shape))


def test_cell_means_weigh_pixels_alike(model):
    layout = make_prober(model).trajectory.prompt.layout
    field = np.random.default_rng(2).random((36, 60))
    for name, mean in cell_means(layout).items():
        np.testing.assert_allclose(mean(field), means_of(layout.grid(name), field), atol=1e-12)


@pytest.mark.parametrize("name", ["occlusion", "rise"])
def test_passes_are_counted_and_cancel_is_heard(pad, name, monkeypatch):
    prober = make_prober(pad)
    grid = prober.trajectory.prompt.layout.grids[0]
    planned = METHODS[name].passes(Workload(1, 5, 1, ((grid.rows, grid.cols),)))
    seen = []
    prepare = pad.prepare
    monkeypatch.setattr(pad, "prepare", lambda *a: seen.append(1) or prepare(*a))
    if name == "occlusion":
        list(METHODS[name].stream(prober, REQUESTS[:1]))
        # Cells on padding are passed over, so it can only be less.
        assert 1 < len(seen) <= planned.forward
    else:
        list(rise(6)(prober, REQUESTS[:1]))
        assert len(seen) == 7
        assert planned.forward == 501
    with pytest.raises(CancelledError):
        list(METHODS[name].stream(make_prober(pad, cancel=lambda: True), REQUESTS))
    assert all(p.grad is None for p in pad.backbone.parameters())
