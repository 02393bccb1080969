"""What every refinement module shares: documented, validated parameters and checked maps.

A module is a frozen dataclass of parameters plus one pure function. The texts and ranges that a
user interface needs stand in the field metadata, so that a control can never disagree with the
check that guards the same number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

# Maps are float32 values that a min-max scaling produced: a few ulps beyond [0, 1] are rounding.
_RANGE_SLACK = 1e-5


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of a module, as a user interface shows it.

    ``minimum``, ``maximum`` and ``step`` are None for choices; ``choices`` is empty for numbers.
    """

    name: str
    title: str
    help: str
    kind: Literal["float", "int", "choice"]
    default: float | int | str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


def number(
    default: float | int,
    minimum: float,
    maximum: float,
    step: float,
    title: str,
    help: str,
) -> Any:
    """Declare a numeric parameter (an int default makes it an integer one)."""
    kind = "int" if isinstance(default, int) else "float"
    return field(
        default=default,
        metadata={
            "kind": kind,
            "minimum": minimum,
            "maximum": maximum,
            "step": step,
            "title": title,
            "help": help,
        },
    )


def choice(default: str, choices: tuple[str, ...], title: str, help: str) -> Any:
    """Declare a parameter that takes one of a few names."""
    return field(
        default=default,
        metadata={"kind": "choice", "choices": choices, "title": title, "help": help},
    )


_P = TypeVar("_P", bound="Parameters")


@dataclass(frozen=True)
class Parameters:
    """Base of the parameter sets: every value is checked against its documented range.

    Raises
    ------
    InputError
        When a value has the wrong type, is not finite, or lies outside its range.
    """

    KIND: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for info in self.infos():
            value = getattr(self, info.name)
            label = f"{self.KIND} parameter {info.name} = {value!r}"
            if info.kind == "choice":
                if value not in info.choices:
                    raise InputError(
                        f"{label} is not a choice", f"Use one of {', '.join(info.choices)}"
                    )
                continue
            assert info.minimum is not None and info.maximum is not None
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise InputError(f"{label} is not a number", _range_text(info))
            if not math.isfinite(value) or not info.minimum <= value <= info.maximum:
                raise InputError(f"{label} is out of range", _range_text(info))
            if info.kind == "int" and float(value) != int(value):
                raise InputError(f"{label} is not a whole number", _range_text(info))
            # One Python type per parameter, so that equality and JSON do not depend on the caller.
            object.__setattr__(self, info.name, int(value) if info.kind == "int" else float(value))

    @classmethod
    def infos(cls) -> tuple[ParameterInfo, ...]:
        """Texts, ranges and defaults of the parameters, in the order of declaration."""
        found = []
        for spec in fields(cls):
            if "kind" not in spec.metadata:
                continue
            assert spec.default is not MISSING
            found.append(ParameterInfo(name=spec.name, default=spec.default, **spec.metadata))
        return tuple(found)

    @classmethod
    def from_dict(cls: type[_P], values: Mapping[str, Any]) -> _P:
        """Build the set from plain values; names that do not exist raise InputError."""
        known = {info.name for info in cls.infos()}
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise InputError(
                f"{cls.KIND} has no parameter {', '.join(unknown)}",
                f"Its parameters are {', '.join(sorted(known))}",
            )
        return cls(**dict(values))

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the values as plain numbers and names."""
        return {info.name: getattr(self, info.name) for info in self.infos()}


def _range_text(info: ParameterInfo) -> str:
    what = "a whole number" if info.kind == "int" else "a number"
    return f"Use {what} from {info.minimum:g} to {info.maximum:g}"


@dataclass(frozen=True)
class Context:
    """What a module may know beside the maps themselves; everything is optional.

    Parameters
    ----------
    n_steps : int, optional
        Number of denoising steps T of the run.
    image_size : tuple of int, optional
        Width and height of the image in pixels.
    token_ids : sequence, optional
        Token ids of the whole answer, padding included.
    special_ids : frozenset
        Ids that are no words (padding, end of text, mask), left out by the word rule of SICD.
    words : sequence of str, optional
        Words of the answer; the word rule of SICD prefers them to ids.
    context_maps : ndarray, optional
        Maps of the other words at the same step and layer: (C, H, W) for all maps alike, or
        (K, C, H, W) with own ones for each map.
    input_max : ndarray of shape (K, 1, 1), optional
        Largest value of each map before the first module; set by the pipeline.
    """

    n_steps: int | None = None
    image_size: tuple[int, int] | None = None
    token_ids: Sequence[Hashable] | None = None
    special_ids: frozenset[Hashable] = frozenset()
    words: Sequence[str] | None = None
    context_maps: npt.NDArray[np.floating[Any]] | None = None
    input_max: DoubleArray | None = None

    def __post_init__(self) -> None:
        if self.token_ids is not None:  # numpy rows, tuples and lists alike
            object.__setattr__(self, "token_ids", tuple(self.token_ids))
        if self.n_steps is not None and self.n_steps < 1:
            raise InputError(f"n_steps is {self.n_steps}", "Give at least one denoising step")
        if self.image_size is not None and min(self.image_size) < 1:
            raise InputError(
                f"image_size is {self.image_size}", "Give width and height of at least one pixel"
            )


def as_batch(maps: npt.ArrayLike) -> DoubleArray:
    """Check maps and return them as a new (K, H, W) float64 array clipped to [0, 1].

    Parameters
    ----------
    maps : array_like
        (H, W) or (K, H, W), finite, in [0, 1].

    Raises
    ------
    InputError
        Wrong number of axes, no cells, values that are not finite or outside [0, 1].
    """
    try:
        array = np.asarray(maps, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("The maps are not numbers", "Give a float32 array") from error
    if array.ndim not in (2, 3):
        raise InputError(
            f"Maps have shape {array.shape}", "Give one map (H, W) or a batch of maps (K, H, W)"
        )
    batch = array.reshape((-1, *array.shape[-2:])) if array.size else array
    if array.shape[-1] == 0 or array.shape[-2] == 0:
        raise InputError(f"Maps have shape {array.shape}", "Give at least one row and one column")
    if array.size == 0:
        return np.zeros((0, *array.shape[-2:]))
    low, high = float(batch.min()), float(batch.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(
            "A map holds values that are not finite", "Refine only maps that were computed"
        )
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise InputError(
            f"Map values reach from {low:g} to {high:g}",
            "Normalise the maps to [0, 1] before refining them",
        )
    return np.clip(batch, 0.0, 1.0)


def like_input(batch: DoubleArray, maps: npt.ArrayLike) -> FloatArray:
    """Return a batch as float32 with the number of axes of the original maps."""
    result: FloatArray = batch.astype(np.float32)
    return result[0] if np.ndim(maps) == 2 else result
