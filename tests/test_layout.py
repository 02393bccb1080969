"""Layouts against counted tables, hand-written formulas, and brute force with real pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcam_core.layout import (
    ImageLayout,
    ViewGeometry,
    any_resolution_layout,
    plan_tiles,
    single_view_layout,
)

SIGLIP = ViewGeometry(384, 14, 2)
UNPOOLED = ViewGeometry(384, 14, 1)
EMBEDDED = ViewGeometry(140, 10, 1)
PINPOINTS = ((384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152))
SMALL_PINPOINTS = tuple((w // 384 * 140, h // 384 * 140) for w, h in PINPOINTS)

# size, canvas, rows x cols of the tile grid, padding cells, image tokens
TABLE = [
    ((640, 480), (768, 768), (22, 28), (0, 3), 834),
    ((480, 640), (768, 768), (28, 22), (3, 0), 840),
    ((640, 427), (768, 768), (18, 28), (0, 5), 718),
    ((500, 375), (768, 384), (14, 18), (5, 0), 462),
    ((1024, 768), (768, 768), (22, 28), (0, 3), 834),
    ((640, 640), (768, 768), (28, 28), (0, 0), 1008),
    ((768, 768), (768, 768), (28, 28), (0, 0), 1008),
    ((1920, 1080), (768, 768), (16, 28), (0, 6), 660),
    ((384, 384), (384, 768), (14, 14), (0, 7), 406),
    ((300, 300), (384, 768), (14, 14), (0, 7), 406),
]
CASES = [
    pytest.param(size, SIGLIP, PINPOINTS, id=f"siglip-{size[0]}x{size[1]}") for size, *_ in TABLE
] + [
    pytest.param((700, 300), UNPOOLED, PINPOINTS, id="unpooled-700x300"),
    pytest.param((500, 375), EMBEDDED, SMALL_PINPOINTS, id="embedded-500x375"),
    pytest.param((200, 520), EMBEDDED, SMALL_PINPOINTS, id="embedded-200x520"),
]


def centres(rectangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    box = rectangles.astype(np.float64)
    return (box[..., 0] + box[..., 2]) / 2, (box[..., 1] + box[..., 3]) / 2


@pytest.mark.parametrize(("size", "canvas", "grid", "pad", "tokens"), TABLE)
def test_counted_table(size, canvas, grid, pad, tokens):
    plan = plan_tiles(size, SIGLIP, PINPOINTS)
    assert (plan.canvas, plan.grid, plan.pad) == (canvas, grid, pad)
    assert any_resolution_layout(size, SIGLIP, PINPOINTS, 7).n_tokens == tokens


@pytest.mark.parametrize("size", [size for size, *_ in TABLE])
def test_centres_follow_the_formulas_of_the_architecture_notes(size):
    width, height = size
    plan = plan_tiles(size, SIGLIP, PINPOINTS)
    layout = any_resolution_layout(size, SIGLIP, PINPOINTS, 0)
    for r, c in [(0, 0), (13, 13), (5, 9)]:
        x, y = centres(layout.grid("base").rectangles[r, c])
        assert x == pytest.approx((c + 0.5) / 14 * (378 / 384) * width, rel=1e-6)
        assert y == pytest.approx((r + 0.5) / 14 * (378 / 384) * height, rel=1e-6)
    tiles = layout.grid("tiles")
    for r in range(tiles.rows):
        for c in range(tiles.cols):
            R, C = r + plan.pad[1], c + plan.pad[0]
            X = 384 * (C // 14) + (C % 14 + 0.5) / 14 * 378
            Y = 384 * (R // 14) + (R % 14 + 0.5) / 14 * 378
            x, y = centres(tiles.rectangles[r, c])
            assert x == pytest.approx((X - plan.paste[0]) * width / plan.resized[0], abs=1e-3)
            assert y == pytest.approx((Y - plan.paste[1]) * height / plan.resized[1], abs=1e-3)
            assert tiles.indices[r * tiles.cols + c] == 196 + r * (tiles.cols + 1) + c


def test_blind_strips_stay_blank_at_the_seams():
    tiles = any_resolution_layout((768, 768), SIGLIP, PINPOINTS, 0).grid("tiles")
    left, right = tiles.rectangles[0, :, 0], tiles.rectangles[0, :, 2]
    gaps = left[1:] - right[:-1]
    assert gaps[13] == 6  # 384 - 378 canvas pixels at scale 1
    np.testing.assert_allclose(np.delete(gaps, 13), 0, atol=1e-3)
    assert right[-1] == 768 - 6


def test_embedded_geometry_has_no_blind_strip():
    tiles = any_resolution_layout((280, 280), EMBEDDED, SMALL_PINPOINTS, 0).grid("tiles")
    assert (tiles.rows, tiles.cols) == (28, 28)
    np.testing.assert_array_equal(tiles.rectangles[0, 1:, 0], tiles.rectangles[0, :-1, 2])
    assert tiles.rectangles[-1, -1].tolist() == [270, 270, 280, 280]


def test_pad_mode_centres_the_image():
    layout = single_view_layout((280, 140), EMBEDDED, 5)
    grid = layout.grid("base")
    assert layout.span == (5, 5 + 197)
    assert layout.newline_positions.tolist() == [5 + 196]
    assert grid.rectangles[0, 0].tolist() == [0, -70, 20, -50]
    assert grid.rectangles[-1, -1].tolist() == [260, 190, 280, 210]
    share = grid.coverage()
    np.testing.assert_allclose(share[:3], 0)
    np.testing.assert_allclose(share[3], 0.5)  # 10 of its 20 rows are padding
    np.testing.assert_allclose(share[4:10], 1)


def test_squash_without_newline():
    layout = single_view_layout((280, 140), EMBEDDED, 0, fit="squash", newline=False)
    assert layout.span == (0, 196)
    assert layout.newline_positions.size == 0
    assert layout.grid("base").rectangles[-1, -1].tolist() == [260, 130, 280, 140]


def test_extreme_images_keep_the_base_view():
    layout = any_resolution_layout((4000, 30), SIGLIP, PINPOINTS, 0)
    assert [grid.name for grid in layout.grids] == ["base"]
    assert layout.span == (0, 196)
    tall = any_resolution_layout((30, 4000), SIGLIP, PINPOINTS, 0)
    # no cell survives, but the newline of each of the 42 rows does
    assert [grid.name for grid in tall.grids] == ["base"]
    assert tall.newline_positions.tolist() == list(range(196, 196 + 42))


def test_spec_drops_positions_and_is_cut_at_the_image():
    grid = single_view_layout((280, 140), EMBEDDED, 0).grid("base")
    spec = grid.spec()
    assert (spec.name, spec.rows, spec.cols) == ("base", 14, 14)
    assert spec.rectangles.dtype == np.float32
    assert spec.rectangles[0, 1].tolist() == [20, 0, 40, 0]
    assert spec.rectangles[3, 1].tolist() == [20, 0, 40, 10]
    assert spec.rectangles[5, 1].tolist() == grid.rectangles[5, 1].tolist() == [20, 30, 40, 50]
    assert spec.rectangles[13, 1].tolist() == [20, 140, 40, 140]


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    start=st.integers(0, 50),
    geometry=st.sampled_from([SIGLIP, UNPOOLED, EMBEDDED]),
)
def test_every_position_of_the_span_is_one_cell_or_one_newline(width, height, start, geometry):
    pinpoints = SMALL_PINPOINTS if geometry is EMBEDDED else PINPOINTS
    for layout in (
        any_resolution_layout((width, height), geometry, pinpoints, start),
        single_view_layout((width, height), geometry, start),
    ):
        every = np.concatenate([g.indices for g in layout.grids] + [layout.newline_positions])
        np.testing.assert_array_equal(np.sort(every), np.arange(*layout.span))
        for grid in layout.grids:
            assert grid.rectangles.shape == (grid.rows, grid.cols, 4)
            assert (grid.rectangles[..., 2:] > grid.rectangles[..., :2]).all()
            assert (np.diff(grid.rectangles[..., 0], axis=1) > 0).all()
            assert (np.diff(grid.rectangles[..., 1], axis=0) > 0).all()
            share, cut = grid.coverage(), grid.spec().rectangles
            assert ((share >= 0) & (share <= 1 + 1e-5)).all()
            assert share.max() > 0
            assert (cut >= 0).all() and (cut <= [width, height] * 2).all()
            assert (cut[..., 2:] >= cut[..., :2]).all()


# --- brute force: real pixels through the real preprocessing and packing, seen by a tower that
# --- reports the mean colour of each patch


def make_network(geometry: ViewGeometry, pinpoints, aspect: str):
    """Return a LaViDa whose tower and projector pass on the mean of each patch, untouched."""
    torch = pytest.importorskip("torch")
    from tiny_checkpoint import tiny_config

    from diffcam_core.models.lavida_config import LavidaConfig
    from diffcam_core.models.lavida_network import LavidaNetwork

    config = LavidaConfig.from_dict(tiny_config())
    vision = {
        **config.vision,
        "image_size": geometry.image_size,
        "patch_size": geometry.patch_size,
    }
    config = replace(
        config,
        vision=vision,
        aspect=aspect,
        pinpoints=tuple(pinpoints),
        pool_stride=geometry.pool_stride,
    )
    network = LavidaNetwork(config).requires_grad_(False)

    class MeanTower(torch.nn.Module):
        def forward(self, pixels):
            means = torch.nn.functional.avg_pool2d(pixels, geometry.patch_size)
            return means.flatten(2).transpose(1, 2)

    network.vision_tower = MeanTower()
    network.mm_projector = torch.nn.Identity()
    network.image_newline = torch.nn.Parameter(torch.full((3,), -9.0), requires_grad=False)
    return network


def span_of(network, pixels: np.ndarray) -> np.ndarray:
    return network.encode_image(Image.fromarray(pixels)).numpy()


def layout_in(network, size) -> ImageLayout:
    return network.layout_for(size, 0)


@pytest.mark.parametrize("aspect", ["anyres", "pad"])
@pytest.mark.parametrize(("size", "geometry", "pinpoints"), CASES)
def test_a_ramp_comes_back_as_coordinates(size, geometry, pinpoints, aspect):
    """Red rises with x and green with y, so each token must tell the centre of its rectangle."""
    width, height = size
    network = make_network(geometry, pinpoints, aspect)
    layout = layout_in(network, size)
    x = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    y = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    ramp = np.stack((x, y, np.ones_like(x)), axis=-1) * 255
    tokens = span_of(network, np.rint(ramp).astype(np.uint8)) * 0.5 + 0.5
    assert len(tokens) == layout.n_tokens
    for grid in layout.grids:
        seen = tokens[grid.indices].reshape(grid.rows, grid.cols, 3)
        # Cells that touch padding mix it in, also the next ones, through pooling and resizing.
        cell = grid.rectangles[0, 0, 2:] - grid.rectangles[0, 0, :2]
        box = grid.rectangles + np.concatenate((-cell, cell)) * 0.6
        inner = (
            (box[..., 0] >= 0)
            & (box[..., 1] >= 0)
            & (box[..., 2] <= width)
            & (box[..., 3] <= height)
        )
        assert inner.mean() > 0.2
        cx, cy = centres(grid.rectangles)
        # A byte is 1/255 of the side; centres at tile seams shift by up to 1 px of the canvas.
        np.testing.assert_allclose(seen[..., 0][inner], (cx / width)[inner], atol=0.0035)
        np.testing.assert_allclose(seen[..., 1][inner], (cy / height)[inner], atol=0.0035)
    if layout.newline_positions.size:
        assert (tokens[layout.newline_positions] == -4).all()


@pytest.mark.parametrize("aspect", ["anyres", "pad"])
@pytest.mark.parametrize(("size", "geometry", "pinpoints"), CASES)
def test_a_painted_cell_lights_up_its_own_token(size, geometry, pinpoints, aspect):
    width, height = size
    network = make_network(geometry, pinpoints, aspect)
    layout = layout_in(network, size)
    rng = np.random.default_rng(0)
    dark = span_of(network, np.zeros((height, width, 3), dtype=np.uint8))[:, 0]
    for grid in layout.grids:
        whole = np.argwhere(grid.coverage() > 0.99)
        corners = whole[[0, -1]]
        for r, c in [*corners, *rng.choice(whole, 4, replace=False)]:
            x0, y0, x1, y1 = grid.rectangles[r, c]
            pixels = np.zeros((height, width, 3), dtype=np.uint8)
            pixels[
                math.floor(y0 + 0.5) : math.ceil(y1 - 0.5),
                math.floor(x0 + 0.5) : math.ceil(x1 - 0.5),
            ] = 255
            lit = span_of(network, pixels)[:, 0] - dark
            own = lit[grid.indices].reshape(grid.rows, grid.cols)
            assert np.unravel_index(own.argmax(), own.shape) == (r, c)
            # ...and hardly anything that is not a neighbour
            near = np.zeros_like(own, dtype=bool)
            near[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2] = True
            assert np.abs(own[~near]).max(initial=0) < 0.15 * own.max()
