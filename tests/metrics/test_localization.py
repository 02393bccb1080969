"""Localisation measures against golden values, TAM's evaluation, OpenCV and plain loops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffcam_core.errors import InputError
from diffcam_core.metrics import localization as loc

GROUPS = ("27x27", "16x16", "24x32", "48x48")


@pytest.fixture(scope="module")
def cases(golden_arrays, golden_folder):
    data = golden_arrays("dcam_refine")
    columns = json.loads((golden_folder("dcam_refine") / "config.json").read_text())[
        "metric_columns"
    ]
    maps = [map_ for group in GROUPS for map_ in data[f"{group}_in"]]
    found = []
    for (mask, index), values in zip(
        data["metric_case_mask_map"], data["metric_values"], strict=True
    ):
        expected = dict(zip(columns, values, strict=True))
        found.append((data["metric_masks"][mask], maps[index], expected))
    return found


def test_golden_any_class_overlap(cases):
    for labels, map_, expected in cases:
        got = loc.any_class_overlap(map_, labels)
        assert got.iou == pytest.approx(expected["obj_iou"], abs=1e-9)
        assert got.iou == pytest.approx(expected["score_obj_iou"], abs=1e-9)
        for prefix in ("", "score_"):
            assert got.precision == pytest.approx(expected[prefix + "precision"], abs=1e-9)
            assert got.recall == pytest.approx(expected[prefix + "recall"], abs=1e-9)
        assert got.f1 == pytest.approx(expected["score_detection_f1"], abs=1e-9)
        assert loc.obj_iou_any_class(map_, labels) == got.iou
        assert (got.label is None) == (not labels.any())


def test_golden_obj_iou_of_the_named_class(cases):
    """Where a mask has one class, the named class is the best class."""
    for labels, map_, expected in cases:
        if len(np.unique(labels)) == 2:
            assert loc.obj_iou(map_, labels > 0) == pytest.approx(expected["obj_iou"], abs=1e-9)


def test_golden_func_iou(cases):
    for labels, map_, expected in cases:
        if labels.any():  # the published function returns 0 for an empty mask
            got = loc.func_iou(loc.fit_to(map_, labels.shape))
            assert got == pytest.approx(expected["func_iou"], abs=1e-9)


def test_golden_contrast_concentration_and_f3(cases):
    """Contrast and concentration there are of all classes together; so is F3."""
    for labels, map_, expected in cases:
        values = loc.fit_to(map_, labels.shape)
        concentration = loc.concentration(map_, labels > 0)
        assert concentration == pytest.approx(expected["score_concentration_ratio"], abs=1e-6)
        if not labels.any():
            continue
        assert values[labels > 0].mean() == pytest.approx(expected["score_fg_mean"], rel=1e-5)
        assert values[labels == 0].mean() == pytest.approx(expected["score_bg_mean"], rel=1e-5)
        contrast = loc.contrast(map_, labels > 0)
        assert contrast == pytest.approx(expected["score_contrast_ratio"], rel=1e-5)
        assert loc.contrast_score(contrast) == pytest.approx(
            expected["score_contrast_score"], rel=1e-5
        )
        f3 = loc.f3(loc.obj_iou_any_class(map_, labels), contrast, concentration)
        assert f3 == pytest.approx(expected["score_composite_score"], abs=1e-6)
        assert f3 == pytest.approx(expected["score_composite_score_harmonic"], abs=1e-6)
        parts = (
            loc.obj_iou_any_class(map_, labels),
            loc.contrast_score(contrast),
            concentration,
        )
        assert math.prod(parts) ** (1 / 3) == pytest.approx(
            expected["score_composite_score_geometric"], abs=1e-6
        )


@pytest.mark.parametrize(
    ("column", "threshold"), [("iou_direct_gt0", 0.0), ("iou_fixed_threshold_0.4", 0.4)]
)
def test_golden_fixed_thresholds(cases, column, threshold):
    for labels, map_, expected in cases:
        classes = [label for label in np.unique(labels) if label]
        best = max((loc.iou_above(map_, labels == c, threshold) for c in classes), default=0.0)
        assert best == pytest.approx(expected[column], abs=1e-9)


@pytest.fixture(scope="module")
def tam():
    """TAM's own evaluate() on eight maps, from the golden set `tam` (arrays ev_*)."""
    return np.load(Path(__file__).parent / "tam_evaluation.npz", allow_pickle=False)


def test_tam_evaluation(tam):
    """Words: the | dog (2 tokens) | on | cat | kitty | sky | a; dog is label 3, cat and kitty 7."""
    maps, mask = tam["maps_u8"], tam["mask"]
    dog = max((loc.obj_overlap(m, mask == 3) for m in maps[1:3]), key=lambda o: o.iou)
    cat = max((loc.obj_overlap(m, mask == 7) for m in maps[4:6]), key=lambda o: o.iou)
    np.testing.assert_allclose([dog.iou, cat.iou], tam["obj_iou"], atol=1e-6)
    np.testing.assert_allclose([dog.precision, cat.precision], tam["precision"], atol=1e-6)
    np.testing.assert_allclose([dog.recall, cat.recall], tam["recall"], atol=1e-6)
    assert loc.best_obj_iou(maps[1:3], mask == 3) == dog.iou
    at_mask_size = [cv2.resize(maps[i], (64, 48)) for i in (2, 4, 5, 6)]
    threshold = loc.mean_noun_threshold(at_mask_size)
    got = [loc.func_iou(maps[i], threshold) for i in (0, 7)]
    np.testing.assert_allclose(got, tam["func_iou"], atol=1e-6)


