"""The preset `released` against the outputs of the published program."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diffcam_core import refinement
from diffcam_core.refinement import PRESETS, akd
from diffcam_core.refinement.sicd import SICD, debias

GROUPS = ("27x27", "16x16", "24x32", "48x48")
SWITCHES = {
    "none": (),
    "gaussian_only": ("akd",),
    "confidence_only": ("dacg",),
    "background_only": ("cba",),
    "all_methods": ("akd", "dacg", "cba"),
}


@pytest.fixture(scope="module")
def golden(golden_arrays):
    return golden_arrays("dcam_refine")


@pytest.fixture(scope="module")
def config(golden_folder):
    return json.loads((golden_folder("dcam_refine") / "config.json").read_text())


def mode_pipeline(mode, seed=None):
    pipeline = PRESETS["released"]
    for name in ("akd", "dacg", "cba"):
        pipeline = pipeline.with_enabled(name, name in SWITCHES[mode])
    if seed is not None:
        pipeline = pipeline.with_parameters("akd", noise=1e-6, noise_seed=int(seed))
    return pipeline


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("mode", ["gaussian_only", "all_methods"])
def test_outputs_without_noise(golden, config, group, mode):
    got = refinement.apply(
        golden[f"{group}_in"], mode_pipeline(mode), token_ids=config["tokens_rep"]
    )
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, golden[f"{group}_out_{mode}_rep_nonoise"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("mode", SWITCHES)
@pytest.mark.parametrize("tokens", ["rep", "uni"])
def test_outputs_with_the_published_noise(golden, config, group, mode, tokens):
    for index, map_ in enumerate(golden[f"{group}_in"]):
        pipeline = mode_pipeline(mode, golden[f"{group}_seed"][index])
        got = refinement.apply(map_, pipeline, token_ids=config[f"tokens_{tokens}"])
        expected = golden[f"{group}_out_{mode}_{tokens}"][index]
        np.testing.assert_allclose(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("mode", SWITCHES)
def test_the_preset_itself_stays_within_what_noise_does(golden, config, group, mode):
    """Bounds of the golden notes: 1.2e-5, and 5e-2 for all modules on sparse maps."""
    got = refinement.apply(
        golden[f"{group}_in"], mode_pipeline(mode), token_ids=config["tokens_rep"]
    )
    error = np.abs(got - golden[f"{group}_out_{mode}_rep"]).max(axis=(1, 2))
    sparse = (golden[f"{group}_in"] == 0).mean(axis=(1, 2)) > 0.5
    assert sparse.sum() == 2
    assert error[~sparse].max() < 1.2e-5
    assert error[sparse].max() < (5e-2 if mode == "all_methods" else 1.2e-5)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_rank_gaussian_filter(golden, group, kernel):
    got = refinement.rank_gaussian_filter(golden[f"{group}_in"], kernel)
    np.testing.assert_allclose(got, golden[f"{group}_rgf_k{kernel}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("group", GROUPS)
def test_filter_output_with_noise(golden, group):
    for index, map_ in enumerate(golden[f"{group}_in"]):
        parameters = akd.AKD(
            fixed_steps=2, size_from="map", noise=1e-6, noise_seed=golden[f"{group}_seed"][index]
        )
        got = akd.denoise(map_, parameters)
        # The module keeps its output in [0, 1]; the noise can push the published one below 0.
        expected = np.clip(golden[f"{group}_filtered"][index], 0, 1)
        np.testing.assert_allclose(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("tokens", ["rep", "uni"])
def test_single_image_interference(golden, config, group, tokens):
    got = debias(golden[f"{group}_in"], SICD(counting="ids"), token_ids=config[f"tokens_{tokens}"])
    np.testing.assert_allclose(got, golden[f"{group}_eci_{tokens}"], atol=1e-6, rtol=0)


def test_gating_override_has_no_effect_there_either(golden, config):
    for index, map_ in enumerate(golden["27x27_in"]):
        pipeline = mode_pipeline("all_methods", golden["27x27_seed"][index])
        pipeline = pipeline.with_parameters("dacg", **config["dacg_override"])
        got = refinement.apply(map_, pipeline, token_ids=config["tokens_rep"])
        expected = golden["dacg_override_all_methods_rep"][index]
        np.testing.assert_allclose(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", SWITCHES)
def test_edge_maps(golden, config, mode):
    for index, map_ in enumerate(golden["edge_in"]):
        pipeline = mode_pipeline(mode, golden["27x27_seed"][0])
        got = refinement.apply(map_, pipeline, token_ids=config["tokens_rep"])
        expected = golden[f"edge_out_{mode}_rep"][index]
        # On the constant map the noise is all there is and is stretched a million times.
        atol = 1e-5 if index == 1 and "akd" in SWITCHES[mode] else 1e-6
        np.testing.assert_allclose(got, expected, atol=atol, rtol=0)


def test_kernel_table(golden):
    for i, ratio in enumerate(golden["kernel_step_ratio"]):
        for j, size in enumerate(golden["kernel_size_px"]):
            got = akd.kernel_size(golden["kernel_std"], 1 / ratio, size)
            np.testing.assert_array_equal(got, golden["kernel_table"][i, :, j])


def test_released_kernel_never_adapts(golden):
    used = refinement.kernels(golden["48x48_in"], "released", n_steps=64, image_size=(2048, 2048))
    np.testing.assert_array_equal(used["akd"], np.full(6, 3))
