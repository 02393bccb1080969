"""How an answer is generated, as data: validated once, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from diffcam_core.errors import InputError

SCHEDULES: Final = ("shift", "uniform", "cosine", "logit_normal")
"""Names of the schedules that decide how many tokens a step writes."""

REMASKING: Final = ("low_confidence", "entropy", "margin", "random")
"""Names of the rules that decide which tokens a step writes."""

MAX_NEW_TOKENS: Final = 16_384  # the longest context of any supported backbone
DEFAULT_STEP_RATIO: Final = 0.5  # one step for two tokens, as LaViDa's and Diffusion-CAM's scripts


@dataclass(frozen=True)
class GenerationConfig:
    """Everything about a generation but the model, the prompt and the seed.

    Parameters
    ----------
    max_new_tokens : int
        Length L of the answer canvas, 1 to 16384.
    steps : int, optional
        Denoising steps in total, from the number of blocks to L and divisible by the
        number of blocks. None: one step for two tokens (LaViDa's ``step_ratio`` 0.5).
    block_length : int, optional
        The canvas is written block after block; must divide L. None: one block.
    schedule : {"shift", "uniform", "cosine", "logit_normal"}
        How many tokens each step of a block writes.
    shift : float
        Parameter s of the schedule "shift", 0.001 to 1000. Above 1 the first steps write
        few tokens and the last ones many; below 1 the other way round.
    remasking : {"low_confidence", "entropy", "margin", "random"}
        Which masked positions a step writes.
    temperature : float
        0: the most probable token; above, Gumbel sampling at that temperature.
    prefix_cache : bool, optional
        True: prompt and image are read once and never see the answer. False: every step
        reads everything. None: as the model prefers.

    Raises
    ------
    InputError
        For a value outside the ranges above.
    """

    max_new_tokens: int = 64
    steps: int | None = None
    block_length: int | None = None
    schedule: str = "shift"
    shift: float = 3.0
    remasking: str = "low_confidence"
    temperature: float = 0.0
    prefix_cache: bool | None = None

    def __post_init__(self) -> None:
        length = _whole("max_new_tokens", self.max_new_tokens)
        if not 1 <= length <= MAX_NEW_TOKENS:
            raise InputError(
                f"max_new_tokens is {length}", f"Give a number from 1 to {MAX_NEW_TOKENS}"
            )
        if self.block_length is not None:
            block = _whole("block_length", self.block_length)
            if not 1 <= block <= length or length % block:
                raise InputError(
                    f"block_length {block} does not divide the answer of {length} tokens",
                    f"Give one of {_divisors(length)}, or leave it out for one block",
                )
        if self.steps is not None:
            self._check_steps(_whole("steps", self.steps))
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("remasking", self.remasking, REMASKING)
        if not 1e-3 <= _number("shift", self.shift) <= 1e3:
            raise InputError(f"shift is {self.shift}", "Give a number from 0.001 to 1000")
        if not 0.0 <= _number("temperature", self.temperature) <= 100.0:
            raise InputError(
                f"temperature is {self.temperature}",
                "Give 0 for the most probable token, or up to 100 for random sampling",
            )
        if self.prefix_cache is not None and not isinstance(self.prefix_cache, bool):
            raise InputError(
                f"prefix_cache is {self.prefix_cache!r}",
                "Give True, False, or None for the model's own way",
            )

    def _check_steps(self, steps: int) -> None:
        blocks, length = self.n_blocks, self.max_new_tokens
        if not blocks <= steps <= length:
            raise InputError(
                f"steps is {steps}, but an answer of {length} tokens in {blocks} "
                f"block{'s' if blocks > 1 else ''} takes {blocks} to {length}",
                f"Give a number from {blocks} to {length}",
            )
        if steps % blocks:
            lower = steps - steps % blocks
            raise InputError(
                f"{steps} steps cannot be shared out evenly over {blocks} blocks",
                f"Give {lower} or {lower + blocks}",
            )

    @property
    def block(self) -> int:
        """Length of a block in tokens."""
        return self.max_new_tokens if self.block_length is None else self.block_length

    @property
    def n_blocks(self) -> int:
        """Number of blocks, written one after the other."""
        return self.max_new_tokens // self.block

    @property
    def steps_per_block(self) -> int:
        """Denoising steps spent on each block."""
        if self.steps is None:
            return max(1, int(self.block * DEFAULT_STEP_RATIO))
        return self.steps // self.n_blocks

    @property
    def n_steps(self) -> int:
        """Denoising steps in total: the number of records that the sampler yields."""
        return self.steps_per_block * self.n_blocks

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values for a request or a run file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GenerationConfig:
        """Build a configuration from `to_json`'s output.

        Raises
        ------
        InputError
            For an unknown field or a value that cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for name in data:
            if name not in known:
                raise InputError(
                    f"the generation options have no {name!r}", f"Use {', '.join(known)}"
                )
        return cls(**data)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} is {value!r}, which is not a whole number", "Give a whole number")
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, which is not a number", "Give a finite number")
    return float(value)


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r} is unknown", f"Use one of {', '.join(choices)}")


def _divisors(length: int) -> str:
    small = [d for d in range(1, math.isqrt(length) + 1) if length % d == 0]
    every = sorted({*small, *(length // d for d in small)})
    return ", ".join(str(d) for d in every)
