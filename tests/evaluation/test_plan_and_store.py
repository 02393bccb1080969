"""Plans round trip; folders are refused, resumed and written whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_cases import LoggedRecipe, calls, make_plan, make_rows

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import CancelledError, InputError, RunFileError
from diffcam_core.evaluation.executors import LocalExecutor
from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome
from diffcam_core.evaluation.plan import DatasetChoice, EvaluationPlan, parse_step_rule
from diffcam_core.evaluation.refinements import ABLATION, named_refinements
from diffcam_core.evaluation.running import evaluate_items
from diffcam_core.evaluation.store import open_store, read_store, write_whole
from diffcam_core.evaluation.stored_maps import MapKey, StoredMaps
from diffcam_core.refinement import PRESETS


def test_plan_survives_json() -> None:
    plan = make_plan(
        presets=tuple(named_refinements(["raw", "studio", "ablation"]).items()),
        steps=3,
        limits=(("alpha", 2),),
        chosen_layers=(("alpha", "raw", 1),),
        dataset=DatasetChoice("coco", "/data/coco", "val2017"),
    )
    again = EvaluationPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and again.fingerprint == plan.fingerprint
    assert again.items_of("alpha") == plan.items[:2] and again.items_of("beta") == plan.items
    assert again.layer_of("alpha", "raw") == 1 and again.layer_of("beta", "raw") == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ("alpha",)}, "methods"),
        ({"items": ("scene-0000000",)}, "items"),
        ({"layers": (0,)}, "layers"),
        ({"steps": "first"}, '"first"'),
        ({"seed": 1}, "seed"),
        ({"threads": 2}, "threads"),
        ({"fingerprint_of_model": "1" * 64}, "weights"),
        ({"generation": GenerationConfig(max_new_tokens=16, prefix_cache=True)}, "generation"),
        ({"presets": tuple(named_refinements(["raw", "studio"]).items())}, "refinements"),
        (
            {
                "presets": (
                    ("raw", None),
                    ("paper", PRESETS["paper"].with_parameters("akd", base=4.0)),
                )
            },
            "parameters of the refinement paper",
        ),
    ],
)
def test_folder_of_another_plan_is_refused_by_name(tmp_path, changes, named) -> None:
    plan = make_plan()
    open_store(tmp_path / "r", plan, resume=False)
    other = make_plan(**changes)
    assert other.fingerprint != plan.fingerprint
    with pytest.raises(InputError, match="another evaluation") as caught:
        open_store(tmp_path / "r", other, resume=True)
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": ()},
        {"methods": ("alpha", "alpha")},
        {"items": ("../up",)},
        {"items": (".hidden",)},
        {"steps": "middle"},
        {"threads": 0},
    ],
)
def test_plans_that_cannot_be(changes) -> None:
    with pytest.raises(InputError):
        make_plan(**changes)


@pytest.mark.parametrize(
    "data", [None, {}, {"format": "diffcam-evaluation", "version": 99}, [1, 2]]
)
def test_foreign_plans(data) -> None:
    with pytest.raises(RunFileError):
        EvaluationPlan.from_json(data)


def test_step_rules() -> None:
    assert [parse_step_rule(t) for t in ("Commit", "first", "last", "12")] == [
        "commit",
        "first",
        "last",
        12,
    ]
    with pytest.raises(InputError):
        parse_step_rule("all")


def test_ablation_is_the_papers() -> None:
    assert list(ABLATION) == ["base", "+akd", "+dacg", "+cba", "+sicd", "all"]
    on = {
        name: [s.name for s in p.stages if s.enabled and s.name != "rescale"]
        for name, p in ABLATION.items()
    }
    assert on["base"] == [] and on["all"] == ["akd", "dacg", "cba", "sicd"]
    assert all(on[f"+{module}"] == [module] for module in ("akd", "dacg", "cba", "sicd"))
    assert ABLATION["all"].stages == PRESETS["paper"].stages
    with pytest.raises(InputError, match="nonsense"):
        named_refinements(["nonsense"])


def test_a_pipeline_of_ones_own(tmp_path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(PRESETS["paper"].renamed("mine").to_json())
    assert list(named_refinements(["raw", str(path)])) == ["raw", "mine"]
    path.write_text(PRESETS["paper"].to_json())
    with pytest.raises(InputError, match="paper"):
        named_refinements([str(path)])
    with pytest.raises(InputError, match="cannot be read"):
        named_refinements([str(tmp_path / "gone.json")])


def test_folders_that_are_refused(tmp_path) -> None:
    plan = make_plan()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        open_store(tmp_path / "other", plan, resume=True)
    assert [f.name for f in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="no results folder"):
        read_store(tmp_path / "other")
    store = open_store(tmp_path / "mine", plan, resume=False)
    with store.locked():
        store.write(ItemOutcome(plan.items[0]))
        with pytest.raises(InputError, match="another evaluation works"), store.locked():
            pass
    with pytest.raises(InputError, match="1 of 6 items"):
        open_store(tmp_path / "mine", plan, resume=False)
    assert open_store(tmp_path / "mine", plan, resume=True).done() == {plan.items[0]}


def test_what_a_killed_writer_left_is_swept_away(tmp_path) -> None:
    plan = make_plan()
    store = open_store(tmp_path, plan, resume=False)
    with store.locked():
        pass
    left = tmp_path / "items" / ".scene-0000000.json.77.tmp"
    left.write_text('{"half')
    assert store.done() == frozenset()
    with store.locked():
        assert not left.exists()


def test_an_outcome_comes_back_as_it_was(tmp_path) -> None:
    plan = make_plan()
    store = open_store(tmp_path, plan, resume=False)
    outcome = ItemOutcome(
        plan.items[2],
        answer="a cat — ünï",
        shown=("cat", "dog"),
        named=("cat",),
        rows=make_rows(plan.items[2], plan),
        failures=(ItemFailure(plan.items[2], "beta", "ValueError", "why"),),
        seconds={"alpha": 1.0},
    )
    store.write(outcome)
    assert store.read(plan.items[2]) == replace(outcome, seconds={})
    (tmp_path / "items" / f"{plan.items[2]}.json").write_text("{}")
    with pytest.raises(RunFileError):
        store.read(plan.items[2])


def test_stored_maps_come_back_and_are_the_same_bytes() -> None:
    rng = np.random.default_rng(0)
    maps = StoredMaps(
        keys=(MapKey("alpha", 1, "cat", 3, 2), MapKey("alpha", 1, "dog", 4, 2)),
        maps=rng.random((2, 3, 4), dtype=np.float32),
        others=rng.random((2, 3, 4), dtype=np.float32),
        masks={"cat": rng.random((9, 7)) > 0.5, "dog": rng.random((9, 7)) > 0.5},
        rectangles=rng.random((3, 4, 4), dtype=np.float32),
        image_size=(7, 9),
        token_ids=(1, 2),
        special_ids=(0,),
        words=("cat", "dog"),
        n_steps=4,
    )
    data = maps.to_bytes()
    again = StoredMaps.from_bytes(data)
    assert again.to_bytes() == data and again.keys == maps.keys
    assert all(np.array_equal(again.masks[name], maps.masks[name]) for name in maps.masks)
    assert np.array_equal(again.maps, maps.maps) and again.words == maps.words
    with pytest.raises(RunFileError):
        StoredMaps.from_bytes(data[: len(data) // 2])


def test_write_whole_names_the_cause(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "file" / "below.json", b"x")


def test_only_missing_items_are_computed_and_failures_counted(tmp_path) -> None:
    plan = make_plan()
    log = tmp_path / "log"
    recipe = LoggedRecipe(plan, log, failing=(plan.items[1],))
    store = open_store(tmp_path / "r", plan, resume=False)
    told = []
    asked = iter((False, True))
    with store.locked():
        first = evaluate_items(
            store,
            LocalExecutor(),
            recipe,
            on_progress=lambda *a: told.append(a[:2]),
            cancel=lambda: next(asked),
        )
    assert first.cancelled and first.computed == 2 and first.failures == 1
    assert told == [(0, 6), (1, 6), (2, 6)]
    store = open_store(tmp_path / "r", plan, resume=True)
    second = evaluate_items(store, LocalExecutor(), recipe)
    assert not second.cancelled and second.computed == 4 and second.failures == 1
    assert calls(log) == list(plan.items)
    assert evaluate_items(store, LocalExecutor(), recipe).computed == 0
    assert store.forget_failed() == 1
    assert evaluate_items(store, LocalExecutor(), recipe).computed == 1
    assert calls(log) == [*plan.items, plan.items[1]]


def test_a_worker_that_is_cancelled_leaves_a_resumable_folder(tmp_path) -> None:
    plan = make_plan()
    store = open_store(tmp_path / "r", plan, resume=False)

    def make_worker():
        def work(item):
            if item == plan.items[1]:
                raise CancelledError("stop")
            return ItemOutcome(item)

        return work

    work = evaluate_items(store, LocalExecutor(), make_worker)
    assert work.cancelled and store.done() == {plan.items[0]}
