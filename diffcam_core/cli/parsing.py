"""Read what users type for layers, steps and tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from diffcam_core.errors import InputError

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MAX_NUMBERS = 100_000


def parse_numbers(text: str, what: str) -> tuple[int, ...]:
    """Read "0,3,5-8" as (0, 3, 5, 6, 7, 8).

    Parameters
    ----------
    text : str
        Whole numbers and ranges, separated by commas.
    what : str
        Name of the option for the message.

    Raises
    ------
    InputError
        If something else stands there.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"{what} {text!r} is not a list of numbers", "Write it like 3 or 0,4,8-11."
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or len(numbers) + last - first >= _MAX_NUMBERS:
            raise InputError(f"{what} has the unusable range {part.strip()}")
        numbers.extend(range(first, last + 1))
    return tuple(dict.fromkeys(numbers))


def parse_layers(text: str) -> tuple[int, ...] | None:
    """Read ``--layers``: "all" is None."""
    return None if text.strip().lower() == "all" else parse_numbers(text, "--layers")


def parse_steps(text: str) -> Literal["all", "commit"] | tuple[int, ...]:
    """Read ``--steps``: "all", "commit" or numbers."""
    word = text.strip().lower()
    if word == "all":
        return "all"
    if word == "commit":
        return "commit"
    return parse_numbers(text, "--steps")


def parse_tokens(texts: Sequence[str] | None) -> tuple[int | str, ...] | None:
    """Read ``--tokens``: positions, ranges of positions and words; None = the whole answer."""
    if not texts:
        return None
    tokens: list[int | str] = []
    for text in texts:
        for part in text.split(","):
            word = part.strip()
            if not word:
                raise InputError(f"--tokens {text!r} names an empty word", "Write it like cat,3.")
            if _RANGE.fullmatch(word):
                tokens.extend(parse_numbers(word, "--tokens"))
            else:
                tokens.append(word)
    return tuple(dict.fromkeys(tokens))


def parse_token(text: str) -> int | str:
    """Read one token: a position if it is a number, else a word."""
    word = text.strip()
    if not word:
        raise InputError("--token names no word", "Give a word of the answer or a position.")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else word


def parse_step(text: str) -> int | Literal["commit"]:
    """Read one step: a number or "commit"."""
    word = text.strip().lower()
    if word == "commit":
        return "commit"
    if word.isascii() and word.isdigit() and len(word) < 10:
        return int(word)
    raise InputError(f"--step {text!r} is no step", "Give a step number or commit.")


def contrast_from(contrast: str, distractor: str | None) -> str:
    """Join ``--contrast`` and ``--distractor`` into the engine's word for them."""
    name = contrast.strip().lower().replace("-", "_")
    if distractor is not None:
        if name not in ("none", "word"):
            raise InputError(
                f"--distractor goes with no other contrast, but --contrast is {contrast}",
                "Leave one of them out.",
            )
        return f"word:{distractor}"
    if name == "word":
        raise InputError("--contrast word needs a word", "Add --distractor WORD.")
    return name
