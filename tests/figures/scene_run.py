"""A run on a sticker scene with maps of known shape, for figures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from run_builder import lattice

from diffcam_core.datasets.scenes import Scene, make_scene
from diffcam_core.events import Answer, CanvasStep, MapStep, Plan
from diffcam_core.session import RunWriter

SIZE, CELLS, STEPS, LAYERS = 384, 14, 12, (0, 1, 2, 3, 4, 5)


def words_of(scene: Scene) -> tuple[str, ...]:
    """The caption as tokens with leading spaces; the last word is cut in two tokens."""
    pieces: list[str] = []
    for number, word in enumerate(scene.caption.rstrip(".").split(" ")):
        pieces.append(word if number == 0 else f" {word}")
    last = pieces.pop()
    half = len(last) // 2 + 1
    return (*pieces, last[:half], last[half:], ".", "<|eot_id|>")


def write_scene_run(path: Path, seed: int = 9) -> Path:
    """Write a run whose maps light the object that each word names, sharper with every step."""
    scene = make_scene(seed)
    image = scene.render(SIZE)
    texts = words_of(scene)
    length = len(texts)
    rng = np.random.default_rng(seed)
    grid = lattice("base", CELLS, CELLS, SIZE, SIZE)
    ids = np.arange(length, dtype=np.int64)
    commit = rng.permutation(np.arange(length) * STEPS // length).astype(np.int64)
    truth = []
    for text in texts:
        mask = scene.mask_of(text.strip(" ,."), SIZE)
        plain = np.zeros((SIZE, SIZE)) if mask is None else mask
        truth.append(cv2.resize(plain.astype(np.float32), (CELLS, CELLS), interpolation=3))
    target = np.stack(truth)
    canvas, events = [], {}
    for step in range(STEPS):
        written = commit <= step
        canvas.append(
            CanvasStep(
                step=step,
                token_ids=np.where(written, ids, 99),
                guesses=ids,
                confidence=rng.random(length).astype(np.float32),
                committed=commit == step,
                texts=tuple(t if w else "" for t, w in zip(texts, written, strict=True)),
                guess_texts=texts,
            )
        )
        strength = 1 / (1 + np.exp(-(step - commit) / 1.5))[:, None, None]
        layers = []
        for layer in LAYERS:
            noise = rng.random((length, CELLS, CELLS)) ** 2
            share = strength * np.sin(np.pi * (layer + 1) / 7)
            maps = target * share + 0.45 * noise * (1 - 0.6 * share)
            layers.append(np.stack([cv2.GaussianBlur(m, (3, 3), 0.8) for m in maps]))
        maps = 3e-3 * np.stack(layers).astype(np.float32)
        chance = np.clip(strength[:, 0, 0] + rng.normal(0, 0.03, length), 0, 1)
        events[step] = MapStep(
            step, LAYERS, tuple(range(length)), {"base": maps}, chance.astype(np.float32)
        )
    plan = Plan(
        "scene", "diffusion-cam", STEPS, length, LAYERS, (grid,),
        np.ones((STEPS, len(LAYERS)), bool), None, "Describe the image.", "embedded",
        1, 1, None, 0, "",
    )  # fmt: skip
    answer = Answer(ids, texts, scene.caption, commit, tuple(range(length)), tuple(range(STEPS)))
    writer = RunWriter.create(
        path,
        plan,
        None,
        image=image,
        request={"prompt": "Describe the image."},
        metadata={"mask_id": 99, "eos_ids": [length - 1], "prompt": "Describe the image.",
                  "model": "embedded"},
    )  # fmt: skip
    for event in canvas:
        writer.add_canvas_step(event)
    writer.set_answer(answer)
    for step in writer.missing_steps:
        writer.add_map_step(events[step])
    return writer.finish(seconds=1.0)
