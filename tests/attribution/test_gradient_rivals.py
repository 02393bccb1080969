"""Methods on states and gradients against plain loops in float64, and against one another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rival_cases import SPAN, assert_maps, make_case, on_grids, targets_of, two_grids, whole

import diffcam_core as dc
from diffcam_core.attribution import METHODS
from diffcam_core.attribution.diffusion_cam import diffusion_cam
from diffcam_core.attribution.diffusion_cam_variants import diffusion_cam_signed
from diffcam_core.attribution.grad_cam import grad_cam
from diffcam_core.attribution.gradient_norm import gradient_norm
from diffcam_core.attribution.gradient_x_input import gradient_x_input
from diffcam_core.attribution.llava_cam import llava_cam, noisy_images, smooth
from diffcam_core.errors import TargetError
from diffcam_core.layout import ImageLayout
from diffcam_core.probing import Prober, Target, Trajectory

COMPUTE = [grad_cam, llava_cam, gradient_x_input, gradient_norm, diffusion_cam_signed]


def random_case(dtype=torch.float32, k=3, d=7):
    generator = torch.Generator().manual_seed(0)
    n = SPAN[1] - SPAN[0]
    states = torch.randn(n, d, generator=generator).to(dtype)
    return states, torch.randn(k, n, d, generator=generator).to(dtype)


def loops(compute, states, gradients, layout):
    """Each definition, one number at a time."""
    a, g = states.double().numpy(), gradients.double().numpy()
    every = [i - layout.span[0] for one in layout.grids for i in one.indices]
    maps = {}
    for one in layout.grids:
        inside = [i - layout.span[0] for i in one.indices]
        over = every if compute is diffusion_cam_signed else inside
        found = np.zeros((len(g), len(inside)))
        for k in range(len(g)):
            for cell, row in enumerate(inside):
                value = 0.0
                for c in range(a.shape[1]):
                    if compute is gradient_x_input:
                        value += g[k, row, c] * a[row, c]
                    elif compute is gradient_norm:
                        value += g[k, row, c] ** 2
                    else:
                        column = [g[k, i, c] for i in over]
                        if compute is llava_cam:
                            column = [max(v, 0) for v in column]
                        value += sum(column) / len(over) * a[row, c]
                if compute is gradient_norm:
                    value = value**0.5
                if compute is llava_cam:
                    value /= a.shape[1]
                if compute in (grad_cam, llava_cam):
                    value = max(value, 0)
                found[k, cell] = value
        maps[one.name] = found.reshape(len(g), one.rows, one.cols)
    return maps


@pytest.mark.parametrize("compute", COMPUTE, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_to_the_definition(compute, dtype):
    states, gradients = random_case(dtype)
    found = compute(states, gradients, two_grids())
    assert_maps(found, loops(compute, states, gradients, two_grids()), rtol=1e-5, atol=1e-6)
    assert {name: maps.shape for name, maps in found.items()} == {
        "base": (3, 2, 2),
        "tiles": (3, 2, 3),
    }


@pytest.mark.parametrize("compute", COMPUTE, ids=lambda c: c.__name__)
def test_no_target_no_map_and_other_spans_are_refused(compute):
    states, gradients = random_case()
    assert compute(states, gradients[:0], two_grids())["tiles"].shape == (0, 2, 3)
    with pytest.raises(TargetError, match="image span"):
        compute(states[1:], gradients[:, 1:], two_grids())


@pytest.mark.parametrize("compute", COMPUTE, ids=lambda c: c.__name__)
def test_newlines_change_nothing(compute):
    states, gradients = random_case()
    before = compute(states, gradients, two_grids())
    lines = two_grids().newline_positions - SPAN[0]
    states[lines], gradients[:, lines] = 1e3, -1e3
    for name, maps in compute(states, gradients, two_grids()).items():
        np.testing.assert_array_equal(maps, before[name])


def test_one_view_makes_grad_cam_the_base_map_and_two_do_not():
    states, gradients = random_case()
    single = ImageLayout((40, 30), SPAN, two_grids().grids[1:], np.zeros(0, np.int64))
    one, other = (f(states, gradients, single)["tiles"] for f in (grad_cam, diffusion_cam))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    both = [f(states, gradients, two_grids())["tiles"] for f in (grad_cam, diffusion_cam)]
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_the_relu_of_the_signed_map_is_the_base_map():
    states, gradients = random_case()
    signed = diffusion_cam_signed(states, gradients, two_grids())
    for name, maps in diffusion_cam(states, gradients, two_grids()).items():
        np.testing.assert_allclose(np.maximum(signed[name], 0), maps, rtol=1e-5, atol=1e-6)
    assert min(maps.min() for maps in signed.values()) < 0


@pytest.mark.parametrize("cached", [True, False], ids=["prefix-cache", "full"])
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_contrastive_is_the_difference_of_two_base_maps(cached, chunk):
    case = make_case(cached)
    prober = Prober(case.model, case.trajectory, [0, 2], max_chunk=chunk)
    targets = targets_of(case)
    parts = list(METHODS["diffusion-cam-contrastive"].stream(prober, [(2, targets), (3, [])]))
    assert [part.step for part in parts] == [2, 3]
    assert parts[0].targets == tuple(targets)
    assert parts[1].maps[0]["base"].shape == (0, 2, 2)
    probed = Prober(case.model, case.trajectory, [0, 2])
    best = probed.probe(2, [replace(t, contrast="runner_up") for t in targets]).distractors
    for k, target in enumerate(targets):
        rival = 11 if target.contrast == 11 else int(best[k])
        pair = probed.probe(2, [Target(k, target.token_id), Target(k, rival)])
        for layer in (0, 2):
            maps = diffusion_cam(pair.states[layer], pair.gradients[layer], case.prompt.layout)
            for name, (own, other) in maps.items():
                found = parts[0].maps[layer][name][k]
                np.testing.assert_allclose(found, own - other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts[0].probabilities, probed.probabilities(2, targets))


@pytest.mark.parametrize("name", ["grad-cam", "llava-cam", "gradient-x-input", "gradient-norm"])
def test_streams_are_the_functions_on_probed_gradients(name):
    case = make_case(True)
    prober = Prober(case.model, case.trajectory, [1, -1])
    targets = targets_of(case)
    result = prober.probe(1, targets)
    compute = {f.__name__.replace("_", "-"): f for f in COMPUTE}[name]
    found = whole(list(METHODS[name].stream(prober, [(1, targets)])))
    for layer in (1, -1):
        expected = compute(result.states[layer], result.gradients[layer], case.prompt.layout)
        assert_maps(found[layer], expected, rtol=1e-5, atol=1e-7)
    total = on_grids((result.states[1] * result.gradients[1]).sum(-1), case.prompt.layout)
    if name == "gradient-x-input":
        assert_maps(found[1], total, rtol=1e-5, atol=1e-6)


def test_smooth_is_the_mean_over_noisy_images(tiny_lavida: Path):
    model = dc.load_model(tiny_lavida, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    prompt = model.prepare(Image.fromarray(picture), "a cat")
    trajectory = Trajectory(prompt, np.full((2, 4), model.mask_id), model.mask_id, True)
    requests = [(0, [Target(1, 9)]), (1, [Target(0, 5), Target(3, 8)])]
    prober = Prober(model, trajectory, [0])
    first, second = (list(smooth(3, 0.1, 7)(prober, requests)) for _ in range(2))
    images = list(noisy_images(picture, 3, 0.1, 7))
    assert 20 < np.std([i.astype(float) - picture for i in images]) < 26
    for part, again, (step, targets) in zip(first, second, requests, strict=True):
        maps = []
        for image in images:
            other = replace(trajectory, prompt=model.prepare(Image.fromarray(image), "a cat"))
            result = Prober(model, other, [0]).probe(step, targets)
            maps.append(llava_cam(result.states[0], result.gradients[0], prompt.layout)["base"])
        np.testing.assert_allclose(part.maps[0]["base"], np.mean(maps, 0), rtol=1e-4, atol=1e-9)
        assert part.maps[0]["base"].tobytes() == again.maps[0]["base"].tobytes()
