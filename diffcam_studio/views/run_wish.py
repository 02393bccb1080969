"""What the run sheet was filled in with: read, checked, and what it will cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffcam_core.denoising import GenerationConfig
from diffcam_core.errors import InputError
from diffcam_studio.views.job_panel import clock

_BYTES_PER_CELL = 2 * 0.85  # float16, and what gzip leaves of it


@dataclass(frozen=True)
class SheetFacts:
    """What the sheet must know to make a forecast; zeros are unknown."""

    model: str = "Embedded model"
    layers: int = 0
    generation: dict[str, Any] = field(default_factory=dict)
    methods: tuple[tuple[str, str], ...] = (("diffusion-cam", "Diffusion-CAM"),)
    seconds_per_map: float = 0.0
    cells: int = 196
    device: str = ""


@dataclass(frozen=True)
class RunWish:
    """What the sheet was filled in with."""

    prompt: str
    layers: tuple[int, ...] | None
    steps: str
    tokens: tuple[int | str, ...] | None
    method: str
    contrast: str
    generation: dict[str, Any]
    seed: int


def parse_layers(text: str, count: int) -> tuple[int, ...] | None:
    """Read "all", "0, 2-4" or "every 2nd"; raises ValueError with what to type instead."""
    clean = text.strip().lower()
    if clean in ("", "all"):
        return None
    found: set[int] = set()
    for part in clean.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:[-\u2013]\s*(\d+))?\s*", part)
        if match is None:
            raise ValueError("Type layer numbers such as 0, 2–4, or all")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or last > 10_000:
            raise ValueError("Type a range from the smaller to the larger number")
        found.update(range(first, last + 1))
    if count and max(found) >= count:
        raise ValueError(f"Enter layers from 0 to {count - 1}")
    return tuple(sorted(found))


def parse_words(text: str, length: int) -> tuple[int | str, ...] | None:
    """Read words and positions, separated by commas; empty means the whole answer.

    Positions are checked against the length of the answer. Words are not: the models spell in
    bytes, so any word may turn up, and which ones do is known only once the answer is written.
    Raises ValueError with what to type instead.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    # Superscripts are digits to ``isdigit``, but no numbers to ``int``.
    found = tuple(int(p) if p.isdecimal() else p for p in parts)
    if any(isinstance(p, int) and p >= length for p in found):
        raise ValueError(f"Enter positions from 0 to {length - 1}: the answer has {length} tokens")
    return found or None


def check_generation(generation: Mapping[str, Any]) -> None:
    """Raise ValueError with what to enter if the engine would refuse these settings.

    The engine's own rules are asked, so that the sheet and the engine never disagree.
    """
    try:
        GenerationConfig(**generation)
    except InputError as error:
        raise ValueError(str(error)) from error


def forecast(facts: SheetFacts, wish: RunWish) -> str:
    """Say what a run will compute, for how long, and how large its file gets."""
    generation = {**facts.generation, **{k: v for k, v in wish.generation.items() if v is not None}}
    length = int(generation.get("max_new_tokens") or 64)
    steps = int(generation.get("steps") or max(1, length // 2))
    layers = len(wish.layers) if wish.layers is not None else facts.layers
    tokens = len(wish.tokens) if wish.tokens is not None else length
    if not layers:
        return f"{steps} steps, {tokens} tokens, all layers"
    maps = layers * tokens * (1 if wish.steps == "commit" else steps)
    size = maps * facts.cells * _BYTES_PER_CELL / 1e6
    count = f"{maps:,}".replace(",", "\u202f")
    text = f"Up to {count} maps, {max(0.1, size):.1f} MB"
    if facts.seconds_per_map > 0:
        return f"{text}, about {clock(maps * facts.seconds_per_map)} on this computer"
    return f"{text}; the first run measures the time"
