"""TAM's numbers against the published program's outputs, and its context against loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rival_cases import SPAN, make_case, naive_logits, naive_states, targets_of, two_grids, whole

from diffcam_core.attribution import METHODS
from diffcam_core.attribution.tam import (
    filtered,
    interference,
    least_squares,
    normalised,
    without_context,
)
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.probing import Prober, Target
from diffcam_core.rank_filter import rank_filter

CASES = {
    "single": [(9, 12)],
    "single_id": [(8, 8)],
    "multi": [(6, 7), (5, 9)],
    "video": [(6, 5)] * 3,
}
TOKENS = [10, 11, 12, 10, 13, 14, 20, 21, 11, 22, 20, 23, 24]
"""Prompt and answer of the golden runs, in the order of their maps."""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("row", range(13))
def test_pieces_reproduce_the_golden_maps(golden_arrays, name, row):
    data = golden_arrays("tam")
    raw = data[f"{name}_raw_img_scores"].astype(np.float64)
    text = data[f"{name}_txt_scores"][row].astype(np.float64)
    text = text[: int(data[f"{name}_txt_scores_len"][row])]
    others = [i for i in range(row) if TOKENS[i] != TOKENS[row]]
    clean, factor = without_context(raw[row], raw[others], text[others])
    assert factor == pytest.approx(float(data[f"{name}_eci_scalar"][row]), abs=1e-6)
    np.testing.assert_allclose(clean, data[f"{name}_img_scores_after_eci"][row], atol=1e-5)
    # The published program leaves out the score at the target's own position.
    scaled = normalised(clean, text[:-1])
    np.testing.assert_allclose(scaled, data[f"{name}_norm_before_filter"][row], atol=1e-6)
    maps = np.concatenate([part.ravel() for part in filtered(scaled, CASES[name])])
    np.testing.assert_allclose(maps, data[f"{name}_map_after_filter"][row], atol=1e-6)
    u8 = (255 * maps).astype(int)
    assert np.abs(u8 - data[f"{name}_maps_u8"][row].astype(int)).max() <= 1


def test_least_squares_reproduces_the_golden_factor(golden_arrays):
    data = golden_arrays("tam")
    a, b = data["ls_a"].astype(np.float64), data["ls_b"].astype(np.float64)
    assert least_squares(a, b) == pytest.approx(float(data["ls_x"]), abs=1e-5)
    assert least_squares(a, b) == pytest.approx(float(data["ls_x_closed_form"]), abs=1e-6)
    assert least_squares(a, np.zeros_like(b)) == 0


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_rank_filter_reproduces_the_golden_filter(golden_arrays, index, kernel):
    data = golden_arrays("tam")
    maps = data[f"rgf{index}_in"]
    found = rank_filter(maps[None], kernel)[0]
    np.testing.assert_allclose(found, data[f"rgf{index}_k{kernel}"], atol=2e-6)
    if kernel == 3:
        double = rank_filter(maps[None].astype(np.float64), 3)[0]
        np.testing.assert_allclose(double, data[f"rgf{index}_k3_f64"], atol=2e-6)


def test_constant_windows_keep_their_value_where_the_published_filter_has_none(golden_arrays):
    data = golden_arrays("tam")
    found = rank_filter(data["rgf_const_in"][None], 3)[0]
    golden = data["rgf_const_k3_has_nan"]
    assert np.isfinite(found).all()
    known = np.isfinite(golden)
    np.testing.assert_allclose(found[known], golden[known], atol=2e-6)


def test_without_context_or_contrast_nothing_breaks():
    none = np.zeros((0, 4))
    assert (interference(none, np.zeros(0)) == 0).all()
    clean, factor = without_context(np.arange(4.0), none, np.zeros(0))
    assert factor == 0
    np.testing.assert_array_equal(clean, np.arange(4.0))
    np.testing.assert_allclose(normalised(np.arange(4.0), np.zeros(0)), np.arange(4.0) / 3)
    assert (normalised(np.full(4, 2.0), np.full(2, 2.0)) == 0).all()


def expected_map(case, step, target):
    """The definition in loops: context tokens are words that the step could read."""
    before, answer = naive_states(case, step)[-1]
    words = [
        (int(case.prompt.ids[i]), before[i])
        for i in range(len(before))
        if i >= SPAN[1] and 0 <= case.prompt.ids[i] < 50
    ]
    words += [
        (int(token), answer[i])
        for i, token in enumerate(case.trajectory.canvases[step])
        if token < 50 and i != target.position
    ]
    places = [i for grid in case.prompt.layout.grids for i in grid.indices]
    on_image = naive_logits(case, before[places]).clamp(min=0).numpy()
    raw = on_image[:, target.token_id]
    relevance = [max(0.0, float(naive_logits(case, h)[target.token_id])) for _, h in words]
    others = [k for k, (token, _) in enumerate(words) if token != target.token_id]
    total = sum(relevance[k] for k in others) + 1e-8
    shared = sum(
        (relevance[k] / total * on_image[:, words[k][0]] for k in others), np.zeros(len(places))
    )
    factor = float(raw @ shared) / float(shared @ shared) if shared.any() else 0.0
    clean = np.clip(raw - factor * shared, 0, None)
    low, high = min(clean.min(), *relevance), max(clean.max(), *relevance)
    scaled = (clean - low) / (high - low)
    return rank_filter(scaled[:4].reshape(1, 2, 2), 3)[0], rank_filter(
        scaled[4:].reshape(1, 2, 3), 3
    )[0]


@pytest.mark.parametrize("cached", [True, False], ids=["prefix-cache", "full"])
@pytest.mark.parametrize("step", [0, 3])
def test_context_is_the_question_and_what_was_written(cached, step):
    case = make_case(cached)
    # A word of the question is an answer token as well, and one prompt token is a turn mark.
    ids = case.prompt.ids.copy()
    ids[18], ids[20] = case.final[2], 57
    case.prompt = replace(case.prompt, ids=ids)
    case.trajectory = replace(case.trajectory, prompt=case.prompt)
    targets = targets_of(case)
    prober = Prober(case.model, case.trajectory, [INPUT_LAYER])
    (found,) = METHODS["tam"].stream(prober, [(step, targets)])
    assert list(found.maps) == [INPUT_LAYER]
    for k, target in enumerate(targets):
        base, tiles = expected_map(case, step, target)
        np.testing.assert_allclose(found.maps[-1]["base"][k], base, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.maps[-1]["tiles"][k], tiles, rtol=1e-5, atol=1e-6)
    assert min(m.min() for m in found.maps[-1].values()) >= 0
    assert max(m.max() for m in found.maps[-1].values()) <= 1


def test_contrast_changes_nothing_and_targets_stand_alone():
    case = make_case(True, torch.float32, two_grids())
    prober = Prober(case.model, case.trajectory, [INPUT_LAYER])
    plain = [Target(k, int(t)) for k, t in enumerate(case.final)]
    method = METHODS["tam"]
    together = whole(list(method.stream(prober, [(2, plain)])))[-1]["tiles"]
    rivals = [replace(t, contrast="runner_up") for t in plain]
    other = whole(list(method.stream(prober, [(2, rivals)])))[-1]["tiles"]
    np.testing.assert_array_equal(together, other)
    for k, target in enumerate(plain):
        alone = whole(list(method.stream(prober, [(2, [target])])))[-1]["tiles"][0]
        np.testing.assert_allclose(alone, together[k], rtol=1e-5, atol=1e-6)
    assert not method.reads_score
