"""Memory, cancel, validity, determinism, and that nothing is left behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from probing_cases import MASK, make_model, make_prompt, make_trajectory

from diffcam_core.errors import CancelledError, ResourceError, TargetError
from diffcam_core.probing import Prober, Target, Trajectory, backward, planned_chunk, probe


def targets_of(final):
    return [Target(k, int(token), "runner_up") for k, token in enumerate(final)]


def same(a, b):
    return all(torch.equal(a.gradients[layer], b.gradients[layer]) for layer in a.gradients)


def hooks_of(module):
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_state_dict_hooks",
    )
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)


def assert_untouched(model):
    assert hooks_of(model.backbone) == 0
    for parameter in model.backbone.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
        assert not parameter._backward_hooks
    assert torch.is_grad_enabled()
    # The attention mode is gone: a plain call is the stock one again.
    q = torch.ones(1, 1, 2, 2, requires_grad=True)
    stock = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert "Attend" not in type(stock.grad_fn).__name__


# valid


def test_valid_is_found_on_the_graph(model, trajectory):
    found = Prober(model, trajectory, [3, 0, 1, 2]).valid()
    assert found.shape == (4, 4)
    assert found.dtype == np.bool_
    # What leaves the last block at the image's places is read by nobody.
    assert found.tolist() == 4 * [[False, True, True, True]]
    assert Prober(model, trajectory, [3]).valid([1]).tolist() == [[False]]


def test_valid_sees_a_cut_path(model, trajectory):
    """A model that drops the image after block 1 has no path from block 0 and 1 to the answer."""
    run_block = model.backbone.run_block
    start, end = trajectory.prompt.layout.span

    def blinded(index, x, past_kv=None, return_kv=False):
        if index == 2 and x.shape[1] > end:
            x = torch.cat((x[:, :start], x[:, start:end].detach(), x[:, end:]), dim=1)
        return run_block(index, x, past_kv, return_kv)

    whole = Prober(model, trajectory, [1, 2]).valid([0])
    model.backbone.run_block = blinded
    cut = Prober(model, trajectory, [1, 2]).valid([0])
    assert whole.tolist() == [[True, True]]
    assert cut.tolist() == [[False, True]]


def test_last_layer_alone_gives_zeros(model, prompt, trajectory, final):
    result = probe(model, prompt, trajectory, 0, targets_of(final), [3])
    assert result.gradients[3].shape == (len(final), 13, 16)
    assert not result.gradients[3].any()
    assert result.states[3].any()


# streams and chunks


def test_targets_of_several_steps_share_passes_and_keep_their_order(model, prompt, final):
    trajectory, _ = make_trajectory(prompt, True)
    targets = targets_of(final)
    requests = [(0, targets[:1]), (1, []), (1, targets[1:3]), (3, targets[3:]), (2, targets[:2])]
    prober = Prober(model, trajectory, max_chunk=4)
    results = list(prober.stream(requests))
    flat = [(r.step, t) for r in results for t in r.targets]
    assert flat == [(step, target) for step, some in requests for target in some]
    for result in results:
        alone = probe(model, prompt, trajectory, result.step, result.targets, max_chunk=1)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-12)
        for layer, gradient in result.gradients.items():
            torch.testing.assert_close(gradient, alone.gradients[layer], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bytes_for_the_same_chunk_and_same_numbers_for_any(cached, dtype):
    model = make_model(dtype)
    prompt = make_prompt(model)
    trajectory, final = make_trajectory(prompt, cached)
    runs = [probe(model, prompt, trajectory, 1, targets_of(final)) for _ in range(2)]
    assert same(*runs)
    for chunk in (1, 2, 5):
        other = probe(model, prompt, trajectory, 1, targets_of(final), max_chunk=chunk)
        for layer, gradient in other.gradients.items():
            torch.testing.assert_close(gradient, runs[0].gradients[layer], rtol=1e-5, atol=1e-6)


def test_chunk_follows_free_memory(model, trajectory, monkeypatch):
    assert Prober(model, trajectory).chunk == 8
    assert Prober(model, trajectory, max_chunk=3).chunk == 3
    need = Prober(model, trajectory)._bytes_per_target()
    cached, length = trajectory.prefix_cache, trajectory.n_positions
    assert planned_chunk(model, trajectory.prompt, length, None, cached) == 8
    monkeypatch.setattr(backward, "free_bytes", lambda device: 4 * need)
    assert Prober(model, trajectory).chunk == 2
    assert planned_chunk(model, trajectory.prompt, length, None, cached) == 2
    monkeypatch.setattr(backward, "free_bytes", lambda device: 0)
    assert Prober(model, trajectory).chunk == 1


def out_of_memory_above(limit, error):
    """Stand in for torch.vmap: fails as an allocator does when a batch is too large."""
    vmap = torch.vmap

    def limited(function):
        def call(*tensors):
            if len(tensors[0]) > limit:
                raise error
            return vmap(function)(*tensors)

        return call

    return limited


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_chunk_and_goes_on(
    model, prompt, trajectory, final, monkeypatch, error
):
    whole = probe(model, prompt, trajectory, 1, targets_of(final))
    monkeypatch.setattr(torch, "vmap", out_of_memory_above(2, error))
    prober = Prober(model, trajectory)
    result = prober.probe(1, targets_of(final))
    assert prober.chunk <= 2
    assert result.targets == whole.targets
    for layer, gradient in result.gradients.items():
        torch.testing.assert_close(gradient, whole.gradients[layer], rtol=1e-9, atol=1e-12)
    assert_untouched(model)


def test_out_of_memory_with_one_target_says_what_to_do(
    model, prompt, trajectory, final, monkeypatch
):
    monkeypatch.setattr(torch, "vmap", out_of_memory_above(0, MemoryError()))
    with pytest.raises(ResourceError, match="single token"):
        probe(model, prompt, trajectory, 1, targets_of(final))
    assert_untouched(model)


def test_out_of_memory_in_the_forward_pass_says_what_to_do(model, prompt, trajectory, final):
    def full(*_):
        raise RuntimeError("not enough memory: you tried to allocate 9 bytes")

    model.backbone.run_block = full
    with pytest.raises(ResourceError, match="with gradients"):
        probe(model, prompt, trajectory, 1, targets_of(final))


# nothing left behind


def test_nothing_is_left_after_a_normal_end(model, prompt, trajectory, final):
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    probe(model, prompt, trajectory, 0, targets_of(final))
    assert_untouched(model)
    assert not prompt.embeds.requires_grad
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_trainable_parameters_get_no_gradient_either(model, prompt, trajectory, final):
    frozen = probe(model, prompt, trajectory, 0, targets_of(final))
    model.backbone.requires_grad_(True)
    loose = probe(model, prompt, trajectory, 0, targets_of(final))
    for layer, gradient in loose.gradients.items():
        torch.testing.assert_close(gradient, frozen.gradients[layer])
    assert not probe(model, prompt, trajectory, 0, targets_of(final), [3]).gradients[3].any()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_works_inside_no_grad_and_with_inference_tensors(model, prompt, trajectory, final):
    free = probe(model, prompt, trajectory, 0, targets_of(final))
    with torch.inference_mode():
        locked = make_prompt(model)
    with torch.no_grad():
        inside = probe(model, locked, trajectory, 0, targets_of(final))
        assert not torch.is_grad_enabled()
    assert same(free, inside)


@pytest.mark.parametrize("call", [0, 2, 4])
def test_nothing_is_left_when_a_module_raises(model, prompt, trajectory, final, call):
    run_block = model.backbone.run_block
    calls = iter(range(100))

    def failing(*args):
        if next(calls) == call:
            raise ZeroDivisionError("broken block")
        return run_block(*args)

    model.backbone.run_block = failing
    with pytest.raises(ZeroDivisionError, match="broken block"):
        probe(model, prompt, trajectory, 1, targets_of(final))
    assert_untouched(model)
    model.backbone.run_block = run_block
    assert probe(model, prompt, trajectory, 1, targets_of(final)).scores.size == len(final)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(7, 1), "no position 7"),
        (Target(-1, 1), "no position -1"),
        (Target(0, 60), "token id 60"),
        (Target(0, 1, 60), "distractor"),
        (Target(0, 1, 1), "distractor"),
        (Target(0, 1, "best"), "no contrast 'best'"),
        (Target(0, 3, "log_probability"), "never be written"),
    ],
)
def test_bad_targets_are_named_and_leave_nothing(model, prompt, trajectory, target, message):
    with pytest.raises(TargetError, match=message):
        probe(model, prompt, trajectory, 0, [Target(1, 9), target])
    assert_untouched(model)


def test_bad_steps_layers_and_canvases_are_named(model, prompt, trajectory):
    with pytest.raises(TargetError, match="no denoising step 4"):
        probe(model, prompt, trajectory, 4, [Target(0, 1)])
    with pytest.raises(TargetError, match="no layer 4"):
        Prober(model, trajectory, [0, 4])
    with pytest.raises(TargetError, match="twice"):
        Prober(model, trajectory, [0, 0])
    with pytest.raises(TargetError, match="no layer is chosen"):
        Prober(model, trajectory, [])
    with pytest.raises(TargetError, match="canvases"):
        Trajectory(prompt, np.zeros(5, np.int64), MASK, True)
    with pytest.raises(TargetError, match="image span"):
        Prober(model, Trajectory(make_prompt(model, length=16), trajectory.canvases, MASK, True))


def test_no_targets_give_an_empty_result(model, prompt, trajectory):
    result = probe(model, prompt, trajectory, 0, [])
    assert result.scores.shape == (0,)
    assert result.gradients[0].shape == (0, 13, 16)
    assert result.states[0].shape == (13, 16)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_cancel_between_chunks(model, trajectory, final, after):
    asked = iter(range(100))
    prober = Prober(model, trajectory, max_chunk=1, cancel=lambda: next(asked) >= after)
    with pytest.raises(CancelledError):
        list(prober.stream([(0, targets_of(final)), (1, targets_of(final))]))
    assert next(asked) == after + 1
    assert_untouched(model)


def test_cancel_by_event_keeps_what_is_done(model, trajectory, final):
    stop = threading.Event()
    prober = Prober(model, trajectory, max_chunk=2, cancel=stop)
    stream = prober.stream([(0, targets_of(final))])
    first = next(stream)
    stop.set()
    with pytest.raises(CancelledError):
        next(stream)
    assert len(first.targets) == 2
    assert_untouched(model)


def test_from_written_shifts_by_one_step(prompt):
    written = np.array([[1, 59], [1, 2]])
    trajectory = Trajectory.from_written(prompt, written, 59, True)
    assert trajectory.canvases.tolist() == [[59, 59], [1, 59]]
    assert (trajectory.n_steps, trajectory.n_positions) == (2, 2)
