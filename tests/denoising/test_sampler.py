import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_core.denoising import (
    REMASKING,
    SCHEDULES,
    GenerationConfig,
    sample,
    sample_batch,
    tokens_per_step,
)
from diffcam_core.errors import CancelledError, CheckpointError, InputError

VOCABULARY, MASK = 13, 12


def _model(seed: int, length: int, vocabulary: int = VOCABULARY):
    """A predictor whose logits depend on the whole canvas in a fixed random way."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(vocabulary, length, length, vocabulary, generator=generator)

    def predict(ids: torch.Tensor) -> torch.Tensor:
        assert ids.dtype == torch.int64
        return 2.0 * sum(table[token, place] for place, token in enumerate(ids.tolist()))

    return predict


def _run(length=12, seed=0, model_seed=3, **options):
    suppressed = options.pop("suppressed_ids", ())
    config = GenerationConfig(length, **options)
    return config, list(
        sample(_model(model_seed, length), config, MASK, seed=seed, suppressed_ids=suppressed)
    )


def _naive(predict, config, suppressed=()):
    """One position at a time, plain lists: argmax, score, take the best, until the step is full."""
    length, canvas, rows = config.max_new_tokens, [MASK] * config.max_new_tokens, []
    for block, counts in enumerate(tokens_per_step(config)):
        for count in counts:
            logits = predict(torch.tensor(canvas)).double()
            logits[:, list(suppressed)] = -torch.inf
            scores, tokens = {}, {}
            for place in range(length):
                p = torch.softmax(logits[place], 0).tolist()
                ranked = sorted(p, reverse=True)
                tokens[place] = max((i for i in range(len(p)) if i != MASK), key=p.__getitem__)
                scores[place] = {
                    "low_confidence": p[tokens[place]],
                    "entropy": sum(x * np.log(x + 1e-10) for x in p),
                    "margin": ranked[0] - ranked[1],
                }[config.remasking]
            for _ in range(count):
                free = [
                    place
                    for place in range(block * config.block, (block + 1) * config.block)
                    if canvas[place] == MASK
                ]
                best = max(free, key=scores.__getitem__)
                canvas[best] = tokens[best]
            rows.append(list(canvas))
    return np.array(rows)


@pytest.mark.parametrize("remasking", ["low_confidence", "entropy", "margin"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("block", [None, 4])
def test_equals_the_naive_sampler(remasking, schedule, block):
    config, records = _run(
        remasking=remasking, schedule=schedule, block_length=block, suppressed_ids=(2, 7)
    )
    expected = _naive(_model(3, 12), config, suppressed=(2, 7))
    np.testing.assert_array_equal([r.canvas for r in records], expected)


@settings(max_examples=60, deadline=None)
@given(
    block=st.integers(1, 5),
    blocks=st.integers(1, 3),
    schedule=st.sampled_from(SCHEDULES),
    remasking=st.sampled_from(REMASKING),
    temperature=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_laws_of_every_run(block, blocks, schedule, remasking, temperature, seed, data):
    steps = blocks * data.draw(st.integers(1, block))
    length = block * blocks
    config, records = _run(
        length,
        seed,
        steps=steps,
        block_length=block,
        schedule=schedule,
        remasking=remasking,
        temperature=temperature,
    )
    counts = [count for of_block in tokens_per_step(config) for count in of_block]
    assert [r.step for r in records] == list(range(steps))
    before = np.full(length, MASK)
    for record, count in zip(records, counts, strict=True):
        assert record.canvas.dtype == record.guesses.dtype == np.int64
        assert record.confidence.dtype == np.float32
        assert record.committed.sum() == count
        # Exactly the committed positions change, and only from mask to something else.
        np.testing.assert_array_equal(record.canvas != before, record.committed)
        assert np.all(before[record.committed] == MASK)
        assert record.n_written == (record.canvas != MASK).sum()
        assert np.all((record.confidence >= 0) & (record.confidence <= 1))
        assert not np.any(record.guesses == MASK)
        # No later block is begun before the earlier ones are full.
        started = np.flatnonzero((record.canvas != MASK).reshape(blocks, block).any(1))
        full = (record.canvas != MASK).reshape(blocks, block).all(1)
        assert np.all(full[: started.max()])
        before = record.canvas
    assert not np.any(before == MASK)


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("remasking", REMASKING)
def test_confidence_is_the_probability_at_that_step(temperature, remasking):
    _, records = _run(temperature=temperature, remasking=remasking, suppressed_ids=(4,))
    predict, before = _model(3, 12), np.full(12, MASK)
    for record in records:
        logits = predict(torch.from_numpy(before.copy())).double()
        logits[:, 4] = -torch.inf
        p = logits.softmax(-1).numpy()
        shown = np.where(record.canvas == MASK, record.guesses, record.canvas)
        np.testing.assert_allclose(record.confidence, p[np.arange(12), shown], rtol=1e-6)
        p[:, MASK] = -1
        np.testing.assert_array_equal(record.guesses, p.argmax(-1))
        before = record.canvas


@pytest.mark.parametrize("options", [{"temperature": 4.0}, {"remasking": "random"}])
def test_same_seed_same_answer_other_seed_other_answer(options):
    first, again, other = (_run(seed=s, **options)[1] for s in (11, 11, 12))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.canvas, b.canvas)
        assert a.confidence.tobytes() == b.confidence.tobytes()
    assert any(not np.array_equal(a.canvas, b.canvas) for a, b in zip(first, other, strict=True))


def test_without_noise_the_seed_does_not_matter_and_the_global_generator_is_untouched():
    state = torch.get_rng_state()
    first, other = (_run(seed=s)[1] for s in (0, 1))
    _run(temperature=1.0)
    np.testing.assert_array_equal(first[-1].canvas, other[-1].canvas)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_can_be_given():
    config = GenerationConfig(12, temperature=1.0)
    given_one = list(
        sample(_model(3, 12), config, MASK, generator=torch.Generator().manual_seed(4))
    )
    seeded = list(sample(_model(3, 12), config, MASK, seed=4))
    np.testing.assert_array_equal(given_one[-1].canvas, seeded[-1].canvas)


def test_gumbel_samples_from_the_tempered_distribution():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, -torch.inf])  # the last one is the mask
    n, temperature = 20_000, 0.5
    config = GenerationConfig(max_new_tokens=10_000, steps=1, temperature=temperature)
    counts = np.zeros(4)
    for seed in range(n // 10_000):
        (record,) = sample(lambda ids: logits.expand(len(ids), 5), config, 4, seed=seed)
        counts += np.bincount(record.canvas, minlength=4)
    expected = torch.softmax(logits[:4].double() / temperature, 0).numpy()
    # Five standard deviations of a count.
    assert np.all(np.abs(counts / n - expected) < 5 * np.sqrt(expected * (1 - expected) / n))


def test_suppressed_ids_are_never_written():
    for options in ({}, {"temperature": 3.0}):
        _, records = _run(suppressed_ids=(0, 1, 2, 3, 4), **options)
        assert not np.isin(records[-1].canvas, [0, 1, 2, 3, 4, MASK]).any()


def test_the_mask_is_never_written_even_if_the_model_prefers_it():
    logits = torch.zeros(6, VOCABULARY)
    logits[:, MASK] = 50.0
    logits[:, 5] = 1.0
    records = list(sample(lambda ids: logits, GenerationConfig(6), MASK))
    np.testing.assert_array_equal(records[-1].canvas, np.full(6, 5))


def test_ties_are_written_from_left_to_right():
    config = GenerationConfig(6, 3, schedule="uniform")
    records = list(sample(lambda ids: torch.zeros(6, VOCABULARY), config, MASK))
    assert [np.flatnonzero(r.committed).tolist() for r in records] == [[0, 1], [2, 3], [4, 5]]


def test_huge_logits_do_not_overflow():
    logits = torch.zeros(4, VOCABULARY)
    logits[:, 3] = 5000.0
    (record,) = sample(lambda ids: logits, GenerationConfig(4, 1, temperature=1.0), MASK)
    assert np.all(record.canvas == 3) and np.all(record.confidence == 1)


def test_a_batch_equals_its_members_alone():
    config = GenerationConfig(12, remasking="margin")
    models = [_model(seed, 12) for seed in (1, 2, 3)]
    together = sample_batch(
        lambda ids: torch.stack([m(row) for m, row in zip(models, ids, strict=True)]),
        config,
        MASK,
        3,
    )
    alone = zip(*(sample(m, config, MASK) for m in models), strict=True)
    for batch, singles in zip(together, alone, strict=True):
        for a, b in zip(batch, singles, strict=True):
            np.testing.assert_array_equal(a.canvas, b.canvas)
            np.testing.assert_array_equal(a.committed, b.committed)
            assert a.confidence.tobytes() == b.confidence.tobytes()
            assert (a.step, a.n_written) == (b.step, b.n_written)


def test_cancel_by_event_stops_before_the_next_step():
    event, seen = threading.Event(), []
    with pytest.raises(CancelledError, match="after 3 steps"):
        for record in sample(_model(3, 12), GenerationConfig(12), MASK, cancel=event):
            seen.append(record)
            if len(seen) == 3:
                event.set()
    assert [r.step for r in seen] == [0, 1, 2]


def test_cancel_by_callable_before_the_first_step_asks_the_model_nothing():
    def predict(ids):
        raise AssertionError("the model was asked")

    with pytest.raises(CancelledError, match="after 0 steps"):
        next(sample(predict, GenerationConfig(12), MASK, cancel=lambda: True))


def test_no_gradients_inside_and_the_mode_is_given_back_at_every_record():
    weight, modes = torch.ones(VOCABULARY, requires_grad=True), []

    def predict(ids):
        modes.append(torch.is_grad_enabled())
        return weight * torch.arange(VOCABULARY).expand(len(ids), VOCABULARY)

    for _ in sample(predict, GenerationConfig(4), MASK):
        assert torch.is_grad_enabled()
    assert not any(modes)
    with pytest.raises(RuntimeError):
        next(sample(_raise, GenerationConfig(4), MASK))
    assert torch.is_grad_enabled()


def _raise(ids):
    raise RuntimeError("boom")


def test_records_are_read_only_and_do_not_change_later():
    config = GenerationConfig(12)
    records, copies = [], []
    for record in sample(_model(3, 12), config, MASK):
        records.append(record)
        copies.append(record.canvas.copy())
        with pytest.raises(ValueError, match="read-only"):
            record.canvas[0] = 0
    for record, copy in zip(records, copies, strict=True):
        np.testing.assert_array_equal(record.canvas, copy)


def test_predict_may_change_its_input():
    def vandal(ids):
        logits = _model(3, 12)(ids)
        ids.zero_()
        return logits

    config = GenerationConfig(12)
    spoiled, clean = (list(sample(p, config, MASK)) for p in (vandal, _model(3, 12)))
    np.testing.assert_array_equal(spoiled[-1].canvas, clean[-1].canvas)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mask_id": -1}, "mask id is -1"),
        ({"suppressed_ids": (-2,)}, "suppressed id -2"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_bad_arguments_are_refused_at_once(changes, named):
    arguments = {"mask_id": MASK, **changes}
    with pytest.raises(InputError, match=named):
        sample(_model(3, 12), GenerationConfig(12), **arguments)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mask_id": VOCABULARY}, "13 tokens"),
        ({"suppressed_ids": (99,)}, "token id 99"),
        ({"suppressed_ids": range(VOCABULARY)}, "every token"),
        ({"suppressed_ids": range(VOCABULARY - 1)}, "every token"),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(changes, named):
    arguments = {"mask_id": MASK, **changes}
    with pytest.raises(InputError, match=named):
        next(sample(lambda ids: torch.zeros(12, VOCABULARY), GenerationConfig(12), **arguments))


def test_logits_of_another_length_are_refused():
    with pytest.raises(InputError, match="12 tokens"):
        next(sample(lambda ids: torch.zeros(11, VOCABULARY), GenerationConfig(12), MASK))


def test_logits_that_are_not_numbers_are_refused():
    with pytest.raises(CheckpointError, match="step 0"):
        next(
            sample(lambda ids: torch.full((12, VOCABULARY), torch.nan), GenerationConfig(12), MASK)
        )


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="batch of 0"):
        sample_batch(_model(3, 12), GenerationConfig(12), MASK, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_a_generator_on_another_device_is_refused():
    config = GenerationConfig(12, temperature=1.0)
    with pytest.raises(InputError, match="device"):
        next(sample(_model(3, 12), config, MASK, generator=torch.Generator("cuda")))
