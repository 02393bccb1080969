"""Answers the questions of the window on the I/O thread: reads, refines, measures.

What writes files has a thread and a desk of its own (:mod:`writing_desk`), so that no map
waits for a figure.

No Qt and no maths of its own: numbers come from ``diffcam_core.refinement``,
``.heatmap`` and ``.metrics``, which are loaded when the first question comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcam_studio.state.source import RunSource
from diffcam_studio.worker.answers import Answers
from diffcam_studio.worker.files import read_image, read_thumbnail
from diffcam_studio.worker.folders import find_files, newest_run
from diffcam_studio.worker.queries import (
    FilesQuery,
    FolderQuery,
    ImageQuery,
    LadderQuery,
    LayersQuery,
    OpenedRun,
    OpenQuery,
    PanelQuery,
    Query,
    TimelineQuery,
)
from diffcam_studio.worker.regions import Regions
from diffcam_studio.worker.shelf import Shelf


class RunDesk:
    """Owns open runs and what was read from them.

    Parameters
    ----------
    live
        Runs that jobs write, by key; whoever starts and removes jobs keeps it.
    """

    def __init__(self, live: Mapping[str, RunSource] | None = None) -> None:
        self._shelf = Shelf(live)
        self._answers = Answers(self._shelf, Regions())

    def answer(self, query: Query) -> Any:
        """Answer one question; raises DiffcamError with cause and mend."""
        if isinstance(query, PanelQuery):
            return self._answers.panel(query)
        if isinstance(query, LayersQuery):
            return self._answers.layers(query)
        if isinstance(query, TimelineQuery):
            return self._answers.timeline(query)
        if isinstance(query, LadderQuery):
            return self._answers.ladder(query)
        if isinstance(query, OpenQuery):
            return OpenedRun(self._shelf.open(query.path, query.scene))
        if isinstance(query, ImageQuery):
            return read_image(query)
        if isinstance(query, FolderQuery):
            return newest_run(query)
        if isinstance(query, FilesQuery):
            return find_files(query)
        return read_thumbnail(query)

    def is_cacheable(self, query: Query) -> bool:
        """Maps of a finished run never change; those of a live one carry a version."""
        return isinstance(query, (PanelQuery, LayersQuery, TimelineQuery, LadderQuery))

    def close(self) -> None:
        """Close every run."""
        self._shelf.close()
