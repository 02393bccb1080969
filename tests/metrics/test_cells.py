"""Cells of real layouts against the rectangles they come from."""

from __future__ import annotations

import numpy as np
import pytest

from diffcam_core.errors import InputError
from diffcam_core.events import GridSpec
from diffcam_core.heatmap import HeatMap
from diffcam_core.layout import ViewGeometry, any_resolution_layout, single_view_layout
from diffcam_core.metrics.cells import Cells

SIZE = (90, 61)
GRIDS = [
    *any_resolution_layout(SIZE, ViewGeometry(56, 12, 2), [(112, 112), (56, 112)], 0).grids,
    *single_view_layout(SIZE, ViewGeometry(40, 10), 0, "pad").grids,
    *single_view_layout(SIZE, ViewGeometry(43, 10), 0, "squash").grids,
]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.name}-{grid.rows}x{grid.cols}")
def test_pixels_belong_to_the_cell_that_holds_or_is_nearest_to_them(grid):
    spec = grid.spec()
    cells = Cells.from_rectangles(spec.rectangles, SIZE)
    assert cells.shape == (spec.rows, spec.cols) and cells.image_shape == SIZE[::-1]
    owner = cells.spread(np.arange(spec.rows * spec.cols))
    boxes = spec.rectangles.reshape(-1, 4).astype(float)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for y in range(0, SIZE[1], 3):
        for x in range(0, SIZE[0], 3):
            px, py = x + 0.5, y + 0.5
            gap_x = np.maximum(0, np.maximum(boxes[:, 0] - px, px - boxes[:, 2]))
            gap_y = np.maximum(0, np.maximum(boxes[:, 1] - py, py - boxes[:, 3]))
            distance = np.where(areas > 0, np.hypot(gap_x, gap_y), np.inf)
            assert distance[owner[y, x]] <= distance.min() + 1e-4
    assert set(np.unique(owner)) == set(cells.used)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.name}-{grid.rows}x{grid.cols}")
def test_interpolation_is_that_of_the_heat_map(grid):
    spec: GridSpec = grid.spec()
    values = np.random.default_rng(0).random((spec.rows, spec.cols)).astype(np.float32)
    heat = HeatMap(values, spec, (0, 1), 1.0, SIZE, 0, 0, 0, "test", (1,), 1)
    cells = Cells.from_rectangles(spec.rectangles, SIZE)
    np.testing.assert_allclose(cells.interpolate(values), heat.on_image(), atol=1e-6)


def test_regular_cells():
    cells = Cells.regular((2, 3), (6, 4))
    np.testing.assert_array_equal(
        cells.spread(np.arange(6)), np.kron(np.arange(6).reshape(2, 3), np.ones((2, 2)))
    )
    with pytest.raises(InputError, match="cannot have"):
        Cells.regular((5, 3), (6, 4))