def otsu_by_search(levels):
    """Level that maximises the between-class variance, the lowest of equals."""
    best, best_score = 0, -1.0
    for level in range(256):
        low, high = levels[levels <= level], levels[levels > level]
        if low.size and high.size:
            score = low.size * high.size * (low.mean() - high.mean()) ** 2
            if score > best_score * (1 + 1e-12):
                best, best_score = level, score
    return best


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_otsu_equals_a_search_over_all_levels(levels):
    expected = otsu_by_search(levels.ravel())
    if levels.min() == levels.max():
        assert not loc.binarise(levels).any() or loc.otsu_threshold(levels) < levels.max()
        return
    np.testing.assert_array_equal(loc.binarise(levels), levels > expected)


def test_otsu_equals_opencv_on_the_golden_maps(golden_arrays):
    data = golden_arrays("dcam_refine")
    for group in GROUPS:
        for map_ in data[f"{group}_in"]:
            levels = (map_ * 255).astype(np.uint8)
            value, image = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            assert loc.otsu_threshold(map_) == value
            np.testing.assert_array_equal(loc.binarise(map_), image > 0)
            assert loc.otsu_threshold(map_) == otsu_by_search(levels.ravel())


def square_case(size=40):
    mask = np.zeros((size, size), bool)
    mask[10:20, 5:15] = True
    return mask


def test_a_perfect_map_is_perfect():
    mask = square_case()
    map_ = mask.astype(np.float32)
    for name in ("obj_iou", "concentration", "f3", "pointing_game", "energy_in_mask"):
        assert loc.METRICS[name].compute(map_, mask) == pytest.approx(1.0)
    assert loc.contrast(map_, mask) == loc.CONTRAST_LIMIT


def test_half_of_the_object_counts_half():
    mask = square_case()
    map_ = mask.astype(np.float32)
    map_[:, :10] = 0
    got = loc.obj_overlap(map_, mask)
    assert (got.iou, got.precision, got.recall) == (0.5, 1.0, 0.5)
    assert got.f1 == pytest.approx(2 / 3)


def test_a_constant_map_scores_like_chance():
    mask = square_case()
    map_ = np.full((14, 14), 0.5, np.float32)
    share = mask.mean()
    assert loc.pointing_game(map_, mask) == pytest.approx(share)
    assert loc.concentration(map_, mask) == pytest.approx(share)
    assert loc.contrast(map_, mask) == pytest.approx(1.0)


def test_a_zero_map_scores_nothing():
    mask, map_ = square_case(), np.zeros((14, 14), np.float32)
    for name in ("obj_iou", "contrast", "concentration", "f3"):
        assert loc.METRICS[name].compute(map_, mask) == 0.0


def test_maps_are_resized_between_cell_centres():
    """A map whose left half is 1 crosses 0.5 in the middle of the image, whatever the sizes."""
    map_ = np.zeros((4, 6), np.float32)
    map_[:, :3] = 1
    mask = np.zeros((20, 60), bool)
    mask[:, :30] = True
    assert loc.obj_iou(map_, mask) == 1.0
    assert loc.concentration(map_, mask) == pytest.approx(1 - 0.25 / 6, abs=0.01)


def test_the_worked_example_of_the_paper():
    assert loc.f3(0.301, 2.58, 0.514) == pytest.approx(0.2304, abs=5e-5)
    assert loc.f3(0.5, 40.0, 0.5) == pytest.approx(3 / (2 + 1 + 2))
    assert loc.f3(0.0, 2.0, 0.5) == 0.0


def test_harmonic_means():
    assert loc.f1_iou(0.5, 1.0) == pytest.approx(2 / 3)
    assert loc.f1_iou(0.0, 1.0) == 0.0
    assert loc.harmonic_mean() == 0.0


def test_registry_describes_every_measure():
    for name, info in loc.METRICS.items():
        assert info.name == name
        assert info.title and info.applicability and info.source
        assert info.range[0] < info.range[1] and math.isfinite(info.range[1])
    rng = np.random.default_rng(0)
    mask = square_case()
    for info in loc.METRICS.values():
        if info.compute is not None:
            for _ in range(5):
                value = info.compute(rng.random((9, 9), dtype=np.float32), mask)
                assert info.range[0] <= value <= info.range[1]


@pytest.mark.parametrize("mask", [np.zeros((5, 5)), np.ones((5, 5))])
def test_contrast_needs_both_sides(mask):
    with pytest.raises(InputError, match="both sides"):
        loc.contrast(np.ones((5, 5), np.float32), mask)


@pytest.mark.parametrize(
    ("map_", "mask"),
    [
        (np.full((3, 3), np.nan), np.ones((3, 3))),
        (np.full((3, 3), 2.0), np.ones((3, 3))),
        (np.zeros((3, 3, 3)), np.ones((3, 3))),
        (np.zeros((0, 3)), np.ones((3, 3))),
        (np.zeros((3, 3)), np.ones(3)),
        (np.zeros((3, 3)), np.ones((0, 3))),
    ],
)
def test_arrays_that_cannot_be_measured_are_refused(map_, mask):
    for measure in (loc.obj_iou, loc.obj_iou_any_class, loc.concentration, loc.pointing_game):
        with pytest.raises(InputError):
            measure(map_, mask)


def test_words_without_maps_are_refused():
    with pytest.raises(InputError):
        loc.best_obj_iou([], np.ones((2, 2)))
    with pytest.raises(InputError):
        loc.mean_noun_threshold([])
    with pytest.raises(InputError):
        loc.otsu_threshold(np.zeros((0, 3), np.uint8))
