"""``diffcam evaluate --out``: methods x refinements x layers x measures on a dataset."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from diffcam_core.cli import EXIT_DONE
from diffcam_core.cli.interrupts import StopRequest, stop_on_signals
from diffcam_core.cli.parsing import parse_layers
from diffcam_core.cli.reporting import in_words, make_reporter, printable, write_json_line
from diffcam_core.errors import InputError
from diffcam_core.events import EventSink, Notice, Progress

if TYPE_CHECKING:
    from diffcam_core.datasets.record import Dataset
    from diffcam_core.evaluation.executors import Executor, MakeWorker
    from diffcam_core.evaluation.outputs import Outputs
    from diffcam_core.evaluation.plan import DatasetChoice, EvaluationPlan
    from diffcam_core.evaluation.running import Work
    from diffcam_core.evaluation.store import Store
    from diffcam_core.models.base import DiffusionVLM

_SCENES: Final = 300
_EXECUTORS: Final = ("local", "processes", "ray", "slurm")


@dataclass(frozen=True)
class BenchmarkOptions:
    """The command's options as they were typed."""

    out: Path
    dataset: str
    folder: Path | None
    part: str | None
    methods: str
    presets: str
    metrics: str
    layers: str
    steps: str
    contrast: str
    table_layer: int | None
    layers_from: Path | None
    limit: int | None
    method_limits: tuple[str, ...]
    first_seed: int
    seed: int
    threads: int
    keep_maps: bool
    sweeps: tuple[str, ...]
    baseline: str | None
    model: str
    device: str
    dtype: str | None
    executor: str
    workers: int | None
    ray_address: str | None
    slurm: tuple[str, ...]
    resume: bool
    retry_failed: bool
    plots: bool
    as_json: bool


def run_benchmark(options: BenchmarkOptions) -> int:
    """Evaluate; return the exit code."""
    if options.executor not in _EXECUTORS:
        raise InputError(
            f"there is no executor {options.executor!r}", f"Use one of {', '.join(_EXECUTORS)}."
        )
    from diffcam_core.engine import method_titles
    from diffcam_core.evaluation.outputs import write_outputs
    from diffcam_core.evaluation.running import evaluate_items
    from diffcam_core.evaluation.store import open_store
    from diffcam_core.evaluation.summary import parse_baseline

    begin = time.monotonic()
    # Standard output is for the result, so progress never goes there as JSON.
    with stop_on_signals() as stop, make_reporter(as_json=False) as reporter:
        plan, dataset, model = _plan(options)
        baseline = None
        if options.baseline is not None:
            baseline = parse_baseline(options.baseline, plan)
        sweeps = _sweeps(options.sweeps, plan)
        store = open_store(options.out, plan, resume=options.resume or options.retry_failed)
        plan = store.plan
        with store.locked():
            if options.retry_failed:
                store.forget_failed()
            executor, make_worker = _executor(options, plan, dataset, model, stop)
            del model  # workers elsewhere have their own
            work = evaluate_items(
                store, executor, make_worker, on_progress=_teller(reporter), cancel=stop
            )
            if work.cancelled:
                return _stopped(store, stop)
            made = write_outputs(
                store,
                baseline=baseline,
                sweeps=sweeps,
                titles=method_titles(),
                plots=options.plots,
                cancel=stop,
            )
            if stop.is_set():
                return _stopped(store, stop)
        for cause, mend in made.notices:
            reporter(Notice(cause, mend))
    _refuse_nothing(store, made)
    _report(options, store, made, work, time.monotonic() - begin)
    return EXIT_DONE


def _plan(options: BenchmarkOptions) -> tuple[EvaluationPlan, Dataset, DiffusionVLM]:
    from diffcam_core.datasets.opening import SCENES
    from diffcam_core.evaluation.items import open_items
    from diffcam_core.evaluation.plan import DatasetChoice, parse_step_rule
    from diffcam_core.evaluation.planning import Wishes, make_plan
    from diffcam_core.models import load_model

    wishes = Wishes(
        methods=_names(options.methods),
        presets=_names(options.presets),
        metrics=_names(options.metrics),
        layers=parse_layers(options.layers),
        steps=parse_step_rule(options.steps),
        contrast=options.contrast,
        limits=_limits(options.method_limits),
        table_layer=options.table_layer,
        layers_from=None if options.layers_from is None else str(options.layers_from),
        seed=options.seed,
        threads=options.threads,
        keep_maps=options.keep_maps or bool(options.sweeps),
    )
    choice: DatasetChoice = DatasetChoice(
        options.dataset,
        None if options.folder is None else str(options.folder.resolve()),
        options.part,
    )
    count = options.limit
    if options.dataset == SCENES and count is None:
        count = _SCENES
    dataset = open_items(choice, options.first_seed, count or 0)
    elsewhere = options.executor in ("ray", "slurm") and options.device.startswith("cuda")
    if elsewhere and options.dtype is None:
        raise InputError(
            "the number type of a model on other machines is not known", "Add --dtype bfloat16."
        )
    model = load_model(
        options.model, device="cpu" if elsewhere else options.device, dtype=options.dtype
    )
    plan = make_plan(
        wishes,
        choice,
        dataset,
        model,
        limit=count,
        source=_source(options.model),
        device="cuda" if elsewhere else None,
    )
    return plan, dataset, model


