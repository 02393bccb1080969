"""Quality on scenes: a stand-in model answers from a table, so that every score is known."""

import functools
import json
import threading
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffcam_core.datasets.scenes import (
    COUNT_PROMPT,
    DESCRIBE_PROMPT,
    GROUND_PROMPT,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    Scene,
    SceneObject,
    make_scene,
)
from diffcam_core.denoising import GenerationConfig
from diffcam_core.errors import CancelledError, InputError
from diffcam_core.evaluation import quality
from diffcam_core.evaluation.quality import Rate, bootstrap_rate, evaluate_quality

LENGTH, EOS, MASK, VOCABULARY = 192, 128, 129, 130
SEEDS = range(8)
N = len(SEEDS)


class _TableBackbone:
    """Reads the answer's characters out of the prompt's rows; says them with certainty."""

    n_layers, hidden_size, vocab_size = 2, 1, VOCABULARY

    def __init__(self):
        self.batches = []

    def embed(self, ids):
        return ids[..., None].float()

    def __call__(self, embeds, past=None, use_cache=False, logits_at=None):
        if past is None:
            self.batches.append(tuple(embeds.shape[:2]))
            return SimpleNamespace(logits=None, past=embeds)
        wanted = past[:, :LENGTH, 0].long()
        return SimpleNamespace(logits=20.0 * torch.nn.functional.one_hot(wanted, VOCABULARY))


@functools.cache
def _scenes_by_picture():
    return {make_scene(s).render().tobytes(): make_scene(s) for s in (*SEEDS, TRAINING_SEEDS[0])}


class _TableModel:
    """Answers as told; a prompt is as long as its text, as with a real tokenizer."""

    mask_id, eos_ids, suppressed_ids = MASK, (EOS,), ()
    supports_prefix_cache = True
    device, dtype = torch.device("cpu"), torch.float32
    default_generation = GenerationConfig(LENGTH, steps=2)

    def __init__(self, answer):
        self.backbone = _TableBackbone()
        self._answer = answer
        self._scenes = _scenes_by_picture()

    def prepare(self, image, prompt):
        text = self._answer(self._scenes[np.asarray(image).tobytes()], prompt)
        # What follows the end of the answer must never be read.
        ids = [*map(ord, text), EOS, *map(ord, " a cat above a cat.")]
        rows = torch.full((1, LENGTH + len(prompt), 1), float(EOS))
        rows[0, : len(ids), 0] = torch.tensor(ids[: LENGTH + len(prompt)])
        return SimpleNamespace(embeds=rows)

    def decode(self, ids):
        return "".join(chr(i) for i in ids)


def _truth(scene, prompt):
    if prompt == DESCRIBE_PROMPT:
        return scene.caption
    return next(q.answer for q in scene.questions if q.prompt == prompt)


def _evaluate(answer, **options):
    return evaluate_quality(_TableModel(answer), SEEDS, **options)


def test_the_right_answers_are_all_right():
    found = _evaluate(_truth)
    for title, rate in found.rows():
        assert (rate.value, rate.low, rate.high) == (1.0, 1.0, 1.0), title
    scenes = [make_scene(seed) for seed in SEEDS]
    relational = sum(any(q.kind == "relation" for q in s.questions) for s in scenes)
    assert found.scenes == N and found.answers == 3 * N + relational
    assert found.noun_recall.n == sum(len(s.objects) for s in scenes)
    assert found.relation_words.n == sum(len(s.relations) for s in scenes) + relational
    assert found.ground.n == 2 * N and found.count.n == N
    assert all(kind.recall == 1 for kind in found.kinds) and found.confusions == ()
    assert sum(kind.shown for kind in found.kinds) == found.noun_recall.n
    assert found.held_out


def test_case_and_spacing_do_not_matter_but_words_do():
    found = _evaluate(lambda scene, prompt: _truth(scene, prompt).upper().replace(" ", "  "))
    assert all(rate.value == 1 for _, rate in found.rows())
    found = _evaluate(lambda scene, prompt: _truth(scene, prompt).replace("a ", "the ", 1))
    assert found.exact_captions.value == 0 and found.noun_recall.value == 1


def test_nonsense_scores_nothing():
    found = _evaluate(lambda scene, prompt: "left of above the zzz 7 {}")
    for title, rate in found.rows():
        expected = (
            None if title in ("noun precision", "size given noun", "relation given nouns") else 0
        )
        assert rate.value == expected, title


