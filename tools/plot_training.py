"""Draw the curves of the model card: ``python tools/plot_training.py TRAINING_DIR curves.png``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def read(path: Path) -> list[dict[str, Any]]:
    """Entries of a log; where a stage was stopped and went on, the later entry of a step counts."""
    by_step = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        by_step[entry["step"]] = entry
    return [by_step[step] for step in sorted(by_step)]


def main() -> int:
    """Write the picture; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    tower = read(arguments.folder / "tower.jsonl")
    language = read(arguments.folder / "language.jsonl")
    relations = read(arguments.folder / "relations.jsonl")
    figure = Figure(figsize=(12, 3), layout="constrained", dpi=130)
    left, middle, right = figure.subplots(1, 3)
    words = {"nouns": "noun tokens", "tokens": "all tokens"}
    for axes, log, title, shares in (
        (left, tower, "Tower", {"objects": "whole objects named", "ground": "ground patches"}),
        (middle, language, "Language", words),
        (right, relations, "Relations", words),
    ):
        axes.set_title(title)
        axes.set_xlabel("pictures seen")
        axes.plot([e["images"] for e in log], [e["loss"] for e in log], color="0.6", label="loss")
        axes.set_ylabel("loss")
        axes.set_yscale("log")
        other = axes.twinx()
        other.set_ylim(0, 1.02)
        other.set_ylabel("share right")
        for key, label in shares.items():
            points = [(e["images"], e[key]) for e in log if key in e]
            other.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        lines = [*axes.get_lines(), *other.get_lines()]
        axes.legend(lines, [line.get_label() for line in lines], fontsize=7, loc="lower left")
    figure.savefig(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