def _source(model: str) -> str:
    """How workers find the model: folders by their whole path, since they may run elsewhere."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_dir() else model


def _executor(
    options: BenchmarkOptions,
    plan: EvaluationPlan,
    dataset: Dataset,
    model: DiffusionVLM,
    stop: StopRequest,
) -> tuple[Executor, MakeWorker]:
    from diffcam_core.evaluation import executors
    from diffcam_core.evaluation.work import Worker, WorkerRecipe

    if options.executor == "local":
        return executors.LocalExecutor(), lambda: Worker(plan, model, dataset, stop)
    recipe = WorkerRecipe(plan)
    gpu = plan.device.startswith("cuda")
    if options.executor == "processes":
        return executors.ProcessExecutor(options.workers or _cores(plan.threads)), recipe
    if options.executor == "ray":
        # On GPUs none means one actor for each of the cluster.
        workers = options.workers or (0 if gpu else _cores(plan.threads))
        return executors.RayExecutor(workers, options.ray_address, gpu, plan.threads), recipe
    cluster, minutes, further = "slurm", 240, {}
    for entry in options.slurm:
        key, equals, value = entry.partition("=")
        if not equals:
            raise InputError(f"--slurm {entry} is no KEY=VALUE", "Write it like partition=gpu.")
        if key == "cluster":
            cluster = value
        elif key == "minutes" and value.isdigit():
            minutes = int(value)
        else:
            further[f"slurm_{key}"] = value
    return (
        executors.SlurmExecutor(
            options.out.resolve(),
            options.workers or 8,
            cluster,
            gpu,
            plan.threads,
            minutes,
            further,
        ),
        recipe,
    )


def _cores(threads: int) -> int:
    import psutil

    return max(1, (psutil.cpu_count(logical=False) or 1) // threads)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _limits(entries: Sequence[str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if value != "all" and not (value.isascii() and value.isdigit() and 0 < int(value) < 10**9):
            raise InputError(
                f"--method-limit {entry} is no METHOD=NUMBER", "Write it like occlusion=30."
            )
        found[key] = None if value == "all" else int(value)
    return found


def _sweeps(entries: Sequence[str], plan: EvaluationPlan) -> list[tuple[str, str]]:
    from diffcam_core.evaluation.summary import parse_baseline

    found = [parse_baseline(entry, plan) for entry in entries]
    for method, preset in found:
        if dict(plan.presets)[preset] is None:
            raise InputError(
                f"{method}/{preset} has no constants to vary", "Name a refinement, like paper."
            )
    return found


def _teller(reporter: EventSink) -> Callable[[int, int, float | None], None]:
    def tell(done: int, total: int, left: float | None) -> None:
        reporter(Progress("explain", done, total, left))

    return tell


def _stopped(store: Store, stop: StopRequest) -> int:
    done, total = len(store.done()), len(store.plan.items)
    sys.stderr.write(
        f"Stopped: {done} of {total} items are kept in {store.folder}; --resume goes on\n"
    )
    return stop.exit_code


def _refuse_nothing(store: Store, made: Outputs) -> None:
    """Work of which nothing came is not done."""
    if made.summary.rows:
        return
    failures = store.failures()
    if failures:
        first = failures[0]
        raise InputError(
            f"nothing could be measured: {len(failures)} failures, the first in {first.item}: "
            f"{printable(first.message)}",
            f"See {store.folder / 'failures.csv'}.",
        )
    raise InputError(
        "nothing could be measured: the model names none of the masked things",
        f"See its answers in {store.folder / 'items.csv'}.",
    )


def _report(
    options: BenchmarkOptions, store: Store, made: Outputs, work: Work, seconds: float
) -> None:
    failures = work.failures
    if options.as_json:
        write_json_line(
            {
                "event": "done",
                "folder": str(store.folder),
                "items": len(store.plan.items),
                "computed": work.computed,
                "failures": failures,
                "seconds": round(seconds, 3),
                "facts": made.facts,
                "table": [row.to_json() for row in made.summary.table()],
                "files": [str(file) for file in made.files],
            }
        )
        return
    table = [row for row in made.summary.table() if "f3" in row.estimates]
    for row in sorted(table, key=lambda row: -row.estimates["f3"].value):
        numbers = row.estimates
        typer.echo(
            f"{row.method:<26}{row.preset:<10}layer {row.layer:>2}  F3 {numbers['f3'].value:.3f}"
            f"  Obj-IoU {numbers['obj_iou'].value:.3f}  Contrast {numbers['contrast'].value:7.2f}"
            f"  Concentration {numbers['concentration'].value:.3f}"
        )
    typer.echo(made.facts)
    typer.echo(
        f"{store.folder}  ({len(store.plan.items)} items, {work.computed} computed now, "
        f"{failures} failure{'' if failures == 1 else 's'}, {in_words(seconds)})"
    )
