"""One table of all measures."""

from __future__ import annotations

import math

import pytest

from diffcam_core.errors import InputError
from diffcam_core.metrics import faithfulness, localization, sanity, trajectory
from diffcam_core.metrics.info import by_name
from diffcam_core.metrics.registry import METRICS, metrics_named

WANTED = [
    "obj_iou",
    "func_iou",
    "f1_iou",
    "contrast",
    "concentration",
    "f3",
    "pointing_game",
    "energy_in_mask",
    "obj_iou_any_class",
    "insertion",
    "deletion",
    "road",
    "average_drop",
    "increase",
    "parameter_randomisation_rank",
    "parameter_randomisation_ssim",
    "input_randomisation_rank",
    "input_randomisation_ssim",
    "centre_drift",
    "step_iou",
    "stable_from",
]


def test_every_measure_of_the_issue_is_there():
    assert sorted(METRICS) == sorted(WANTED)
    parts = [module.METRICS for module in (localization, faithfulness, sanity, trajectory)]
    assert sum(map(len, parts)) == len(METRICS)


def test_every_measure_declares_itself():
    for name, info in METRICS.items():
        assert info.name == name
        assert info.title and info.applicability and info.source
        assert info.direction in ("higher", "lower")
        assert info.range[0] < info.range[1] and all(map(math.isfinite, info.range))
        assert (info.compute is None) or info.needs == "mask"
    assert len({info.title for info in METRICS.values()}) == len(METRICS)


def test_look_up():
    assert [info.name for info in metrics_named(["road", "obj_iou"])] == ["road", "obj_iou"]
    with pytest.raises(InputError, match="no measure 'iou'"):
        metrics_named(["iou"])
    with pytest.raises(ValueError, match="two measures"):
        by_name([METRICS["road"], METRICS["road"]])
