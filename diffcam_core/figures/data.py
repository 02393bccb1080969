"""The numbers of a view as a file: .npz, .json or .csv, without pickle and without dates."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_core.errors import InputError
from diffcam_core.figures.panels import MapNumbers, Panel, ViewFigure
from diffcam_core.figures.saving import suffix_of
from diffcam_core.figures.text import as_text, plain
from diffcam_core.whole_files import write_whole

SUFFIXES = ("npz", "json", "csv")
FORMAT = "diffusion-cam-studio view data"
VERSION = 1


def export_data(view: ViewFigure, path: str | os.PathLike[str]) -> Path:
    """Write the numbers that a view shows.

    Parameters
    ----------
    view : ViewFigure
        Panels without a map are left out; a panel without
        :class:`~diffcam_core.figures.MapNumbers` gives its pixels only.
    path : path-like
        ``.npz``: for panel i the arrays ``panel<i>_pixels`` (H, W) float32, ``panel<i>_native``
        and ``panel<i>_raw`` (rows, cols) float32, ``panel<i>_rectangles`` (rows, cols, 4) float32,
        and one string ``metadata`` with JSON. ``.json``: the same as lists. ``.csv``: one line for
        each cell, below a first line that starts with ``#`` and holds the metadata as JSON.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If no panel has a map, the suffix is unknown, or the folder cannot be written to; for
        ``.csv`` also if no panel has numbers on a grid.
    ResourceError
        If the disk is full.
    """
    kind = suffix_of(path, SUFFIXES, "a data file")
    panels = [panel for panel in view.panels if panel.values is not None]
    if not panels:
        raise InputError("there is no map to export", "Choose a word and a computed step.")
    facts = _facts(view, panels)
    if kind == "npz":
        return write_whole(path, _npz(panels, facts))
    if kind == "json":
        return write_whole(path, _json(panels, facts))
    return write_whole(path, _csv(panels, facts))


def _facts(view: ViewFigure, panels: list[Panel]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "app_version": _app_version(),
        "numpy_version": np.__version__,
        "mode": view.mode,
        "caption": plain(as_text(view.caption)),
        **dict(view.facts),
        "panels": [
            {
                "title": plain(as_text(panel.title)),
                "letter": panel.letter,
                "colour_map": panel.scale.colour_map,
                "colour_range": [panel.scale.low, panel.scale.high],
                "scope": panel.scale.scope,
                "opacity": panel.opacity,
                **(dict(panel.numbers.facts) if panel.numbers is not None else {}),
            }
            for panel in panels
        ],
    }


def _app_version() -> str:
    # The package's root names engine and models, which figures must not reach even by import.
    return str(getattr(sys.modules["diffcam_core"], "__version__", ""))


def _arrays(number: int, panel: Panel) -> dict[str, Any]:
    assert panel.values is not None
    found = {"pixels": np.asarray(panel.values, np.float32)}
    if panel.numbers is not None:
        found["native"] = np.asarray(panel.numbers.native, np.float32)
        found["rectangles"] = np.asarray(panel.numbers.rectangles, np.float32)
        if panel.numbers.raw is not None:
            found["raw"] = np.asarray(panel.numbers.raw, np.float32)
    return {f"panel{number}_{name}": values for name, values in found.items()}


def _npz(panels: list[Panel], facts: Mapping[str, Any]) -> bytes:
    arrays: dict[str, Any] = {"metadata": np.array(_dumps(facts))}
    for number, panel in enumerate(panels):
        arrays.update(_arrays(number, panel))
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _json(panels: list[Panel], facts: Mapping[str, Any]) -> bytes:
    document = {"metadata": dict(facts)}
    for number, panel in enumerate(panels):
        for name, values in _arrays(number, panel).items():
            document[name] = _lists(values)
    return (_dumps(document) + "\n").encode("utf-8")


def _csv(panels: list[Panel], facts: Mapping[str, Any]) -> bytes:
    known = [(i, p.numbers) for i, p in enumerate(panels) if p.numbers is not None]
    if not known:
        raise InputError("no panel has numbers on a token grid", "Export .npz or .json instead.")
    stream = io.StringIO(newline="")
    stream.write(f"# {_dumps(facts)}\n")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["panel", "row", "col", "x0", "y0", "x1", "y1", "value", "raw"])
    for number, numbers in known:
        for row, col in np.ndindex(*numbers.native.shape):
            table.writerow([number, row, col, *_cell(numbers, row, col)])
    return stream.getvalue().encode("utf-8")


def _cell(numbers: MapNumbers, row: int, col: int) -> list[str]:
    raw = "" if numbers.raw is None else _short(numbers.raw[row, col])
    box = [_short(edge) for edge in numbers.rectangles[row, col]]
    return [*box, _short(numbers.native[row, col]), raw]


def _short(value: Any) -> str:
    """Shortest digits that give the same float32 again."""
    number = np.float32(value)
    return str(number) if np.isfinite(number) else ""


def _lists(values: Any) -> Any:
    if values.ndim:
        return [_lists(part) for part in values]
    return float(str(values)) if np.isfinite(values) else None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)
