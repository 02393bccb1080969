"""Train the embedded model from nothing: ``python -m tools.train_embedded_model --out DIR``.

Stages: tower (dense patch labels), language (tower frozen), relations (the
same, mostly questions about places), joint (both parts together, on request),
export (a checkpoint folder in LaViDa's own format). Every stage logs to DIR,
keeps a checkpoint there and goes on where it was stopped; the same seeds give
the same scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.embedded_training.export import export_checkpoint
from tools.embedded_training.language import (
    JOINT,
    LANGUAGE,
    RELATIONS,
    adopt_checkpoint,
    train_language,
)
from tools.embedded_training.precision import Precision
from tools.embedded_training.tower import train_tower

STAGES = ("tower", "language", "relations", "joint", "export")
DEFAULT_STAGES = ("tower", "language", "relations", "export")


def main() -> None:
    """Parse the arguments and run the stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="logs and checkpoints")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=DEFAULT_STAGES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--precision", choices=list(Precision), default=Precision.FLOAT32)
    parser.add_argument("--tower-steps", type=int, default=1000)
    parser.add_argument("--language-steps", type=int, default=1560)
    parser.add_argument("--relation-steps", type=int, default=700)
    parser.add_argument("--joint-steps", type=int, default=400)
    parser.add_argument(
        "--start-from", type=Path, help="checkpoint folder whose weights stand for the first stages"
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("resources/embedded-model"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    batch, rate = arguments.batch, arguments.rate
    precision = Precision(arguments.precision)
    if arguments.start_from is not None:
        adopt_checkpoint(arguments.start_from, arguments.out)
    if "tower" in arguments.stages:
        train_tower(arguments.out, arguments.tower_steps, batch, rate, precision)
    lengths = (
        (LANGUAGE, arguments.language_steps),
        (RELATIONS, arguments.relation_steps),
        (JOINT, arguments.joint_steps),
    )
    for stage, steps in lengths:
        if stage.name in arguments.stages:
            train_language(arguments.out, stage, steps, batch, rate, precision)
    if "export" in arguments.stages:
        export_checkpoint(arguments.out, arguments.checkpoint)


if __name__ == "__main__":
    main()
