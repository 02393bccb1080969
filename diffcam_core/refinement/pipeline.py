"""An ordered list of modules with switches: applied, laddered, edited and saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.refinement.akd import AKD, kernels_used
from diffcam_core.refinement.cba import CBA
from diffcam_core.refinement.dacg import DACG
from diffcam_core.refinement.parameters import (
    Context,
    DoubleArray,
    FloatArray,
    ParameterInfo,
    as_batch,
    like_input,
)
from diffcam_core.refinement.rescale import Rescale
from diffcam_core.refinement.sicd import SICD
from diffcam_core.refinement.studio import Background, Focus, Rivals, Smooth

Module: TypeAlias = AKD | DACG | CBA | SICD | Rescale | Smooth | Rivals | Background | Focus

MODULES: Final[Mapping[str, type[Module]]] = {
    kind.KIND: kind for kind in (AKD, DACG, CBA, Rescale, SICD, Smooth, Rivals, Background, Focus)
}
"""Every module by its kind, in the order in which a user interface offers them."""

_JSON_FORMAT = "diffcam-refinement"
_JSON_VERSION = 1
_MAX_JSON = 1 << 20  # a pipeline is a few kilobytes; anything larger is no pipeline
_MAX_STAGES = 64


@dataclass(frozen=True)
class ModuleInfo:
    """Human texts of one module, from which a user interface builds its controls."""

    kind: str
    title: str
    help: str
    source: str
    parameters: tuple[ParameterInfo, ...]


def module_info(kind: str) -> ModuleInfo:
    """Texts and parameter ranges of a module.

    Raises
    ------
    InputError
        When there is no such module.
    """
    module = _module(kind)
    return ModuleInfo(kind, module.TITLE, module.HELP, module.SOURCE, module.infos())


@dataclass(frozen=True)
class Stage:
    """One module in a pipeline: its name there, its parameters and its switch.

    Parameters
    ----------
    name : str
        Unique in the pipeline; normally the kind of the module.
    module : AKD, DACG, CBA, SICD, ...
    enabled : bool
    """

    name: str
    module: Module
    enabled: bool = True

    @property
    def kind(self) -> str:
        """Kind of the module, a key of MODULES."""
        return self.module.KIND

    @property
    def info(self) -> ModuleInfo:
        """Texts and ranges of the module."""
        return module_info(self.kind)


@dataclass(frozen=True)
class Pipeline:
    """An immutable, ordered list of refinement stages.

    Parameters
    ----------
    stages : tuple of Stage
        Their names must differ.
    name : str
    description : str
        One line for people.

    Raises
    ------
    InputError
        When two stages share a name.
    """

    stages: tuple[Stage, ...]
    name: str = "custom"
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Two stages are called {twice[0]}", "Give every stage of a pipeline its own name"
            )

    def __getitem__(self, name: str) -> Stage:
        """Return the stage of a name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages) or "none"
        raise InputError(f"Pipeline {self.name} has no stage {name}", f"Its stages are {known}")

    def with_enabled(self, name: str, enabled: bool) -> Pipeline:
        """Return a copy with one stage switched on or off."""
        return self._replaced(replace(self[name], enabled=bool(enabled)))

    def with_parameters(self, name: str, **changes: float | int | str) -> Pipeline:
        """Return a copy with some parameters of one stage changed.

        Raises
        ------
        InputError
            No such stage or parameter, or a value out of its range.
        """
        stage = self[name]
        values = {**stage.module.to_dict(), **changes}
        return self._replaced(replace(stage, module=type(stage.module).from_dict(values)))

    def with_order(self, names: Iterable[str]) -> Pipeline:
        """Return a copy with its stages in another order; every name once."""
        order = tuple(names)
        if sorted(order) != sorted(stage.name for stage in self.stages):
            raise InputError(
                f"The order {', '.join(order)} does not name every stage once",
                f"Its stages are {', '.join(stage.name for stage in self.stages)}",
            )
        return replace(self, stages=tuple(self[name] for name in order))

    def with_stage(self, stage: Stage, index: int | None = None) -> Pipeline:
        """Return a copy with a stage added, at the end or before position `index`."""
        at = len(self.stages) if index is None else index
        return replace(self, stages=(*self.stages[:at], stage, *self.stages[at:]))

    def without(self, name: str) -> Pipeline:
        """Return a copy that lacks one stage."""
        gone = self[name]
        return replace(self, stages=tuple(stage for stage in self.stages if stage is not gone))

    def renamed(self, name: str, description: str | None = None) -> Pipeline:
        """Return a copy under another name."""
        text = self.description if description is None else description
        return replace(self, name=name, description=text)

    def to_dict(self) -> dict[str, Any]:
        """Return the pipeline as plain values."""
        return {
            "format": _JSON_FORMAT,
            "version": _JSON_VERSION,
            "name": self.name,
            "description": self.description,
            "stages": [
                {
                    "name": stage.name,
                    "kind": stage.kind,
                    "enabled": stage.enabled,
                    "parameters": stage.module.to_dict(),
                }
                for stage in self.stages
            ],
        }

    def to_json(self) -> str:
        """Return the pipeline as JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pipeline:
        """Build a pipeline from plain values, checked like any untrusted input.

        Raises
        ------
        InputError
            Another format or version, unknown modules or parameters, values out of range.
        """
        if not isinstance(values, Mapping) or values.get("format") != _JSON_FORMAT:
            raise InputError(
                "This is no refinement pipeline", f'Its "format" must be "{_JSON_FORMAT}"'
            )
        if values.get("version") != _JSON_VERSION:
            raise InputError(
                f"Refinement pipeline version {values.get('version')!r} is not known",
                "Update Diffusion-CAM Studio or save the pipeline again",
            )
        entries = values.get("stages")
        if not isinstance(entries, list) or len(entries) > _MAX_STAGES:
            raise InputError(
                "The pipeline has no valid list of stages", f"Give at most {_MAX_STAGES} stages"
            )
        name, description = values.get("name", "custom"), values.get("description", "")
        if not isinstance(name, str) or not isinstance(description, str):
            raise InputError("The pipeline's name is no text", "Give name and description as text")
        return cls(tuple(_stage_from_dict(entry) for entry in entries), name, description)

    @classmethod
    def from_json(cls, text: str) -> Pipeline:
        """Build a pipeline from JSON text; see `from_dict`."""
        if len(text) > _MAX_JSON:
            raise InputError("The pipeline text is too long", "Give the JSON of one pipeline")
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError("The pipeline is not valid JSON", "Save it again") from error
        return cls.from_dict(values)

    def _replaced(self, new: Stage) -> Pipeline:
        return replace(
            self, stages=tuple(new if old.name == new.name else old for old in self.stages)
        )


def run(
    maps: npt.ArrayLike, pipeline: Pipeline, context: Context
) -> tuple[list[tuple[str, FloatArray]], dict[str, npt.NDArray[np.int64]]]:
    """Apply every enabled stage.

    Returns
    -------
    list of (stage name, maps after it)
        float32, shape of `maps`; empty when no stage is enabled.
    dict of stage name to ndarray of int64, shape (K,)
        Kernels that the AKD stages used.
    """
    batch = as_batch(maps)
    if len(batch):
        context = replace(context, input_max=batch.max(axis=(1, 2), keepdims=True))
    ladder: list[tuple[str, FloatArray]] = []
    kernels: dict[str, npt.NDArray[np.int64]] = {}
    for stage in pipeline.stages:
        if not stage.enabled:
            continue
        module = stage.module
        if isinstance(module, AKD):
            kernels[stage.name] = kernels_used(
                batch, module, n_steps=context.n_steps, image_size=context.image_size
            )
        batch = module(batch, context)
        ladder.append((stage.name, like_input(batch, maps)))
    return ladder, kernels


def make_context(
    *,
    token_ids: Sequence[Hashable] | npt.NDArray[np.int64] | None = None,
    n_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
    special_ids: Iterable[Hashable] = (),
    words: Sequence[str] | None = None,
    context_maps: npt.ArrayLike | None = None,
) -> Context:
    """Collect what the modules may know beside the maps; see `Context`."""
    others: DoubleArray | None = None
    if context_maps is not None:
        others = np.asarray(context_maps, dtype=np.float64)
    return Context(
        n_steps=n_steps,
        image_size=image_size,
        token_ids=None if token_ids is None else tuple(token_ids),
        special_ids=frozenset(special_ids),
        words=words,
        context_maps=others,
    )


def _module(kind: str) -> type[Module]:
    if kind not in MODULES:
        raise InputError(
            f"There is no refinement module {kind}", f"The modules are {', '.join(MODULES)}"
        )
    return MODULES[kind]


def _stage_from_dict(entry: object) -> Stage:
    if not isinstance(entry, Mapping):
        raise InputError("A stage of the pipeline is no object", "Save the pipeline again")
    kind, name = entry.get("kind"), entry.get("name", entry.get("kind"))
    parameters, enabled = entry.get("parameters", {}), entry.get("enabled", True)
    if not isinstance(kind, str) or not isinstance(name, str):
        raise InputError("A stage of the pipeline has no kind or name", "Save the pipeline again")
    if not isinstance(parameters, Mapping) or not isinstance(enabled, bool):
        raise InputError(
            f"Stage {name} has no valid parameters or switch", "Save the pipeline again"
        )
    return Stage(name, _module(kind).from_dict(parameters), enabled)
