"""Token traces of the published LaViDa sampler, step for step."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcam_core.denoising import (
    GenerationConfig,
    sample_batch_from_backbone,
    sample_from_backbone,
)
from diffcam_core.errors import InputError
from diffcam_core.models.loading import load_backbone

GOLDEN = Path(__file__).parents[1] / "golden"
MASK = 319
SHIFT_8 = GenerationConfig(16, 8, prefix_cache=True)
UNIFORM_8 = GenerationConfig(16, 8, block_length=8, schedule="uniform", prefix_cache=False)
CASES = {
    ("llada_tiny", "embeds", "trace_prefix_shift"): SHIFT_8,
    ("llada_tiny", "embeds", "trace_full_linear"): UNIFORM_8,
    ("llada_tiny", "embeds", "trace_prefix_cosine"): GenerationConfig(
        16, 4, schedule="cosine", prefix_cache=True
    ),
    ("llada_tiny", "embeds", "trace_full_entropy"): GenerationConfig(
        16, 8, remasking="entropy", prefix_cache=False
    ),
    ("llada_tiny", "embeds", "trace_prefix_margin"): GenerationConfig(
        16, 16, schedule="uniform", remasking="margin", prefix_cache=True
    ),
}
for k in range(3):
    CASES["lavida_mm", f"img{k}_inputs_embeds", f"img{k}_trace_prefix_shift"] = SHIFT_8
    CASES["lavida_mm", f"img{k}_inputs_embeds", f"img{k}_trace_full"] = UNIFORM_8


@cache
def _golden(folder: str):
    return load_backbone(GOLDEN / folder), np.load(GOLDEN / folder / "io.npz")


def _prompt(folder: str, name: str) -> torch.Tensor:
    stored = torch.from_numpy(_golden(folder)[1][name])
    return stored if stored.ndim == 3 else stored[None]


@pytest.mark.parametrize("case", CASES, ids="/".join)
def test_trace(case):
    folder, prompt, trace = case
    backbone, data = _golden(folder)
    records = sample_from_backbone(backbone, _prompt(folder, prompt), CASES[case], MASK)
    np.testing.assert_array_equal(np.stack([r.canvas for r in records]), data[trace])


def test_every_stored_trace_is_tested():
    stored = {
        (folder, name)
        for folder in ("llada_tiny", "lavida_mm")
        for name in _golden(folder)[1].files
        if "trace" in name
    }
    assert stored == {(folder, trace) for folder, _, trace in CASES}


@pytest.mark.parametrize("cached", [True, False])
def test_none_means_the_model_s_own_way(cached):
    backbone, _ = _golden("llada_tiny")
    prompt = _prompt("llada_tiny", "embeds")
    own = sample_from_backbone(backbone, prompt, GenerationConfig(16), MASK, prefix_cache=cached)
    said = sample_from_backbone(
        backbone, prompt, GenerationConfig(16, prefix_cache=cached), MASK, prefix_cache=not cached
    )
    for a, b in zip(own, said, strict=True):
        np.testing.assert_array_equal(a.canvas, b.canvas)
        assert a.confidence.tobytes() == b.confidence.tobytes()


@pytest.mark.parametrize("cached", [True, False])
def test_prompts_of_equal_length_can_be_answered_together(cached):
    backbone, _ = _golden("llada_tiny")
    prompt = _prompt("llada_tiny", "embeds")
    prompts = torch.cat((prompt, prompt.flip(1), 0.5 * prompt))
    config = GenerationConfig(16, prefix_cache=cached)
    *_, together = sample_batch_from_backbone(backbone, prompts, config, MASK)
    for row, record in enumerate(together):
        *_, alone = sample_from_backbone(backbone, prompts[row : row + 1], config, MASK)
        np.testing.assert_array_equal(record.canvas, alone.canvas)
        np.testing.assert_allclose(record.confidence, alone.confidence, atol=1e-5)


def test_parameters_get_no_gradients_and_the_prompt_s_graph_is_left_alone():
    backbone, _ = _golden("llada_tiny")
    prompt = _prompt("llada_tiny", "embeds").clone().requires_grad_()
    list(sample_from_backbone(backbone, prompt, GenerationConfig(8), MASK))
    assert prompt.grad is None
    assert all(p.grad is None for p in backbone.parameters())


@pytest.mark.parametrize("shape", [(30, 96), (2, 30, 96), (1, 30, 95)])
def test_a_prompt_of_another_shape_is_refused(shape):
    backbone, _ = _golden("llada_tiny")
    with pytest.raises(InputError, match="the prompt has shape"):
        sample_from_backbone(backbone, torch.zeros(shape), GenerationConfig(8), MASK)


def test_a_mask_id_outside_the_model_is_refused():
    backbone, _ = _golden("llada_tiny")
    with pytest.raises(InputError, match="320 tokens"):
        sample_from_backbone(backbone, _prompt("llada_tiny", "embeds"), SHIFT_8, 320)
