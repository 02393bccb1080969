"""What lies on the disk: the newest run of a folder, and what the welcome page offers.

A folder of thousands of runs, or one on a network, takes its time: nothing here is for the
thread of the window.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from diffcam_core.errors import InputError
from diffcam_studio.worker.queries import FilesQuery, FolderQuery, FoundFiles, FoundRun


def newest_run(query: FolderQuery) -> FoundRun:
    """Return the run of a folder that was written last."""
    dated = _dated(Path(query.path).glob("*.dcam"))
    if not dated:
        raise InputError("there is no run in this folder", "Choose a .dcam file or an image")
    return FoundRun(max(dated, key=lambda path: dated[path]))


def find_files(query: FilesQuery) -> FoundFiles:
    """Return which recent files are still there, and the unfinished runs, newest first."""
    unfinished = _dated(Path(query.folder).glob("*.dcam.part"))
    return FoundFiles(
        _dated(map(Path, query.recent)), tuple(sorted(unfinished, key=lambda p: -unfinished[p]))
    )


def _dated(paths: Iterable[Path]) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        for path in paths:
            try:
                found[str(path)] = path.stat().st_mtime
            except OSError:
                continue  # gone, or not ours to see: as if it were not there
    except OSError:
        return found  # a folder that cannot be listed
    return found
