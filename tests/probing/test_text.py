"""Support of text against finite differences of an independent model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from naive_llada import NaiveLlada
from probing_cases import MASK, SPAN, SUPPRESSED, make_model, make_prompt, make_trajectory

from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.probing import Target
from diffcam_core.probing.text import TextProber

CONTRASTS = ["none", "runner_up", "log_probability", 11]


def targets_of(final):
    return [Target(k, int(t), CONTRASTS[k % 4]) for k, t in enumerate(final)]


class Scaled:
    """Scores of targets when one token's state at one layer is scaled."""

    def __init__(self, model, prompt, trajectory, cached, step):
        self.naive = NaiveLlada(model.backbone)
        self.prompt, self.cached = prompt.embeds[0], cached
        self.ids = torch.as_tensor(trajectory.canvases[step])

    def scores(self, targets, layer, row, factor):
        """``row`` counts through prompt and canvas."""
        before, answer = self.prompt, self.naive.w["wte.weight"][self.ids]
        for i in range(-1, self.naive.c.n_layers):
            if i >= 0 and self.cached:
                before, answer = self.naive.block(i, before), self.naive.block(i, answer, before)
            elif i >= 0:
                both = self.naive.block(i, torch.cat((before, answer)))
                before, answer = both[: len(before)], both[len(before) :]
            if i == layer:
                both = torch.cat((before, answer))
                both[row] *= factor
                before, answer = both[: len(before)], both[len(before) :]
        norm = torch.sqrt((answer**2).mean(-1, keepdim=True) + self.naive.c.rms_norm_eps)
        logits = answer / norm * self.naive.w["ln_f.weight"] @ self.naive.w["ff_out.weight"].T
        return np.array([float(self.naive.score(logits, t, MASK, SUPPRESSED)) for t in targets])

    def slopes(self, targets, layer, row, h=1e-5):
        high, low = (self.scores(targets, layer, row, 1 + s * h) for s in (1, -1))
        return (high - low) / (2 * h)


@pytest.mark.parametrize("layer", [-1, 1, 3])
def test_equal_to_finite_differences(model, prompt, trajectory, final, cached, layer):
    targets = targets_of(final)
    (found,) = TextProber(model, trajectory, [layer]).stream([(2, targets)])
    text = [i for i in range(22) if not SPAN[0] <= i < SPAN[1]]
    assert found.prompt_positions.tolist() == text
    assert found.support[layer].shape == (7, len(text) + 7)
    assert found.support[layer].dtype == np.float32
    truth = Scaled(model, prompt, trajectory, cached, 2)
    rows = [*text, *range(22, 29)]
    for column, row in enumerate(rows):
        expected = truth.slopes(targets, layer, row)
        np.testing.assert_allclose(found.support[layer][:, column], expected, rtol=1e-4, atol=1e-6)
    if layer < 3:
        assert (found.support[layer] < 0).any() and (found.support[layer] > 0).any()
        assert np.abs(found.support[layer][:, : len(text)]).min(axis=1).max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_and_layers_together_change_nothing(cached, dtype):
    model = make_model(dtype)
    prompt = make_prompt(model)
    trajectory, final = make_trajectory(prompt, cached)
    (whole,) = TextProber(model, trajectory, [-1, 2]).stream([(1, targets_of(final))])
    parts = list(TextProber(model, trajectory, [2], max_chunk=3).stream([(1, targets_of(final))]))
    assert [len(part.targets) for part in parts] == [3, 3, 1]
    joined = np.concatenate([part.support[2] for part in parts])
    loose = 5e-2 if dtype == torch.bfloat16 else 1e-4
    scale = np.abs(whole.support[2]).max()
    np.testing.assert_allclose(joined, whole.support[2], rtol=0, atol=loose * scale)


def test_nothing_is_left_behind_and_errors_are_named(model, trajectory, final):
    prober = TextProber(model, trajectory)
    (empty,) = prober.stream([(0, [])])
    assert empty.support[-1].shape == (0, 9 + 7)
    with pytest.raises(TargetError, match="step 9"):
        list(prober.stream([(9, [])]))
    with pytest.raises(TargetError, match="no position 7"):
        list(prober.stream([(0, [Target(7, 1)])]))
    with pytest.raises(TargetError, match="layers"):
        TextProber(model, trajectory, [4])
    with pytest.raises(CancelledError):
        list(TextProber(model, trajectory, cancel=lambda: True).stream([(0, targets_of(final))]))
    list(prober.stream([(1, targets_of(final))]))
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    assert torch.is_grad_enabled()
