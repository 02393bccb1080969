"""What an evaluation is: everything that decides its numbers, and nothing that does not.

The plan is written into the results folder first. Work done under another plan must never be mixed
in, so a folder is only gone on with if its plan is the same; the first difference is named.
Where the work runs (in process, workers, Ray, Slurm) is no part of the plan. The threads and the
batch size are, because sums of floats depend on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import DiffcamError, InputError, RunFileError
from diffcam_core.refinement import Pipeline

FORMAT: Final = "diffcam-evaluation"
VERSION: Final = 1
FAITHFULNESS: Final = "faithfulness"
"""Key in `EvaluationPlan.limits` for the measures that run the model on changed images."""

StepRule = Literal["commit", "first", "last"] | int
STEP_RULES: Final = ("commit", "first", "last")


@dataclass(frozen=True)
class DatasetChoice:
    """Which dataset, and where it lies.

    Parameters
    ----------
    name : str
        "scenes", or a format of `diffcam_core.datasets`.
    folder : str, optional
        Of datasets on the disk.
    split : str, optional
        Part of it, such as "val2014".
    """

    name: str
    folder: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """A dataset x methods x refinements x layers x measures.

    Parameters
    ----------
    dataset : DatasetChoice
    items : tuple of str
        Ids of the items, in order.
    model : str
        "embedded", a folder or a hub id.
    fingerprint_of_model : str
        Of its weights and configuration.
    device, dtype : str
        Kind of device and number type, such as "cpu" and "float32".
    methods : tuple of str
    presets : tuple of (str, Pipeline or None)
        Refinements with their parameters; None is the raw map.
    layers : tuple of int
    metrics : tuple of str
    steps : "commit", "first", "last" or int
        At which denoising step a word is explained: the one that wrote it, or the same for all.
    contrast : str
        What a target's logit is compared with.
    generation : GenerationConfig
        Resolved.
    seed : int
        Of the sampler and of methods that draw.
    threads : int
        Of each worker.
    batch : int
        Targets in one backward pass, and changed images side by side.
    limits : tuple of (str, int)
        Method, or "faithfulness" -> only the first so many items.
    faithfulness_presets : tuple of str
        Refinements that the dear measures are taken for.
    table_layer : int
        Layer at which methods stand in the tables, and at which the dear measures are taken.
    chosen_layers : tuple of (str, str, int)
        Method, refinement and the layer it is judged at instead, chosen on other items.
    keep_maps : bool
        Store the raw maps of the measured words, for sweeps.

    Raises
    ------
    InputError
        If something is asked for twice or not at all, or a number is out of range.
    """

    dataset: DatasetChoice
    items: tuple[str, ...]
    model: str
    fingerprint_of_model: str
    device: str
    dtype: str
    methods: tuple[str, ...]
    presets: tuple[tuple[str, Pipeline | None], ...]
    layers: tuple[int, ...]
    metrics: tuple[str, ...]
    steps: StepRule
    contrast: str
    generation: GenerationConfig
    seed: int = 0
    threads: int = 1
    batch: int = 8
    limits: tuple[tuple[str, int], ...] = ()
    faithfulness_presets: tuple[str, ...] = ()
    table_layer: int = 0
    chosen_layers: tuple[tuple[str, str, int], ...] = ()
    keep_maps: bool = False

    def __post_init__(self) -> None:
        lists: dict[str, tuple[Any, ...]] = {
            "item": self.items,
            "method": self.methods,
            "refinement": tuple(name for name, _ in self.presets),
            "layer": self.layers,
            "measure": self.metrics,
        }
        for what, values in lists.items():
            if not values:
                raise InputError(f"no {what} is asked for", f"Name at least one {what}.")
            twice = next((v for v in values if values.count(v) > 1), None)
            if twice is not None and len(set(values)) < len(values):
                raise InputError(f"the {what} {twice} is asked for twice", "Name each once.")
        bad = next((item for item in self.items if not _is_plain(item)), None)
        if bad is not None:
            raise InputError(
                f"the item id {bad!r} cannot be a file name", "Use letters, digits and -_.=+@"
            )
        for what, number in (("threads", self.threads), ("batch", self.batch)):
            if not 1 <= number <= 4096:
                raise InputError(f"{what} is {number}", "Use a number from 1 to 4096.")
        if isinstance(self.steps, str) and self.steps not in STEP_RULES:
            raise InputError(
                f"there is no step rule {self.steps!r}",
                f"Use {', '.join(STEP_RULES)} or a step number.",
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything in the plan."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def items_of(self, key: str) -> tuple[str, ...]:
        """Items that a method, or the measures called `FAITHFULNESS`, is used on."""
        limit = dict(self.limits).get(key)
        return self.items if limit is None else self.items[:limit]

    def layer_of(self, method: str, preset: str) -> int:
        """Layer at which a method with a refinement is judged."""
        chosen = {(name, refinement): layer for name, refinement, layer in self.chosen_layers}
        return chosen.get((method, preset), self.table_layer)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "dataset": {
                "name": self.dataset.name,
                "folder": self.dataset.folder,
                "split": self.dataset.split,
            },
            "items": list(self.items),
            "model": self.model,
            "model_fingerprint": self.fingerprint_of_model,
            "device": self.device,
            "dtype": self.dtype,
            "methods": list(self.methods),
            "presets": [
                {"name": name, "pipeline": None if p is None else p.to_dict()}
                for name, p in self.presets
            ],
            "layers": list(self.layers),
            "metrics": list(self.metrics),
            "steps": self.steps,
            "contrast": self.contrast,
            "generation": self.generation.to_json(),
            "seed": self.seed,
            "threads": self.threads,
            "batch": self.batch,
            "limits": dict(self.limits),
            "faithfulness_presets": list(self.faithfulness_presets),
            "table_layer": self.table_layer,
            "chosen_layers": [list(entry) for entry in self.chosen_layers],
            "keep_maps": self.keep_maps,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvaluationPlan:
        """Read what `to_json` wrote.

        Raises
        ------
        RunFileError
            If it is something else, or of a newer version.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise RunFileError("this is no plan of an evaluation", "Choose a results folder.")
        if data.get("version") != VERSION:
            raise RunFileError(
                f"the plan has version {data.get('version')!r}, which is not known",
                "Update Diffusion-CAM Studio.",
            )
        try:
            steps = data["steps"]
            return cls(
                dataset=DatasetChoice(**data["dataset"]),
                items=tuple(str(item) for item in data["items"]),
                model=str(data["model"]),
                fingerprint_of_model=str(data["model_fingerprint"]),
                device=str(data["device"]),
                dtype=str(data["dtype"]),
                methods=tuple(str(name) for name in data["methods"]),
                presets=tuple(
                    (
                        str(entry["name"]),
                        None
                        if entry["pipeline"] is None
                        else Pipeline.from_dict(entry["pipeline"]),
                    )
                    for entry in data["presets"]
                ),
                layers=tuple(int(layer) for layer in data["layers"]),
                metrics=tuple(str(name) for name in data["metrics"]),
                steps=steps if isinstance(steps, str) else int(steps),  # type: ignore[arg-type]
                contrast=str(data["contrast"]),
                generation=GenerationConfig.from_json(data["generation"]),
                seed=int(data["seed"]),
                threads=int(data["threads"]),
                batch=int(data["batch"]),
                limits=tuple((str(k), int(v)) for k, v in data["limits"].items()),
                faithfulness_presets=tuple(str(n) for n in data["faithfulness_presets"]),
                table_layer=int(data["table_layer"]),
                chosen_layers=tuple(
                    (str(method), str(preset), int(layer))
                    for method, preset, layer in data["chosen_layers"]
                ),
                keep_maps=bool(data["keep_maps"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, DiffcamError) as error:
            raise RunFileError(
                f"the plan of the results folder cannot be read ({error})", "Use another folder."
            ) from error

    def difference(self, other: EvaluationPlan) -> str | None:
        """Name the first thing in which another plan differs, or None."""
        mine, theirs = self.to_json(), other.to_json()
        for key, here in mine.items():
            there = theirs[key]
            if here == there:
                continue
            if key == "model_fingerprint":
                return "the weights of the model"
            if key == "presets":
                return _preset_difference(here, there)
            if isinstance(here, list):
                return f"the {key.replace('_', ' ')}: {_brief(there)} there, {_brief(here)} here"
            return f"the {key.replace('_', ' ')}: {_short(there)} there, {_short(here)} here"
        return None


def parse_step_rule(text: str) -> StepRule:
    """Read "commit", "first", "last" or a number.

    Raises
    ------
    InputError
        For anything else.
    """
    word = text.strip().lower()
    if word.isascii() and word.isdigit() and len(word) < 7:
        return int(word)
    if word in STEP_RULES:
        return word  # type: ignore[return-value]
    raise InputError(
        f"--steps {text!r} is no step rule of an evaluation",
        f"Use {', '.join(STEP_RULES)} or a step number.",
    )


def _preset_difference(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> str:
    names_here, names_there = [p["name"] for p in here], [p["name"] for p in there]
    if names_here != names_there:
        return f"the refinements: {_brief(names_there)} there, {_brief(names_here)} here"
    changed = next(a["name"] for a, b in zip(here, there, strict=True) if a != b)
    return f"the parameters of the refinement {changed}"


def _brief(values: list[Any]) -> str:
    if len(values) <= 4:
        return ", ".join(map(str, values)) or "none"
    return f"{len(values)} from {values[0]} to {values[-1]}"


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 90 else f"{text[:87]}..."


def _is_plain(item: str) -> bool:
    return (
        0 < len(item) <= 150
        and item[0] != "."
        and all(c.isascii() and (c.isalnum() or c in "-_.=+@") for c in item)
    )
