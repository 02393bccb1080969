"""Measure what the grounds of sticker scenes look like, for `datasets/scene_check.py`.

Run from the repository root after any change of the ground textures::

    python tools/make_scene_statistics.py

Only training seeds are used, so that held-out scenes can test the result.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from diffcam_core.datasets.scene_check import CELLS, STATISTICS, cell_features
from diffcam_core.datasets.scenes import GROUNDS, TRAINING_SEEDS, make_scene

N_SCENES = 540
SIZES = (96, 128, 140, 224, 256, 384, 512, 768, 1024)
JPEG_QUALITIES = (None, None, 75, None, 90)


def _whole_ground_cells(mask: np.ndarray) -> np.ndarray:
    """Cells (14, 14) that no sticker touches."""
    side = CELLS * 10
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BOX)
    return np.asarray(share).reshape(CELLS, 10, CELLS, 10).min((1, 3)) >= 254


def main() -> None:
    """Write resources/scene-statistics.json."""
    samples: dict[str, list[np.ndarray]] = {ground: [] for ground in GROUNDS}
    for index, seed in enumerate(TRAINING_SEEDS[:N_SCENES]):
        scene = make_scene(seed)
        picture, masks = scene.draw(SIZES[index % len(SIZES)])
        image = Image.fromarray(picture)
        quality = JPEG_QUALITIES[index % len(JPEG_QUALITIES)]
        if quality is not None:
            packed = io.BytesIO()
            image.save(packed, "JPEG", quality=quality)
            image = Image.open(packed).convert("RGB")
        samples[scene.ground].append(cell_features(image)[_whole_ground_cells(masks[-1])])
    grounds = {}
    for ground, parts in samples.items():
        cells = np.concatenate(parts)
        precision = np.linalg.inv(np.cov(cells.T) + 1e-4 * np.eye(cells.shape[1]))
        grounds[ground] = {
            "mean": [round(float(v), 4) for v in cells.mean(0)],
            "precision": [[round(float(v), 3) for v in row] for row in precision],
        }
        print(f"{ground}: {len(cells)} cells")
    target = Path("resources") / STATISTICS
    target.write_text(json.dumps({"grounds": grounds}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target} ({target.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
