"""What a measure is: one entry of the registry, whatever the measure looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy.typing as npt

Needs = Literal["mask", "answer", "scorer", "models", "steps"]
"""What a measure needs beside a map: a "mask" of the object; the whole "answer" with its words;
a "scorer" of changed images; maps of changed "models" or images; maps of several "steps"."""


@dataclass(frozen=True)
class MetricInfo:
    """What a measure is and when it means something.

    Parameters
    ----------
    name : str
        Key in METRICS and in tables.
    title : str
        Short name for people.
    direction : {"higher", "lower"}
        Which way is better.
    range : tuple of float
        Smallest and largest possible value.
    applicability : str
        What it needs and for which words it is meaningful.
    source : str
        Where it is defined.
    compute : callable, optional
        Function of (map, mask); None for measures of other inputs.
    needs : str
        What it looks at beside the map; see :data:`Needs`.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    applicability: str
    source: str
    compute: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float] | None = None
    needs: Needs = "mask"


def by_name(infos: Iterable[MetricInfo]) -> Mapping[str, MetricInfo]:
    """Read-only table of measures; a name given twice is a fault of the program."""
    table: dict[str, MetricInfo] = {}
    for info in infos:
        if info.name in table:
            raise ValueError(f"two measures are called {info.name}")
        table[info.name] = info
    return MappingProxyType(table)
