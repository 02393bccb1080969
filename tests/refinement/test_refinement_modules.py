"""Each module against a plain loop over the cells, and the properties that it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffcam_core import refinement
from diffcam_core.errors import InputError
from diffcam_core.refinement import akd, cba, dacg, sicd
from diffcam_core.refinement.filters import otsu_levels, percentile
from diffcam_core.refinement.parameters import Context
from diffcam_core.refinement.studio import Background, Focus, Rivals, Smooth, others_of

MAPS = arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    elements=st.floats(0, 1, width=32),
)


def random_maps(count=3, rows=9, cols=7, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.random((count, rows, cols)) ** 3
    maps[:, :2] = 0
    return (maps / maps.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def mirrored(index, size):
    if size == 1:
        return 0
    period = 2 * (size - 1)
    index = abs(index) % period
    return period - index if index >= size else index


def slow_rank_filter(map_, kernel):
    rows, cols = map_.shape
    half = kernel // 2
    result = np.zeros(map_.shape)
    for r in range(rows):
        for c in range(cols):
            window = sorted(
                float(map_[mirrored(r + dr, rows), mirrored(c + dc, cols)])
                for dr in range(-half, half + 1)
                for dc in range(-half, half + 1)
            )
            mean = sum(window) / len(window)
            if mean <= 0:
                continue
            spread = math.sqrt(sum((v - mean) ** 2 for v in window) / len(window)) / mean
            if spread == 0:
                result[r, c] = window[len(window) // 2]
                continue
            weights = [
                math.exp(-((i - len(window) // 2) ** 2) / (2 * spread**2))
                for i in range(len(window))
            ]
            result[r, c] = sum(w * v for w, v in zip(weights, window, strict=True)) / sum(weights)
    return result


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_rank_filter_equals_a_loop_over_cells(kernel):
    maps = random_maps(rows=6, cols=5)
    got = refinement.rank_gaussian_filter(maps, kernel)
    for one, map_ in zip(got, maps, strict=True):
        np.testing.assert_allclose(one, slow_rank_filter(map_, kernel), atol=2e-6)


def test_rank_filter_keeps_constant_windows_and_tiny_values():
    constant = np.full((5, 5), 0.3, np.float32)
    np.testing.assert_allclose(refinement.rank_gaussian_filter(constant, 3), constant, rtol=1e-6)
    tiny = random_maps(1)[0] * np.float32(1e-30)
    np.testing.assert_allclose(
        refinement.rank_gaussian_filter(tiny, 3) / 1e-30,
        slow_rank_filter(tiny.astype(np.float64) / 1e-30, 3),
        atol=1e-5,
    )


@pytest.mark.filterwarnings("error")
def test_nearly_constant_windows_raise_no_warning():
    flat = np.full((6, 6), 0.5, np.float32)
    flat[2, 2] = np.nextafter(np.float32(0.5), np.float32(1))
    faint = np.zeros((6, 6), np.float32)
    faint[3, 3] = np.float32(1e-44)
    for map_ in (flat, faint):
        for preset in refinement.PRESETS:
            assert np.isfinite(refinement.apply(map_, preset)).all()
        assert np.abs(refinement.rank_gaussian_filter(map_, 3) - map_).max() <= 1e-7


def test_maps_of_one_batch_may_use_different_kernels():
    flat, noisy = np.full((2, 12, 12), 0.5, np.float32)
    noisy[::2] = 0
    noisy[1, 1] = 1
    maps = np.stack([flat, noisy])
    options = {"n_steps": 32, "image_size": (1024, 768)}
    used = akd.kernels_used(maps, akd.AKD(), **options)
    assert used.tolist() == [3, 11]  # 3 * 2 * min(5 sigma, 2) * 1.5 with sigma 0 and 0.25
    batch = akd.denoise(maps, **options)
    for index, map_ in enumerate(maps):
        np.testing.assert_array_equal(batch[index], akd.denoise(map_, **options))
        np.testing.assert_array_equal(
            batch[index], refinement.rank_gaussian_filter(map_, int(used[index]))
        )


def test_paper_kernel_follows_steps_and_image_size():
    maps = random_maps(1, 16, 16)
    kernels = [
        int(refinement.kernels(maps, "paper", n_steps=steps, image_size=(side, side))["akd"][0])
        for steps, side in ((4, 336), (16, 336), (32, 512), (32, 1024))
    ]
    assert kernels == sorted(kernels)
    assert kernels[0] == 3 and kernels[-1] > kernels[1]


def slow_gate(map_, rule):
    sigma, mean = map_.std(), map_.mean()
    if sigma > rule.delta_sigma:
        alpha = rule.alpha_high_var
    elif mean > rule.delta_mu:
        alpha = rule.alpha_high_mean
    elif mean < rule.delta_mu_prime:
        alpha = rule.alpha_low_mean
    else:
        alpha = rule.alpha_default
    positive = map_[map_ > 0]
    if positive.size == 0:
        return map_
    zeta = np.percentile(positive, alpha)
    taps = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * rule.sigma**2))
    taps /= taps.sum()
    rows, cols = map_.shape
    result = map_.copy()
    for r in range(rows):
        for c in range(cols):
            if map_[r, c] > zeta:
                continue
            result[r, c] = sum(
                taps[dr + 1] * taps[dc + 1] * map_[mirrored(r + dr, rows), mirrored(c + dc, cols)]
                for dr in (-1, 0, 1)
                for dc in (-1, 0, 1)
            )
    return result


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("power", [0.2, 1.0, 4.0])
def test_gate_equals_a_loop_over_cells(sigma, power):
    maps = random_maps() ** np.float32(power)
    rule = dacg.DACG(sigma=sigma)
    got = dacg.gate(maps, rule)
    for one, map_ in zip(got, maps.astype(np.float64), strict=True):
        np.testing.assert_allclose(one, slow_gate(map_, rule), atol=1e-6)


def test_gate_keeps_what_is_above_the_threshold():
    maps = random_maps()
    got, zeta = dacg.gate(maps), dacg.thresholds(maps)
    for one, map_, level in zip(got, maps, zeta, strict=True):
        np.testing.assert_array_equal(one[map_ > level], map_[map_ > level])
        assert (map_ > level).any()


def slow_attenuate(map_):
    positive = map_[map_ > 0]
    delta = (
        0.15 * np.median(positive)
        + 0.15 * np.percentile(map_, 60)
        + 0.2 * positive.mean()
        + 0.3 * 0.05 * map_.max()
    )
    return np.array(
        [[v if v >= delta else v * min(max(v / delta, 0.5), 1) for v in row] for row in map_]
    )


def test_attenuation_equals_a_loop_over_cells():
    maps = random_maps()
    for one, map_ in zip(cba.attenuate(maps), maps.astype(np.float64), strict=True):
        np.testing.assert_allclose(one, slow_attenuate(map_), atol=1e-6)


def test_debiasing_finds_the_least_squares_factor():
    """Below its limit, alpha is the minimum of the squared difference on a fine search."""
    rule = sicd.SICD(peak_weight=1.0, repeat_weight=1.0, alpha_max=1.0, max_range_loss=1.0)
    map_ = random_maps(1)[0].astype(np.float64)
    peaks = map_ > map_.mean() + 2 * map_.std()
    interference = 0.25 + peaks.astype(float)
    factors = np.linspace(0, 1, 100_001)
    losses = (
        (map_**2).sum()
        - 2 * factors * (map_ * interference).sum()
        + factors**2 * (interference**2).sum()
    )
    best = factors[np.argmin(losses)]
    assert 0 < best < 1
    got = sicd.debias(map_, rule, words=["a", "cat", "a", "dog"])
    np.testing.assert_allclose(got, np.maximum(0, map_ - best * interference), atol=2e-5)


def test_debiasing_is_undone_when_the_range_shrinks():
    map_ = random_maps(1)[0]
    strong = sicd.SICD(peak_weight=1.0, alpha_max=1.0)
    np.testing.assert_array_equal(sicd.debias(map_, strong), map_)
    assert not np.array_equal(sicd.debias(map_), map_)


@pytest.mark.parametrize(
    ("items", "share"), [([], 0.0), ([1, 2], 0.0), ([5, 6, 5, 7, 8, 5, 6, 9], 0.25)]
)
def test_repeated_share(items, share):
    assert sicd.repeated_share(items) == share


def test_word_rule_leaves_padding_and_special_ids_out():
    ids = np.array([5, 6, 5, 99, 0, 0, 0, 0])
    context = Context(token_ids=ids, special_ids=frozenset({99}))
    assert sicd.answer_words(context) == [5, 6, 5]
    assert sicd.answer_words(Context(words=["A", "cat", ",", "a", "."])) == ["a", "cat", "a"]
    assert sicd.answer_words(Context(words=["cat"], token_ids=ids)) == ["cat"]
    assert sicd.answer_words(Context()) == []
    assert sicd.answer_words(Context(token_ids=[7, 7, 7])) == []


def test_paper_debiasing_ignores_padding_and_released_does_not():
    maps = random_maps()
    answer, padding = [1, 2, 3, 4, 5, 6], [0] * 2
    paper = [refinement.apply(maps, "paper", token_ids=ids) for ids in (answer, answer + padding)]
    np.testing.assert_array_equal(*paper)
    released = [
        refinement.apply(maps, "released", token_ids=ids) for ids in (answer, answer + padding)
    ]
    assert not np.array_equal(*released)


def test_percentile_equals_numpy():
    rng = np.random.default_rng(2)
    ordered = np.sort(rng.random((4, 23)), axis=1)
    skip = np.array([0, 3, 22, 23])
    for q in (0, 12.5, 50, 99, 100):
        got = percentile(ordered, q, skip)
        expected = [
            np.percentile(row[min(cut, 22) :], q) for row, cut in zip(ordered, skip, strict=True)
        ]
        np.testing.assert_allclose(got, expected)


def test_otsu_level_equals_a_search_over_all_splits():
    rng = np.random.default_rng(3)
    ordered = np.sort(rng.random((5, 30)) ** 2, axis=1)
    for row, level in zip(ordered, otsu_levels(ordered), strict=True):
        scores = [i * (30 - i) * (row[:i].mean() - row[i:].mean()) ** 2 for i in range(1, 30)]
        split = int(np.argmax(scores)) + 1
        assert level == pytest.approx((row[split - 1] + row[split]) / 2)


def test_rivals_subtract_the_fitted_common_map():
    maps = random_maps(4)
    common = others_of(maps)
    got = Rivals(strength=0.5)(maps.astype(float), Context(context_maps=common.astype(float)))
    for k in range(4):
        mean = np.mean([maps[j] for j in range(4) if j != k], axis=0, dtype=float)
        alpha = np.linalg.lstsq(mean.reshape(-1, 1), maps[k].reshape(-1), rcond=None)[0][0]
        np.testing.assert_allclose(got[k], np.maximum(0, maps[k] - 0.5 * alpha * mean), atol=1e-6)


def test_rivals_without_other_maps_change_nothing():
    maps = random_maps(1)
    for others in (None, others_of(maps), np.zeros((2, 9, 7))):
        got = refinement.apply(
            maps,
            refinement.Pipeline((refinement.Stage("rivals", Rivals()),)),
            context_maps=others,
        )
        np.testing.assert_array_equal(got, maps)


def test_rivals_keep_a_map_that_is_the_common_map():
    maps = random_maps(1)
    got = Rivals(strength=1.0)(maps.astype(float), Context(context_maps=maps.astype(float)))
    np.testing.assert_allclose(got, maps)


@pytest.mark.parametrize("shape", [(2, 3, 3), (9, 7), (2, 1, 9, 7)])
def test_rivals_refuse_maps_of_another_shape(shape):
    with pytest.raises(InputError, match="context_maps"):
        refinement.apply(random_maps(3), "studio", context_maps=np.zeros(shape))


def test_smoothing_preserves_mass_away_from_borders():
    map_ = np.zeros((1, 21, 21))
    map_[0, 10, 10] = 1
    got = Smooth(sigma=0.7)(map_, Context())
    rows, cols = np.mgrid[-10:11, -10:11]
    assert got.sum() == pytest.approx(1)
    assert (got[0] * rows**2).sum() == pytest.approx(0.49, rel=0.03)
    np.testing.assert_allclose(got[0], got[0].T, atol=1e-15)
    assert got[0].argmax() == 10 * 21 + 10
    assert (got[0] * cols).sum() == pytest.approx(0, abs=1e-12)


def test_focus_keeps_the_order_of_values():
    map_ = random_maps(1, 12, 12).astype(float)
    for focus in (Focus(), Focus(gamma=0.3, softness=0), Focus(cut=3, floor=0)):
        got = focus(map_, Context())
        order = np.argsort(map_.ravel(), kind="stable")
        assert (np.diff(got.ravel()[order]) >= -1e-12).all()
        assert got.max() > 0


def test_background_never_takes_more_than_its_limit():
    map_ = np.full((1, 10, 10), 0.95)
    map_[0, 0, 0] = 0.0
    map_[0, 5, 5] = 1.0
    got = Background(spreads=6, limit=0.4)(map_, Context())
    np.testing.assert_allclose(got, np.maximum(map_ - 0.4, 0))


@settings(max_examples=60, deadline=None)
@given(maps=MAPS, preset=st.sampled_from(sorted(refinement.PRESETS)))
def test_every_preset_returns_finite_maps_in_range_and_leaves_its_input_alone(maps, preset):
    before = maps.copy()
    maps.flags.writeable = False
    batch = refinement.apply(maps, preset, token_ids=[1, 1], n_steps=32, image_size=(900, 900))
    np.testing.assert_array_equal(maps, before)
    assert batch.shape == maps.shape and batch.dtype == np.float32
    assert np.isfinite(batch).all() and batch.min() >= 0 and batch.max() <= 1 + 1e-6
    again = [
        refinement.apply(m, preset, token_ids=[1, 1], n_steps=32, image_size=(900, 900))
        for m in maps
    ]
    np.testing.assert_allclose(batch, np.stack(again), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(value=st.floats(0, 1, width=32), preset=st.sampled_from(sorted(refinement.PRESETS)))
def test_constant_maps_stay_constant(value, preset):
    map_ = np.full((6, 5), value, np.float32)
    got = refinement.apply(map_, preset)
    assert np.ptp(got) <= 1e-6
    np.testing.assert_allclose(got, map_, atol=1e-6)


@pytest.mark.parametrize("preset", refinement.PRESETS)
def test_an_empty_batch_stays_empty(preset):
    assert refinement.apply(np.zeros((0, 5, 4), np.float32), preset).shape == (0, 5, 4)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros(4), "shape"),
        (np.zeros((1, 1, 2, 2)), "shape"),
        (np.zeros((0, 3)), "row"),
        (np.full((2, 2), np.nan), "not finite"),
        (np.full((2, 2), np.inf), "not finite"),
        (np.full((2, 2), -0.1), "Normalise"),
        (np.full((2, 2), 3.0), "Normalise"),
        ([["a", "b"]], "not numbers"),
    ],
)
def test_maps_that_cannot_be_refined_are_refused(maps, message):
    with pytest.raises(InputError, match=message):
        refinement.apply(maps, "paper")


@pytest.mark.parametrize("options", [{"n_steps": 0}, {"image_size": (0, 5)}])
def test_impossible_runs_are_refused(options):
    with pytest.raises(InputError):
        refinement.apply(np.zeros((2, 2)), "paper", **options)


@pytest.mark.parametrize("kernel", [0, 2, -3])
def test_even_kernels_are_refused(kernel):
    with pytest.raises(InputError, match="odd"):
        refinement.rank_gaussian_filter(np.zeros((2, 2)), kernel)
