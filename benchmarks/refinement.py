"""Time of refinement: milliseconds per 27 x 27 map when 64 are batched, on one core.

The limit is 1 ms per map through AKD, DACG, CBA and SICD. Each preset is also timed for a single
map (what a moved slider costs) and, as the peer in the same run, a loop over the maps.

    python benchmarks/refinement.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and OpenCV are loaded

import cv2
import numpy as np

from diffcam_core import refinement

LIMIT_MS = 1.0
COUNT, SIDE = 64, 27


def make_maps() -> np.ndarray:
    """Return peaked, noisy maps like those of real words, (64, 27, 27) in [0, 1]."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    maps = np.empty((COUNT, SIDE, SIDE), np.float32)
    for map_ in maps:
        r, c, width = rng.uniform(4, 23), rng.uniform(4, 23), rng.uniform(2, 6)
        peak = np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / (2 * width**2))
        map_[:] = peak + 0.6 * rng.random((SIDE, SIDE)) ** 4
    maps -= maps.min(axis=(1, 2), keepdims=True)
    return maps / maps.max(axis=(1, 2), keepdims=True)


def best_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest wall time in milliseconds: what the code costs, not its neighbours."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    """Measure, print a table, optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)

    maps = make_maps()
    # 32 steps and a large photograph: the largest kernels that the adaptive rule allows.
    options = {
        "token_ids": [5, 6, 5, 7, 8, 5, 6, 9],
        "n_steps": 32,
        "image_size": (1024, 1024),
        "context_maps": refinement.others_of(maps),
    }
    single = {**options, "context_maps": maps[1:9]}
    rows = []
    for name, preset in refinement.PRESETS.items():
        used = refinement.kernels(maps, preset, n_steps=32, image_size=(1024, 1024)).get("akd")
        batched = best_ms(
            lambda preset=preset: refinement.apply(maps, preset, **options), arguments.repeats
        )
        alone = best_ms(
            lambda preset=preset: refinement.apply(maps[0], preset, **single), arguments.repeats
        )
        looped = best_ms(
            lambda preset=preset: [refinement.apply(m, preset, **single) for m in maps],
            max(1, arguments.repeats // 5),
        )
        rows.append(
            {
                "preset": name,
                "ms_per_map": batched / COUNT,
                "ratio_to_limit": batched / COUNT / LIMIT_MS,
                "ms_single_map": alone,
                "ms_per_map_looped": looped / COUNT,
                "kernels": [] if used is None else sorted(set(used.tolist())),
            }
        )

    print(f"{COUNT} maps of {SIDE} x {SIDE}, limit {LIMIT_MS:g} ms per map, best of several runs")
    print(f"{'preset':10} {'ms/map':>8} {'of limit':>9} {'one map':>9} {'looped':>8}  kernels")
    for row in rows:
        print(
            f"{row['preset']:10} {row['ms_per_map']:8.3f} {row['ratio_to_limit']:9.2f} "
            f"{row['ms_single_map']:9.3f} {row['ms_per_map_looped']:8.3f}  {row['kernels']}"
        )
    if arguments.json:
        machine = {"python": platform.python_version(), "numpy": np.__version__}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
