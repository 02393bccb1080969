"""The LaViDa adapter: template, prompt, words, and images of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoint import write_tiny_lavida

from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.models import load_model
from diffcam_core.models.base import IMAGE_ID
from diffcam_core.models.lavida_config import SYSTEM_MESSAGE, LavidaConfig
from diffcam_core.models.llada import LladaConfig

PICTURE = np.random.default_rng(1).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tiny_lavida):
    return load_model(tiny_lavida, device="cpu")


def test_template_and_its_quirk(model):
    ids = model.prompt_ids("a cat?  ")
    place = ids.index(IMAGE_ID)
    tokenizer = model.tokenizer
    before = "".join(map(tokenizer.token_text, ids[:place]))
    after = "".join(map(tokenizer.token_text, ids[place + 1 :]))
    assert before == (
        "<|startoftext|><|start_header_id|>system<|end_header_id|>\n\nLook.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n"
    )
    # the newline between image and question is gone: the quirk
    assert after == "a cat?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert ids[0] == tokenizer.id_of("<|startoftext|>")


def test_prompt(model):
    prompt = model.prepare(Image.fromarray(PICTURE), "Describe the image.")
    start, end = prompt.layout.span
    assert prompt.embeds.shape == (1, len(prompt.ids), 24)
    assert not prompt.embeds.requires_grad
    assert not prompt.embeds.is_inference()
    assert prompt.ids.dtype == np.int64
    assert end - start == 4 * 4 + 1
    np.testing.assert_array_equal(np.flatnonzero(prompt.ids == IMAGE_ID), np.arange(start, end))
    assert prompt.layout.image_size == (80, 48)
    assert prompt.text == "Describe the image."
    np.testing.assert_array_equal(prompt.image, PICTURE)
    text = prompt.ids != IMAGE_ID
    expected = model.backbone.embed(torch.from_numpy(prompt.ids[text]))
    assert torch.equal(prompt.embeds[0, text], expected)
    ahead = model.layout_for((80, 48), start)
    np.testing.assert_array_equal(ahead.grids[0].rectangles, prompt.layout.grids[0].rectangles)


def test_same_input_same_bytes(model):
    first, second = (model.prepare(Image.fromarray(PICTURE), "Hi").embeds for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_empty_prompt(model, prompt):
    with pytest.raises(InputError, match="prompt is empty"):
        model.prepare(Image.fromarray(PICTURE), prompt)


def test_prompt_that_is_too_long(model):
    with pytest.raises(InputError, match=r"the model reads 256\. Shorten the prompt"):
        model.prepare(Image.fromarray(PICTURE), "why " * 300)


@pytest.mark.parametrize("text", ["Katze? 猫 🐈 é", "<image>", "<|eot_id|> again", "\x00\x1f"])
def test_any_prompt_can_be_typed(model, text):
    prompt = model.prepare(Image.fromarray(PICTURE), text)
    assert (prompt.ids == IMAGE_ID).sum() == prompt.layout.n_tokens


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "F"])
def test_any_image_mode(model, mode):
    if mode == "F":
        picture = Image.fromarray(PICTURE[..., 0].astype(np.float32))
    elif mode == "I;16":
        picture = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(PICTURE).convert(mode)
    prompt = model.prepare(picture, "Hi")
    assert prompt.image.shape == (48, 80, 3)
    assert torch.isfinite(prompt.embeds).all()


def test_exif_orientation_turns_image_and_layout(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # quarter turn
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        prompt = model.prepare(turned, "Hi")
    assert prompt.layout.image_size == (48, 80)
    np.testing.assert_array_equal(prompt.image, np.rot90(PICTURE, -1))


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_tiny_and_thin_images(model, size):
    prompt = model.prepare(Image.new("RGB", size, (9, 99, 200)), "Hi")
    assert torch.isfinite(prompt.embeds).all()


def test_any_resolution_from_text_pinpoints(tmp_path):
    folder = write_tiny_lavida(
        tmp_path / "anyres",
        image_aspect_ratio="anyres",
        image_grid_pinpoints="(1x1),...,(2x2)",
        mm_spatial_pool_stride=2,
    )
    model = load_model(folder, device="cpu")
    assert model.network.config.pinpoints == ((40, 40), (40, 80), (80, 40), (80, 80))
    prompt = model.prepare(Image.fromarray(PICTURE), "Hi")
    tiles = prompt.layout.grid("tiles")
    assert prompt.layout.n_tokens == 4 + tiles.rows * (tiles.cols + 1)
    assert len(prompt.ids) == prompt.embeds.shape[1]
    thin = model.prepare(Image.new("RGB", (1, 400)), "Hi")
    assert [grid.name for grid in thin.layout.grids] == ["base"]


def test_words(model):
    assert [model.token_text(i) for i in model.encode_word("cat")] == [" cat"]
    assert model.encode_word(" cat ") == model.encode_word("cat")
    pieces = model.encode_word("dogat")
    assert [model.token_text(i) for i in pieces] == [" dog", "at"]
    assert model.decode(pieces) == " dogat"
    with pytest.raises(InputError, match="word is empty"):
        model.encode_word(" ")


def test_token_text_of_odd_ids(model):
    ids = model.tokenizer.encode("é")
    assert len(ids) == 2
    assert [model.token_text(i) for i in ids] == ["<0xC3>", "<0xA9>"]
    assert model.decode(ids) == "é"
    assert model.token_text(model.mask_id) == "<|mdm_mask|>"
    assert model.token_text(271) == "<id 271>"
    assert model.token_text(-200) == "<id -200>"
    assert model.decode([-200, 271, model.mask_id, *model.encode_word("cat")]) == " cat"


def test_special_ids_come_from_the_tokenizer(model):
    names = [model.token_text(i) for i in (model.mask_id, *model.eos_ids)]
    assert names == ["<|mdm_mask|>", "<|endoftext|>", "<|eot_id|>"]


def test_the_released_configuration_needs_no_sizes_of_the_tower():
    """What is known of the hub's config.json: a tower by name, pinpoints, no vision_config."""
    config = LavidaConfig.from_dict(
        {
            "model_type": "llava_llada",
            "d_model": 4096,
            "n_heads": 32,
            "n_layers": 32,
            "mlp_hidden_size": 12288,
            "vocab_size": 126464,
            "mm_vision_tower": "google/siglip-so400m-patch14-384",
            "mm_hidden_size": 1152,
            "mm_patch_merge_type": "spatial_unpad",
            "image_aspect_ratio": "anyres",
            "image_grid_pinpoints": "[[384, 768], [768, 384], [768, 768], [1152,384], [384,1152]]",
            "mask_token_id": 126336,
            "eos_token_id": 126081,
        }
    )
    assert config.language == LladaConfig(
        d_model=4096,
        n_heads=32,
        n_layers=32,
        mlp_hidden_size=12288,
        vocab_size=126464,
        mask_token_id=126336,
        eos_token_id=126081,
    )
    assert config.vision["num_hidden_layers"] == 27
    assert (config.geometry.cells, config.geometry.covered) == (14, 378)
    assert config.pinpoints[-1] == (384, 1152)
    assert config.max_length == 4096
    assert config.system_message == SYSTEM_MESSAGE


def test_a_measured_default_layer_is_read_and_checked(tiny_lavida: Path, tmp_path: Path) -> None:
    assert load_model(str(tiny_lavida), device="cpu").default_layer is None
    folder = tmp_path / "model"
    shutil.copytree(tiny_lavida, folder)
    config = json.loads((folder / "config.json").read_text())
    for layer, refused in ((1, False), (3, True), (-1, True), ("1", True), (True, True)):
        (folder / "config.json").write_text(json.dumps(config | {"default_layer": layer}))
        if refused:
            with pytest.raises(CheckpointError, match="default_layer"):
                load_model(str(folder), device="cpu")
        else:
            assert load_model(str(folder), device="cpu").default_layer == layer
