"""The base maps against golden heatmaps of the released program and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffcam_core.attribution import METHODS, Method
from diffcam_core.attribution.diffusion_cam import diffusion_cam, diffusion_cam_released
from diffcam_core.errors import TargetError
from diffcam_core.layout import Grid, ImageLayout

BASE_MAPS = [diffusion_cam, diffusion_cam_released]


def grid(name, rows, cols, indices):
    return Grid(
        name=name,
        rows=rows,
        cols=cols,
        indices=np.asarray(indices, np.int64),
        rectangles=np.zeros((rows, cols, 4), np.float32),
        image_size=(10, 10),
    )


def two_grids():
    """A base view, then tiles with a newline after each row, in a span that starts at 5."""
    tiles = [5 + 6 + 4 * r + c for r in range(2) for c in range(3)]
    return ImageLayout(
        image_size=(10, 10),
        span=(5, 19),
        grids=(grid("base", 2, 3, range(5, 11)), grid("tiles", 2, 3, tiles)),
        newline_positions=np.array([14, 18]),
    )


def random_case(seed=0, k=4, n=14, d=9, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, d, generator=generator).to(dtype)
    return states, torch.randn(k, n, d, generator=generator).to(dtype)


def loops(states, gradients, layout, released):
    """Both columns of the definition, one number at a time, in float64."""
    a, g = states.double().numpy(), gradients.double().numpy()
    every = [i - layout.span[0] for grid in layout.grids for i in grid.indices]
    maps = {}
    for one in layout.grids:
        inside = [i - layout.span[0] for i in one.indices]
        over = inside if released else every
        found = np.zeros((len(g), one.rows, one.cols))
        for k in range(len(g)):
            for cell, row in enumerate(inside):
                terms = []
                for c in range(a.shape[1]):
                    column = [max(g[k, i, c], 0) if released else g[k, i, c] for i in over]
                    product = np.mean(column) * a[row, c]
                    terms.append(max(product, 0) if released else product)
                value = np.mean(terms) if released else max(np.sum(terms), 0)
                found[k, cell // one.cols, cell % one.cols] = value
        maps[one.name] = found
    return maps


@pytest.mark.parametrize("compute", BASE_MAPS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_to_the_definition(compute, dtype):
    states, gradients = random_case(dtype=dtype)
    layout = two_grids()
    expected = loops(states, gradients, layout, released=compute is diffusion_cam_released)
    found = compute(states, gradients, layout)
    assert list(found) == ["base", "tiles"]
    for name, maps in found.items():
        assert maps.dtype == np.float32
        assert maps.shape == (4, 2, 3)
        np.testing.assert_allclose(maps, expected[name], rtol=1e-5, atol=1e-6)
        assert (maps >= 0).all()


@pytest.mark.parametrize("case", [0, 1])
def test_released_reproduces_the_golden_heatmaps(golden_arrays, case):
    data = golden_arrays("dcam_refine")
    rows, cols = (int(v) for v in data[f"cam{case}_hw"])
    layout = ImageLayout(
        (10, 10), (0, rows * cols), (grid("base", rows, cols, range(rows * cols)),), np.zeros(0)
    )
    gradients = torch.as_tensor(data[f"cam{case}_grads_raw"])[None]
    maps = diffusion_cam_released(torch.as_tensor(data[f"cam{case}_features"]), gradients, layout)
    raw = maps["base"][0]
    shown = (raw - raw.min()) / (raw.max() - raw.min())
    np.testing.assert_allclose(shown, data[f"cam{case}_heatmap"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("compute", BASE_MAPS, ids=lambda c: c.__name__)
def test_newline_tokens_change_nothing(compute):
    states, gradients = random_case()
    layout = two_grids()
    before = compute(states, gradients, layout)
    for position in layout.newline_positions:
        states[position - 5] = 1e3
        gradients[:, position - 5] = -1e3
    after = compute(states, gradients, layout)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize("compute", BASE_MAPS, ids=lambda c: c.__name__)
def test_maps_are_raw_and_each_target_stands_alone(compute):
    states, gradients = random_case()
    layout = two_grids()
    whole = compute(states, gradients, layout)
    double = compute(states, 2 * gradients, layout)
    for name in whole:
        np.testing.assert_allclose(double[name], 2 * whole[name], rtol=1e-6)
        for k in range(4):
            alone = compute(states, gradients[k : k + 1], layout)
            np.testing.assert_allclose(alone[name][0], whole[name][k], rtol=1e-5, atol=1e-7)
    none = compute(states, gradients[:0], layout)
    assert none["tiles"].shape == (0, 2, 3)


@pytest.mark.parametrize("compute", BASE_MAPS, ids=lambda c: c.__name__)
def test_arrays_of_another_span_are_refused(compute):
    states, gradients = random_case()
    with pytest.raises(TargetError, match="image span of 14"):
        compute(states[:-1], gradients[:, :-1], two_grids())
    with pytest.raises(TargetError, match="image span of 14"):
        compute(states, gradients[:, :-1], two_grids())


def test_registry_is_read_only_and_complete():
    for name, method in METHODS.items():
        assert isinstance(method, Method)
        assert method.name == name
        assert all((method.title, method.source, method.cost, method.regimes))
    with pytest.raises(TypeError):
        METHODS["x"] = METHODS["diffusion-cam"]
