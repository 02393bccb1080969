"""How much the maps of one token agree along the denoising trajectory.

A token's evidence is read at every step. If the map of one step differs wildly from the next, no
single step is *the* explanation; if it settles early, the model knew where to look before it
wrote. These numbers describe the model as much as the method: compare methods on the same runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.metrics.info import MetricInfo, by_name
from diffcam_core.metrics.localization import binarise

BoolArray = npt.NDArray[np.bool_]
FineArray = npt.NDArray[np.float64]

STABLE_IOU: Final = 0.5
"""IoU with the last step's map from which a map counts as settled."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of the maps of T steps.

    Attributes
    ----------
    drift : ndarray of float64, shape (T - 1,)
        Way of the mass centre from each step to the next, as a share of the map's diagonal; NaN
        where one of the two maps has no mass.
    step_iou : ndarray of float64, shape (T - 1,)
        IoU of the Otsu foregrounds of each step and the next.
    stable_from : int
        First index from which on every map has an IoU of at least `STABLE_IOU` with the last one.
    """

    drift: FineArray
    step_iou: FineArray
    stable_from: int

    @property
    def mean_drift(self) -> float | None:
        """Mean way of the mass centre; None where it is never defined."""
        known = self.drift[np.isfinite(self.drift)]
        return float(known.mean()) if known.size else None

    @property
    def mean_step_iou(self) -> float | None:
        """Mean IoU of consecutive steps; None for a single step."""
        return float(self.step_iou.mean()) if self.step_iou.size else None

    @property
    def stable_share(self) -> float | None:
        """Share of the trajectory that passes before the map is settled; None for one step."""
        return self.stable_from / len(self.step_iou) if self.step_iou.size else None


def agreement(
    maps: Sequence[npt.NDArray[Any]] | npt.NDArray[Any], threshold: float = STABLE_IOU
) -> Agreement:
    """Compare the maps of one token along its steps.

    Parameters
    ----------
    maps : sequence of (rows, cols) arrays
        In the order of the steps, in [0, 1] or uint8, all of one grid. Leave out steps without a
        map, and usually those after the token's commit step, in which its own place is written.
    threshold : float
        IoU with the last map from which a map counts as settled.

    Raises
    ------
    InputError
        If there is no map, the shapes differ, or a map is outside [0, 1].
    """
    stack = [np.asarray(map_) for map_ in maps]
    if not stack or any(m.ndim != 2 or m.shape != stack[0].shape or not m.size for m in stack):
        raise InputError(
            "the maps of a trajectory must be of one grid", "Give at least one map of each step."
        )
    foregrounds = [binarise(map_) for map_ in stack]
    centres = np.asarray([mass_centre(map_) for map_ in stack])
    diagonal = float(np.hypot(*stack[0].shape))
    to_last = [foreground_iou(found, foregrounds[-1]) for found in foregrounds]
    unsettled = [step for step, iou in enumerate(to_last) if iou < threshold]
    return Agreement(
        drift=np.hypot(*np.diff(centres, axis=0).T) / diagonal,
        step_iou=np.asarray([foreground_iou(one, other) for one, other in pairwise(foregrounds)]),
        stable_from=unsettled[-1] + 1 if unsettled else 0,
    )


def mass_centre(map_: npt.NDArray[Any]) -> tuple[float, float]:
    """Row and column of the centre of mass, cell centres at whole numbers; NaN without mass."""
    values = np.asarray(map_, np.float64)
    total = float(values.sum())
    if total <= 0:
        return float("nan"), float("nan")
    rows, cols = np.indices(values.shape)
    return float((rows * values).sum()) / total, float((cols * values).sum()) / total


def foreground_iou(one: BoolArray, other: BoolArray) -> float:
    """IoU of two foregrounds; 1 where both are empty, for then they are equal."""
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 1.0


_SOURCE = "Diffusion-CAM Studio, docs/method.md"
_STEPS = "tokens with maps of at least two steps"

METRICS: Final[Mapping[str, MetricInfo]] = by_name(
    (
        MetricInfo(
            "centre_drift",
            "Drift of the mass centre",
            "lower",
            (0.0, 1.0),
            f"{_STEPS} with mass; a share of the map's diagonal for each step",
            _SOURCE,
            needs="steps",
        ),
        MetricInfo(
            "step_iou",
            "IoU of consecutive steps",
            "higher",
            (0.0, 1.0),
            f"{_STEPS}; a map that never changes has 1, whatever it shows",
            _SOURCE,
            needs="steps",
        ),
        MetricInfo(
            "stable_from",
            "Share of steps until stable",
            "lower",
            (0.0, 1.0),
            f"{_STEPS}; 0: settled from the first step, 1: only the last map is like the last",
            _SOURCE,
            needs="steps",
        ),
    )
)
"""Measures of a trajectory by name."""
