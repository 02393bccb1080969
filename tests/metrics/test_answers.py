"""Scores of whole answers against TAM's own evaluation (golden/tam, arrays ev_*)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffcam_core.errors import InputError
from diffcam_core.metrics.answers import AnswerWord, score_answer


@pytest.fixture(scope="module")
def tam():
    return np.load(Path(__file__).parent / "tam_evaluation.npz", allow_pickle=False)


def test_golden_answer(tam):
    """the | dog (2 tokens) | on | cat | kitty | sky | a: nothing is picked by hand."""
    maps, mask = tam["maps_u8"], tam["mask"]
    words = [
        AnswerWord("function", maps[0:1]),
        AnswerWord("noun", maps[1:3], mask == 3, "dog"),
        AnswerWord("other", maps[3:4]),
        AnswerWord("noun", maps[4:5], mask == 7, "cat"),
        AnswerWord("noun", maps[5:6], mask == 7, "cat"),
        AnswerWord("noun", maps[6:7]),
        AnswerWord("function", maps[7:8]),
    ]
    got = score_answer(words, mask.shape)
    np.testing.assert_allclose([o.iou for o in got.objects], tam["obj_iou"], atol=1e-6)
    np.testing.assert_allclose([o.precision for o in got.objects], tam["precision"], atol=1e-6)
    np.testing.assert_allclose([o.recall for o in got.objects], tam["recall"], atol=1e-6)
    np.testing.assert_allclose(got.functions, tam["func_iou"], atol=1e-6)
    obj, func = tam["obj_iou"].mean(), tam["func_iou"].mean()
    assert got.obj_iou == pytest.approx(obj, abs=1e-6)
    assert got.func_iou == pytest.approx(func, abs=1e-6)
    assert got.f1_iou == pytest.approx(2 * obj * func / (obj + func), abs=1e-6)


def test_only_neighbours_of_one_object_count_once():
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    good, bad = mask.astype(np.float32), (~mask).astype(np.float32)
    cat = AnswerWord("noun", [good], mask, "cat")
    blind_cat = AnswerWord("noun", [bad], mask, "cat")
    other = AnswerWord("other", [])
    ious = lambda *words: [o.iou for o in score_answer(words, mask.shape).objects]  # noqa: E731
    assert ious(blind_cat, cat) == [1.0]
    assert ious(cat, other, blind_cat) == [1.0, 0.0]
    assert ious(cat, AnswerWord("noun", [bad], mask, "dog")) == [1.0, 0.0]
    # A neighbour without a mask has nothing that could be counted once.
    assert ious(AnswerWord("noun", [bad], ~mask & mask, "cat"), cat) == [1.0]


def test_what_cannot_be_scored_is_none_not_zero():
    map_ = np.random.default_rng(0).random((4, 4), dtype=np.float32)
    got = score_answer([AnswerWord("function", [map_])], (4, 4))
    assert (got.obj_iou, got.func_iou, got.f1_iou) == (None, None, None)
    got = score_answer([AnswerWord("noun", [map_]), AnswerWord("function", [map_])], (4, 4))
    assert got.obj_iou is None and got.f1_iou is None and 0 <= got.func_iou <= 1
    with pytest.raises(InputError, match="no maps"):
        score_answer([AnswerWord("noun", [])], (4, 4))
