"""Gradients against an independent, slow derivative, finite differences and golden numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from naive_llada import NaiveLlada
from probing_cases import MASK, SPAN, SUPPRESSED, make_model, make_prompt, make_trajectory

from diffcam_core.layout import ImageLayout
from diffcam_core.models import LladaConfig, load_backbone
from diffcam_core.models.base import Prompt
from diffcam_core.probing import Prober, Target, Trajectory, probe

GOLDEN = Path(__file__).parents[1] / "golden"
CONTRASTS = ["none", "runner_up", "log_probability", 11]


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


def targets_of(final, contrasts=CONTRASTS):
    return [Target(k, int(final[k]), contrasts[k % len(contrasts)]) for k in range(len(final))]


@pytest.mark.parametrize("step", [0, 2])
def test_equal_to_recomputing_everything_for_each_target_and_layer(
    model, prompt, trajectory, final, cached, step
):
    naive = NaiveLlada(model.backbone)
    ids = torch.as_tensor(trajectory.canvases[step])
    targets = targets_of(final)
    result = probe(model, prompt, trajectory, step, targets, max_chunk=3)
    logits = naive.logits(prompt.embeds[0], ids, cached)
    for k, target in enumerate(targets):
        expected = naive.score(logits, target, MASK, SUPPRESSED)
        assert result.scores[k] == pytest.approx(float(expected), rel=1e-9, abs=1e-9)
        for layer in range(model.backbone.n_layers):
            slow = naive.gradient(
                prompt.embeds[0], ids, cached, layer, SPAN, target, MASK, SUPPRESSED
            )
            if layer == model.backbone.n_layers - 1:
                assert not slow.any()
                assert not result.gradients[layer][k].any()
            else:
                assert relative(result.gradients[layer][k], slow) < 1e-5


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_equal_to_finite_differences(model, prompt, trajectory, final, cached, layer):
    naive = NaiveLlada(model.backbone)
    step = 3
    ids = torch.as_tensor(trajectory.canvases[step])
    target = Target(5, int(final[5]), "runner_up")
    gradient = probe(model, prompt, trajectory, step, [target], [layer]).gradients[layer][0]
    generator = torch.Generator().manual_seed(layer)
    for _ in range(3):
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        h = 1e-5

        def at(distance, direction=direction):
            change = distance * direction
            logits = naive.logits(prompt.embeds[0], ids, cached, layer, SPAN, change)
            return float(naive.score(logits, target, MASK, SUPPRESSED))

        slope = (at(h) - at(-h)) / (2 * h)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_states_are_the_blocks_outputs_on_the_span(model, prompt, trajectory, final, cached):
    result = probe(model, prompt, trajectory, 1, targets_of(final))
    embeds = prompt.embeds
    if not cached:
        answer = model.backbone.embed(torch.as_tensor(trajectory.canvases[1])[None])
        embeds = torch.cat((embeds, answer), 1)
    hidden = model.backbone(embeds).hidden_states
    for layer, state in result.states.items():
        assert not state.requires_grad
        torch.testing.assert_close(state, hidden[layer][0, SPAN[0] : SPAN[1]])


def test_probabilities_are_those_of_the_sampler(model, prompt, trajectory, final, cached):
    targets = targets_of(final)
    prober = Prober(model, trajectory)
    naive = NaiveLlada(model.backbone)
    ids = torch.as_tensor(trajectory.canvases[2])
    logits = naive.logits(prompt.embeds[0], ids, cached)
    logits[:, list(SUPPRESSED)] = -torch.inf
    expected = logits.softmax(-1)[torch.arange(len(final)), torch.as_tensor(final)].numpy()
    np.testing.assert_allclose(prober.probe(2, targets).probabilities, expected, rtol=1e-9)
    np.testing.assert_allclose(prober.probabilities(2, targets), expected, rtol=1e-9)


def test_distractors_are_named(model, trajectory, final, cached, prompt):
    targets = targets_of(final)
    result = probe(model, prompt, trajectory, 0, targets)
    ids = torch.as_tensor(trajectory.canvases[0])
    logits = NaiveLlada(model.backbone).logits(prompt.embeds[0], ids, cached)
    for target, found in zip(targets, result.distractors, strict=True):
        if target.contrast == "runner_up":
            row = logits[target.position].clone()
            row[[target.token_id, MASK, *SUPPRESSED]] = -torch.inf
            assert found == int(row.argmax())
        else:
            assert found == (target.contrast if isinstance(target.contrast, int) else -1)


def test_layers_probed_alone_and_together_agree(model, trajectory, final):
    targets = targets_of(final)
    together = Prober(model, trajectory, [2, 0, 1]).probe(1, targets)
    assert list(together.states) == [2, 0, 1]
    for layer in (0, 1, 2):
        alone = Prober(model, trajectory, [layer]).probe(1, targets)
        torch.testing.assert_close(together.states[layer], alone.states[layer])
        torch.testing.assert_close(
            together.gradients[layer], alone.gradients[layer], rtol=1e-9, atol=1e-12
        )


def test_tied_head_and_equal_heads():
    model = make_model(weight_tying=True, n_kv_heads=4)
    prompt = make_prompt(model)
    trajectory, final = make_trajectory(prompt, True)
    target = Target(2, int(final[2]))
    ids = torch.as_tensor(trajectory.canvases[1])
    slow = NaiveLlada(model.backbone).gradient(
        prompt.embeds[0], ids, True, 0, SPAN, target, MASK, SUPPRESSED
    )
    assert relative(probe(model, prompt, trajectory, 1, [target]).gradients[0][0], slow) < 1e-5


def test_bfloat16_follows_float64(cached):
    """As close to float64 on the same rounded weights as naive autograd in bfloat16 is."""
    coarse, exact = make_model(torch.bfloat16), make_model()
    exact.backbone.load_state_dict(coarse.backbone.state_dict())
    prompt = make_prompt(coarse)
    wide = replace(prompt, embeds=prompt.embeds.double())
    trajectory, final = make_trajectory(prompt, cached)
    targets = targets_of(final, ["none"])
    want = probe(exact, wide, trajectory, 1, targets).gradients[1]
    found = probe(coarse, prompt, trajectory, 1, targets).gradients[1]
    assert found.dtype == torch.bfloat16
    ids = torch.as_tensor(trajectory.canvases[1])
    naive = NaiveLlada(coarse.backbone)
    stock = torch.stack(
        [
            naive.gradient(prompt.embeds[0], ids, cached, 1, SPAN, target, MASK, SUPPRESSED)
            for target in targets
        ]
    )

    def error(gradients):
        return (gradients.double() - want).flatten(1).norm(dim=1) / want.flatten(1).norm(dim=1)

    assert float(error(found).max()) < 0.25
    assert float(error(found).mean()) < 1.5 * float(error(stock).mean())


def test_no_forward_work_is_repeated(model, prompt, cached, final):
    trajectory, _ = make_trajectory(prompt, cached)
    n = model.backbone.n_layers
    requests = [(step, targets_of(final)) for step in range(4)]
    seen = []
    run_block = model.backbone.run_block

    def counted(index, x, *rest):
        seen.append((index, x.shape[1], torch.is_grad_enabled()))
        return run_block(index, x, *rest)

    model.backbone.run_block = counted
    list(Prober(model, trajectory, [1, 2], max_chunk=2).stream(requests))
    prompt_length, answer_length = prompt.embeds.shape[1], len(final)
    if cached:
        whole = [entry for entry in seen if entry[1] == prompt_length]
        assert whole == [(i, prompt_length, i > 1) for i in range(n)]
        assert len([e for e in seen if e[1] == answer_length]) == 4 * n
    else:
        whole = [entry for entry in seen if entry[1] == prompt_length + answer_length]
        assert whole == 4 * [(i, prompt_length + answer_length, i > 1) for i in range(n)]
        # The answer's own rows of the last block, once a step.
        assert len(seen) == len(whole) + 4


def golden_prober(embeds, ids, folder, layers, span):
    with torch.no_grad():
        backbone = load_backbone(folder)
    model = SimpleNamespace(backbone=backbone, mask_id=319, suppressed_ids=())
    layout = ImageLayout((1, 1), span, (), np.zeros(0, np.int64))
    prompt = Prompt(
        torch.as_tensor(embeds)[None],
        np.zeros(len(embeds), np.int64),
        layout,
        "",
        np.zeros((1, 1, 3), np.uint8),
    )
    trajectory = Trajectory(prompt, np.asarray(ids)[None], 319, prefix_cache=False)
    return Prober(model, trajectory, layers)


def test_golden_lavida_cam_features_and_gradients():
    data = np.load(GOLDEN / "lavida_mm" / "io.npz")
    image = int(data["cam_img_index"])
    block, position = int(data["cam_block"]), int(data["cam_position"])
    embeds = data[f"img{image}_inputs_embeds"]
    span = tuple(int(v) for v in data[f"img{image}_image_span"])
    mask_id = json.loads((GOLDEN / "lavida_mm" / "config.json").read_text())["mask_token_id"]
    prober = golden_prober(embeds, [mask_id] * 12, GOLDEN / "lavida_mm", None, span)
    result = prober.probe(0, [Target(position - len(embeds), int(data["cam_token"]))])
    rows = slice(*span)
    np.testing.assert_allclose(
        result.states[block].numpy(), data["cam_block_out"][rows], rtol=0, atol=2e-4
    )
    np.testing.assert_allclose(
        result.gradients[block][0].numpy(), data["cam_block_grad"][rows], rtol=0, atol=2e-4
    )
    assert np.abs(data["cam_block_grad"][rows]).max() > 2e-3  # the tolerance says something


def test_golden_llada_gradients_of_every_block():
    data = np.load(GOLDEN / "llada_tiny" / "io.npz")
    folder = GOLDEN / "llada_tiny"
    # The golden sequence has no answer: its last rows are given as one, through their embeddings.
    embeds, span = data["embeds"][0][:22], (3, 20)
    prober = golden_prober(embeds, range(8), folder, None, span)
    prober._backbone.embed = lambda ids: torch.as_tensor(data["embeds"][:, 22:])
    result = prober.probe(0, [Target(25 - 22, 7)])
    for layer in range(
        LladaConfig.from_dict(json.loads((folder / "config.json").read_text())).n_layers
    ):
        np.testing.assert_allclose(
            result.gradients[layer][0].numpy(),
            data["block_grad_of_logit_25_7"][layer, slice(*span)],
            rtol=0,
            atol=2e-4,
        )
        np.testing.assert_allclose(
            result.states[layer].numpy(), data["block_out"][layer, slice(*span)], rtol=0, atol=2e-4
        )
