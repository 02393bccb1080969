"""Means, intervals, paired tests and Holm against brute force and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_cases import make_plan, make_rows
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diffcam_core.errors import InputError
from diffcam_core.evaluation.statistics import (
    RESAMPLES,
    Clustered,
    estimate,
    estimate_f3,
    holm,
    paired_test,
    paired_test_f3,
)
from diffcam_core.evaluation.summary import parse_baseline, summarise
from diffcam_core.metrics.localization import f3


def clustered(rng, items=40, shift=0.0):
    owners = [f"i{n:02d}" for n in range(items) for _ in range(rng.integers(1, 5))]
    return owners, rng.random(len(owners)) + shift


def draws(count):
    """The resamples, written as anybody would."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def test_the_interval_is_that_of_resampled_items() -> None:
    owners, values = clustered(np.random.default_rng(1))
    found = estimate(Clustered.of(owners, values))
    groups = [values[np.asarray(owners) == name] for name in sorted(set(owners))]
    brute = [np.concatenate([groups[i] for i in pick]).mean() for pick in draws(len(groups))]
    assert found is not None
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(np.percentile(brute, (2.5, 97.5)), abs=1e-12)


def test_f3_is_that_of_the_means_in_every_resample() -> None:
    rng = np.random.default_rng(2)
    owners, obj = clustered(rng)
    parts = {"obj_iou": obj, "contrast": rng.random(len(obj)) * 9, "concentration": obj**2}
    found = estimate_f3({n: Clustered.of(owners, v) for n, v in parts.items()})
    names = np.asarray(owners)
    at = [np.flatnonzero(names == name) for name in sorted(set(owners))]
    brute = []
    for pick in draws(len(at)):
        chosen = np.concatenate([at[i] for i in pick])
        brute.append(f3(*(float(values[chosen].mean()) for values in parts.values())))
    assert found is not None
    assert found.value == pytest.approx(f3(*(float(v.mean()) for v in parts.values())))
    assert (found.low, found.high) == pytest.approx(np.percentile(brute, (2.5, 97.5)), abs=1e-12)


def test_values_that_are_missing_do_not_count() -> None:
    one = Clustered.of(["a", "a", "b", "c"], [1.0, float("nan"), 2.0, float("nan")])
    assert one.items == ("a", "b") and one.words == 2 and one.mean() == 1.5
    assert estimate(Clustered.of([], [])) is None


def test_the_paired_test_is_scipys_on_the_items_of_both() -> None:
    rng = np.random.default_rng(3)
    owners, base = clustered(rng)
    ours = base + rng.normal(0.05, 0.1, len(base))
    kept = [n for n, name in enumerate(owners) if name < "i30"]
    found = paired_test(
        Clustered.of(owners, ours), Clustered.of([owners[n] for n in kept], base[kept])
    )
    names = np.asarray(owners)
    shared = sorted({owners[n] for n in kept})
    mine = np.array([ours[names == name].mean() for name in shared])
    theirs = np.array([base[names == name].mean() for name in shared])
    assert found is not None and found.items == len(shared) == 30
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(mine, theirs).pvalue, abs=1e-12)
    assert found.difference == pytest.approx((ours[kept] - base[kept]).mean(), abs=1e-12)
    brute = []
    for pick in draws(len(shared)):
        at = np.concatenate([np.flatnonzero(names == shared[i]) for i in pick])
        brute.append((ours[at] - base[at]).mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(brute, (2.5, 97.5)), abs=1e-12)
    tail = min((np.array(brute) <= 0).sum(), (np.array(brute) >= 0).sum())
    assert found.p_bootstrap == pytest.approx(min(1, 2 * (tail + 1) / (RESAMPLES + 1)))


def test_equal_methods_do_not_differ_and_strangers_are_not_compared() -> None:
    owners, values = clustered(np.random.default_rng(4))
    one = Clustered.of(owners, values)
    same = paired_test(one, one)
    assert same is not None and same.p_wilcoxon == 1 and same.p_bootstrap == 1
    assert same.difference == same.low == same.high == 0
    assert paired_test(one, Clustered.of(["z"], [1.0])) is None
    parts = dict.fromkeys(("obj_iou", "contrast", "concentration"), one)
    assert paired_test_f3(parts, {}) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_textbook_rule(p_values) -> None:
    found = holm(p_values)
    m = len(p_values)
    order = np.argsort(p_values, kind="stable")
    for rank, index in enumerate(order):
        # Adjusted p: the largest of (m - j) p_(j) up to this rank.
        expected = max(min(1.0, (m - j) * p_values[order[j]]) for j in range(rank + 1))
        assert found[index] == pytest.approx(expected)


def test_summary_groups_judges_and_corrects() -> None:
    plan = make_plan(chosen_layers=(("beta", "paper", 1),))
    rows = [row for item in plan.items for row in make_rows(item, plan)]
    summary = summarise(plan, rows, ("alpha", "raw"))
    assert len(summary.rows) == 2 * 2 * 2
    judged = {(r.method, r.preset): r.layer for r in summary.table()}
    assert judged == {
        ("alpha", "raw"): 0,
        ("alpha", "paper"): 0,
        ("beta", "raw"): 0,
        ("beta", "paper"): 1,
    }
    one = next(r for r in summary.rows if (r.method, r.preset, r.layer) == ("beta", "raw", 1))
    mine = [r for r in rows if (r["method"], r["preset"], r["layer"]) == ("beta", "raw", 1)]
    assert one.items == 6 and one.words == 12 and not one.tests
    for name in ("obj_iou", "contrast", "pointing_game"):
        assert one.estimates[name].value == pytest.approx(np.mean([r[name] for r in mine]))
    means = [np.mean([r[n] for r in mine]) for n in ("obj_iou", "contrast", "concentration")]
    assert one.estimates["f3"].value == pytest.approx(f3(*means))
    assert one.estimates["f3_per_word"].value == pytest.approx(np.mean([r["f3"] for r in mine]))
    tested = [r for r in summary.table() if r.tests]
    assert {(r.method, r.preset) for r in tested} == set(judged) - {("alpha", "raw")}
    cells = [t for r in tested for t in r.tests.values()]
    assert [t.p_holm for t in cells] == pytest.approx(holm([t.p_wilcoxon for t in cells]))
    best = {(r.method, r.preset): r for r in summary.best_layers()}
    for key, row in best.items():
        values = [r.estimates["f3"].value for r in summary.rows if (r.method, r.preset) == key]
        assert row.estimates["f3"].value == max(values)


def test_a_method_of_one_map_is_judged_where_it_is() -> None:
    plan = make_plan(methods=("alpha", "whole"))
    rows = [r for item in plan.items for r in make_rows(item, plan)]
    rows = [r for r in rows if r["method"] == "alpha" or r["layer"] == 0]
    rows = [r | {"layer": -1} if r["method"] == "whole" else r for r in rows]
    layers = {r.layer for r in summarise(plan, rows, None).table() if r.method == "whole"}
    assert layers == {-1}


def test_baselines_by_name() -> None:
    plan = make_plan()
    assert parse_baseline("beta/paper", plan) == ("beta", "paper")
    assert parse_baseline("beta", plan) == ("beta", "raw")
    with pytest.raises(InputError, match="gamma"):
        parse_baseline("gamma/raw", plan)
