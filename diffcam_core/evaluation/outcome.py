"""What one item gave: rows of numbers, and what went wrong, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from diffcam_core.errors import RunFileError

KEYS: Final = ("item", "word", "label", "position", "method", "preset", "layer", "step")
"""Columns before the measures. ``position`` is the sub-token that counted, by Obj-IoU; for values
of a whole answer it is -1 and the word is empty."""

FORMAT: Final = "diffcam-evaluation-item"
VERSION: Final = 1
_DIGITS: Final = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class ItemFailure:
    """Something that could not be computed; it is counted, never dropped.

    ``method`` is empty where the whole item failed.
    """

    item: str
    method: str
    error: str
    message: str

    @classmethod
    def of(cls, item: str, method: str, error: BaseException) -> ItemFailure:
        """From an exception: its type and one line."""
        text = " ".join(str(error).split())[:300]
        return cls(item, method, type(error).__name__, text)


@dataclass(frozen=True)
class ItemOutcome:
    """Everything that one item gave.

    Attributes
    ----------
    item : str
    answer : str
        What the model wrote.
    shown, named : tuple of str
        Labels with a mask, and those among them that the answer names.
    rows : tuple of dict
        `KEYS` and measures; a measure that is not defined for a row is missing from it.
    failures : tuple of ItemFailure
    maps : bytes, optional
        The raw maps, see `diffcam_core.evaluation.stored_maps`; kept in a file of their own.
    seconds : dict of str to float
        Time by method. Not part of what is compared or stored with the rows.
    """

    item: str
    answer: str = ""
    shown: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    failures: tuple[ItemFailure, ...] = ()
    maps: bytes | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Plain values, rows as columns (a third of the size)."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "item": self.item,
            "answer": self.answer,
            "shown": list(self.shown),
            "named": list(self.named),
            "rows": to_columns(self.rows, metrics),
            "failures": [[f.method, f.error, f.message] for f in self.failures],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ItemOutcome:
        """Read what `to_json` wrote.

        Raises
        ------
        RunFileError
            If it is something else.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise RunFileError("a file among the items is no result of an item", "Delete it.")
        try:
            item = str(data["item"])
            return cls(
                item=item,
                answer=str(data["answer"]),
                shown=tuple(map(str, data["shown"])),
                named=tuple(map(str, data["named"])),
                rows=tuple(from_columns(data["rows"])),
                failures=tuple(ItemFailure(item, *map(str, f)) for f in data["failures"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunFileError(
                f"the result of an item cannot be read ({error})", "Delete its file and resume."
            ) from error


def rounded(value: float) -> float | None:
    """A number as it is stored: eight significant digits; None if it is not finite."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def to_columns(rows: Iterable[Row], metrics: Sequence[str]) -> dict[str, list[Any]]:
    """Turn rows into columns; what a row lacks is None."""
    kept = tuple(rows)
    return {name: [row.get(name) for row in kept] for name in (*KEYS, *metrics)}


def from_columns(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Turn columns into rows; None is left out."""
    names = list(columns)
    return [
        {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for values in zip(*columns.values(), strict=True)
    ]
