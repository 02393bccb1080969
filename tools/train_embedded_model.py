"""Train the embedded model from nothing: ``python -m tools.train_embedded_model --out DIR``.

Stages: tower (dense patch labels), language (tower frozen), joint (both
together), export (a checkpoint folder in LaViDa's own format). Every stage
logs to DIR, keeps a checkpoint there and goes on where it was stopped; the
same seeds give the same scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.embedded_training.export import export_checkpoint
from tools.embedded_training.language import train_language
from tools.embedded_training.tower import train_tower

STAGES = ("tower", "language", "joint", "export")


def main() -> None:
    """Parse the arguments and run the stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="logs and checkpoints")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--tower-steps", type=int, default=1000)
    parser.add_argument("--language-steps", type=int, default=1560)
    parser.add_argument("--joint-steps", type=int, default=400)
    parser.add_argument("--checkpoint", type=Path, default=Path("resources/embedded-model"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    batch, rate = arguments.batch, arguments.rate
    if "tower" in arguments.stages:
        train_tower(arguments.out, arguments.tower_steps, batch, rate)
    if "language" in arguments.stages:
        train_language(arguments.out, arguments.language_steps, batch, rate)
    if "joint" in arguments.stages:
        train_language(arguments.out, arguments.joint_steps, batch, 0.2 * rate, joint=True)
    if "export" in arguments.stages:
        export_checkpoint(arguments.out, arguments.checkpoint)


if __name__ == "__main__":
    main()
