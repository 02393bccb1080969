"""From a folder (or hub id) to a frozen model in evaluation mode."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.models.checkpoint import Checkpoint
from diffcam_core.models.llada import Backbone, LladaConfig, checkpoint_key, dialect_of
from diffcam_core.shipped import resource_path

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM, Family

EMBEDDED_FOLDER = "embedded-model"
# One module for each family, tried in this order and imported only when a model is loaded.
_FAMILIES = ("diffcam_core.models.lavida",)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_SMALL = 1_000_000_000  # parameters; below it float32 on a CPU costs no memory worth saving


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn "auto" into cuda, then mps, then cpu; check that a named device is there.

    Raises
    ------
    InputError
        If the device is unknown or not present.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"unknown device {device!r}", "Use auto, cpu, cuda or mps.") from error
    count = torch.cuda.device_count()
    if chosen.type == "cuda" and (chosen.index or 0) >= count:
        raise InputError(f"device {chosen} is not available here", "Use device auto or cpu.")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps is not available here", "Use device auto or cpu.")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {chosen} is not supported", "Use auto, cpu, cuda or mps.")
    return chosen


def resolve_dtype(
    dtype: str | torch.dtype | None,
    stored: torch.dtype,
    device: torch.device,
    n_parameters: int,
) -> torch.dtype:
    """Choose the parameter type: as asked, else as stored, but float32 for small CPU models.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None:
        if dtype not in _DTYPES:
            raise InputError(f"unknown dtype {dtype!r}", f"Use one of {', '.join(_DTYPES)}.")
        return _DTYPES[dtype]
    if device.type == "cpu" and (stored == torch.float16 or n_parameters < _SMALL):
        return torch.float32
    return stored


def load_backbone(
    folder: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
) -> Backbone:
    """Load the bare language model of a checkpoint folder.

    Parameters
    ----------
    folder : path
        config.json and safetensors, in LLaDA or Llama naming; vision keys are passed over.
    device : str
        "auto", "cpu", "cuda", "mps".
    dtype : optional
        None: as stored, but float32 for models under a billion parameters on the CPU.

    Returns
    -------
    Backbone
        Frozen, in evaluation mode; ``report`` names the tensors that were passed over.

    Raises
    ------
    CheckpointError
        If the folder is incomplete, damaged, of another family or unsafe.
    """
    checkpoint = Checkpoint(folder)
    chosen = resolve_device(device)
    dialect = dialect_of(checkpoint.shapes)
    if dialect is None:
        raise _unknown_family(checkpoint)
    with torch.device("meta"):
        backbone = Backbone(language_config(checkpoint, dialect))
    keys = backbone_keys(backbone, dialect)
    report = checkpoint.match(keys.values())
    report.refuse_missing(checkpoint.folder)
    report.refuse_foreign_language(checkpoint.folder)
    kind = choose_dtype(backbone, checkpoint, keys["wte.weight"], chosen, dtype)
    checkpoint.fill(backbone, keys, chosen, kind)
    backbone.report = report
    return backbone.eval()


def language_config(checkpoint: Checkpoint, dialect: str) -> LladaConfig:
    """Read the backbone's sizes; the vocabulary comes from the stored embedding."""
    config = LladaConfig.from_dict(checkpoint.config)
    checkpoint.refuse_absurd_depth(config.n_layers)
    shape = checkpoint.shapes.get(checkpoint_key("wte.weight", dialect), ())
    # Derivatives add rows without saying so in config.json; the tensor is right.
    return replace(config, vocab_size=shape[0]) if shape and shape[0] > 0 else config


def backbone_keys(backbone: Backbone, dialect: str) -> dict[str, str]:
    """Parameter name -> checkpoint key."""
    return {name: checkpoint_key(name, dialect) for name, _ in backbone.named_parameters()}


def choose_dtype(
    module: nn.Module,
    checkpoint: Checkpoint,
    key: str,
    device: torch.device,
    dtype: str | torch.dtype | None,
) -> torch.dtype:
    """Resolve the parameter type of a model whose tensor ``key`` tells how it is stored."""
    size = sum(parameter.numel() for parameter in module.parameters())
    return resolve_dtype(dtype, checkpoint.stored_dtype(key), device, size)


def load_model(
    source: str | Path = "embedded",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
) -> DiffusionVLM:
    """Load a diffusion multimodal language model.

    Parameters
    ----------
    source : str or path
        "embedded" (comes with the program), a local folder, or a hub id such as
        "jacklishufan/lavida-llada-v1.0-instruct". Only a hub id touches the network, and fetches
        safetensors and JSON files alone; nothing in a checkpoint is ever executed.
    device : str
        "auto" (cuda, then mps, then cpu), or one of them.
    dtype : str, optional
        "float32", "bfloat16", "float16", "float64"; None: as stored, but float32 for models
        under a billion parameters on the CPU.

    Returns
    -------
    DiffusionVLM
        Frozen, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the checkpoint is incomplete, damaged, unsafe or of an unknown family.
    InputError
        If device or dtype is unknown or not present.
    ResourceError
        If it does not fit into memory.
    """
    chosen = resolve_device(device)
    folder = _locate(source)
    name = folder.resolve().name if Path(source).expanduser() == folder else str(source)
    checkpoint = Checkpoint(folder)
    for module in _FAMILIES:
        family: Family = importlib.import_module(module).FAMILY
        if family.recognises(checkpoint.config, checkpoint.shapes):
            return family.load(checkpoint, name, chosen, dtype)
    raise _unknown_family(checkpoint)


def unused_keys(folder: str | Path) -> tuple[str, ...]:
    """Name the stored tensors that have no place in the model, without loading it.

    Raises
    ------
    CheckpointError
        If the folder is incomplete, damaged or of an unknown family.
    """
    checkpoint = Checkpoint(folder)
    for module in _FAMILIES:
        family: Family = importlib.import_module(module).FAMILY
        if family.recognises(checkpoint.config, checkpoint.shapes):
            return family.match(checkpoint).unused
    raise _unknown_family(checkpoint)


def _locate(source: str | Path) -> Path:
    name = str(source)
    if name == "embedded":
        return resource_path(EMBEDDED_FOLDER)
    folder = Path(source).expanduser()
    if _is_there(folder) or not (isinstance(source, str) and _HUB_ID.fullmatch(source)):
        return folder
    return _fetch(source)


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # such as a name that is too long
        return False


def _fetch(hub_id: str) -> Path:
    """Fetch (or find in the local cache) the safe files of a hub repository."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=["*.safetensors", "*.json"],
                # Sub-folders hold other things (training states, other formats).
                ignore_patterns=["*/*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{hub_id} is neither a folder nor can it be fetched from the hub ({error})",
            "Check the name and the connection, or fetch it elsewhere and give its folder.",
        ) from error


def _unknown_family(checkpoint: Checkpoint) -> CheckpointError:
    sees = any("vision" in key or key.startswith("visual.") for key in checkpoint.shapes)
    what = "is of a family that is not known here" if sees else "holds no known vision tower"
    if dialect_of(checkpoint.shapes) is None:
        what = "holds no known language model"
    return CheckpointError(
        f"{checkpoint.folder} {what} (model_type {checkpoint.config.get('model_type')!r})",
        "Use a LaViDa-LLaDA checkpoint.",
    )
