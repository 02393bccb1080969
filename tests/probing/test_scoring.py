"""Scores of changed images against the prober and against one image at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffcam_core as dc
from diffcam_core.datasets.scenes import make_scene
from diffcam_core.errors import CancelledError, TargetError
from diffcam_core.probing import Prober, StepScorer, Target, Trajectory


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(params=[True, False], ids=["prefix-cache", "full"])
def trajectory(model: Any, request: pytest.FixtureRequest) -> Trajectory:
    prompt = model.prepare(Image.fromarray(make_scene(3).render(96)), "what")
    rng = np.random.default_rng(0)
    canvases = np.full((3, 6), model.mask_id)
    canvases[1:, 2] = canvases[2, 4] = rng.integers(5, 40)
    return Trajectory(prompt, canvases, model.mask_id, request.param)


REQUESTS = [
    (0, [Target(1, 7), Target(3, 9, "runner_up")]),
    (2, [Target(0, 11, "log_probability")]),
]


def test_equal_to_probing_each_image_alone(model: Any, trajectory: Trajectory) -> None:
    images = [make_scene(seed).render(96) for seed in range(5)]
    found = StepScorer(model, trajectory, batch=2).score(iter(images), REQUESTS)
    assert [part.scores.shape for part in found] == [(5, 2), (5, 1)]
    for row, image in enumerate(images):
        prompt = model.prepare(Image.fromarray(image), "what")
        prober = Prober(model, replace(trajectory, prompt=prompt), [0])
        for (step, targets), part in zip(REQUESTS, found, strict=True):
            alone = prober.probe(step, targets)
            np.testing.assert_allclose(part.scores[row], alone.scores, atol=1e-4)
            np.testing.assert_allclose(part.probabilities[row], alone.probabilities, atol=1e-6)


def test_embedded_prompts_score_alike(model: Any, trajectory: Trajectory) -> None:
    image = trajectory.prompt.image
    scorer = StepScorer(model, trajectory)
    (by_pixels, _), (by_embeds, _) = (
        scorer.score([image], REQUESTS),
        scorer.score_embeds(trajectory.prompt.embeds, REQUESTS),
    )
    np.testing.assert_allclose(by_pixels.scores, by_embeds.scores, atol=1e-6)


def test_no_image_gives_no_row(model: Any, trajectory: Trajectory) -> None:
    found = StepScorer(model, trajectory).score([], REQUESTS)
    assert [part.scores.shape for part in found] == [(0, 2), (0, 1)]


def test_bad_input_and_cancel(model: Any, trajectory: Trajectory) -> None:
    scorer = StepScorer(model, trajectory, cancel=lambda: True)
    image = trajectory.prompt.image
    with pytest.raises(CancelledError):
        scorer.score([image], REQUESTS)
    with pytest.raises(TargetError, match="size"):
        scorer.score([image[:-1]], REQUESTS)
    with pytest.raises(TargetError, match="step 9"):
        scorer.score([image], [(9, [Target(0, 5)])])
    assert all(p.grad is None for p in model.backbone.parameters())
    assert torch.is_grad_enabled()
