"""The run file (.dcam): write it safely, read it lazily, trust nothing."""

from __future__ import annotations

from diffcam_core.session.reader import Run, open_run
from diffcam_core.session.schema import Status, final_path, fingerprint, part_path
from diffcam_core.session.writer import RunWriter
from diffcam_core.words import Word

__all__ = [
    "Run",
    "RunWriter",
    "Status",
    "Word",
    "final_path",
    "fingerprint",
    "open_run",
    "part_path",
]
