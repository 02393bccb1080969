"""Figures for papers from runs, and the window's view as figure or data file.

>>> from diffcam_core import open_run
>>> from diffcam_core.figures import token_figure
>>> with open_run("run.dcam") as run:  # doctest: +SKIP
...     token_figure(run, "cat", "cat.pdf", style="neurips")

Importing this package imports neither matplotlib nor torch; drawing imports matplotlib's objects
for PNG, SVG and PDF, never pyplot.
"""

from __future__ import annotations

import os
from pathlib import Path

from diffcam_core.figures.colours import COLOUR_MAPS, Scale
from diffcam_core.figures.data import export_data
from diffcam_core.figures.from_runs import (
    ladder_figure,
    layer_figure,
    token_figure,
    trajectory_figure,
)
from diffcam_core.figures.panels import MapNumbers, Mode, Panel, ViewFigure, difference_panel
from diffcam_core.figures.styles import STYLES, Style
from diffcam_core.figures.text import Span, Text

__all__ = [
    "COLOUR_MAPS",
    "STYLES",
    "MapNumbers",
    "Mode",
    "Panel",
    "Scale",
    "Span",
    "Style",
    "Text",
    "ViewFigure",
    "difference_panel",
    "export_data",
    "export_view",
    "ladder_figure",
    "layer_figure",
    "token_figure",
    "trajectory_figure",
]


def export_view(view: ViewFigure, path: str | os.PathLike[str]) -> Path:
    """Write what the canvas shows as a figure; see :func:`diffcam_core.figures.sheet.export_view`.

    Parameters
    ----------
    view : ViewFigure
    path : path-like
        Ends with .png, .svg or .pdf.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the view has nothing to draw, an option cannot be used, the suffix is unknown, or the
        folder cannot be written to.
    ResourceError
        If the disk is full.
    """
    from diffcam_core.figures.sheet import export_view as draw

    return draw(view, path)
