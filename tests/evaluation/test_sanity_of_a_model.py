"""Sanity checks: weights come back to the bit; maps that ignore the model are caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffcam_core as dc
from diffcam_core.attribution import METHODS
from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_core.errors import CancelledError, InputError
from diffcam_core.evaluation import sanity
from diffcam_core.probing import Prober, Target, Trajectory


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(scope="module")
def trajectory(model: Any) -> Trajectory:
    prompt = model.prepare(Image.fromarray(make_scene(3).render(96)), "what")
    return Trajectory(prompt, np.full((2, 4), model.mask_id), model.mask_id, False)


def explainer(model: Any, layer: int = 0) -> sanity.Explain:
    def explain(trajectory: Trajectory) -> sanity.Maps:
        prober = Prober(model, trajectory, [layer])
        requests = [(1, [Target(0, 7, "runner_up"), Target(2, 9, "runner_up")])]
        return {
            (target.position, name): map_
            for found in METHODS["diffusion-cam"].stream(prober, requests)
            for grids in found.maps.values()
            for name, stack in grids.items()
            for target, map_ in zip(found.targets, stack, strict=True)
        }

    return explain


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.backbone.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mode", ["cascade", "independent"])
def test_stages_and_weights(model: Any, trajectory: Trajectory, mode: Any) -> None:
    before, seen = weights(model), []
    inner = explainer(model)

    def explain(trajectory: Trajectory) -> sanity.Maps:
        seen.append(weights(model))
        return inner(trajectory)

    found = sanity.parameter_randomisation(model, trajectory, explain, mode=mode)
    assert [f.stage for f in found] == ["head", "block 2", "block 1", "block 0"]
    assert same(before, weights(model))
    names = ["ff_out", "blocks.2", "blocks.1", "blocks.0"]
    for stage, state in enumerate(seen):  # the first one is the trained model
        changed = {n for n in before if not torch.equal(before[n], state[n])}
        wanted = names[:stage] if mode == "cascade" else names[stage - 1 : stage] if stage else []
        assert {n for n in changed if not any(n.startswith(w + ".") for w in wanted)} == set()
        assert all(any(n.startswith(w + ".") for n in changed) for w in wanted)
        for name in changed:
            if before[name].numel() > 500:  # the scale stays
                assert state[name].std() == pytest.approx(float(before[name].std()), rel=0.2)


def test_same_seed_same_result(model: Any, trajectory: Trajectory) -> None:
    run = lambda seed: sanity.parameter_randomisation(  # noqa: E731
        model, trajectory, explainer(model), seed=seed
    )
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_map_that_ignores_the_model_is_caught(model: Any, trajectory: Trajectory) -> None:
    """An edge detector passes for an explanation until the weights are gone."""
    picture = trajectory.prompt.image.astype(float).mean(2)
    edges = np.hypot(*np.gradient(picture))
    for found in sanity.parameter_randomisation(model, trajectory, lambda _: {"edges": edges}):
        assert found.mean.rank == pytest.approx(1) and found.mean.ssim == pytest.approx(1)


@pytest.mark.parametrize("failure", ["raise", "cancel", "keys"])
def test_weights_come_back_whatever_happens(
    model: Any, trajectory: Trajectory, failure: str
) -> None:
    before, calls = weights(model), []
    inner = explainer(model)

    def explain(trajectory: Trajectory) -> sanity.Maps:
        calls.append(None)
        if failure == "raise" and len(calls) == 3:
            raise RuntimeError("broken")
        maps = dict(inner(trajectory))
        return {} if failure == "keys" and len(calls) == 2 else maps

    expected: Any = {"raise": RuntimeError, "cancel": CancelledError, "keys": InputError}[failure]
    with pytest.raises(expected):
        sanity.parameter_randomisation(
            model,
            trajectory,
            explain,
            cancel=(lambda: len(calls) == 2) if failure == "cancel" else None,
        )
    assert same(before, weights(model))


def test_input_randomisation(model: Any, trajectory: Trajectory) -> None:
    for kind in ("noise", "shuffle"):
        found = sanity.input_randomisation(model, trajectory, explainer(model), kind=kind)
        assert found.stage == kind and set(found.by_key) == set(explainer(model)(trajectory))
        assert found.mean.rank < 0.99
    with pytest.raises(InputError, match="blur"):
        sanity.input_randomisation(model, trajectory, explainer(model), kind="blur")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["noise", "shuffle"])
def test_scrambled_images_keep_their_colours_and_lose_their_places(kind: Any) -> None:
    image = make_scene(4).render(83)
    found = sanity.scrambled(image, kind, 3)
    assert found.shape == image.shape and (found != image).mean() > 0.5
    flat = lambda a: np.sort(a.reshape(-1, 3).astype(int) @ [65536, 256, 1])  # noqa: E731
    np.testing.assert_array_equal(flat(found), flat(image))
    np.testing.assert_array_equal(found, sanity.scrambled(image, kind, 3))


def test_diffusion_cam_depends_on_what_the_embedded_model_learned() -> None:
    model = dc.load_model("embedded", device="cpu")
    image = Image.fromarray(make_scene(HELD_OUT_SEEDS[3]).render(192))
    prompt = model.prepare(image, "Describe the image.")
    width = 12
    trajectory = Trajectory(
        prompt, np.full((1, width), model.mask_id), model.mask_id, model.supports_prefix_cache
    )

    def explain(trajectory: Trajectory) -> sanity.Maps:
        prober = Prober(model, trajectory, [model.default_layer or 0])
        (noun,) = model.encode_word("cat")
        requests = [(0, [Target(2, noun, "runner_up")])]
        (found,) = METHODS["diffusion-cam"].stream(prober, requests)
        return {"cat": next(iter(next(iter(found.maps.values())).values()))[0]}

    found = sanity.parameter_randomisation(model, trajectory, explain)
    assert found[-1].mean.rank < 0.8 and found[-1].mean.ssim < 0.8
