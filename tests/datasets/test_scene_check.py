"""The model-free check that a picture is a sticker scene."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from diffcam_core.datasets.scene_check import ground_share, is_sticker_scene
from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_core.images import open_image


@pytest.mark.parametrize("size", [96, 140, 384])
def test_held_out_scenes_are_scenes(size: int) -> None:
    seeds = HELD_OUT_SEEDS[500:512]
    assert all(is_sticker_scene(Image.fromarray(make_scene(s).render(size))) for s in seeds)


def test_a_jpeg_of_a_scene_is_a_scene() -> None:
    for seed in HELD_OUT_SEEDS[600:606]:
        packed = io.BytesIO()
        Image.fromarray(make_scene(seed).render(256)).save(packed, "JPEG", quality=80)
        assert is_sticker_scene(Image.open(packed))


def test_a_photograph_is_no_scene() -> None:
    photograph = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    assert not is_sticker_scene(open_image(photograph))


# The means of grass, snow and water among them. (White with strong noise does pass for snow.)
@pytest.mark.parametrize("colour", [(0, 0, 0), (86, 130, 62), (228, 234, 242), (44, 116, 176)])
def test_plain_and_noisy_colours_are_no_scene(colour: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    plain = np.full((120, 160, 3), colour, np.uint8)
    assert ground_share(Image.fromarray(plain)) == 0.0
    noisy = np.clip(plain + rng.normal(0, 12, plain.shape), 0, 255).astype(np.uint8)
    assert not is_sticker_scene(Image.fromarray(noisy))


def test_gradients_noise_and_tiny_pictures_are_no_scene() -> None:
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 255, 300).astype(np.uint8)
    pictures = [
        np.repeat(np.repeat(ramp[:, None, None], 200, 1), 3, 2),
        np.stack([np.tile(ramp, (200, 1))] * 3, -1),
        rng.integers(0, 256, (150, 150, 3), dtype=np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((1, 900, 3), np.uint8),
    ]
    assert not any(is_sticker_scene(Image.fromarray(picture)) for picture in pictures)
