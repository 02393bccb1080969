"""A prober that remembers: several methods read the very same gradients of one item.

Backward passes are most of the time of an item, and Diffusion-CAM, Grad-CAM and their kin differ
only in what they do with the gradients. They are kept where they are small (a demo model: some
20 MB); where they are not, every method computes its own, as a single explanation does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from torch import Tensor

from diffcam_core.probing import Prober, ProbeResult, Target

MOST_BYTES: Final = 512 * 1024**2

_Key = tuple[tuple[int, tuple[Target, ...]], ...]


class SharedProber(Prober):
    """As `Prober`; the last results of `stream` are kept if they take at most `MOST_BYTES`."""

    _key: _Key | None = None
    _kept: tuple[ProbeResult, ...] = ()

    def stream(self, requests: Iterable[tuple[int, Sequence[Target]]]) -> Iterator[ProbeResult]:
        """Probe targets of many steps, or recall them."""
        wanted = tuple((step, tuple(targets)) for step, targets in requests)
        if wanted == self._key:
            yield from self._kept
            return
        kept: list[ProbeResult] = []
        size = 0
        for result in super().stream(wanted):
            size += sum(_bytes(gradient) for gradient in result.gradients.values())
            if size <= MOST_BYTES:
                kept.append(result)
            yield result
        if size <= MOST_BYTES:
            self._key, self._kept = wanted, tuple(kept)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
