"""Scenes as the tower sees them, with the share of every patch that each thing covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from diffcam_core.datasets.scenes import GROUNDS, Scene, kinds, make_scene
from tools.embedded_training.recipe import DRAWN_SIZE, GRID, IMAGE_SIZE

N_CLASSES = len(kinds()) + len(GROUNDS)


def tower_pixels(picture: np.ndarray) -> np.ndarray:
    """Shrink a drawn picture as the image processor does: uint8 (140, 140, 3)."""
    image = Image.fromarray(picture)
    return np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def patch_shares(scene: Scene, masks: np.ndarray) -> np.ndarray:
    """Share of each patch covered by each class: float32 (patches, classes), rows sum to 1."""
    cell = DRAWN_SIZE // GRID
    shares = masks.reshape(len(masks), GRID, cell, GRID, cell).mean((2, 4), dtype=np.float32)
    labels = np.zeros((GRID * GRID, N_CLASSES), np.float32)
    for thing, share in zip(scene.objects, shares[:-1], strict=True):
        labels[:, kinds().index(thing.kind)] = share.ravel()
    labels[:, len(kinds()) + GROUNDS.index(scene.ground)] = shares[-1].ravel()
    return labels


def to_input(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 140, 140, 3) to the tower's normalised float32 (B, 3, 140, 140)."""
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)


@dataclass(frozen=True)
class PictureStream(IterableDataset):
    """Endless batches of fresh training scenes, starting at a seed, split over workers."""

    first_seed: int
    batch: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield pixels uint8 (B, 140, 140, 3) and labels float16 (B, patches, classes)."""
        worker = get_worker_info()
        share, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        seed = self.first_seed + share * self.batch
        while True:
            pixels, labels = [], []
            for scene in map(make_scene, range(seed, seed + self.batch)):
                picture, masks = scene.draw(DRAWN_SIZE)
                pixels.append(tower_pixels(picture))
                labels.append(patch_shares(scene, masks))
            yield torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels)).half()
            seed += self.batch * stride


def picture_batches(first_seed: int, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Stream batches drawn by a background process."""
    loader = DataLoader(
        PictureStream(first_seed, batch), batch_size=None, num_workers=1, prefetch_factor=6
    )
    return iter(loader)
