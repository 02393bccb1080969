"""The adapter against one image, one target and one step at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffcam_core as dc
from diffcam_core.datasets.scenes import make_scene
from diffcam_core.errors import InputError, TargetError
from diffcam_core.evaluation.faithfulness import (
    ExplainedTarget,
    as_scorer,
    measure_faithfulness,
)
from diffcam_core.metrics import faithfulness as faith
from diffcam_core.metrics.cells import Cells
from diffcam_core.probing import StepScorer, Target, Trajectory

SIDE = 64


class Counting:
    """A StepScorer that counts image-step pairs."""

    def __init__(self, inner: StepScorer) -> None:
        self.inner = inner
        self.images = 0
        self.passes = 0

    def score(self, images: Any, requests: Any) -> Any:
        listed = list(images)
        self.images += len(listed)
        self.passes += len(listed) * len(requests)
        return self.inner.score(listed, requests)


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(params=[True, False], ids=["prefix-cache", "full"])
def trajectory(model: Any, request: pytest.FixtureRequest) -> Trajectory:
    prompt = model.prepare(Image.fromarray(make_scene(3).render(SIDE)), "what")
    rng = np.random.default_rng(0)
    canvases = np.full((3, 6), model.mask_id)
    canvases[1:, 2] = canvases[2, 4] = rng.integers(5, 40)
    return Trajectory(prompt, canvases, model.mask_id, request.param)


@pytest.fixture
def canvas(trajectory: Trajectory) -> faith.Canvas:
    spec = trajectory.prompt.layout.grids[-1].spec()
    cells = Cells.from_rectangles(spec.rectangles, (SIDE, SIDE))
    return faith.Canvas(trajectory.prompt.image, cells)


def explained(canvas: faith.Canvas) -> list[ExplainedTarget]:
    rng = np.random.default_rng(1)
    one, two = rng.random((2, *canvas.cells.shape))
    return [
        ExplainedTarget(0, Target(1, 7), one),
        ExplainedTarget(0, Target(3, 9, "runner_up"), two),
        ExplainedTarget(2, Target(1, 7), one),
        ExplainedTarget(2, Target(0, 11, "log_probability"), two * 5 - 1),
    ]


@pytest.mark.parametrize("score", ["probability", "score"])
def test_equal_to_one_map_at_a_time(
    model: Any, trajectory: Trajectory, canvas: faith.Canvas, score: Any
) -> None:
    scorer = StepScorer(model, trajectory)
    items = explained(canvas)
    found = measure_faithfulness(scorer, canvas, items, score=score)
    for item, values in zip(items, found, strict=True):
        plain = as_scorer(scorer, [(item.step, [item.target])], score)
        drop, rise = faith.drop_and_increase(item.values, canvas, plain)
        expected = {
            "deletion": faith.deletion(item.values, canvas, plain)[0].auc,
            "insertion": faith.insertion(item.values, canvas, plain)[0].auc,
            "road": faith.road(item.values, canvas, plain)[0],
            "average_drop": drop[0],
            "increase": rise[0],
        }
        assert values == pytest.approx(expected, abs=2e-4, rel=1e-3)


def test_maps_of_one_order_share_their_passes(
    model: Any, trajectory: Trajectory, canvas: faith.Canvas
) -> None:
    rng = np.random.default_rng(2)
    values, other = rng.random((2, *canvas.cells.shape))
    cells = len(canvas.cells.used)

    def cost(*items: ExplainedTarget) -> tuple[int, int]:
        scorer = Counting(StepScorer(model, trajectory))
        measure_faithfulness(scorer, canvas, items, ["deletion"])
        return scorer.images, scorer.passes

    curve = min(cells, faith.POINTS) + 1
    alone = ExplainedTarget(0, Target(1, 7), values)
    assert cost(alone) == (curve, curve)
    assert cost(alone, ExplainedTarget(0, Target(3, 9), values * 2)) == (curve, curve)
    # Another step: the same images, an answer pass more for each.
    assert cost(alone, ExplainedTarget(2, Target(3, 9), values)) == (curve, 2 * curve)
    # Another order: the two ends are common.
    assert cost(alone, ExplainedTarget(0, Target(3, 9), other)) == (2 * curve - 2, 2 * curve - 2)
    # Another order at another step: only the two ends are read at both steps.
    images, passes = cost(alone, ExplainedTarget(2, Target(3, 9), other))
    assert (images, passes) == (2 * curve - 2, 2 * curve)


def test_columns_of_a_plain_scorer(model: Any, trajectory: Trajectory) -> None:
    scorer = StepScorer(model, trajectory)
    requests = [(0, [Target(1, 7), Target(2, 8)]), (2, [Target(0, 11)])]
    image = trajectory.prompt.image
    rows = as_scorer(scorer, requests)([image, 255 - image])
    assert rows.shape == (2, 3)
    parts = scorer.score([255 - image], requests)
    np.testing.assert_allclose(rows[1, :2], parts[0].probabilities[0], atol=1e-6)
    np.testing.assert_allclose(rows[1, 2:], parts[1].probabilities[0], atol=1e-6)


def test_unusable_input(model: Any, trajectory: Trajectory, canvas: faith.Canvas) -> None:
    scorer = StepScorer(model, trajectory)
    assert measure_faithfulness(scorer, canvas, []) == ()
    with pytest.raises(InputError, match="no faithfulness measure 'obj_iou'"):
        measure_faithfulness(scorer, canvas, explained(canvas), ["obj_iou"])
    bad = ExplainedTarget(9, Target(1, 7), np.zeros(canvas.cells.shape))
    with pytest.raises(TargetError, match="step 9"):
        measure_faithfulness(scorer, canvas, [bad], ["deletion"])
