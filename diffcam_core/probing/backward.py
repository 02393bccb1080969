"""One backward pass for many targets, cut to the memory that is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import psutil
import torch
from torch import Tensor

from diffcam_core.errors import CancelledError, ResourceError

Cancel = Callable[[], bool] | threading.Event

# Share of the free memory that a chunk may be planned to take.
_SHARE = 0.5
# Largest chunks worth having. On a CPU more targets a pass only push the intermediate results out
# of the cache (benchmarks/engine.py --chunks prints the curve); a GPU wants them.
_CAP_CPU = 8
_CAP_GPU = 32


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device, in bytes, measured now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Blocks that PyTorch holds but does not use are free to us as well.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + idle)
    return int(psutil.virtual_memory().available)


def is_cancelled(cancel: Cancel | None) -> bool:
    """Ask a callable or an event whether to stop."""
    if cancel is None:
        return False
    return cancel.is_set() if isinstance(cancel, threading.Event) else bool(cancel())


def fitting_chunk(device: torch.device, bytes_per_target: int, most: int | None = None) -> int:
    """Targets that one backward pass takes: what the device favours and half the memory holds."""
    cap = _CAP_CPU if device.type == "cpu" else _CAP_GPU
    fits = int(free_bytes(device) * _SHARE) // max(bytes_per_target, 1)
    return max(1, min(cap if most is None else most, fits))


class BatchedBackward:
    """Vector-Jacobian products for many cotangents over one shared graph.

    Parameters
    ----------
    device : torch.device
        Where the graph lives.
    bytes_per_target : int
        What one more target in a chunk is expected to take.
    max_chunk : int, optional
        Upper bound for the chunk; None leaves it to the device's cap and the free memory.
    cancel : callable or threading.Event, optional
        Asked before every chunk.

    Attributes
    ----------
    chunk : int
        Targets handled in one pass. Running out of memory halves it, for good.
    """

    def __init__(
        self,
        device: torch.device,
        bytes_per_target: int,
        max_chunk: int | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.chunk = fitting_chunk(device, bytes_per_target, max_chunk)
        self._device = device
        self._cancel = cancel

    def check_cancel(self) -> None:
        """Raise CancelledError if the job is to stop."""
        if is_cancelled(self._cancel):
            raise CancelledError("the job was cancelled", "Start it again to go on.")

    def __call__(
        self,
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        rows: slice | None = None,
    ) -> list[Tensor | None]:
        """Pull cotangents back from ``outputs`` to ``inputs``; the graph is kept.

        Parameters
        ----------
        outputs, inputs : sequences of Tensor
            Ends of the graph.
        cotangents : sequence of Tensor
            One for each output, with a leading axis of M targets.
        rows : slice, optional
            Keep only these rows (axis 2) of every result, so that M results never exist whole.

        Returns
        -------
        list of Tensor or None
            One for each input, with a leading axis of M; None where no path leads.

        Raises
        ------
        CancelledError
            Between two chunks.
        ResourceError
            If memory runs out with a single target.
        """
        total = cotangents[0].shape[0]
        if total == 0:
            return [None] * len(inputs)
        parts: list[list[Tensor | None]] = []
        done = 0
        while done < total:
            self.check_cancel()
            size = min(self.chunk, total - done)
            try:
                part = _pull_back(
                    outputs, inputs, [cotangent[done : done + size] for cotangent in cotangents]
                )
                parts.append([t if t is None or rows is None else t[:, :, rows] for t in part])
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(size)
                continue
            done += size
        return [
            None if pieces[0] is None else torch.cat([p for p in pieces if p is not None])
            for pieces in zip(*parts, strict=True)
        ]

    def _shrink(self, failed: int) -> None:
        if failed == 1:
            raise ResourceError(
                "memory ran out while computing the gradient of a single token",
                "Probe fewer or higher layers, close other programs, or load the model in "
                "bfloat16.",
            )
        self.chunk = failed // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _pull_back(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> list[Tensor | None]:
    """Differentiate once for all cotangents (leading axis), through vmap over the backward."""
    reached: list[bool] = []

    def one(*cotangent: Tensor) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(
            list(outputs), list(inputs), cotangent, retain_graph=True, allow_unused=True
        )
        reached[:] = [gradient is not None for gradient in found]
        # vmap passes tensors only, so the unreached inputs are left out and put back below. It
        # wants at least one result, hence the first, which is dropped.
        return (cotangent[0].sum(), *(gradient for gradient in found if gradient is not None))

    _, *present = torch.vmap(one)(*cotangents)
    found = iter(present)
    return [next(found) if there else None for there in reached]


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell running out of memory from other errors."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator and some back ends raise a plain RuntimeError.
    text = str(error).lower()
    return any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
