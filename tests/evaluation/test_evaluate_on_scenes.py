"""The embedded model on a few scenes: the worker, the command, a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import table_files

from diffcam_core.attribution import METHODS
from diffcam_core.cli import main
from diffcam_core.datasets.scenes import make_scene
from diffcam_core.errors import InputError
from diffcam_core.evaluation import work
from diffcam_core.evaluation.items import open_items
from diffcam_core.evaluation.localisation import measure, noun_maps
from diffcam_core.evaluation.plan import DatasetChoice
from diffcam_core.evaluation.planning import Wishes, make_plan
from diffcam_core.evaluation.shared_prober import SharedProber
from diffcam_core.evaluation.stored_maps import StoredMaps
from diffcam_core.evaluation.work import Worker
from diffcam_core.models import load_model
from diffcam_core.probing import Prober

ROOT = Path(__file__).resolve().parents[2]
SCENES = DatasetChoice("scenes")
FEW = ("--methods", "diffusion-cam", "--presets", "raw,studio", "--layers", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded", device="cpu")


def plan_for(model, count=2, first=3, **wishes):
    wanted = {"methods": ("diffusion-cam",), "presets": ("raw", "paper", "studio")}
    dataset = open_items(SCENES, first, count)
    return make_plan(Wishes(**{**wanted, **wishes}), SCENES, dataset, model, source="embedded")


def test_rows_are_those_of_the_localisation_table(embedded) -> None:
    plan = plan_for(embedded, 1, keep_maps=True)
    outcome = Worker(plan, embedded)(plan.items[0])
    assert not outcome.failures and outcome.named
    nouns = noun_maps(embedded, make_scene(3))
    assert [noun.word for noun in nouns] == list(outcome.named)
    n_layers = embedded.backbone.n_layers
    assert len(outcome.rows) == len(nouns) * 3 * (n_layers - 1)
    for row in outcome.rows:
        noun = next(n for n in nouns if n.word == row["label"])
        preset = None if row["preset"] == "raw" else row["preset"]
        expected = measure(noun, row["layer"], preset)
        found = [row[n] for n in ("obj_iou", "contrast", "concentration", "pointing_game")]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    maps = StoredMaps.from_bytes(outcome.maps)
    by_key = {(k.label, k.layer, k.position): m for k, m in zip(maps.keys, maps.maps, strict=True)}
    for noun in nouns:
        for by_layer in noun.maps:
            for layer, heat in by_layer.items():
                kept = by_key[noun.word, layer, heat.token]
                np.testing.assert_allclose(kept, heat.normalised(), atol=1e-5)


def test_what_a_method_does_wrong_is_recorded_and_the_rest_goes_on(embedded, monkeypatch) -> None:
    def stream(prober, requests):
        raise FloatingPointError("no\nnumber")
        yield

    broken = replace(METHODS["diffusion-cam"], name="broken", stream=stream)
    monkeypatch.setattr(work, "METHODS", {**METHODS, "broken": broken})
    plan = replace(plan_for(embedded, 1, layers=(0,)), methods=("broken", "diffusion-cam"))
    outcome = Worker(plan, embedded)(plan.items[0])
    (failure,) = outcome.failures
    assert (failure.method, failure.error) == ("broken", "FloatingPointError")
    assert failure.message == "no number"
    assert {row["method"] for row in outcome.rows} == {"diffusion-cam"}
    gone = replace(plan, items=("scene-nonsense",))
    outcome = Worker(gone, embedded)("scene-nonsense")
    assert outcome.failures[0].method == "" and not outcome.rows


def test_maps_that_are_not_finite_are_failures(embedded, monkeypatch) -> None:
    whole = METHODS["diffusion-cam"].stream

    def stream(prober, requests):
        for found in whole(prober, requests):
            for grids in found.maps.values():
                for maps in grids.values():
                    maps[..., 0, 0] = np.nan
            yield found

    broken = replace(METHODS["diffusion-cam"], stream=stream)
    monkeypatch.setattr(work, "METHODS", {"diffusion-cam": broken})
    plan = plan_for(embedded, 1, layers=(0,))
    outcome = Worker(plan, embedded)(plan.items[0])
    assert not outcome.rows and "not finite" in outcome.failures[0].message


def test_limits_and_step_rules(embedded) -> None:
    plan = plan_for(embedded, 2, layers=(0,), steps=1, limits={"diffusion-cam": 1})
    worker = Worker(plan, embedded)
    first, second = (worker(item) for item in plan.items)
    assert {row["step"] for row in first.rows} == {1}
    assert not second.rows and not second.failures and second.answer
    late = Worker(replace(plan, steps=10_000), embedded)(plan.items[0])
    assert "no denoising step" in late.failures[0].message


def test_faithfulness_and_whole_answers(embedded) -> None:
    plan = plan_for(
        embedded,
        1,
        first=5,  # one object
        layers=(0, 1),
        presets=("raw", "paper"),
        metrics=("answer", "deletion"),
        faithfulness_presets=("raw",),
    )
    outcome = Worker(plan, embedded)(plan.items[0])
    assert not outcome.failures
    with_deletion = [row for row in outcome.rows if "deletion" in row]
    assert {(r["preset"], r["layer"]) for r in with_deletion} == {("raw", plan.table_layer)}
    assert all(0 <= row["deletion"] <= 1 for row in with_deletion)
    answers = [row for row in outcome.rows if row["position"] < 0]
    assert len(answers) == 2 * 2 and all(0 <= row["func_iou"] <= 1 for row in answers)


def test_shared_gradients_are_the_same_and_computed_once(embedded, monkeypatch) -> None:
    computed = []
    stream = Prober.stream
    monkeypatch.setattr(Prober, "stream", lambda self, r: computed.append(1) or stream(self, r))
    plan = plan_for(embedded, 1, methods=("diffusion-cam", "diffusion-cam-released"), layers=(0, 1))
    shared = Worker(plan, embedded)(plan.items[0])
    assert len(computed) == 1
    monkeypatch.setattr(work, "SharedProber", Prober)
    assert Worker(plan, embedded)(plan.items[0]).rows == shared.rows
    assert len(computed) == 3
    assert issubclass(SharedProber, Prober)


def test_another_model_is_refused(embedded) -> None:
    plan = replace(plan_for(embedded, 1), fingerprint_of_model="0" * 64)
    with pytest.raises(InputError, match="not the one of the plan"):
        Worker(plan, embedded)


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"methods": ("nonsense",)}, "nonsense"),
        ({"metrics": ("nonsense",)}, "nonsense"),
        ({"layers": (99,)}, "99"),
        ({"layers": (0,), "table_layer": 1}, "table"),
        ({"limits": {"rise": 3}}, "rise"),
    ],
)
def test_wishes_that_cannot_be(embedded, wishes, named) -> None:
    with pytest.raises(InputError, match=named):
        plan_for(embedded, **wishes)


def run(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_the_command_from_start_to_end(tmp_path, capsys) -> None:
    out = tmp_path / "r"
    base = ("--out", out, "--limit", 2, "--first-seed", 3, *FEW, "--no-plots")
    assert run(*base, "--baseline", "diffusion-cam/raw", "--sweep", "diffusion-cam/studio") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith(f"{out}  (2 items, 2 computed now, 0 failures")
    assert "Explaining: 2 of 2" in said.err
    assert (out / "sensitivity.csv").read_text().count("\n") > 20
    before = table_files(out)
    assert run(*base) == 2
    assert "--resume" in capsys.readouterr().err
    changed = ("--out", out, "--limit", 3, "--first-seed", 3, *FEW, "--resume")
    assert run(*changed) == 2
    said = capsys.readouterr().err
    assert "differs in the items" in said and len(said.strip().splitlines()) == 1
    again = (*base, "--baseline", "diffusion-cam/raw", "--sweep", "diffusion-cam/studio")
    assert run(*again, "--resume", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    done = json.loads(line)
    assert done["computed"] == 0 and done["failures"] == 0 and len(done["table"]) == 2
    assert table_files(out) == before


def test_layers_chosen_elsewhere(tmp_path, capsys) -> None:
    few = ("--methods", "diffusion-cam", "--presets", "raw", "--layers", "0,1", "--device", "cpu")
    first = ("--out", tmp_path / "train", "--limit", 1, "--first-seed", 1_000_003, "--no-plots")
    assert run(*first, *few) == 0
    held = ("--out", tmp_path / "held", "--limit", 1, "--first-seed", 3, "--no-plots", *few)
    assert run(*held, "--layers-from", tmp_path / "train") == 0
    plan = json.loads((tmp_path / "held" / "plan.json").read_text())
    summary = json.loads((tmp_path / "train" / "summary.json").read_text())
    best = max(summary["rows"], key=lambda row: row["estimates"]["f3"]["value"])
    assert plan["chosen_layers"] == [["diffusion-cam", "raw", best["layer"]]]
    capsys.readouterr()
    same = ("--out", tmp_path / "same", "--limit", 1, "--first-seed", 3, *few)
    assert run(*same, "--layers-from", tmp_path / "held") == 2
    assert "other items" in capsys.readouterr().err


def test_a_kill_loses_only_the_item_in_work(tmp_path) -> None:
    """SIGKILL after the first item is on the disk; resuming gives the bytes of a quiet run."""
    arguments = ("--limit", "4", "--first-seed", "3", *FEW, "--no-plots", "--keep-maps")

    def command(out: Path, *more: str) -> list[str]:
        code = "import sys; from diffcam_core.cli import main; sys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-c", code, "evaluate", "--out", str(out), *arguments, *more]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out, quiet = tmp_path / "killed", tmp_path / "quiet"
    process = subprocess.Popen(
        command(out), env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:  # told after the item is on the disk
        if line.startswith("Explaining: 1 of 4"):
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    finished = {f.name: f.stat().st_mtime_ns for f in (out / "items").glob("scene-*.json")}
    assert 1 <= len(finished) < 4
    assert main(["evaluate", "--out", str(out), *arguments, "--resume"]) == 0
    assert main(["evaluate", "--out", str(quiet), *arguments]) == 0
    assert table_files(out) == table_files(quiet)
    maps = [{f.name: f.read_bytes() for f in (r / "maps").iterdir()} for r in (out, quiet)]
    assert maps[0] == maps[1] and len(maps[0]) == 4
    after = {name: (out / "items" / name).stat().st_mtime_ns for name in finished}
    assert after == finished  # not computed again
    computed = [json.loads(line)["item"] for line in (out / "timings.jsonl").open()]
    assert sorted(computed) == sorted(set(computed))


@pytest.mark.parametrize(
    "executor",
    [
        ("processes", "--workers", "2"),
        pytest.param(("ray", "--workers", "2"), marks=pytest.mark.cluster),
        pytest.param(
            ("slurm", "--workers", "2", "--slurm", "cluster=local"), marks=pytest.mark.cluster
        ),
    ],
    ids=lambda value: value[0],
)
def test_the_model_gives_the_same_bytes_elsewhere(executor, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    arguments = ("--limit", 4, "--first-seed", 3, *FEW, "--no-plots")
    assert run("--out", tmp_path / "here", *arguments) == 0
    assert run("--out", tmp_path / "there", *arguments, "--executor", *executor) == 0
    assert table_files(tmp_path / "there") == table_files(tmp_path / "here")
