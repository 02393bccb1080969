"""Pipelines: switches, order, parameters, the ladder, JSON, and the data that the GUI reads."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from diffcam_core import refinement
from diffcam_core.errors import InputError
from diffcam_core.refinement import AKD, CBA, MODULES, PRESETS, Pipeline, Stage

MAPS = np.random.default_rng(5).random((3, 11, 13)).astype(np.float32)


@pytest.mark.parametrize("name", PRESETS)
def test_ladder_is_the_pipeline_stage_by_stage(name):
    pipeline = PRESETS[name].with_enabled(PRESETS[name].stages[1].name, False)
    options = {"token_ids": [1, 2, 1], "n_steps": 32, "image_size": (900, 700)}
    ladder = refinement.stages(MAPS, pipeline, **options)
    assert [stage for stage, _ in ladder] == [s.name for s in pipeline.stages if s.enabled]
    np.testing.assert_array_equal(ladder[-1][1], refinement.apply(MAPS, pipeline, **options))
    first = Pipeline(pipeline.stages[:1])
    np.testing.assert_array_equal(ladder[0][1], refinement.apply(MAPS, first, **options))


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    pipeline = PRESETS[name].with_enabled(PRESETS[name].stages[0].name, False).renamed("mine", "é")
    again = Pipeline.from_json(pipeline.to_json())
    assert again == pipeline
    assert again.to_json() == pipeline.to_json()


def test_edits_return_new_pipelines():
    paper = PRESETS["paper"]
    edited = paper.with_parameters("cba", floor=0.25).with_enabled("akd", False)
    assert edited["cba"].module == CBA(floor=0.25) and not edited["akd"].enabled
    assert paper["cba"].module == CBA() and paper["akd"].enabled
    order = ("cba", "akd", "dacg", "rescale", "sicd")
    assert tuple(s.name for s in paper.with_order(order).stages) == order
    again = paper.without("cba").with_stage(paper["cba"], 2)
    assert again == paper


def test_order_matters():
    paper = PRESETS["paper"]
    other = paper.with_order(("sicd", "cba", "dacg", "akd", "rescale"))
    assert not np.array_equal(refinement.apply(MAPS, paper), refinement.apply(MAPS, other))


def test_a_module_may_stand_twice():
    pipeline = Pipeline((Stage("first", AKD()), Stage("second", AKD(kernel_min=5))))
    used = refinement.kernels(MAPS, pipeline, n_steps=16)
    assert used["first"].tolist() == [3] * 3 and used["second"].tolist() == [5] * 3
    assert refinement.apply(MAPS, Pipeline.from_json(pipeline.to_json())).shape == MAPS.shape


def test_a_pipeline_without_stages_returns_the_maps():
    np.testing.assert_array_equal(refinement.apply(MAPS, Pipeline(())), MAPS)
    np.testing.assert_array_equal(refinement.apply(MAPS[0], Pipeline(())), MAPS[0])


def test_unknown_names_are_named():
    paper = PRESETS["paper"]
    with pytest.raises(InputError, match="released, paper, studio"):
        refinement.apply(MAPS, "best")
    with pytest.raises(InputError, match="no stage blur"):
        paper.with_enabled("blur", True)
    with pytest.raises(InputError, match="no parameter flor"):
        paper.with_parameters("cba", flor=1)
    with pytest.raises(InputError, match="every stage once"):
        paper.with_order(("akd",))
    with pytest.raises(InputError, match="Two stages"):
        Pipeline((Stage("a", AKD()), Stage("a", CBA())))
    with pytest.raises(InputError, match="no refinement module"):
        refinement.module_info("magic")


@pytest.mark.parametrize("kind", MODULES)
def test_every_parameter_refuses_what_its_texts_exclude(kind):
    module = MODULES[kind]
    default = module()
    for info in module.infos():
        assert getattr(default, info.name) == info.default
        if info.kind == "choice":
            assert info.default in info.choices
            bad = ["no such choice"]
        else:
            assert info.minimum <= info.default <= info.maximum
            assert info.step > 0
            below, above = info.minimum - info.step, info.maximum + info.step
            bad = [below, above, np.nan, np.inf, "1", True, None]
            if info.kind == "int":
                bad.append(info.minimum + 0.5)
        for value in bad:
            with pytest.raises(InputError, match=info.name):
                dataclasses.replace(default, **{info.name: value})


@pytest.mark.parametrize("kind", MODULES)
def test_every_module_and_parameter_has_its_texts(kind):
    info = refinement.module_info(kind)
    assert info.kind == kind and info.title and info.source
    for text in (info.help, *(p.help for p in info.parameters)):
        assert text.endswith(".") and "\n" not in text and len(text) < 110
    assert all(p.title for p in info.parameters)
    assert {p.name for p in info.parameters} == {f.name for f in dataclasses.fields(MODULES[kind])}


def test_numbers_have_one_type_whatever_the_caller_gave():
    assert AKD(base=np.float32(2), kernel_min=5.0) == AKD(base=2.0, kernel_min=5)
    assert json.loads(json.dumps(AKD(base=np.float64(2)).to_dict()))["base"] == 2.0


@pytest.mark.parametrize("limits", [(4, 11), (3, 10), (7, 5)])
def test_kernel_limits_are_odd_and_ordered(limits):
    with pytest.raises(InputError, match="kernel"):
        AKD(kernel_min=limits[0], kernel_max=limits[1])


GOOD = PRESETS["paper"].to_dict()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "[" * 100_000,
        json.dumps({**GOOD, "format": "other"}),
        json.dumps({**GOOD, "version": 2}),
        json.dumps({**GOOD, "stages": "akd"}),
        json.dumps({**GOOD, "stages": ["akd"]}),
        json.dumps({**GOOD, "name": 5}),
        json.dumps({**GOOD, "stages": [{"kind": "magic"}]}),
        json.dumps({**GOOD, "stages": [{"kind": ["akd"]}]}),
        json.dumps({**GOOD, "stages": [{"kind": "akd", "parameters": {"base": 1e9}}]}),
        json.dumps({**GOOD, "stages": [{"kind": "akd", "parameters": {"KIND": "x"}}]}),
        json.dumps({**GOOD, "stages": [{"kind": "akd", "parameters": [1]}]}),
        json.dumps({**GOOD, "stages": [{"kind": "akd", "enabled": 1}]}),
        json.dumps({**GOOD, "stages": [{"kind": "akd"}] * 2}),
        json.dumps({**GOOD, "stages": [{"kind": "akd"}] * 65}),
        " " * (1 << 21),
    ],
)
def test_damaged_pipelines_are_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        Pipeline.from_json(text)
    assert "\n" not in str(caught.value)


def test_refinement_and_measures_need_no_torch():
    code = (
        "import sys, numpy as np, diffcam_core.metrics.localization;"
        "from diffcam_core import refinement;"
        "[refinement.apply(np.eye(9), p, n_steps=8) for p in refinement.PRESETS];"
        "sys.exit('torch' in sys.modules or 'PySide6' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
