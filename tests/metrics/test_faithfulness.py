"""Faithfulness on scorers whose answer is known, against loops and torchmetrics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_core.errors import InputError
from diffcam_core.metrics import faithfulness as faith
from diffcam_core.metrics.cells import Cells

ROWS, COLS, SIDE = 4, 6, 8


@pytest.fixture
def image():
    """Every cell is a half black, half white square, so that removing it can be seen."""
    checks = np.indices((ROWS * SIDE, COLS * SIDE)).sum(0) % 2 * 255
    return np.repeat(checks[..., None], 3, 2).astype(np.uint8)


@pytest.fixture
def canvas(image):
    return faith.Canvas(image, Cells.regular((ROWS, COLS), (COLS * SIDE, ROWS * SIDE)))


def intact(image):
    """Which cells still show their checks, (ROWS, COLS) of 0 and 1."""
    grey = image[..., 0].astype(float).reshape(ROWS, SIDE, COLS, SIDE)
    return (grey.std((1, 3)) > 100).astype(float)


class LinearScorer:
    """Score k of an image: sum of weights k over the cells that are intact."""

    def __init__(self, *weights):
        self.weights = np.stack(weights)
        self.seen = []

    def __call__(self, images):
        rows = []
        for image in images:
            self.seen.append(image.copy())
            rows.append((self.weights * intact(image)).sum((1, 2)))
        return np.asarray(rows)


def weights_of(seed):
    weights = np.random.default_rng(seed).random((ROWS, COLS))
    return weights / weights.sum()


def test_deletion_curve_by_hand(canvas):
    weights = weights_of(0)
    (curve,) = faith.deletion(weights, canvas, LinearScorer(weights), points=24)
    ordered = np.sort(weights.ravel())[::-1]
    expected = 1 - np.concatenate(([0], np.cumsum(ordered)))
    np.testing.assert_allclose(curve.scores, expected, atol=1e-9)
    np.testing.assert_allclose(curve.shares, np.arange(25) / 24)
    by_hand = ((expected[1:] + expected[:-1]) / 2 / 24).sum()
    assert curve.auc == pytest.approx(by_hand)


def test_area_equals_torchmetrics(canvas):
    auc = pytest.importorskip("torchmetrics.utilities.compute").auc
    torch = pytest.importorskip("torch")
    weights = weights_of(5)
    (curve,) = faith.insertion(weights, canvas, LinearScorer(weights))
    theirs = auc(torch.as_tensor(curve.shares), torch.as_tensor(curve.scores))
    assert curve.auc == pytest.approx(float(theirs), abs=1e-9)


def test_insertion_is_deletion_of_the_opposite_order(canvas):
    """For this scorer only what is intact counts, so inserting best first deletes worst first."""
    weights = weights_of(1)
    (shown,) = faith.insertion(weights, canvas, LinearScorer(weights), points=24)
    (gone,) = faith.deletion(-weights, canvas, LinearScorer(weights), points=24)
    np.testing.assert_allclose(shown.scores, gone.scores[::-1], atol=1e-9)


def test_the_true_map_beats_every_other(canvas):
    weights = weights_of(2)
    for other in (-weights, np.zeros_like(weights), weights_of(3)):
        scorer = LinearScorer(weights)
        true = faith.deletion(weights, canvas, scorer)[0].auc
        assert true < faith.deletion(other, canvas, scorer)[0].auc
        shown = faith.insertion(weights, canvas, scorer)[0].auc
        assert shown > faith.insertion(other, canvas, scorer)[0].auc
        assert faith.road(weights, canvas, scorer)[0] > faith.road(other, canvas, scorer)[0]


def test_road_by_hand(canvas):
    weights = weights_of(4)
    (value,) = faith.road(weights, canvas, LinearScorer(weights))
    ordered = np.sort(weights.ravel())[::-1]
    counts = [round(share * 24) for share in faith.ROAD_SHARES]
    expected = np.mean([ordered[:n].sum() - ordered[len(ordered) - n :].sum() for n in counts])
    assert value == pytest.approx(expected)


def test_drop_and_increase_by_hand(canvas):
    half = np.zeros((ROWS, COLS))
    half[:, :3] = 1
    scorer = LinearScorer(half / half.sum(), (1 - half) / half.sum())
    drop, rise = faith.drop_and_increase(half, canvas, scorer)
    # Only the cells on the border between shown and hidden are dimmed by interpolation.
    assert drop[0] < 0.35 and drop[1] > 0.65
    assert rise.tolist() == [0.0, 0.0]
    assert faith.average_drop(np.array([0.8, 0.2])) == pytest.approx(0.75)
    assert faith.average_drop(np.array([0.2, 0.8])) == 0.0
    assert faith.average_drop(np.array([0.0, 0.0])) == 0.0
    assert faith.increase(np.array([0.2, 0.8])) == 1.0


def test_the_ends_are_the_image_and_its_replacement(canvas, image):
    weights = weights_of(0)
    scorer = LinearScorer(weights)
    faith.deletion(weights, canvas, scorer)
    np.testing.assert_array_equal(scorer.seen[0], image)
    np.testing.assert_array_equal(scorer.seen[-1], canvas.grey)
    scorer = LinearScorer(weights)
    faith.insertion(weights, canvas, scorer)
    np.testing.assert_array_equal(scorer.seen[0], canvas.blur)
    np.testing.assert_array_equal(scorer.seen[-1], image)


def test_changes_are_drawn_once_and_targets_share_them(canvas):
    one, same_order, other = weights_of(0), weights_of(0) * 2 + 1, weights_of(1)
    rows = [
        change(values, canvas)
        for change in (faith.deletion_changes, faith.insertion_changes)
        for values in (one, same_order, other)
    ]
    scorer = LinearScorer(one, other)
    found = faith.score_changes(rows, canvas, scorer)
    # Per order 19 inner images a curve; the image and the two replacements are common.
    assert len(scorer.seen) == 2 * 2 * 19 + 3
    np.testing.assert_array_equal(found[0], found[1])
    for row, scores in zip(rows, found, strict=True):
        assert scores.shape == (21, 2)
        alone = LinearScorer(one, other)([canvas.render(change) for change in row])
        np.testing.assert_allclose(scores, alone)


def test_equal_cells_have_no_order_by_position(canvas):
    order = canvas.order(np.zeros((ROWS, COLS)))
    assert sorted(order) == list(range(ROWS * COLS)) and list(order) != sorted(order)
    np.testing.assert_array_equal(order, canvas.order(np.ones((ROWS, COLS))))
    other = faith.Canvas(canvas.image, canvas.cells, seed=1)
    assert list(other.order(np.zeros((ROWS, COLS)))) != list(order)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_curves_change_every_cell_exactly_once(seed, points):
    image = np.zeros((ROWS * SIDE, COLS * SIDE, 3), np.uint8)
    canvas = faith.Canvas(image, Cells.regular((ROWS, COLS), (COLS * SIDE, ROWS * SIDE)))
    values = np.random.default_rng(seed).integers(0, 4, (ROWS, COLS))
    sizes = []
    for change in faith.deletion_changes(values, canvas, points):
        bits = np.unpackbits(np.frombuffer(change.key, np.uint8))[: ROWS * COLS].astype(bool)
        if bits.any() and not bits.all():
            assert values.ravel()[bits].min() >= values.ravel()[~bits].max()
        sizes.append(int(bits.sum()))
    assert sizes[0] == 0 and sizes[-1] == ROWS * COLS
    assert all(a < b for a, b in pairwise(sizes))


def test_registry_and_measures_agree():
    assert set(faith.MEASURES) == set(faith.METRICS)
    assert all(info.needs == "scorer" for info in faith.METRICS.values())


@pytest.mark.parametrize("name", list(faith.MEASURES))
def test_measures_stay_in_their_range(canvas, name):
    weights = weights_of(6)
    measure, info = faith.MEASURES[name], faith.METRICS[name]
    for values in (weights, -weights, weights_of(7)):
        rows = [measure.changes(values, canvas)]
        (scores,) = faith.score_changes(rows, canvas, LinearScorer(weights))
        value = measure.value(scores[:, 0], ROWS * COLS)
        assert info.range[0] <= value <= info.range[1]


def test_unusable_input(canvas, image):
    with pytest.raises(InputError, match="does not fit"):
        faith.Canvas(image[:-1], canvas.cells)
    with pytest.raises(InputError, match="does not lie"):
        faith.deletion(np.zeros((3, 3)), canvas, LinearScorer(weights_of(0)))
    with pytest.raises(InputError, match="not finite"):
        faith.deletion(np.full((ROWS, COLS), np.nan), canvas, LinearScorer(weights_of(0)))
    with pytest.raises(InputError, match="1 or more"):
        faith.deletion(weights_of(0), canvas, LinearScorer(weights_of(0)), points=0)
    for bad in (lambda images: np.zeros((2, 1)), lambda images: np.full((21, 1), np.nan)):
        with pytest.raises(InputError, match="scorer"):
            faith.deletion(weights_of(0), canvas, bad)
