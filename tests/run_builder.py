"""Made-up runs with known contents, for the tests of the run file and of what reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_core.events import Answer, CanvasStep, GridSpec, MapStep, Plan
from diffcam_core.session import Run, RunWriter

WORDS = ("A", " red", " cat", "s", " on", " the", " grass", ",", " café", " 猫", ".", "<|eot_id|>")
REQUEST = {"prompt": "Where is the cat?", "seed": 0, "steps": "all"}


def lattice(name: str, rows: int, cols: int, width: float, height: float) -> GridSpec:
    """A regular grid over an image."""
    boxes = np.empty((rows, cols, 4), np.float32)
    across, down = np.linspace(0, width, cols + 1), np.linspace(0, height, rows + 1)
    boxes[..., 0], boxes[..., 2] = across[:-1], across[1:]
    boxes[..., 1], boxes[..., 3] = down[:-1, None], down[1:, None]
    return GridSpec(name, rows, cols, boxes)


@dataclass
class Truth:
    """What goes into a run, kept to compare with what comes out."""

    plan: Plan
    answer: Answer
    image: np.ndarray
    canvas: list[CanvasStep]
    steps: dict[int, MapStep]
    request: dict[str, Any] = field(default_factory=lambda: dict(REQUEST))
    metadata: dict[str, Any] = field(default_factory=lambda: {"mask_id": 99, "eos_ids": [11]})

    def create(self, path: Path, **changes: Any) -> RunWriter:
        """Start writing it."""
        options: dict[str, Any] = {
            "answer": None,
            "image": self.image,
            "request": self.request,
            "metadata": self.metadata,
            **changes,
        }
        return RunWriter.create(path, self.plan, options.pop("answer"), **options)

    def fill(self, writer: RunWriter, *, last_step: int | None = None) -> None:
        """Write everything that is not there yet, up to a step."""
        if writer.answer is None:
            for event in self.canvas:
                writer.add_canvas_step(event)
            writer.set_answer(self.answer)
        for step in writer.missing_steps:
            if last_step is None or step <= last_step:
                writer.add_map_step(self.steps[step])

    def write(self, path: Path, **changes: Any) -> Path:
        """Write all of it."""
        writer = self.create(path, **changes)
        self.fill(writer)
        return writer.finish(seconds=1.5)

    def check_step(self, run: Run, step: int) -> None:
        """Assert that one step's maps are what was written, within the documented bound."""
        event = self.steps[step]
        for name, values in event.maps.items():
            for row, layer in enumerate(event.layers):
                if not self.plan.valid[step, self.plan.layers.index(layer)]:
                    continue
                assert_close_maps(run.maps(step, layer, name), values[row])
        np.testing.assert_array_equal(
            run.target_probability[step, list(event.targets)], event.target_probability
        )

    def check(self, run: Run) -> None:
        """Assert that a complete run is what was written."""
        assert run.complete
        assert run.answer == self.answer.text
        assert run.tokens == self.answer.texts
        assert run.targets == self.answer.targets
        assert run.request == self.request
        np.testing.assert_array_equal(run.image, self.image)
        np.testing.assert_array_equal(run.commit_step, self.answer.commit_step)
        np.testing.assert_array_equal(run.valid, self.plan.valid)
        for event in self.canvas:
            self.check_canvas(run, event.step)
        for step in self.answer.requested_steps:
            self.check_step(run, step)

    def check_canvas(self, run: Run, step: int) -> None:
        """Assert that one canvas step is what was written."""
        event = self.canvas[step]
        np.testing.assert_array_equal(run.canvas[step], event.token_ids)
        np.testing.assert_array_equal(run.guesses[step], event.guesses)
        np.testing.assert_array_equal(run.confidence[step], event.confidence)
        np.testing.assert_array_equal(run.committed[step], event.committed)
        for token_id, text in zip(event.guesses.tolist(), event.guess_texts, strict=True):
            assert run.texts.get(token_id, "") == text


def assert_close_maps(found: np.ndarray, wanted: np.ndarray) -> None:
    """Assert the documented error bound of the file: (max - min) * 2**-12 and one rounding."""
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    for got, want in zip(found, wanted.astype(np.float64), strict=True):
        if np.isnan(want).all():
            assert np.isnan(got).all()
            continue
        low, high = want.min(), want.max()
        rounding = max(abs(low), abs(high)) * 2.0**-23 + 1e-44
        bound = (high - low) * 2.0**-12 * (1 + 1e-6) + rounding
        assert np.abs(got - want).max() <= bound
        assert got.min() == np.float32(low)
        assert got.max() == np.float32(high)


def make_truth(
    *,
    seed: int = 0,
    steps: int = 4,
    layers: tuple[int, ...] = (0, 2, 5),
    rows: int = 5,
    cols: int = 7,
    targets: tuple[int, ...] | None = None,
    commit_only: bool = False,
    tiles: bool = False,
    texts: tuple[str, ...] = WORDS,
    size: tuple[int, int] = (70, 50),
) -> Truth:
    """Make a run with random contents."""
    rng = np.random.default_rng(seed)
    length = len(texts)
    width, height = size
    grids = [lattice("base", rows, cols, width, height)]
    if tiles:
        grids.append(lattice("tiles", rows + 3, cols + 2, width, height))
    valid = np.ones((steps, len(layers)), bool)
    valid[0, -1] = len(layers) == 1
    targets = tuple(range(length)) if targets is None else targets
    ids = np.arange(length, dtype=np.int64)
    commit = np.sort(np.arange(length, dtype=np.int64) * steps // max(1, length))
    canvas = []
    for step in range(steps):
        written = commit <= step
        guesses = np.where(written, ids, rng.permutation(length)) if length else ids
        canvas.append(
            CanvasStep(
                step=step,
                token_ids=np.where(written, ids, 99),
                guesses=guesses,
                confidence=rng.random(length).astype(np.float32),
                committed=commit == step,
                texts=tuple(
                    text if done else "" for text, done in zip(texts, written, strict=True)
                ),
                guess_texts=tuple(texts[guess] for guess in guesses),
            )
        )
    wanted = sorted({int(commit[t]) for t in targets}) if commit_only else range(steps)
    events = {}
    for step in wanted:
        maps = {}
        for grid in grids:
            shape = (len(layers), len(targets), grid.rows, grid.cols)
            values = rng.standard_normal(shape).astype(np.float32) * 10.0 ** rng.integers(-6, 6)
            values[~valid[step]] = np.nan
            if commit_only:
                values[:, [commit[t] != step for t in targets]] = np.nan
            maps[grid.name] = values.astype(np.float32)
        scores = rng.random(len(targets)).astype(np.float32)
        events[step] = MapStep(step, layers, targets, maps, scores)
    plan = Plan(
        run_id="test",
        method="diffusion-cam",
        n_steps=steps,
        n_positions=length,
        layers=layers,
        grids=tuple(grids),
        valid=valid,
        requested_steps=None,
        prompt="Where is the cat?",
        model="tiny",
        forward_passes=1,
        backward_passes=1,
        seconds=None,
        bytes_on_disk=0,
        path="",
    )
    text = "".join(text for text in texts if not text.startswith("<|")).strip()
    answer = Answer(ids, texts, text, commit, targets, tuple(wanted))
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Truth(plan, answer, image, canvas, events)
