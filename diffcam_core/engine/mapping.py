"""The order in which steps are explained, what each costs, and what becomes of broken maps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from diffcam_core.events import Answer, MapStep, Plan
from diffcam_core.probing import Target

if TYPE_CHECKING:
    pass


# Targets of a group of steps; what one backward pass takes at best on a CPU.
_GROUP_TARGETS: Final = 8


FloatArray = npt.NDArray[np.float32]


def without_broken(event: MapStep) -> tuple[MapStep, tuple[int, ...]]:
    """Return a step without the layers whose arithmetic overflowed, and those layers."""
    broken = tuple(
        layer
        for index, layer in enumerate(event.layers)
        if any(not _is_sound(maps[index]) for maps in event.maps.values())
    )
    if not broken:
        return event, ()
    good = [i for i, layer in enumerate(event.layers) if layer not in broken]
    sound = replace(
        event,
        layers=tuple(event.layers[i] for i in good),
        maps={name: maps[good] for name, maps in event.maps.items()},
    )
    return sound, broken


def targets_of(
    answer: Answer, contrast: str | int, *, only_commits: bool
) -> dict[int, tuple[Target, ...]]:
    """Return what is differentiated at each requested step."""
    return {
        step: tuple(
            Target(position, int(answer.token_ids[position]), contrast)
            for position in answer.targets
            if not only_commits or answer.commit_step[position] == step
        )
        for step in answer.requested_steps
    }


def groups_of(targets: Mapping[int, Sequence[Target]]) -> list[tuple[int, ...]]:
    """Join neighbouring steps of few targets, since a backward pass takes several at no cost.

    The grouping follows from the request and the answer alone and a group is computed as a whole,
    so a resumed run adds the same numbers in the same order as an undisturbed one.
    """
    groups: list[tuple[int, ...]] = []
    present: list[int] = []
    size = 0
    for step, wanted in targets.items():
        if present and size + len(wanted) > _GROUP_TARGETS:
            groups.append(tuple(present))
            present, size = [], 0
        present.append(step)
        size += len(wanted)
    return [*groups, tuple(present)] if present else groups


def cost_of(targets: Sequence[Target]) -> float:
    """Forward passes that one step of probing is worth: its own two, and one for each target."""
    return 2.0 + len(targets)


def blank_step(step: int, plan: Plan, answer: Answer) -> MapStep:
    """A step of which nothing is known yet."""
    count = len(answer.targets)
    return MapStep(
        step=step,
        layers=plan.layers,
        targets=answer.targets,
        maps={
            grid.name: np.full((len(plan.layers), count, grid.rows, grid.cols), np.nan, np.float32)
            for grid in plan.grids
        },
        target_probability=np.full(count, np.nan, np.float32),
    )


def _is_sound(maps: FloatArray) -> bool:
    """Whether every map is finite throughout, or NaN throughout (not asked for)."""
    finite = np.isfinite(maps).all((-2, -1))
    absent = np.isnan(maps).all((-2, -1))
    return bool((finite | absent).all())


class Clock:
    """Time left, from the speed measured so far."""

    def __init__(self, cost: float) -> None:
        self._cost_left = cost
        self._cost_done = 0.0
        self._begin = time.monotonic()

    def add(self, cost: float) -> None:
        """Note that work of this cost is done."""
        self._cost_done += cost
        self._cost_left -= cost

    @property
    def left(self) -> float | None:
        """Seconds, or None while nothing has been measured."""
        if self._cost_left <= 0:
            return 0.0
        if not self._cost_done:
            return None
        return (time.monotonic() - self._begin) / self._cost_done * self._cost_left
