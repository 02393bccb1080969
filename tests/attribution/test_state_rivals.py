"""Logit lens, attention and rollout against loops over the naive model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from naive_llada import _norm, _turn
from rival_cases import (
    SPAN,
    SUPPRESSED,
    assert_maps,
    make_case,
    naive_logits,
    naive_states,
    on_grids,
    targets_of,
    whole,
)

from diffcam_core.attribution import METHODS, logit_lens, rollout
from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.probing import Prober, Target

LENGTH, ANSWER = 22, 7


@pytest.fixture(params=[True, False], ids=["prefix-cache", "full"])
def case(request):
    return make_case(request.param)


def square(case, block, before, answer):
    """Head mean of all attention of a block, (P + L, P + L)."""
    w, c, p = case.naive.w, case.naive.c, f"blocks.{block}."
    rows = torch.cat((before, answer))

    def heads(name, n):
        normed = _norm(rows, w[p + "attn_norm.weight"], c.rms_norm_eps)
        return (normed @ w[p + name + ".weight"].T).reshape(len(rows), n, -1).transpose(0, 1)

    q = _turn(heads("q_proj", c.n_heads), 0, c.rope_theta)
    k = _turn(heads("k_proj", c.n_kv_heads), 0, c.rope_theta)
    total = torch.zeros(len(rows), len(rows), dtype=rows.dtype)
    for h in range(c.n_heads):
        scores = q[h] @ k[h * c.n_kv_heads // c.n_heads].T / math.sqrt(q.shape[-1])
        if case.cached:
            scores[:LENGTH, LENGTH:] = -torch.inf
        total += torch.softmax(scores, -1)
    return (total / c.n_heads).numpy()


def test_lens_is_the_head_at_every_image_token(case, monkeypatch):
    monkeypatch.setattr(logit_lens, "_ROWS", 5)
    targets = targets_of(case)
    prober = Prober(case.model, case.trajectory, [3, -1, 1])
    found = whole(list(METHODS["logit-lens"].stream(prober, [(2, targets)])))
    states = naive_states(case, 2)
    distractors = Prober(case.model, case.trajectory).probe(2, targets).distractors
    allowed = [i for i in range(60) if i not in SUPPRESSED]
    for layer in (3, -1, 1):
        logits = naive_logits(case, states[layer + 1][0][slice(*SPAN)])
        rows = []
        for target, rival in zip(targets, distractors, strict=True):
            row = logits[:, target.token_id]
            if rival >= 0:
                row = row - logits[:, rival]
            if target.contrast == "log_probability":
                row = row - torch.logsumexp(logits[:, allowed], 1)
            rows.append(row)
        expected = on_grids(torch.stack(rows), case.prompt.layout)
        assert_maps(found[layer], expected, rtol=1e-5, atol=1e-6)


def test_attention_is_the_head_mean_of_the_targets_rows(case):
    targets = targets_of(case)
    prober = Prober(case.model, case.trajectory, [0, 3])
    found = whole(list(METHODS["attention"].stream(prober, [(1, targets)])))
    states = naive_states(case, 1)
    for layer in (0, 3):
        weights = square(case, layer, *states[layer])[LENGTH:, slice(*SPAN)]
        expected = on_grids(weights, case.prompt.layout)
        assert_maps(found[layer], expected, rtol=1e-5, atol=1e-8)


def test_rollout_is_the_product_of_whole_matrices(case, monkeypatch):
    monkeypatch.setattr(rollout, "_ENTRIES", 4 * 29 * 3)  # three rows at a time
    targets = [targets_of(case)[k] for k in (4, 0)]
    prober = Prober(case.model, case.trajectory, [2, 0, 3])
    found = whole(list(METHODS["rollout"].stream(prober, [(1, targets)])))
    states = naive_states(case, 1)
    product = np.eye(LENGTH + ANSWER)
    for block in (3, 2, 1, 0):
        mixed = square(case, block, *states[block])
        product = product @ (0.5 * mixed + 0.5 * np.eye(LENGTH + ANSWER))
        np.testing.assert_allclose(product.sum(1), 1)
        if block in (2, 0, 3):
            rows = product[[LENGTH + 4, LENGTH]][:, slice(*SPAN)]
            expected = on_grids(rows, case.prompt.layout)
            assert_maps(found[block], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["attention", "rollout"])
def test_the_input_has_no_attention(case, name):
    prober = Prober(case.model, case.trajectory, [-1, 0])
    with pytest.raises(TargetError, match="no attention"):
        list(METHODS[name].stream(prober, [(0, targets_of(case))]))
    assert not METHODS[name].has_map(-1, 4)


@pytest.mark.parametrize("name", ["attention", "rollout", "logit-lens", "tam"])
def test_requests_in_order_bad_ones_named_and_cancelled(case, name):
    method, targets = METHODS[name], targets_of(case)
    layer = 0 if method.layered else -1
    calls = iter([False, False, True])
    prober = Prober(case.model, case.trajectory, [layer], cancel=lambda: next(calls))
    stream = method.stream(prober, iter([(3, targets), (0, [])]))
    first = next(stream)
    assert (first.step, first.targets, list(first.maps)) == (3, tuple(targets), [layer])
    assert first.maps[layer]["tiles"].shape == (7, 2, 3)
    expected = Prober(case.model, case.trajectory).probabilities(3, targets)
    np.testing.assert_allclose(first.probabilities, expected, rtol=1e-9)
    with pytest.raises(CancelledError):
        next(stream)
    prober = Prober(case.model, case.trajectory, [layer])
    (empty,) = method.stream(prober, [(0, [])])
    assert empty.maps[layer]["base"].shape == (0, 2, 2)
    with pytest.raises(TargetError, match="no position 9"):
        list(method.stream(prober, [(0, [Target(9, 1)])]))


@pytest.mark.parametrize("name", ["attention", "rollout", "logit-lens", "tam"])
def test_bfloat16_gives_nearly_the_same(name):
    maps = []
    for dtype in (torch.float64, torch.bfloat16):
        case = make_case(True, dtype)
        layer = 1 if METHODS[name].layered else -1
        prober = Prober(case.model, case.trajectory, [layer])
        targets = [Target(k, int(t)) for k, t in enumerate(case.final)]
        maps.append(whole(list(METHODS[name].stream(prober, [(1, targets)])))[layer]["tiles"])
    assert np.isfinite(maps[1]).all()
    assert np.abs(maps[0] - maps[1]).max() < 0.15 * np.abs(maps[0]).max()
