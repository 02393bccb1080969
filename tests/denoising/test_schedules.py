import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcam_core.denoising.config import SCHEDULES, GenerationConfig
from diffcam_core.denoising.schedules import block_counts, progress_curve, tokens_per_step

# dmllm-architectures 3.5: counts of the published sampler.
TABLE = {
    (3.0, 64, 32): [1] * 13 + [2, 1, 1, 2, 2, 1, 2, 2, 3, 2, 2, 3, 3, 4, 3, 4, 5, 5, 4],
    (0.33, 64, 32): [6, 5, 5, 4, 4, 3, 3, 3, 2, 3, 2, 2, 2, 1, 2] + [1] * 17,
    (3.0, 32, 16): [1] * 8 + [2, 2, 2, 2, 3, 4, 4, 5],
    (0.33, 32, 16): [6, 4, 4, 3, 2, 2, 2] + [1] * 9,
    (3.0, 64, 16): [2, 1, 2, 2, 2, 2, 3, 2, 4, 3, 5, 4, 6, 7, 9, 10],
    (0.33, 64, 16): [11, 9, 7, 6, 5, 4, 3, 4, 2, 3, 2, 2, 2, 2, 1, 1],
}


@pytest.mark.parametrize("case", TABLE)
def test_shift_equals_the_published_table(case):
    shift, tokens, steps = case
    config = GenerationConfig(tokens, steps, shift=shift)
    assert tokens_per_step(config) == (tuple(TABLE[case]),)


def test_uniform_gives_the_remainder_to_the_first_steps():
    assert block_counts(10, 4, "uniform") == (3, 3, 2, 2)


def test_cosine_equals_the_golden_trace(golden_arrays):
    golden = golden_arrays("llada_tiny")["trace_prefix_cosine"]
    written = np.diff((golden != 319).sum(1), prepend=0)
    assert block_counts(16, 4, "cosine") == tuple(written)


def _torch_curve(steps: int, schedule: str, shift: float) -> torch.Tensor:
    """The curves, written down directly as float32 tensor expressions."""
    t = torch.linspace(0, 1, steps + 1)
    if schedule == "shift":
        return shift * t / (1 + (shift - 1) * t)
    if schedule == "cosine":
        return 1 - 0.5 * (1 + torch.cos(torch.pi * t))
    if schedule == "logit_normal":
        return 0.5 * (1 + torch.erf(torch.log(t / (1 - t)) / torch.sqrt(torch.tensor(2.0))))
    return t


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("shift", [3.0, 0.33, 1.7])
def test_curves_follow_float32_torch(schedule, shift):
    for steps in (*range(1, 65), 97, 128, 256):
        ours = progress_curve(steps, schedule, shift)
        theirs = _torch_curve(steps, schedule, shift).numpy()
        assert ours.dtype == np.float32
        # One unit in the last place of 1: libraries round sums and transcendentals apart.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.5e-7)
        assert ours[0] == 0 and abs(ours[-1] - 1) < 1e-6
        assert np.all(np.diff(ours) >= 0)


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(SCHEDULES),
    st.floats(0.01, 100),
    st.data(),
)
def test_counts_always_sum_and_no_step_is_idle(block, blocks, schedule, shift, data):
    per_block = data.draw(st.integers(1, block))
    config = GenerationConfig(
        block * blocks, per_block * blocks, block, schedule=schedule, shift=shift
    )
    counts = tokens_per_step(config)
    assert len(counts) == blocks
    for of_block in counts:
        assert len(of_block) == per_block
        assert sum(of_block) == block
        assert min(of_block) >= 1


def test_shift_above_one_writes_late_and_below_one_early():
    late, early = block_counts(64, 16, "shift", 3.0), block_counts(64, 16, "shift", 1 / 3)
    assert sum(late[:8]) < 32 < sum(early[:8])
