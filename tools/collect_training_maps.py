"""Collect raw maps of nouns of TRAINING scenes for ``tools/tune_studio_preset.py``.

    python tools/collect_training_maps.py maps.npz --scenes 150 --layers 0 2 4

One map for each noun (its first sub-token) and layer, at the step that wrote it, with the exact
mask of the object and the mean map of the answer's other words.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from diffcam_core.datasets.scenes import TRAINING_SEEDS, make_scene
from diffcam_core.evaluation.localisation import noun_maps
from diffcam_core.models import load_model

MASK_SIDE = 140
# The last scenes of the training range, so that no two tools ever tune on each other's.
SEEDS = TRAINING_SEEDS[-20_000:]


def main() -> int:
    """Write the .npz; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument("--layers", type=int, nargs="+", default=None)
    parser.add_argument("--method", default="diffusion-cam")
    parser.add_argument("--contrast", default="none")
    arguments = parser.parse_args()
    model = load_model("embedded", device="cpu")
    maps, masks, contexts, scenes, layers = [], [], [], [], []
    for seed in SEEDS[: arguments.scenes]:
        for noun in noun_maps(
            model, make_scene(seed), arguments.method, arguments.contrast, arguments.layers
        ):
            small = cv2.resize(
                noun.mask.astype(np.float32), (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA
            )
            for layer, heat in noun.maps[0].items():
                maps.append(heat.values)
                masks.append(small > 0.5)
                others = heat.context
                contexts.append(
                    np.zeros_like(heat.values) if others is None else others.mean(axis=0)
                )
                scenes.append(seed)
                layers.append(layer)
    np.savez_compressed(
        arguments.output,
        maps=np.stack(maps),
        masks=np.stack(masks),
        context=np.stack(contexts),
        scene=np.array(scenes),
        layer=np.array(layers),
        split=np.array("train"),
        n_steps=np.array(model.default_generation.n_steps),
    )
    print(f"{arguments.output}: {len(maps)} maps of {arguments.scenes} scenes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
