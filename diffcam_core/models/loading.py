"""From a folder (or hub id) to a frozen model in evaluation mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from diffcam_core.errors import CheckpointError, InputError
from diffcam_core.models.checkpoint import Checkpoint
from diffcam_core.models.llada import Backbone, LladaConfig, checkpoint_key, dialect_of

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
        Frozen, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder is incomplete, damaged, of another family or unsafe.
    """
    checkpoint = Checkpoint(folder)
    return fill_backbone(checkpoint, resolve_device(device), dtype)


def fill_backbone(
    checkpoint: Checkpoint, device: torch.device, dtype: str | torch.dtype | None
) -> Backbone:
    """Build the LLaDA backbone of an opened checkpoint; see :func:`load_backbone`."""
    dialect = dialect_of(checkpoint.shapes)
    if dialect is None:
        raise CheckpointError(
            f"{checkpoint.folder} holds no LLaDA language model (model_type "
            f"{checkpoint.config.get('model_type')!r})",
            "Use a LLaDA-class checkpoint, for example LaViDa-LLaDA.",
        )
    config = LladaConfig.from_dict(checkpoint.config)
    embedding = checkpoint_key("wte.weight", dialect)
    if embedding in checkpoint.shapes:
        # Derivatives add rows without saying so in config.json; the tensor is right.
        config = replace(config, vocab_size=checkpoint.shapes[embedding][0])
    with torch.device("meta"):
        backbone = Backbone(config)
    keys = {name: checkpoint_key(name, dialect) for name, _ in backbone.named_parameters()}
    missing = sorted(key for key in keys.values() if key not in checkpoint.shapes)
    if missing:
        raise CheckpointError(
            f"{len(missing)} language-model tensor(s) missing in {checkpoint.folder}: "
            f"{', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}",
            "Fetch the missing weight files; the model would answer nonsense without them.",
        )
    size = sum(parameter.numel() for parameter in backbone.parameters())
    chosen = resolve_dtype(dtype, checkpoint.stored_dtype(embedding), device, size)
    checkpoint.fill(backbone, keys, device, chosen)
    return backbone.eval()
