"""Reading a checkpoint folder: config.json and safetensors, lazily; nothing here can run code."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diffcam_core.errors import CheckpointError, ResourceError

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_MAX_JSON_BYTES = 256 * 1024 * 1024


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CheckpointError
        If the file is missing, too large, or not a JSON object.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path.name} is missing in {path.parent}",
            "A model folder holds config.json, safetensors files and tokenizer.json.",
        )
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise CheckpointError(f"{path} is too large for a JSON file", "Fetch the model again.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error})", "Fetch it again.") from (
            error
        )
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object", "Fetch the model again.")
    return value


_LANGUAGE_PREFIXES = (
    "model.transformer.",
    "model.layers.",
    "model.norm.",
    "model.embed_tokens.",
    "lm_head.",
)


@dataclass(frozen=True)
class LoadReport:
    """What did not match: ``missing`` keys that we need, ``unused`` keys of the checkpoint."""

    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def refuse_missing(self, folder: Path) -> None:
        """Raise CheckpointError if a needed tensor is missing."""
        if self.missing:
            raise CheckpointError(
                f"{len(self.missing)} tensor(s) missing in {folder}: {some_of(self.missing)}",
                "Fetch all weight files; the model would answer nonsense without them.",
            )

    def refuse_foreign_language(self, folder: Path) -> None:
        """Raise CheckpointError if language-model tensors are left over: another family."""
        # Rotary tables are recomputed; some exporters store them all the same.
        foreign = [
            key
            for key in self.unused
            if key.startswith(_LANGUAGE_PREFIXES) and not key.endswith("inv_freq")
        ]
        if foreign:
            raise CheckpointError(
                f"{len(foreign)} language-model tensor(s) of {folder} have no place in a LLaDA "
                f"backbone as config.json states it: {some_of(foreign)}",
                "Use the config.json that belongs to these weights, or a LLaDA-class model.",
            )


def some_of(keys: Sequence[str]) -> str:
    """Name the first few of many."""
    return ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")


class Checkpoint:
    """A folder of safetensors, opened only as far as its headers.

    Parameters
    ----------
    folder : path
        Holds config.json and model.safetensors, or shards with their index.

    Attributes
    ----------
    folder : Path
    config : dict
        config.json.
    shapes : dict of str to tuple of int
        Every stored tensor.

    Raises
    ------
    CheckpointError
        If anything is missing, truncated or stored as pickle.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            there = self.folder.is_dir()
        except OSError:  # such as a name that is too long
            there = False
        if not there:
            raise CheckpointError(
                f"model folder {self.folder} does not exist",
                "Give a folder with config.json and safetensors files.",
            )
        self.config = read_json(self.folder / "config.json")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file_of: dict[str, Path] = {}
        expected = self._find_files()
        for path in sorted(set(expected.values())) if expected else self._single_file():
            self._read_header(path)
        for key, path in expected.items():
            if self._file_of.get(key) != path:
                raise CheckpointError(
                    f"{path.name} does not hold {key}, which the index promises",
                    "Fetch the model again.",
                )

    def _find_files(self) -> dict[str, Path]:
        """Return key -> shard of the index, or an empty dict for a single-file checkpoint."""
        indices = sorted(self.folder.glob("*.safetensors.index.json"))
        if not indices:
            return {}
        weight_map = read_json(indices[0]).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{indices[0]} has no weight_map", "Fetch the model again.")
        files: dict[str, Path] = {}
        for key, name in weight_map.items():
            # A name from a stranger's file must not lead out of the folder.
            if not isinstance(name, str) or Path(name).name != name:
                raise CheckpointError(
                    f"{indices[0].name} names a file outside the folder: {name!r}",
                    "Do not use this checkpoint.",
                )
            if not name.endswith(".safetensors"):
                raise CheckpointError(
                    f"{indices[0].name} points to {name}, which is not a safetensors file",
                    "Only safetensors are read, since pickle files can run code.",
                )
            files[key] = self.folder / name
        absent = sorted({path.name for path in files.values() if not path.is_file()})
        if absent:
            raise CheckpointError(
                f"{len(absent)} weight file(s) missing in {self.folder}: {', '.join(absent[:4])}",
                "Fetch the missing shards.",
            )
        return files

    def _single_file(self) -> list[Path]:
        single = self.folder / "model.safetensors"
        if single.is_file():
            return [single]
        found = sorted(self.folder.glob("*.safetensors"))
        if len(found) == 1:
            return found
        if found:
            raise CheckpointError(
                f"{self.folder} has {len(found)} safetensors files but no index",
                "Fetch model.safetensors.index.json too.",
            )
        pickles = sorted(
            p.name for p in self.folder.iterdir() if p.suffix.lower() in _PICKLE_SUFFIXES
        )
        if pickles:
            raise CheckpointError(
                f"{self.folder} holds only pickle weights ({pickles[0]})",
                "They can run code and are never read: convert them to safetensors.",
            )
        raise CheckpointError(
            f"{self.folder} has no model.safetensors", "Fetch the weights of the model."
        )

    def _read_header(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    self.shapes[key] = tuple(file.get_slice(key).get_shape())
                    self._file_of[key] = path
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error

    def refuse_absurd_depth(self, layers: int) -> None:
        """Raise CheckpointError before a model with more layers than stored tensors is built."""
        if layers > len(self.shapes):
            raise CheckpointError(
                f"config.json states {layers} layers, {self.folder} holds {len(self.shapes)} "
                "tensors",
                "Use the config.json that belongs to these weights.",
            )

    def match(self, keys: Collection[str]) -> LoadReport:
        """Compare the keys that a model needs with those that are stored."""
        needed = set(keys)
        return LoadReport(
            missing=tuple(sorted(needed - self.shapes.keys())),
            unused=tuple(sorted(self.shapes.keys() - needed)),
        )

    def stored_dtype(self, key: str) -> torch.dtype:
        """Type in which a tensor is stored."""
        path = self._file_of[key]
        with safe_open(path, framework="pt") as file:
            name = str(file.get_slice(key).get_dtype())
        types = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}
        types["F16"] = torch.float16
        if name not in types:
            raise CheckpointError(
                f"{key} is stored as {name}", "Only float checkpoints can be read, not quantised."
            )
        return types[name]

    def fill(
        self,
        module: nn.Module,
        keys: Mapping[str, str],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Put stored tensors into ``module`` as frozen parameters, one after the other.

        Parameters
        ----------
        module : nn.Module
            Usually built on the meta device, so that weights exist once only.
        keys : mapping
            Parameter name -> checkpoint key; every key must be stored.
        device, dtype
            Where the parameters go and as what.

        Raises
        ------
        CheckpointError
            On a shape that differs from the module, or values that are not finite.
        """
        names = dict(module.named_parameters())
        for name, key in keys.items():
            if tuple(names[name].shape) != self.shapes[key]:
                raise CheckpointError(
                    f"{key} has shape {list(self.shapes[key])}, config.json asks for "
                    f"{list(names[name].shape)}",
                    "Use the config.json that belongs to these weights.",
                )
        for path in sorted({self._file_of[key] for key in keys.values()}):
            try:
                with safe_open(path, framework="pt", device=str(device)) as file:
                    for name, key in keys.items():
                        if self._file_of[key] == path:
                            _place(module, name, key, file.get_tensor(key), device, dtype)
            except torch.OutOfMemoryError as error:
                raise ResourceError(
                    f"the model does not fit into the memory of {device}",
                    "Choose device cpu or a smaller dtype.",
                ) from error
            except (SafetensorError, OSError) as error:
                raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or not a safetensors file ({error})", "Fetch that file again."
    )


def _place(
    module: nn.Module,
    name: str,
    key: str,
    value: Tensor,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    if not value.is_floating_point():
        raise CheckpointError(
            f"{key} is stored as {value.dtype}", "Only float checkpoints can be read."
        )
    # A copy: on the CPU the tensor would otherwise be a window on the mapped file, which another
    # program may cut short while we run.
    value = value.to(device=device, dtype=dtype, copy=True)
    # A sum is finite unless some value is not (or, rarely, it overflows: then look closely).
    if not bool(torch.isfinite(value.sum(dtype=torch.float32))) and not bool(
        torch.isfinite(value).all()
    ):
        raise CheckpointError(
            f"{key} holds values that are not finite in {dtype}",
            "The weights are damaged (or need dtype float32): fetch them again.",
        )
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))
