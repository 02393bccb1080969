"""LaViDa's packing against numbers recorded from the original code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from diffcam_core.models.base import IMAGE_ID
from diffcam_core.models.checkpoint import Checkpoint
from diffcam_core.models.lavida_network import LavidaNetwork, load_network, views_of

ATOL = 2e-4
IMAGES = (0, 1, 2)


@pytest.fixture(scope="module")
def golden(golden_arrays):
    return golden_arrays("lavida_mm")


@pytest.fixture(scope="module")
def network(golden_folder) -> LavidaNetwork:
    checkpoint = Checkpoint(golden_folder("lavida_mm"))
    return load_network(checkpoint, torch.device("cpu"))[0]


@pytest.fixture(scope="module")
def pictures(golden):
    return [Image.fromarray(golden[f"img{k}_source_rgb_u8"]) for k in IMAGES]


@pytest.fixture(scope="module")
def packed(network, golden, pictures):
    ids = golden["input_ids_one_image"][0].tolist()
    with torch.no_grad():
        return [network.pack(ids, [picture]) for picture in pictures]


@pytest.mark.parametrize("k", IMAGES)
def test_pixels_are_byte_equal(network, golden, pictures, k):
    views = views_of(pictures[k], network.config)
    np.testing.assert_array_equal(views, golden[f"img{k}_pixel_u8"])


def test_tower_projector_and_pooling(network, golden):
    with torch.no_grad():
        pixels = network.pixels(golden["img0_pixel_u8"])
        assert pixels.min() >= -1 and pixels.max() <= 1
        tower = network.vision_tower(pixels[:1])
        np.testing.assert_allclose(tower[0], golden["img0_vision_tower_out_base"], atol=ATOL)
        projected = network.mm_projector(tower)
        np.testing.assert_allclose(projected[0], golden["img0_projected_base_27x27"], atol=ATOL)
        np.testing.assert_allclose(
            network.encode_views(pixels), golden["img0_projected_pooled"], atol=ATOL
        )


@pytest.mark.parametrize("k", IMAGES)
def test_layout(network, golden, k):
    size = tuple(map(int, golden[f"img{k}_image_size_wh"]))
    layout = network.layout_for(size, start=int(golden[f"img{k}_image_span"][0]))
    assert layout.image_size == size
    assert layout.span == tuple(golden[f"img{k}_image_span"])
    base, tiles = layout.grids
    assert (base.name, tiles.name) == ("base", "tiles")
    assert (base.rows, base.cols) == tuple(golden[f"img{k}_base_grid_rc"])
    assert (tiles.rows, tiles.cols) == tuple(golden[f"img{k}_tiles_grid_rc_after_unpad"])
    np.testing.assert_array_equal(base.indices, np.arange(*golden[f"img{k}_base_span"]))
    with_newline = np.arange(*golden[f"img{k}_tile_span"]).reshape(
        golden[f"img{k}_tiles_grid_rc_with_newline"]
    )
    np.testing.assert_array_equal(tiles.indices, with_newline[:, :-1].reshape(-1))
    np.testing.assert_array_equal(layout.newline_positions, with_newline[:, -1])


@pytest.mark.parametrize("k", IMAGES)
def test_packed_sequence(network, golden, packed, k):
    embeds, ids, (layout,) = packed[k]
    np.testing.assert_array_equal(ids, golden[f"img{k}_expanded_ids"])
    np.testing.assert_allclose(embeds[0], golden[f"img{k}_inputs_embeds"], atol=1e-4)
    newline = network.image_newline.expand(len(layout.newline_positions), -1)
    assert torch.equal(embeds[0, layout.newline_positions], newline)


@pytest.mark.parametrize("k", IMAGES)
def test_logits(network, golden, packed, k):
    embeds, ids, (layout,) = packed[k]
    first, end = layout.span
    rows = [*range(first, end, 16), *range(len(ids) - 24, len(ids))]
    logits = network.backbone(embeds, logits_at=rows).logits[0]
    np.testing.assert_allclose(logits[:-24], golden[f"img{k}_logits_image_every16"], atol=ATOL)
    np.testing.assert_allclose(logits[-24:], golden[f"img{k}_logits_last24"], atol=ATOL)


def test_two_images_in_one_prompt(network, golden, pictures, packed):
    ids = golden["input_ids_two_images"][0].tolist()
    with torch.no_grad():
        embeds, expanded, layouts = network.pack(ids, pictures[:2])
    np.testing.assert_array_equal(expanded, golden["two_expanded_ids"])
    assert [layout.span for layout in layouts] == [tuple(s) for s in golden["two_spans"]]
    text = embeds[0, expanded != IMAGE_ID]
    np.testing.assert_allclose(text, golden["two_inputs_embeds_text_rows"], atol=1e-4)
    np.testing.assert_allclose(embeds[0].sum(-1), golden["two_inputs_embeds_rowsum"], atol=5e-4)
    for layout, (alone, _, (own,)) in zip(layouts, packed, strict=False):
        torch.testing.assert_close(
            embeds[0, slice(*layout.span)], alone[0, slice(*own.span)], atol=1e-5, rtol=0
        )


def test_pad_mode(network, golden, pictures):
    padded = LavidaNetwork(replace(network.config, aspect="pad"))
    padded.load_state_dict(network.state_dict())
    views = views_of(pictures[0], padded.config)
    np.testing.assert_array_equal(views, golden["pad_img0_pixel_u8"])
    ids = golden["input_ids_one_image"][0].tolist()
    with torch.no_grad():
        embeds, _, (layout,) = padded.pack(ids, [pictures[0]])
    assert layout.span == tuple(golden["pad_img0_image_span"])
    assert layout.newline_positions.tolist() == [layout.span[1] - 1]
    np.testing.assert_allclose(embeds[0], golden["pad_img0_inputs_embeds"], atol=1e-4)


def test_features_and_gradients_of_the_map(network, golden, packed):
    embeds = packed[int(golden["cam_img_index"])][0]
    masks = network.backbone.embed(torch.full((1, 12), 319))
    sequence = torch.cat((embeds, masks), dim=1).requires_grad_()
    position, token = int(golden["cam_position"]), int(golden["cam_token"])
    out = network.backbone(sequence, logits_at=[position])
    state = out.hidden_states[int(golden["cam_block"])]
    gradient, at_input = torch.autograd.grad(out.logits[0, 0, token], (state, sequence))
    np.testing.assert_allclose(state[0].detach(), golden["cam_block_out"], atol=ATOL)
    np.testing.assert_allclose(gradient[0], golden["cam_block_grad"], atol=ATOL)
    np.testing.assert_allclose(at_input[0], golden["cam_input_grad"], atol=ATOL)


def test_export_is_the_checkpoint(network, golden_folder):
    exported = network.state_dict_for_checkpoint()
    checkpoint = Checkpoint(golden_folder("lavida_mm"))
    unused = checkpoint.match(exported.keys())
    assert unused.missing == ()
    assert all(".post_layernorm." in key for key in unused.unused)
    assert {k: tuple(t.shape) for k, t in exported.items()} == {
        k: checkpoint.shapes[k] for k in exported
    }


def test_loaded_network_is_frozen(network):
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(t.is_meta for t in [*network.parameters(), *network.buffers()])
