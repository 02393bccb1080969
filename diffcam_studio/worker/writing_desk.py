"""Writes figures, data and copies on a thread of their own.

A figure may take seconds; the maps on the screen must not wait for it. Nothing stays open
between two orders: a file that is kept open here could not be replaced by the job that goes on
with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffcam_studio.state.source import RunSource
from diffcam_studio.worker.answers import Answers
from diffcam_studio.worker.exporting import export_view
from diffcam_studio.worker.files import copy_run
from diffcam_studio.worker.queries import CopyQuery, ExportQuery, Written
from diffcam_studio.worker.regions import Regions
from diffcam_studio.worker.shelf import Shelf


class WritingDesk:
    """Carries out orders to write.

    Parameters
    ----------
    live
        Runs that jobs write, by key; whoever starts and removes jobs keeps it.
    """

    def __init__(self, live: Mapping[str, RunSource] | None = None) -> None:
        self._live = live if live is not None else {}
        self._regions = Regions()

    def answer(self, query: CopyQuery | ExportQuery) -> Written:
        """Carry out one order; raises DiffcamError with cause and mend."""
        if isinstance(query, CopyQuery):
            return copy_run(query)
        shelf = Shelf(self._live)
        try:
            for run in {panel.address.run for panel, *_ in query.panels} - set(self._live):
                shelf.open(run, query.scene)
            return export_view(query, shelf, Answers(shelf, self._regions).panel)
        finally:
            shelf.close()

    def is_cacheable(self, query: CopyQuery | ExportQuery) -> bool:  # noqa: ARG002
        """Writing again is not reading again."""
        return False

    def close(self) -> None:
        """Nothing is open between two orders."""
