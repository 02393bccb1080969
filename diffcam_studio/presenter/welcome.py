"""What the welcome page says: recent files, unfinished runs, the model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffcam_studio.presenter.naming import run_title
from diffcam_studio.views.welcome import RecentRow, Recovery
from diffcam_studio.worker.engine_thread import ModelFacts
from diffcam_studio.worker.queries import Thumbnail


def recent_rows(
    paths: Sequence[str], written: Mapping[str, float], thumbnails: Mapping[str, Thumbnail]
) -> list[RecentRow]:
    """Recent files that are still there, newest first; ``written`` says when each was written."""
    rows = []
    for path in paths:
        if path not in written:
            continue
        thumbnail = thumbnails.get(path)
        rows.append(
            RecentRow(
                path,
                Path(path).name.removesuffix(".dcam"),
                thumbnail.line if thumbnail is not None else "",
                when(written[path]),
                thumbnail.pixels if thumbnail is not None else None,
            )
        )
    return rows


def recoveries(paths: Sequence[str], thumbnails: Mapping[str, Thumbnail]) -> list[Recovery]:
    """Unfinished runs that are offered; each once its thumbnail is there."""
    return [
        Recovery(path, run_title(path), f"{run_title(path)}, {thumbnails[path].line}")
        for path in paths
        if path in thumbnails
    ]


def model_line(model: ModelFacts | None, seconds_per_map: float) -> str:
    """The line about the model, with the time that a run takes where it is known."""
    if model is None or seconds_per_map <= 0:
        return "Embedded model"
    length = int(model.generation.get("max_new_tokens") or 32)
    steps = int(model.generation.get("steps") or length // 2)
    seconds = max(1, round(seconds_per_map * model.layers * steps * length))
    return f"Embedded model, about {seconds} s on this computer"


def when(written: float) -> str:
    """Say when a file was written (seconds since the epoch), the shorter the nearer."""
    moment = time.localtime(written)
    now = time.localtime()
    day = time.strftime("%Y-%m-%d", moment)
    if day == time.strftime("%Y-%m-%d", now):
        return time.strftime("Today %H:%M", moment)
    age = (time.mktime(now) - time.mktime(moment)) / 86400
    if age < 2:
        return "Yesterday"
    if age < 7:
        return time.strftime("%A", moment)
    return time.strftime("%d %b", moment).lstrip("0")
