"""Panels of the canvas as a figure or as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffcam_core.errors import InputError
from diffcam_studio.state.source import RunFacts
from diffcam_studio.worker.maps import grid_of
from diffcam_studio.worker.queries import ExportQuery, PanelFrame, PanelQuery, Written
from diffcam_studio.worker.shelf import Shelf


def export_view(
    query: ExportQuery, shelf: Shelf, show: Callable[[PanelQuery], PanelFrame]
) -> Written:
    """Write what the canvas shows as a figure, or its numbers as data.

    ``show`` answers what one panel shows.
    """
    from diffcam_core import figures

    panels = [
        replace(
            _figure_panel(query, show(panel), panel, title, shelf.facts(panel.address.run)),
            letter=letter,
        )
        for panel, title, letter in query.panels
    ]
    shown = tuple(panel for panel in panels if panel.values is not None)
    if not shown:
        raise InputError("There is no map at this step", "Go to a step with a map")
    modes: dict[str, figures.Mode] = {
        "single": "single",
        "wipe": "wipe",
        "difference": "difference",
    }
    mode = modes.get(query.mode, "tile")
    view = figures.ViewFigure(
        shown,
        mode=mode if len(shown) > 1 else "single",
        columns=query.columns or None,
        wipe=query.wipe,
        caption=query.caption,
    )
    data = Path(query.target).suffix.lower() in (".npz", ".json", ".csv")
    write = figures.export_data if data else figures.export_view
    path = write(view, query.target)
    many = f"{len(shown)} maps" if len(shown) > 1 else query.panels[0][1]
    return Written(str(path), many)


def _figure_panel(
    query: ExportQuery, frame: PanelFrame, panel: PanelQuery, title: str, facts: RunFacts
) -> Any:
    from diffcam_core import figures

    address = panel.address
    spec = grid_of(facts, address.grid)
    numbers = None
    if frame.native is not None and spec is not None:
        about = {
            "run": facts.title,
            "model": facts.model,
            "prompt": facts.prompt,
            "answer": facts.answer,
            "positions": list(address.positions),
            "words": facts.phrase(address.positions),
            "step": panel.step,
            "layer": address.layer,
            "method": address.method or ", ".join(facts.methods[:1]),
            "grid": spec.name,
            "refinement": "raw" if panel.refinement.raw else panel.refinement.preset,
            "off": list(panel.refinement.off),
            "changes": [list(change) for change in panel.refinement.changes],
            "raw_range": list(frame.raw_range),
            "scope_maximum": frame.scope_max,
        }
        numbers = figures.MapNumbers(frame.native, spec.rectangles, frame.raw, about)
    return figures.Panel(
        image=facts.image,
        values=frame.values,
        scale=figures.Scale(query.colour_map, query.low, query.high, query.scope),
        opacity=query.opacity,
        grey_image=query.grey_image,
        title=title,
        note=frame.reason if frame.state == "zero" else "",
        regions=frame.regions if query.show_region else (),
        contour=frame.contour if query.show_contour else (),
        numbers=numbers,
    )
