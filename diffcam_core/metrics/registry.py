"""Every measure in one table: what it is, which way is better, its range and when it applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from diffcam_core.errors import InputError
from diffcam_core.metrics import faithfulness, localization, sanity, trajectory
from diffcam_core.metrics.info import MetricInfo, by_name

METRICS: Final[Mapping[str, MetricInfo]] = by_name(
    info
    for module in (localization, faithfulness, sanity, trajectory)
    for info in module.METRICS.values()
)
"""Name -> measure, in the order of tables."""


def metrics_named(names: Iterable[str]) -> tuple[MetricInfo, ...]:
    """Look measures up.

    Raises
    ------
    InputError
        Naming the first that does not exist.
    """
    found = []
    for name in names:
        if name not in METRICS:
            raise InputError(
                f"there is no measure {name!r}", f"Choose from {', '.join(sorted(METRICS))}."
            )
        found.append(METRICS[name])
    return tuple(found)
