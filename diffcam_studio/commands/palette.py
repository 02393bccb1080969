"""What the palette finds: actions, open runs, recent files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffcam_studio.actions import Registry, key_text
from diffcam_studio.presenter.naming import run_title
from diffcam_studio.presenter.welcome import when
from diffcam_studio.state.source import RunFacts
from diffcam_studio.views.palette import Command


def action_commands(registry: Registry) -> list[Command]:
    """Every action as a line of the palette."""
    return [
        Command(
            spec.id,
            registry.title(spec.id).rstrip("…"),
            key_text(spec),
            spec.icon,
            spec.menu,
            registry.reason(spec.id),
        )
        for spec in registry.specs()
    ]


def run_commands(runs: Mapping[str, RunFacts]) -> list[Command]:
    """Every open run, to be shown."""
    return [
        Command(f"show:{key}", f"Show {facts.title}", "", "open-run", "Session")
        for key, facts in runs.items()
    ]


def recent_commands(paths: Sequence[str], written: Mapping[str, float]) -> list[Command]:
    """Every recent file that is still there, to be opened; ``written`` says since when."""
    return [
        Command(
            f"open:{path}",
            run_title(path),
            when(written[path]),
            "open-run",
            str(Path(path).parent),
        )
        for path in paths
        if path in written
    ]