def test_an_empty_answer_is_an_answer():
    assert _evaluate(lambda scene, prompt: "").noun_recall.value == 0


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_the_batch_size_changes_nothing(batch_size):
    def answer(scene, prompt):
        text = _truth(scene, prompt)
        return text.replace("small", "large") if scene.seed % 2 else text

    usual, other = _evaluate(answer), _evaluate(answer, batch_size=batch_size)
    assert usual.rows() == other.rows() and usual.kinds == other.kinds


def test_prompts_go_in_batches_of_one_length():
    model = _TableModel(_truth)
    evaluate_quality(model, SEEDS, batch_size=5)
    by_length = defaultdict(list)
    for batch, length in model.backbone.batches:
        by_length[length].append(batch)
    assert by_length.keys() >= {LENGTH + len(p) for p in (DESCRIBE_PROMPT, COUNT_PROMPT)}
    for sizes in by_length.values():
        assert all(size == 5 for size in sizes[:-1]) and 1 <= sizes[-1] <= 5


def _scene():
    """A cat left of a dog above a bee, on snow."""
    places = {"cat": (0.2, 0.5), "dog": (0.5, 0.4), "bee": (0.6, 0.8)}
    return Scene(
        seed=5,
        ground="snow",
        ground_offset=(0.0, 0.0),
        ground_gain=(1.0, 1.0, 1.0),
        objects=tuple(
            SceneObject(kind, size, places[kind], 0.25, 0.0, False, 1.0)
            for kind, size in (("cat", "small"), ("dog", "large"), ("bee", "small"))
        ),
    )


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "a small cat left of a large dog above a small bee, on the snow.",
            {"noun_recall": (3, 3), "relations_in_captions": (2, 2), "exact_captions": (1, 1)},
        ),
        (  # one relation word wrong
            "a small cat right of a large dog above a small bee, on the snow.",
            {
                "relations_in_captions": (1, 2),
                "relation_given_nouns": (1, 2),
                "noun_recall": (3, 3),
            },
        ),
        (  # one noun wrong: it takes both relations beside it with it
            "a small cat left of a large pig above a small bee, on the snow.",
            {
                "noun_recall": (2, 3),
                "noun_precision": (2, 3),
                "relations_in_captions": (0, 2),
                "relation_given_nouns": (0, 0),
                "size_given_noun": (2, 2),
                "count_in_captions": (1, 1),
            },
        ),
        (  # right words at the wrong places
            "a small cat left of a small bee above a large dog, on the snow.",
            {
                "noun_recall": (3, 3),
                "relations_in_captions": (0, 2),
                "relation_given_nouns": (0, 0),
            },
        ),
        (  # the relation does not stand behind the noun
            "left of a small cat a large dog above a small bee, on the snow.",
            {"relations_in_captions": (1, 2), "relation_given_nouns": (1, 2)},
        ),
        (  # sizes and ground wrong, one object twice
            "a large cat left of a large dog above a large bee below a cat, on the sand.",
            {
                "noun_recall": (3, 3),
                "noun_precision": (3, 3),
                "size_given_noun": (1, 3),
                "count_in_captions": (0, 1),
                "ground_in_captions": (0, 1),
                "relations_in_captions": (2, 2),
                "exact_captions": (0, 1),
            },
        ),
        (  # "snowman" is not the snow, "category" not a cat
            "a small category on the snowman.",
            {"noun_recall": (0, 3), "ground_in_captions": (0, 1), "noun_precision": (0, 1)},
        ),
    ],
)
def test_captions_scored_by_hand(caption, expected):
    exam = quality._Exam.of(_scene())
    exam.answers[0] = caption
    found = quality._score(exam)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("a small cat is left of the dog.", True),
        ("a large cat is left of the dog.", True),  # the size is another measure's business
        ("a small cat is right of the dog.", False),
        ("a small bee is left of the dog.", False),
        ("a small cat is left of the bee.", False),
        ("nothing is left of the dog.", False),
        ("a small cat left of the dog.", False),
        ("", False),
    ],
)
def test_relation_answers_scored_by_hand(answer, right):
    task = quality._Task("relation", "What is left of the dog?", "a small cat is left of the dog.")
    caption = quality._Task("caption", DESCRIBE_PROMPT, _scene().caption)
    found = quality._score(quality._Exam(_scene(), (caption, task), ["", answer]))
    assert found["relations_in_answers"] == (int(right), 1)
    assert found["relation_words"] == (int(right), 3)


