"""The tuning tool: never worse than where it began, reproducible, and shut to held-out scenes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from diffcam_core import refinement
from diffcam_core.errors import InputError
from diffcam_core.refinement import PRESETS, Pipeline

TOOL = Path(__file__).parents[2] / "tools" / "tune_studio_preset.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("tune_studio_preset", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def cases(tool):
    return tool.synthetic(10, seed=3)


def save(path, cases, **changes):
    arrays = {
        "maps": cases.maps * 37 - 4,  # any scale
        "masks": cases.masks,
        "scene": cases.scene,
        "split": "train",
        "context": cases.context,
        "token_ids": np.tile([5, 6, 5, 0, 0], (len(cases.maps), 1)),
        "n_steps": 16,
        **changes,
    }
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_search_does_not_end_below_its_start(tool, cases):
    scored = tool.baselines(cases)
    reference = np.maximum(scored["released"], scored["paper"])
    before = tool.objective(tool.measure(tool.refine(cases, PRESETS["studio"]), cases), reference)
    tuned, value = tool.tune(cases, trials=6, seed=0, rounds=1)
    assert value >= before
    again = tool.objective(tool.measure(tool.refine(cases, tuned), cases), reference)
    assert again == pytest.approx(value)
    assert tool.tune(cases, trials=6, seed=0, rounds=1) == (tuned, value)


def test_found_constants_stay_on_the_grid_of_their_controls(tool, cases):
    tuned, _ = tool.tune(cases, trials=4, seed=1, rounds=1)
    for (stage, parameter), (low, high) in tool.SPACE.items():
        value = getattr(tuned[stage].module, parameter)
        info = next(i for i in tuned[stage].info.parameters if i.name == parameter)
        assert low <= value <= high
        assert value / info.step == pytest.approx(round(value / info.step), abs=1e-6)


def test_printed_code_is_the_pipeline(tool, cases):
    names = {kind.__name__: kind for kind in refinement.MODULES.values()}
    stages = eval(f"({tool.as_code(PRESETS['studio'])})", {"Stage": refinement.Stage, **names})
    assert stages == PRESETS["studio"].stages


def test_objective_punishes_a_single_loss(tool):
    reference = np.array([0.3, 3.0, 0.3, 0.3, 0.5])
    even = tool.objective(reference * 1.2, reference)
    uneven = tool.objective(reference * [0.9, 3, 3, 3, 1], reference)
    assert even > uneven


def test_command_line_writes_a_pipeline(tool, cases, tmp_path, monkeypatch, capsys):
    source, out = save(tmp_path / "maps.npz", cases), tmp_path / "studio.json"
    monkeypatch.setattr(sys, "argv", ["tune", str(source), "-o", str(out), "--trials", "2"])
    assert tool.main() == 0
    assert Pipeline.from_json(out.read_text())["focus"]
    assert "studio, tuned" in capsys.readouterr().out


def test_loading_normalises_and_drops_what_cannot_be_measured(tool, cases, tmp_path):
    masks, maps = cases.masks.copy(), cases.maps.copy()
    masks[0] = False
    maps[1, 0, 0] = np.nan
    loaded = tool.load(save(tmp_path / "maps.npz", cases, masks=masks, maps=maps))
    assert len(loaded.maps) == len(cases.maps) - 2
    np.testing.assert_allclose(loaded.maps, cases.maps[2:], atol=1e-6)
    assert loaded.n_steps == 16 and loaded.token_ids.shape == (8, 5)


@pytest.mark.parametrize(
    "changes", [{"split": "test"}, {"split": None}, {"masks": None}, {"scene": np.arange(3)}]
)
def test_unfit_input_is_refused(tool, cases, tmp_path, changes):
    with pytest.raises(InputError):
        tool.load(save(tmp_path / "maps.npz", cases, **changes))


def test_damaged_file_is_refused(tool, tmp_path, monkeypatch, capsys):
    path = tmp_path / "maps.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    monkeypatch.setattr(sys, "argv", ["tune", str(path)])
    assert tool.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
