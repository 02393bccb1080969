"""Forward passes, replaced states and attention rows against the naive model."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from naive_llada import NaiveLlada, _norm, _turn
from probing_cases import SPAN, make_model

from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.probing import Prober, Target
from diffcam_core.probing.forward import ForwardPasses
from diffcam_core.probing.replaced import ReplacedStates

CONTRASTS = ["none", "runner_up", "log_probability", 11]


def naive_states(model, prompt, ids, cached):
    naive = NaiveLlada(model.backbone)
    before, answer = prompt.embeds[0], naive.w["wte.weight"][ids]
    found = [(before, answer)]
    for i in range(naive.c.n_layers):
        if cached:
            before, answer = naive.block(i, before), naive.block(i, answer, before)
        else:
            both = naive.block(i, torch.cat((before, answer)))
            before, answer = both[: len(before)], both[len(before) :]
        found.append((before, answer))
    return found


def naive_weights(model, block, queries, seen, shift):
    """Attention of each head, query by query."""
    naive = NaiveLlada(model.backbone)
    w, c, p = naive.w, naive.c, f"blocks.{block}."

    def heads(rows, name, n):
        rows = _norm(rows, w[p + "attn_norm.weight"], c.rms_norm_eps)
        return (rows @ w[p + name + ".weight"].T).reshape(len(rows), n, -1).transpose(0, 1)

    q = _turn(heads(queries, "q_proj", c.n_heads), shift, c.rope_theta)
    k = _turn(heads(seen, "k_proj", c.n_kv_heads), 0, c.rope_theta)
    found = torch.empty(c.n_heads, len(queries), len(seen), dtype=queries.dtype)
    for h in range(c.n_heads):
        for row in range(len(queries)):
            scores = k[h * c.n_kv_heads // c.n_heads] @ q[h, row] / q.shape[-1] ** 0.5
            powers = torch.exp(scores - scores.max())
            found[h, row] = powers / powers.sum()
    return found


def test_states_are_those_of_every_block(model, prompt, trajectory, cached):
    forward = ForwardPasses(model, trajectory)
    for step in (0, 3):
        ids = torch.as_tensor(trajectory.canvases[step])
        states = forward.states(step)
        expected = naive_states(model, prompt, ids, cached)
        for index, (before, answer) in enumerate(expected):
            torch.testing.assert_close(states.prompt[index], before, rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(states.answer[index], answer, rtol=1e-6, atol=1e-8)
        assert (states.prompt_keys is not None) == cached


def test_scores_are_those_of_the_prober(model, trajectory, final):
    targets = [Target(k, int(t), CONTRASTS[k % 4]) for k, t in enumerate(final)]
    prober = Prober(model, trajectory)
    found = prober.forward.score(prober.forward.states(2), 2, targets)
    expected = prober.probe(2, targets)
    np.testing.assert_allclose(found.scores.numpy(), expected.scores, rtol=1e-9)
    np.testing.assert_allclose(found.probabilities.numpy(), expected.probabilities, rtol=1e-9)
    np.testing.assert_array_equal(found.distractors.numpy(), expected.distractors)


def test_forward_passes_refuse_and_stop(model, trajectory):
    stop = threading.Event()
    forward = ForwardPasses(model, trajectory, cancel=stop)
    states = forward.states(0)
    with pytest.raises(TargetError, match="step 9"):
        forward.states(9)
    with pytest.raises(TargetError, match="no position 7"):
        forward.score(states, 0, [Target(7, 1)])
    stop.set()
    with pytest.raises(CancelledError):
        forward.states(0)


def test_a_prober_that_is_only_looked_at_runs_nothing(model, trajectory, monkeypatch):
    monkeypatch.setattr(model.backbone, "run_block", lambda *_: pytest.fail("ran a block"))
    assert Prober(model, trajectory).layers == (0, 1, 2, 3)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("block", [0, 3])
def test_attention_weights_equal_a_naive_softmax(heads, block):
    model = make_model(n_kv_heads=heads)
    torch.manual_seed(3)
    x, prefix = torch.randn(1, 6, 16).double(), torch.randn(1, 5, 16).double()
    rows = torch.tensor([5, 0, 3])
    alone = model.backbone.attention_weights(block, x, rows)
    expected = naive_weights(model, block, x[0], x[0], 0)[:, rows]
    torch.testing.assert_close(alone[0], expected, rtol=1e-6, atol=1e-9)
    _, pair = model.backbone.run_block(block, prefix, None, True)
    after = model.backbone.attention_weights(block, x, rows, pair[0])
    seen = torch.cat((prefix[0], x[0]))
    expected = naive_weights(model, block, x[0], seen, 5)[:, rows]
    torch.testing.assert_close(after[0], expected, rtol=1e-6, atol=1e-9)


def test_attention_weights_are_wide_and_sum_to_one():
    model = make_model(torch.bfloat16)
    weights = model.backbone.attention_weights(
        1, torch.randn(2, 6, 16).bfloat16(), torch.tensor([2])
    )
    assert weights.dtype == torch.float32
    assert weights.shape == (2, 4, 1, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 1))


def test_logits_of_chosen_tokens_are_those_of_the_head(model):
    hidden, ids = torch.randn(5, 16).double(), torch.tensor([7, 0, 59])
    found = model.backbone.head_for(hidden, ids)
    torch.testing.assert_close(found, model.backbone.head(hidden)[:, ids])
    tied = make_model(torch.bfloat16, weight_tying=True)
    assert tied.backbone.head_for(hidden.bfloat16(), ids).dtype == torch.float32


@pytest.mark.parametrize("layer", [-1, 0, 2, 3])
def test_replaced_states_lead_to_the_answer(model, prompt, trajectory, cached, layer):
    states = ForwardPasses(model, trajectory).states(1)
    upper = ReplacedStates(model.backbone, states, layer, SPAN)
    torch.testing.assert_close(upper.image, states.prompt[layer + 1][slice(*SPAN)])
    torch.testing.assert_close(upper.answer(upper.image), states.answer[-1])
    torch.manual_seed(0)
    changes = torch.randn(2, *upper.image.shape).double()
    together = upper.answer(upper.image + changes)
    assert together.shape == (2, 7, 16)
    ids = torch.as_tensor(trajectory.canvases[1])
    naive = NaiveLlada(model.backbone)
    for change, answer in zip(changes, together, strict=True):
        if layer >= 0:
            expected = naive.logits(prompt.embeds[0], ids, cached, layer, SPAN, change)
        else:
            changed = prompt.embeds[0].clone()
            changed[slice(*SPAN)] += change
            expected = naive.logits(changed, ids, cached)
        torch.testing.assert_close(model.backbone.head(answer), expected, rtol=1e-6, atol=1e-7)
