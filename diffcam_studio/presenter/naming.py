"""How scopes, presets, models, methods and devices are called wherever they are named."""

from __future__ import annotations

from pathlib import Path

import psutil

from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Refinement, Scope, ViewState
from diffcam_studio.views.props import ColourScale

PRESET_TITLES = {"studio": "Studio", "paper": "Paper", "released": "Released code"}


def scale_of(state: ViewState, facts: RunFacts | None) -> ColourScale:
    """Colour scale of the maps, with its scope in words."""
    look = state.appearance
    return ColourScale(look.colour_map, look.low, look.high, scope_words(look.scope, facts))


def scope_words(scope: Scope, facts: RunFacts | None) -> str:
    """Sentence beside the colour bar."""
    live = facts is not None and facts.live
    words = {
        "map": "this map",
        "trajectory": "trajectory so far" if live else "over trajectory",
        "run": "run so far" if live else "over the run",
    }
    return f"Share of maximum, {words[scope]}"


def preset_title(refinement: Refinement) -> str:
    """Name of a refinement in a tag."""
    if refinement.raw:
        return "Raw"
    title = PRESET_TITLES.get(refinement.preset, refinement.preset)
    return f"{title}, changed" if refinement.is_changed else title


def model_title(name: str) -> str:
    """Name of a model for readers."""
    return "Embedded model" if name == "embedded" else name


def device_text(device: str) -> str:
    """Name of a device for readers, with the threads of a processor."""
    if device.startswith("cuda"):
        return device.upper()
    count = psutil.cpu_count() or 1
    return f"CPU, {count} threads" if count > 1 else "CPU, 1 thread"


def method_title(name: str) -> str:
    """Name of a method for readers."""
    return "-".join(
        part.upper() if part == "cam" else part.capitalize() for part in name.split("-")
    )


def run_title(path: str) -> str:
    """Name of a run from the path of its file, finished or not."""
    return Path(path).name.removesuffix(".part").removesuffix(".dcam")
