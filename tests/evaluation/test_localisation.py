"""The localisation table against maps whose scores are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_core.errors import CancelledError
from diffcam_core.evaluation.localisation import (
    PICTURE_SIDE,
    NounMaps,
    _mean,
    localise,
    measure,
    noun_maps,
)
from diffcam_core.events import GridSpec
from diffcam_core.heatmap import HeatMap
from diffcam_core.models import load_model
from diffcam_core.words import lemma


def heat(values: np.ndarray) -> HeatMap:
    rows, cols = values.shape
    x = np.linspace(0, PICTURE_SIDE, cols + 1, dtype=np.float32)
    y = np.linspace(0, PICTURE_SIDE, rows + 1, dtype=np.float32)
    boxes = np.empty((rows, cols, 4), np.float32)
    boxes[..., 0], boxes[..., 2] = x[:-1], x[1:]
    boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
    return HeatMap(
        values=values.astype(np.float32),
        grid=GridSpec("base", rows, cols, boxes),
        raw_range=(float(values.min()), float(values.max())),
        raw_sum=float(values.sum()),
        image_size=(PICTURE_SIDE, PICTURE_SIDE),
        step=0,
        layer=0,
        token=0,
        method="test",
        token_ids=(1, 2, 3),
        n_steps=4,
    )


def noun(*maps: np.ndarray) -> NounMaps:
    mask = make_scene(HELD_OUT_SEEDS[0]).masks(PICTURE_SIDE)[0]
    return NounMaps(0, "thing", mask, tuple({0: heat(values)} for values in maps))


def test_a_perfect_map_scores_high_and_its_opposite_zero() -> None:
    mask = make_scene(HELD_OUT_SEEDS[0]).masks(PICTURE_SIDE)[0]
    cell = PICTURE_SIDE // 48
    share = mask.reshape(48, cell, 48, cell).mean((1, 3))
    perfect = measure(noun(share), 0, None)
    opposite = measure(noun(1 - share), 0, None)
    assert perfect[0] > 0.9 and perfect[2] > 0.85 and perfect[3] == 1
    assert opposite[0] < 0.02 and opposite[1] < 0.2 and opposite[3] == 0


def test_a_word_counts_with_its_best_sub_token() -> None:
    mask = make_scene(HELD_OUT_SEEDS[0]).masks(PICTURE_SIDE)[0]
    cell = PICTURE_SIDE // 48
    share = mask.reshape(48, cell, 48, cell).mean((1, 3))
    rng = np.random.default_rng(0)
    noise = rng.random((48, 48))
    alone = measure(noun(share), 0, None)
    assert measure(noun(noise, share), 0, None) == alone
    assert measure(noun(share, noise), 0, None) == alone


def test_mean_and_interval() -> None:
    owner = np.repeat(np.arange(50), 2)
    values = np.random.default_rng(0).normal(0.5, 0.1, 100)
    mean = _mean(values, owner)
    assert mean.value == pytest.approx(values.mean())
    assert mean.low < mean.value < mean.high
    expected = 1.96 * values.reshape(50, 2).mean(1).std() / np.sqrt(50)
    assert mean.high - mean.value == pytest.approx(expected, rel=0.25)


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded", device="cpu")


def test_maps_of_a_held_out_scene_beat_chance(embedded) -> None:
    scene = make_scene(HELD_OUT_SEEDS[1])
    found = noun_maps(embedded, scene)
    assert {lemma(n.word) for n in found} <= {lemma(o.kind) for o in scene.objects}
    layers = set(found[0].maps[0])
    # With a prefix cache nothing reads the output of the last block on the image.
    assert layers == set(range(embedded.backbone.n_layers - 1))
    for one in found:
        for by_layer in one.maps:
            assert all(
                m.context is not None and m.values.shape == (14, 14) for m in by_layer.values()
            )


def test_table_has_a_row_for_every_preset_and_layer(embedded) -> None:
    result = localise(embedded, HELD_OUT_SEEDS[:2])
    cells = {(row.preset, row.layer) for row in result.rows}
    layers = range(embedded.backbone.n_layers - 1)
    assert cells == {(p, n) for p in ("raw", "released", "paper", "studio") for n in layers}
    assert result.held_out
    assert 0 < result.nouns_named <= result.nouns_shown
    assert result.to_json()["rows"][0]["obj_iou"]["value"] == result.rows[0].obj_iou.value


def test_cancel_between_scenes(embedded) -> None:
    with pytest.raises(CancelledError):
        localise(embedded, HELD_OUT_SEEDS[:2], cancel=lambda: True)


def test_studio_beats_the_published_presets_on_held_out_scenes(embedded) -> None:
    """On real maps, which replaced an earlier comparison on made-up ones."""
    layer = embedded.default_layer
    result = localise(embedded, HELD_OUT_SEEDS[500:512], layers=[layer])
    rows = {row.preset: row for row in result.rows}
    for other in ("released", "paper"):
        assert rows["studio"].obj_iou.value > rows[other].obj_iou.value
        assert rows["studio"].contrast.value > rows[other].contrast.value
        assert rows["studio"].concentration.value > rows[other].concentration.value
        assert rows["studio"].f3 > rows[other].f3