def test_nothing_is_an_answer_too():
    caption = quality._Task("caption", DESCRIBE_PROMPT, _scene().caption)
    task = quality._Task("relation", "What is left of the cat?", "nothing is left of the cat.")
    for answer, right in ((task.answer, 1), ("a large dog is left of the cat.", 0), ("?", 0)):
        found = quality._score(quality._Exam(_scene(), (caption, task), ["", answer]))
        assert found["relations_in_answers"] == (right, 1)


def test_count_and_ground_are_read_at_their_place():
    def answer(scene, prompt):
        if prompt == COUNT_PROMPT:
            return f"there are {'three' if scene.seed % 3 else 'nine'} objects."
        if prompt == GROUND_PROMPT:
            return f"the ground is {scene.ground}." if scene.seed % 2 else scene.ground
        return _truth(scene, prompt)

    found = _evaluate(answer)
    threes = sum(len(make_scene(s).objects) == 3 and s % 3 > 0 for s in SEEDS)
    assert found.count.value == threes / N
    assert found.parts["ground_in_answers"].value == 0.5
    assert found.ground.value == 0.75


def test_a_confused_kind_is_found():
    shown = make_scene(SEEDS[0]).objects[0].kind
    other = "whale" if shown != "whale" else "cat"

    def answer(scene, prompt):
        text = _truth(scene, prompt)
        return text.replace(shown, other) if scene.seed == SEEDS[0] else text

    found = _evaluate(answer)
    assert [(c.shown, c.named, c.times) for c in found.confusions] == [(shown, other, 1)]
    worst = found.kinds[0]
    assert worst.kind == shown and worst.shown - worst.named == 1


def test_progress_counts_answers():
    seen = []
    found = _evaluate(_truth, on_progress=lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert done == sorted(set(done)) and done[-1] == found.answers
    assert {total for _, total in seen} == {found.answers}


def test_cancel_before_anything_and_in_the_middle():
    with pytest.raises(CancelledError):
        _evaluate(_truth, cancel=lambda: True)
    event = threading.Event()
    with pytest.raises(CancelledError):
        _evaluate(_truth, cancel=event, batch_size=2, on_progress=lambda *_: event.set())


@pytest.mark.parametrize(
    ("seeds", "options", "named"),
    [
        ([], {}, "no scene"),
        ([1, 2, 1], {}, "twice"),
        ([-1], {}, "negative"),
        ([1], {"batch_size": 0}, "batch"),
    ],
)
def test_bad_requests_are_refused(seeds, options, named):
    with pytest.raises(InputError, match=named):
        evaluate_quality(_TableModel(_truth), seeds, **options)


def test_training_seeds_are_called_so():
    assert SEEDS[-1] in HELD_OUT_SEEDS
    seed = TRAINING_SEEDS[0]
    assert not evaluate_quality(_TableModel(_truth), [0, seed]).held_out


def test_the_report_is_json():
    found = _evaluate(_truth)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["noun_recall"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": found.noun_recall.n}
    assert data["kinds"][0].keys() == {"kind", "shown", "named", "recall"}
    assert data["scenes"] == N and data["parts"]["exact_answers"]["value"] == 1


def test_no_case_gives_no_rate():
    assert bootstrap_rate([]) == bootstrap_rate([(0, 0), (0, 0)]) == Rate(None, None, None, 0)


def test_the_interval_is_that_of_resampled_scenes():
    rng = np.random.default_rng(3)
    total = rng.integers(1, 5, 300)
    right = rng.binomial(total, rng.choice([0.3, 1.0], 300))
    rate = bootstrap_rate(list(zip(right.tolist(), total.tolist(), strict=True)))
    picks = rng.integers(0, 300, (4000, 300))
    naive = right[picks].sum(1) / total[picks].sum(1)
    assert rate.value == right.sum() / total.sum() and rate.n == total.sum()
    # Monte-Carlo error of a 2.5 % quantile from 2,000 samples is below a tenth of a deviation.
    np.testing.assert_allclose(
        (rate.low, rate.high), np.percentile(naive, (2.5, 97.5)), atol=0.2 * naive.std()
    )


def test_scenes_without_a_case_leave_the_interval_alone():
    cases = [(1, 1), (0, 1), (1, 2)] * 20
    assert bootstrap_rate(cases) == bootstrap_rate([*cases, *[(0, 0)] * 40])
