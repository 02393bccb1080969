"""Every executor gives one outcome an item, whatever happens to its workers, and the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_cases import LoggedRecipe, calls, make_plan, table_files

from diffcam_core.errors import InputError
from diffcam_core.evaluation.executors import (
    Executor,
    LocalExecutor,
    ProcessExecutor,
    RayExecutor,
    SlurmExecutor,
)
from diffcam_core.evaluation.outputs import write_outputs
from diffcam_core.evaluation.running import evaluate_items
from diffcam_core.evaluation.store import open_store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

ELSEWHERE = [
    "processes",
    pytest.param("ray", marks=pytest.mark.cluster),
    pytest.param("slurm", marks=pytest.mark.cluster),
]


@pytest.fixture(autouse=True)
def importable_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers elsewhere import the recipes from here."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{ROOT}")


def make(name: str, folder: Path) -> Executor:
    if name == "local":
        return LocalExecutor()
    if name == "processes":
        return ProcessExecutor(2)
    if name == "ray":
        return RayExecutor(2)
    return SlurmExecutor(folder, 2, cluster="local")


def evaluate(name: str, folder: Path, recipe: LoggedRecipe) -> dict[str, bytes]:
    store = open_store(folder, recipe.plan, resume=False)
    work = evaluate_items(store, make(name, folder), recipe)
    assert work.computed == len(recipe.plan.items) and not work.cancelled
    write_outputs(store, baseline=("alpha", "raw"), plots=False)
    return table_files(folder)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_same_bytes_as_here(name: str, tmp_path: Path) -> None:
    plan = make_plan()
    here = evaluate("local", tmp_path / "here", LoggedRecipe(plan, tmp_path / "log-here"))
    log = tmp_path / "log-there"
    there = evaluate(name, tmp_path / "there", LoggedRecipe(plan, log))
    assert there == here
    assert sorted(calls(log)) == list(plan.items)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_lost_worker_costs_its_item_one_more_try(name: str, tmp_path: Path) -> None:
    plan = make_plan()
    deadly, once = plan.items[1], plan.items[3]
    log = tmp_path / "log"
    recipe = LoggedRecipe(plan, log, deadly=(deadly,), once=(once,))
    store = open_store(tmp_path / "r", plan, resume=False)
    work = evaluate_items(store, make(name, tmp_path / "r"), recipe)
    assert work.computed == len(plan.items) and work.failures == 1
    (failure,) = store.failures()
    assert (failure.item, failure.error) == (deadly, "WorkerLost")
    assert "\n" not in failure.message
    counts = {item: calls(log).count(item) for item in plan.items}
    assert counts == {item: 2 if item in (deadly, once) else 1 for item in plan.items}
    assert all(store.read(item).rows for item in plan.items if item != deadly)


@pytest.mark.parametrize("name", ["local", *ELSEWHERE])
def test_what_keeps_a_worker_from_starting_is_said(name: str, tmp_path: Path) -> None:
    plan = make_plan()
    recipe = LoggedRecipe(plan, tmp_path / "log", broken="the checkpoint is gone")
    store = open_store(tmp_path / "r", plan, resume=False)
    with pytest.raises(InputError, match="the checkpoint is gone"):
        evaluate_items(store, make(name, tmp_path / "r"), recipe)
    assert store.done() == frozenset()


def test_stopping_leaves_no_process_behind(tmp_path: Path) -> None:
    import multiprocessing

    plan = make_plan()
    store = open_store(tmp_path / "r", plan, resume=False)
    recipe = LoggedRecipe(plan, tmp_path / "log")
    work = evaluate_items(store, ProcessExecutor(2), recipe, cancel=lambda: True)
    assert work.cancelled and work.computed == 1
    assert multiprocessing.active_children() == []
    assert len(store.done()) == 1


@pytest.mark.parametrize("name", ["local", "processes", "ray", "slurm"])
def test_nothing_to_do_starts_nothing(name: str, tmp_path: Path) -> None:
    def make_worker():
        raise AssertionError("no worker is needed")

    assert list(make(name, tmp_path).run((), make_worker)) == []


@pytest.mark.cluster
def test_an_unreachable_cluster_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Ray cluster"):
        list(RayExecutor(1, "127.0.0.1:1").run(("a",), LoggedRecipe(make_plan(), tmp_path / "l")))
