"""Prompts, targets and an independent run of a small model for the tests of the rivals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from naive_llada import NaiveLlada
from probing_cases import MASK, SPAN, SUPPRESSED, make_model, make_prompt, make_trajectory

from diffcam_core.layout import Grid, ImageLayout
from diffcam_core.probing import Target

CONTRASTS = ("none", "runner_up", 11, "log_probability")


def grid(name, rows, cols, indices):
    return Grid(
        name, rows, cols, np.asarray(indices), np.zeros((rows, cols, 4), np.float32), (40, 30)
    )


def two_grids():
    """2 x 2 cells, then 2 x 3 with a newline after each row, then one more newline."""
    tiles = [8, 9, 10, 12, 13, 14]
    return ImageLayout(
        (40, 30),
        SPAN,
        (grid("base", 2, 2, range(4, 8)), grid("tiles", 2, 3, tiles)),
        np.array([11, 15, 16]),
    )


def make_case(cached, dtype=torch.float64, layout=None):
    """Model, prompt, trajectory, final ids and the naive twin; ids 50 to 59 are special."""
    model = make_model(dtype)
    model.eos_ids = (50,)
    model.tokenizer = SimpleNamespace(special_ids=frozenset(range(50, 60)))
    prompt = replace(make_prompt(model), layout=layout or two_grids())
    trajectory, final = make_trajectory(prompt, cached)
    return SimpleNamespace(
        model=model,
        prompt=prompt,
        trajectory=trajectory,
        final=final,
        naive=NaiveLlada(model.backbone),
        cached=cached,
    )


def targets_of(case, contrasts=CONTRASTS):
    return [
        Target(k, int(token), contrasts[k % len(contrasts)]) for k, token in enumerate(case.final)
    ]


def naive_states(case, step):
    """(prompt, answer) states at the input and after every block, by the naive model."""
    before = case.prompt.embeds[0]
    answer = case.naive.w["wte.weight"][torch.as_tensor(case.trajectory.canvases[step])]
    found = [(before, answer)]
    for i in range(case.naive.c.n_layers):
        before, answer = naive_step(case, i, before, answer)
        found.append((before, answer))
    return found


def naive_step(case, i, before, answer):
    if case.cached:
        return case.naive.block(i, before), case.naive.block(i, answer, before)
    both = case.naive.block(i, torch.cat((before, answer)))
    return both[: len(before)], both[len(before) :]


def naive_logits(case, answer):
    weights = case.naive.w
    scale = torch.sqrt((answer * answer).mean(-1, keepdim=True) + case.naive.c.rms_norm_eps)
    return (answer / scale * weights["ln_f.weight"]) @ weights["ff_out.weight"].T


def naive_score(case, answer, target):
    return case.naive.score(naive_logits(case, answer), target, MASK, SUPPRESSED)


def whole(parts):
    """Maps of one request put together: layer -> name -> (K, rows, cols)."""
    first = parts[0]
    return {
        layer: {
            name: np.concatenate([part.maps[layer][name] for part in parts])
            for name in first.maps[layer]
        }
        for layer in first.maps
    }


def on_grids(values, layout):
    """(K, N) tensor or array of span values -> name -> (K, rows, cols)."""
    values = np.asarray(values)
    return {
        one.name: values[:, one.indices - layout.span[0]].reshape(len(values), one.rows, one.cols)
        for one in layout.grids
    }


def assert_maps(found, expected, **tolerance):
    assert set(found) == set(expected)
    for name, maps in found.items():
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, expected[name], **tolerance)
