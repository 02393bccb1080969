"""Completeness of integrated gradients, and a fine midpoint rule over the naive model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rival_cases import MASK, SPAN, SUPPRESSED, make_case, on_grids, targets_of

from diffcam_core.attribution import METHODS, integrated_gradients
from diffcam_core.attribution.from_states import look
from diffcam_core.attribution.integrated_gradients import baseline_of, integrate
from diffcam_core.errors import CancelledError
from diffcam_core.probing import Prober, Target
from diffcam_core.probing.forward import ForwardPasses
from diffcam_core.probing.replaced import ReplacedStates
from diffcam_core.probing.targets import score


@pytest.fixture(params=[True, False], ids=["prefix-cache", "full"])
def case(request):
    return make_case(request.param)


def gap(case, step, layer, targets, kind):
    """score(x) - score(baseline), by two forward passes."""
    states = ForwardPasses(case.model, case.trajectory).states(step)
    upper = ReplacedStates(case.model.backbone, states, layer, SPAN)
    base = baseline_of(upper.image, case.prompt.layout, kind)
    found = []
    rivals = None
    for image in (upper.image, base):
        rows = upper.answer(image)[[t.position for t in targets]]
        logits = case.model.backbone.head(rows)
        _, _, distractors = score(logits, targets, mask_id=MASK, suppressed=SUPPRESSED)
        rivals = distractors if rivals is None else rivals
        values = []
        for k, target in enumerate(targets):
            rival = int(rivals[k])
            contrast = rival if rival >= 0 else target.contrast
            fixed = Target(target.position, target.token_id, contrast)
            values.append(float(case.naive.score(logits[k : k + 1], at(fixed), MASK, SUPPRESSED)))
        found.append(np.array(values))
    return found[0] - found[1]


def at(target):
    """The same target for logits of its position alone."""
    return Target(0, target.token_id, target.contrast)


@pytest.mark.parametrize(
    ("layer", "kind", "nodes", "loose"),
    # The random model bends sharply below its upper layers, most of all near the zero state.
    [(-1, "mean", 40, 3e-2), (0, "mean", 40, 1e-3), (2, "mean", 16, 1e-6), (2, "zero", 128, 2e-2)],
)
def test_shares_add_up_to_what_the_image_adds(case, layer, kind, nodes, loose):
    targets = targets_of(case)[:4]
    prober = Prober(case.model, case.trajectory, [layer])
    total = integrate(prober, look(prober, 2, targets), layer, kind, nodes).sum(1).numpy()
    expected = gap(case, 2, layer, targets, kind)
    np.testing.assert_allclose(total, expected, rtol=0, atol=loose * np.abs(expected).max())


def test_equal_to_a_fine_midpoint_rule(case):
    layer, points = 1, 100
    target = Target(5, int(case.final[5]))
    prober = Prober(case.model, case.trajectory, [layer])
    evidence = look(prober, 3, [target])
    found = integrate(prober, evidence, layer, "mean", 24)
    x = evidence.states.prompt[layer + 1][slice(*SPAN)]
    base = x.clone()
    for one in case.prompt.layout.grids:
        rows = one.indices - SPAN[0]
        base[rows] = x[rows].mean(0)
    total = torch.zeros_like(x)
    # The naive model adds a change to the states, so a point of the line is a change as well.
    ids = torch.as_tensor(case.trajectory.canvases[3])
    for index in range(points):
        place = (index + 0.5) / points
        change = (base + place * (x - base) - x).requires_grad_()
        logits = case.naive.logits(case.prompt.embeds[0], ids, case.cached, layer, SPAN, change)
        (gradient,) = torch.autograd.grad(logits[5, target.token_id], change)
        total += gradient / points
    expected = (total * (x - base)).sum(1)
    torch.testing.assert_close(
        found[0], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )
    lines = case.prompt.layout.newline_positions - SPAN[0]
    assert not found[:, lines].any()


@pytest.mark.parametrize("chunk", [1, 3])
def test_stream_and_chunks(case, chunk, monkeypatch):
    targets = targets_of(case)
    prober = Prober(case.model, case.trajectory, [2, -1])
    method = METHODS["integrated-gradients"]
    (found,) = method.stream(prober, [(1, targets)])
    for layer in (2, -1):
        whole = integrate(prober, look(prober, 1, targets), layer)
        for name, maps in on_grids(whole, case.prompt.layout).items():
            np.testing.assert_allclose(found.maps[layer][name], maps, rtol=1e-5, atol=1e-7)
    assert (found.maps[2]["tiles"] < 0).any()
    backward = integrated_gradients.BatchedBackward
    monkeypatch.setattr(
        integrated_gradients,
        "BatchedBackward",
        lambda device, need, cancel: backward(device, need, chunk, cancel),
    )
    (parts,) = method.stream(prober, [(1, targets)])
    np.testing.assert_allclose(parts.maps[2]["tiles"], found.maps[2]["tiles"], rtol=1e-5, atol=1e-6)
    assert all(p.grad is None and not p.requires_grad for p in case.model.backbone.parameters())


def test_no_target_and_cancel(case):
    method = METHODS["integrated-gradients"]
    prober = Prober(case.model, case.trajectory, [0])
    (found,) = method.stream(prober, [(0, [])])
    assert found.maps[0]["tiles"].shape == (0, 2, 3)
    asked = iter([False, False, False, True])
    prober = Prober(case.model, case.trajectory, [0], cancel=lambda: next(asked, True))
    with pytest.raises(CancelledError):
        list(method.stream(prober, [(0, targets_of(case))]))


def test_bfloat16_is_nearly_complete():
    case = make_case(True, torch.bfloat16)
    targets = [Target(k, int(t)) for k, t in enumerate(case.final)]
    prober = Prober(case.model, case.trajectory, [1])
    total = integrate(prober, look(prober, 2, targets), 1)
    assert total.dtype == torch.float32
    twin = make_case(True)
    expected = gap(twin, 2, 1, targets, "mean")
    assert np.abs(total.sum(1).numpy() - expected).max() < 0.2 * np.abs(expected).max()
