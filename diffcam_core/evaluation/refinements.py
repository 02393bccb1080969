"""The refinements of an evaluation by name: raw, presets, the paper's ablation, files of your own.

The ablation follows the paper's second table: the base map, one module alone at a time, all four.
Base means min-max scaling only, which every row has.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from diffcam_core.errors import InputError
from diffcam_core.refinement import PRESETS, Pipeline

RAW: Final = "raw"
_MODULES: Final = ("akd", "dacg", "cba", "sicd")


def _ablation() -> dict[str, Pipeline]:
    paper = PRESETS["paper"]
    found = {}
    for name, kept in (
        ("base", ()),
        *((f"+{module}", (module,)) for module in _MODULES),
        ("all", _MODULES),
    ):
        pipeline = paper
        for module in _MODULES:
            pipeline = pipeline.with_enabled(module, module in kept)
        what = ", ".join(kept).upper() or "no module"
        found[name] = pipeline.renamed(name, f"Ablation of the paper's refinement: {what}.")
    return found


ABLATION: Final = MappingProxyType(_ablation())
"""Rows of the ablation table, in its order."""


def named_refinements(names: Iterable[str]) -> dict[str, Pipeline | None]:
    """Look refinements up.

    Parameters
    ----------
    names : iterable of str
        "raw", a preset, a row of the ablation ("base", "+akd", …, "all"), "ablation" for all its
        rows, or the path of a pipeline saved as JSON.

    Returns
    -------
    dict of str to Pipeline or None
        In the order asked for, each once; None for the raw map.

    Raises
    ------
    InputError
        For a name that is nothing of that.
    """
    found: dict[str, Pipeline | None] = {}
    for raw_name in names:
        name = raw_name.strip()
        if name.lower() == RAW:
            found[RAW] = None
        elif name.lower() == "ablation":
            found |= ABLATION
        elif name.lower() in PRESETS:
            found[name.lower()] = PRESETS[name.lower()]
        elif name.lower() in ABLATION:
            found[name.lower()] = ABLATION[name.lower()]
        elif name.endswith(".json"):
            pipeline = _from_file(Path(name))
            if pipeline.name in (RAW, *PRESETS, *ABLATION):
                raise InputError(
                    f"the pipeline in {name} is called {pipeline.name}, as one that exists",
                    "Rename it.",
                )
            found[pipeline.name] = pipeline
        else:
            known = ", ".join((RAW, *PRESETS, "ablation", *ABLATION))
            raise InputError(
                f"there is no refinement {name!r}", f"Use {known}, or a pipeline's .json file."
            )
    return found


def _from_file(path: Path) -> Pipeline:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the pipeline {path} cannot be read", "Check its path.") from error
    return Pipeline.from_json(text)
