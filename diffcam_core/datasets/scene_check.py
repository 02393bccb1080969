"""Tell sticker scenes from any other picture, without a model.

The embedded model reads sticker scenes only, and it answers a photograph with the same confidence
as a scene. So the picture itself is asked: at least half of every scene is one of six known ground
textures. The picture is reduced to the 14 x 14 cells that the model sees, and of every cell seven
numbers are compared with those of each ground (squared Mahalanobis distance). The share of cells
that look like one and the same ground is the verdict's only number.

Measured on 300 held-out scenes (96 to 1024 pixels wide, every fourth a JPEG of quality 80) the
share is 0.37 or more, 0.68 in the median; on 31 photographs and drawings that come with
scikit-image, scikit-learn and Matplotlib 0.19 or less; on 372 random square crops of those 2 pass,
both clear sky; noise, gradients and plain colours have 0.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from diffcam_core.errors import DiffcamError
from diffcam_core.shipped import resource_path

STATISTICS = "scene-statistics.json"
"""Shipped means and precisions of the six grounds, made by ``tools/make_scene_statistics.py``."""

SCENE_SHARE = 0.35
"""Least share of cells that must look like one ground."""

CELLS = 14
_CELL_PIXELS = 10
_MAX_DISTANCE = 25.0
_N_FEATURES = 7

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroundStatistics:
    """Mean (7,) and inverse covariance (7, 7) of the cell features of one ground."""

    ground: str
    mean: FloatArray
    precision: FloatArray


def is_sticker_scene(image: Image.Image) -> bool:
    """Return whether the embedded model was made for this picture.

    Parameters
    ----------
    image : PIL.Image.Image
        Any RGB image.
    """
    return ground_share(image) >= SCENE_SHARE


def ground_share(image: Image.Image) -> float:
    """Return the largest share of cells that look like one and the same ground, 0 to 1.

    Parameters
    ----------
    image : PIL.Image.Image
        Any RGB image; it is stretched to a square.
    """
    features = cell_features(image).reshape(-1, _N_FEATURES)
    best = 0.0
    for ground in _statistics():
        offset = features - ground.mean
        distance = np.einsum("ni,ij,nj->n", offset, ground.precision, offset)
        best = max(best, float(np.mean(distance < _MAX_DISTANCE)))
    return best


def cell_features(image: Image.Image) -> FloatArray:
    """Describe each cell of the 14 x 14 grid by colour and texture.

    Parameters
    ----------
    image : PIL.Image.Image
        Any RGB image.

    Returns
    -------
    ndarray of float64, shape (14, 14, 7)
        Mean R, G, B (in units of 25), then the logarithms of 1 + the standard deviation of the
        brightness, its mean absolute difference along x and along y, and the standard deviation
        of the colours about the brightness (in units of 1/2).
    """
    side = CELLS * _CELL_PIXELS
    small = image.convert("RGB").resize(
        (side, side),
        # Averaging over boxes keeps the statistics of a texture whatever the picture's size.
        Image.Resampling.BOX if min(image.size) >= side else Image.Resampling.BILINEAR,
    )
    pixels = np.asarray(small, np.float64)
    cells = pixels.reshape(CELLS, _CELL_PIXELS, CELLS, _CELL_PIXELS, 3).transpose(0, 2, 1, 3, 4)
    grey = cells.mean(-1)
    textures = np.stack(
        [
            grey.std((2, 3)),
            np.abs(np.diff(grey, axis=3)).mean((2, 3)),
            np.abs(np.diff(grey, axis=2)).mean((2, 3)),
            (cells - grey[..., None]).std((2, 3)).mean(-1),
        ],
        axis=-1,
    )
    return np.concatenate([cells.mean((2, 3)) / 25.0, 2.0 * np.log1p(textures)], axis=-1)


@functools.cache
def _statistics() -> tuple[GroundStatistics, ...]:
    raw = json.loads(resource_path(STATISTICS).read_text(encoding="utf-8"))
    found = tuple(
        GroundStatistics(
            ground, np.asarray(entry["mean"], float), np.asarray(entry["precision"], float)
        )
        for ground, entry in raw["grounds"].items()
    )
    if not found or any(
        g.mean.shape != (_N_FEATURES,) or g.precision.shape != (_N_FEATURES, _N_FEATURES)
        for g in found
    ):
        raise DiffcamError(
            f"the installation's {STATISTICS} is damaged", "Reinstall Diffusion-CAM Studio."
        )
    return found
