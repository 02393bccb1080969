"""Scenes against what can be read off their own pixels."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from diffcam_core.datasets.scenes import (
    CLEAR_MARGIN,
    GROUNDS,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    kinds,
    make_scene,
    vocabulary,
)
from diffcam_core.errors import InputError

SEEDS = range(40)


def centroid(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean(), ys.mean()]) / mask.shape[0]


def test_enough_kinds_and_grounds() -> None:
    assert len(kinds()) >= 58
    assert len(set(GROUNDS)) >= 6
    assert not set(kinds()) & set(GROUNDS)


def test_training_never_sees_held_out_seeds() -> None:
    assert not set(HELD_OUT_SEEDS) & set(TRAINING_SEEDS)
    assert len(HELD_OUT_SEEDS) >= 1000


@pytest.mark.parametrize("size", [140, 384])
def test_same_seed_same_bytes(size: int) -> None:
    assert np.array_equal(make_scene(3).render(size), make_scene(3).render(size))
    assert not np.array_equal(make_scene(3).render(size), make_scene(4).render(size))


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_a_partition(seed: int) -> None:
    masks = make_scene(seed).masks(200)
    assert (masks.sum(axis=0) == 1).all()
    assert masks.reshape(len(masks), -1).any(axis=1).all()


@pytest.mark.parametrize("seed", range(8))
def test_mask_is_where_the_picture_changes_without_the_object(seed: int) -> None:
    scene = make_scene(seed, n_objects=3)
    picture, masks = scene.draw(256)
    for index in range(3):
        rest = tuple(o for i, o in enumerate(scene.objects) if i != index)
        without = dataclasses.replace(scene, objects=rest).render(256)
        change = np.abs(picture.astype(int) - without.astype(int)).max(axis=-1)
        # Half-covered rims and ground-coloured spots keep this from being an equality.
        assert change[masks[index]].mean() > 20
        assert (change[masks[index]] > 0).mean() > 0.97
        outside = ~masks[index]
        assert (change[outside] > 0).mean() < 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_caption_says_what_the_masks_show(seed: int) -> None:
    scene = make_scene(seed)
    picture_masks = scene.masks(200)
    words = re.findall(r"[a-z]+", scene.caption)
    named = [word for word in words if word in kinds()]
    assert named == [thing.kind for thing in scene.objects]
    assert words[-1] == scene.ground
    centres = [centroid(mask) for mask in picture_masks[:-1]]
    assert [c[0] for c in centres] == sorted(c[0] for c in centres)
    for a, b, relation in zip(centres, centres[1:], scene.relations, strict=False):
        dx, dy = a - b
        if abs(abs(dx) - abs(dy)) < CLEAR_MARGIN / 2:
            continue  # the stickers' own shapes pull the centroids closer than their squares
        expected = ("left of" if dx < 0 else "right of") if abs(dx) > abs(dy) else None
        assert relation == (expected or ("above" if dy < 0 else "below"))


def test_sizes_are_never_in_doubt() -> None:
    diameters: dict[str, list[float]] = {"small": [], "large": []}
    for seed in range(300):
        for thing in make_scene(seed).objects:
            diameters[thing.size].append(thing.diameter)
    assert max(diameters["small"]) + 0.05 < min(diameters["large"])


def test_words_stay_in_the_vocabulary() -> None:
    for seed in range(200):
        scene = make_scene(seed)
        texts = [scene.caption, *(t for q in scene.questions for t in (q.prompt, q.answer))]
        assert set(re.findall(r"[a-z]+", " ".join(texts).lower())) <= vocabulary()


def test_questions_have_one_answer_each() -> None:
    seen = set()
    for seed in range(200):
        scene = make_scene(seed)
        prompts = [question.prompt for question in scene.questions]
        assert len(prompts) == len(set(prompts))
        seen |= {question.kind for question in scene.questions}
        for question in scene.questions:
            if question.kind == "relation" and not question.answer.startswith("nothing"):
                asked = re.search(r"is (.+) the (\w+)", question.prompt)
                answered = re.search(r"a \w+ (\w+) is", question.answer)
                assert asked and answered
                by_kind = {thing.kind: thing for thing in scene.objects}
                a, b = by_kind[answered[1]], by_kind[asked[2]]
                dx, dy = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
                side = {
                    "left of": dx < 0 and abs(dx) > abs(dy),
                    "right of": dx > 0 and abs(dx) > abs(dy),
                    "above": dy < 0 and abs(dy) > abs(dx),
                    "below": dy > 0 and abs(dy) > abs(dx),
                }
                assert side[asked[1]]
    assert seen == {"relation", "count", "ground"}


def test_object_counts_all_occur() -> None:
    assert {len(make_scene(seed).objects) for seed in range(60)} == {1, 2, 3, 4}
    assert [len(make_scene(1, n_objects=n).objects) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_mask_of_words() -> None:
    scene = make_scene(2)
    masks = scene.masks(100)
    assert np.array_equal(scene.mask_of(scene.objects[0].kind.upper(), 100), masks[0])
    assert np.array_equal(scene.mask_of(scene.ground, 100), masks[-1])
    assert scene.mask_of("left", 100) is None


@pytest.mark.parametrize("arguments", [(-1, None), (0, 0), (0, 5)])
def test_bad_requests_are_refused(arguments: tuple[int, int | None]) -> None:
    with pytest.raises(InputError):
        make_scene(*arguments)


@pytest.mark.parametrize("size", [0, 31, 1025])
def test_bad_sizes_are_refused(size: int) -> None:
    with pytest.raises(InputError):
        make_scene(0).render(size)
