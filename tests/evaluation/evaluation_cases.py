"""Plans, hand-made rows and workers for tests of the evaluation; importable by other processes."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import InputError
from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome, Row
from diffcam_core.evaluation.plan import DatasetChoice, EvaluationPlan
from diffcam_core.evaluation.refinements import named_refinements

METRICS = ("obj_iou", "contrast", "concentration", "f3", "pointing_game")


def make_plan(**changes: object) -> EvaluationPlan:
    """Return a small plan."""
    values: dict[str, object] = {
        "dataset": DatasetChoice("scenes"),
        "items": tuple(f"scene-{n:07d}" for n in range(6)),
        "model": "embedded",
        "fingerprint_of_model": "0" * 64,
        "device": "cpu",
        "dtype": "float32",
        "methods": ("alpha", "beta"),
        "presets": tuple(named_refinements(["raw", "paper"]).items()),
        "layers": (0, 1),
        "metrics": METRICS,
        "steps": "commit",
        "contrast": "none",
        "generation": GenerationConfig(max_new_tokens=8, prefix_cache=True),
    }
    return EvaluationPlan(**{**values, **changes})  # type: ignore[arg-type]


def make_rows(item: str, plan: EvaluationPlan, words: int = 2) -> tuple[Row, ...]:
    """Return rows of numbers that depend on nothing but their names."""
    rows = []
    for m, method in enumerate(plan.methods):
        for p, (preset, _) in enumerate(plan.presets):
            for layer in plan.layers:
                for word in range(words):
                    key = [int(item[-3:]), m, p, layer, word]
                    numbers = np.random.default_rng(key).random(len(plan.metrics)).round(6)
                    row: Row = {
                        "item": item,
                        "word": f"w{word}",
                        "label": f"w{word}",
                        "position": word,
                        "method": method,
                        "preset": preset,
                        "layer": layer,
                        "step": 1,
                    }
                    values = zip(plan.metrics, numbers.tolist(), strict=True)
                    rows.append(row | dict(values))
    return tuple(rows)


@dataclass(frozen=True)
class LoggedRecipe:
    """Workers that note every call in a file, and fall as they are told.

    ``deadly`` items kill their worker every time, ``once`` items the first time only; ``broken``
    keeps every worker from starting.
    """

    plan: EvaluationPlan
    log: Path
    deadly: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    broken: str = ""

    def __call__(self) -> LoggedWorker:
        if self.broken:
            raise InputError(self.broken, "Mend it.")
        return LoggedWorker(self)


@dataclass(frozen=True)
class LoggedWorker:
    recipe: LoggedRecipe

    def __call__(self, item: str) -> ItemOutcome:
        recipe = self.recipe
        before = calls(recipe.log).count(item)
        with recipe.log.open("a") as file:
            file.write(f"{item}\n")
        if item in recipe.deadly or (item in recipe.once and not before):
            os.kill(os.getpid(), signal.SIGKILL)
        failures = ()
        if item in recipe.failing:
            failures = (ItemFailure(item, "beta", "ValueError", "by hand"),)
        return ItemOutcome(
            item,
            answer=f"answer of {item}",
            shown=("w0", "w1", "w2"),
            named=("w0", "w1"),
            rows=make_rows(item, recipe.plan),
            failures=failures,
        )


def calls(log: Path) -> list[str]:
    """Items in the order in which workers began them."""
    return log.read_text().split() if log.exists() else []


def table_files(folder: Path) -> dict[str, bytes]:
    """Everything of a results folder that must not depend on who did the work."""
    names = ("rows.csv", "rows.json", "rows.parquet", "items.csv", "failures.csv", "summary.json")
    names += ("summary.csv", "tables.md", "tables.tex", "plan.json")
    found = {name: (folder / name).read_bytes() for name in names}
    return found | {f.name: f.read_bytes() for f in sorted((folder / "items").iterdir())}
