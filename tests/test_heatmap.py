"""Heat maps: interpolation against brute force, scaling, refinement on the way to the screen."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_builder import lattice

from diffcam_core import refinement
from diffcam_core.errors import InputError
from diffcam_core.events import GridSpec
from diffcam_core.heatmap import HeatMap, axis_weights, is_lattice, lattice_edges
from diffcam_core.layout import ViewGeometry, any_resolution_layout, single_view_layout


def heat_map(values: np.ndarray, grid: GridSpec, size: tuple[int, int], **more: object) -> HeatMap:
    values = np.asarray(values, np.float32)
    options: dict = {
        "raw_range": (float(values.min()), float(values.max())),
        "raw_sum": float(values.sum()),
        "step": 0,
        "layer": 0,
        "token": 0,
        "method": "diffusion-cam",
        "token_ids": (1, 2, 3),
        "n_steps": 16,
        **more,
    }
    return HeatMap(values=values, grid=grid, image_size=size, **options)


def slow_weights(edges: np.ndarray, size: int) -> np.ndarray:
    """The rule of ``on_image`` along one axis, pixel by pixel in plain Python."""
    cells = [(i, a, b) for i, (a, b) in enumerate(edges.tolist()) if b > a]
    weights = np.zeros((size, len(edges)))
    for pixel in range(size):
        at = pixel + 0.5
        inside = any(a <= at <= b for _, a, b in cells)
        between = cells[0][1] < at < cells[-1][2]
        if not inside and between:
            nearest = min(cells, key=lambda c: (max(c[1] - at, at - c[2], 0), c[0]))
            weights[pixel, nearest[0]] = 1
            continue
        before = [(i, (a + b) / 2) for i, a, b in cells if (a + b) / 2 <= at]
        after = [(i, (a + b) / 2) for i, a, b in cells if (a + b) / 2 > at]
        if not before:
            weights[pixel, after[0][0]] = 1
        elif not after:
            weights[pixel, before[-1][0]] = 1
        else:
            (left, x0), (right, x1) = before[-1], after[0]
            weights[pixel, left] += (x1 - at) / (x1 - x0)
            weights[pixel, right] += (at - x0) / (x1 - x0)
    return weights


def slow_on_image(heat: HeatMap) -> np.ndarray:
    columns, rows = lattice_edges(heat.grid.rectangles)
    width, height = heat.image_size
    down, across = slow_weights(rows, height), slow_weights(columns, width)
    return down @ heat.values.astype(np.float64) @ across.T


LAYOUTS = {
    "tiles with seams": any_resolution_layout(
        (500, 330), ViewGeometry(64, 14), [(128, 64), (64, 128), (128, 128), (192, 64)], 0
    ),
    "pooled tiles": any_resolution_layout(
        (333, 500), ViewGeometry(64, 14, 2), [(128, 64), (64, 128), (128, 128), (64, 192)], 0
    ),
    "padded": single_view_layout((90, 61), ViewGeometry(56, 14), 0, fit="pad"),
    "squashed with a blind strip": single_view_layout((90, 61), ViewGeometry(64, 14), 0, "squash"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_on_image_equals_brute_force(name: str) -> None:
    layout = LAYOUTS[name]
    rng = np.random.default_rng(0)
    for grid in layout.grids:
        values = rng.standard_normal((grid.rows, grid.cols))
        heat = heat_map(values, grid.spec(), layout.image_size)
        found = heat.on_image()
        assert found.shape == layout.image_size[::-1]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, slow_on_image(heat), atol=2e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_pixel_at_a_cell_centre_has_the_value_of_the_cell(name: str) -> None:
    layout = LAYOUTS[name]
    width, height = layout.image_size
    rng = np.random.default_rng(1)
    for grid in layout.grids:
        values = rng.random((grid.rows, grid.cols)).astype(np.float32)
        image = heat_map(values, grid.spec(), layout.image_size).on_image()
        assert values.min() - 1e-6 <= image.min() <= image.max() <= values.max() + 1e-6
        for row in range(grid.rows):
            for col in range(grid.cols):
                x0, y0, x1, y1 = grid.rectangles[row, col].astype(float)
                x, y = math.floor((x0 + x1) / 2), math.floor((y0 + y1) / 2)
                if not (0 <= x < width and 0 <= y < height):
                    continue
                # The pixel's centre is within half a pixel of the cell's centre.
                reach = 0.75 / min(x1 - x0, y1 - y0)
                near = values[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2]
                assert abs(image[y, x] - values[row, col]) <= 2 * reach * np.ptp(near) + 1e-5


def test_a_linear_ramp_stays_a_linear_ramp() -> None:
    grid = lattice("base", 6, 9, 90, 60)
    centres = (grid.rectangles[..., 0] + grid.rectangles[..., 2]) / 2
    image = heat_map(centres, grid, (90, 60)).on_image()
    # Beyond the outermost centres, at 5 and 85, the value holds.
    wanted = np.clip(np.arange(90) + 0.5, 5, 85)
    np.testing.assert_allclose(image, np.broadcast_to(wanted, (60, 90)), rtol=1e-6)


def test_blind_strips_take_the_nearest_cell() -> None:
    edges = np.array([[0.0, 10.0], [10.0, 20.0], [26.0, 36.0], [36.0, 46.0]])
    weights = axis_weights(edges, 50)
    assert weights[21].tolist() == [0, 1, 0, 0]
    assert weights[24].tolist() == [0, 0, 1, 0]
    assert weights[49].tolist() == [0, 0, 0, 1]
    # Still inside of a cell: linear between the two centres, 15 and 31.
    np.testing.assert_allclose(weights[18], [0, 12.5 / 16, 3.5 / 16, 0], rtol=1e-6)


@given(
    widths=st.lists(st.floats(0.3, 40), min_size=1, max_size=12),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 1.5, 7.0]), min_size=12, max_size=12),
    start=st.floats(-30, 10),
    size=st.integers(1, 120),
)
@settings(deadline=None, max_examples=200)
def test_axis_weights_equal_brute_force(
    widths: list[float], gaps: list[float], start: float, size: int
) -> None:
    edges, at = [], start
    for width, gap in zip(widths, gaps, strict=False):
        edges.append((at, at + width))
        at += width + gap
    table = np.array(edges)
    found, wanted = axis_weights(table, size), slow_weights(table, size)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    # Where a pixel lies exactly between two cells either may be called the nearest.
    pixels = np.arange(size) + 0.5
    tie = np.zeros(size, bool)
    for (_, end), (begin, _) in pairwise(edges):
        tie |= np.isclose(pixels - end, begin - pixels, atol=1e-9)
        tie |= np.isclose(pixels, end, atol=1e-9) | np.isclose(pixels, begin, atol=1e-9)
    np.testing.assert_allclose(found[~tie], wanted[~tie], atol=1e-5)


def test_one_cell_fills_the_image_and_empty_cells_do_not_count() -> None:
    assert (
        heat_map([[3.0]], lattice("base", 1, 1, 8, 5), (8, 5)).on_image().tolist()
        == [[3.0] * 8] * 5
    )
    grid = lattice("base", 2, 4, 8, 4)
    boxes = grid.rectangles.copy()
    boxes[:, 3, :] = [8, 0, 8, 0]
    values = np.array([[1, 2, 3, 99], [1, 2, 3, 99]])
    image = heat_map(values, GridSpec("base", 2, 4, boxes), (8, 4)).on_image()
    assert image.max() == 3


def test_lattices_are_told_from_other_things() -> None:
    good = lattice("base", 3, 4, 40, 30).rectangles
    assert is_lattice(good)
    for change in (
        lambda b: b.__setitem__((0, 0, 0), np.nan),
        lambda b: b.__setitem__((1, 1, 0), 17.0),
        lambda b: b.__setitem__((slice(None), 1, [0, 2]), b[:, 0][:, [0, 2]]),
        lambda b: b.__setitem__((2, 2, 2), -5.0),
    ):
        boxes = good.copy()
        change(boxes)
        assert not is_lattice(boxes)
        with pytest.raises(InputError, match="rows and columns"):
            heat_map(np.zeros((3, 4)), GridSpec("base", 3, 4, boxes), (40, 30)).on_image()
    assert not is_lattice(np.zeros((0, 4, 4)))
    assert not is_lattice(np.zeros((3, 4)))


def test_normalised_by_its_own_range_or_a_wider_one() -> None:
    grid = lattice("base", 1, 3, 3, 1)
    heat = heat_map([[-2.0, 0.0, 2.0]], grid, (3, 1))
    assert heat.normalised().tolist() == [[0.0, 0.5, 1.0]]
    assert heat.normalised((-2.0, 6.0)).tolist() == [[0.0, 0.25, 0.5]]
    assert heat.normalised((0.0, 1.0)).tolist() == [[0.0, 0.0, 1.0]]
    assert heat.normalised((5.0, 5.0)).tolist() == [[0.0, 0.0, 0.0]]
    assert heat_map([[7.0, 7.0, 7.0]], grid, (3, 1)).normalised().tolist() == [[0.0] * 3]
    for wrong in ((1.0, 0.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(InputError, match="is not a range"):
            heat.normalised(wrong)


def test_extreme_values_do_not_overflow() -> None:
    limit = float(np.finfo(np.float32).max)
    heat = heat_map([[-limit, 0.0, limit]], lattice("base", 1, 3, 3, 1), (3, 1))
    assert heat.normalised().tolist() == [[0.0, 0.5, 1.0]]


def test_refine_is_refinement_with_the_facts_of_the_run() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((14, 14)).astype(np.float32) * 7 - 3
    context = rng.random((3, 14, 14)).astype(np.float32)
    heat = heat_map(
        values,
        lattice("base", 14, 14, 140, 140),
        (140, 140),
        context=context,
        words=("a", "cat"),
        special_ids=(3,),
    )
    for preset in refinement.PRESETS:
        refined = heat.refine(preset)
        wanted = refinement.apply(
            heat.normalised(),
            preset,
            token_ids=(1, 2, 3),
            n_steps=16,
            image_size=(140, 140),
            special_ids=(3,),
            words=("a", "cat"),
            context_maps=context,
        )
        np.testing.assert_array_equal(refined.values, wanted)
        assert refined.values.dtype == np.float32
        assert refined.history == (preset,)
        # The absolute scale of the evidence is still known.
        assert refined.raw_range == heat.raw_range
    pipeline = refinement.PRESETS["paper"]
    assert heat.refine(pipeline).history == (pipeline.name,)
    assert heat.history == ()


def test_a_map_shows_itself_in_one_line() -> None:
    grid = lattice("base", 24, 24, 96, 96)
    heat = heat_map(np.linspace(-1, 2, 576, dtype=np.float32).reshape(24, 24), grid, (96, 96))
    text = repr(heat)
    assert len(text) < 200
    assert "\n" not in text
    assert "24 x 24" in text


def test_a_map_must_lie_on_its_grid() -> None:
    with pytest.raises(InputError, match="does not lie on grid base"):
        heat_map(np.zeros((2, 3)), lattice("base", 3, 2, 10, 10), (10, 10))
