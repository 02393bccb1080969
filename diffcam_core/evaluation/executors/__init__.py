"""Where the work of an evaluation runs: here, in processes, on a Ray cluster, under Slurm."""

from __future__ import annotations

from diffcam_core.evaluation.executors.base import Executor, MakeWorker
from diffcam_core.evaluation.executors.local import LocalExecutor
from diffcam_core.evaluation.executors.processes import ProcessExecutor
from diffcam_core.evaluation.executors.ray_pool import RayExecutor
from diffcam_core.evaluation.executors.slurm import SlurmExecutor

NAMES = ("local", "processes", "ray", "slurm")
"""Executors by the name that the command line knows."""

__all__ = [
    "NAMES",
    "Executor",
    "LocalExecutor",
    "MakeWorker",
    "ProcessExecutor",
    "RayExecutor",
    "SlurmExecutor",
]
