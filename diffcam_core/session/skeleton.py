"""Lay out a whole run file before anything is computed.

Every dataset is created with its final size and its space on the disk. That is what makes a kill
harmless: later a step writes table rows where they lie and replaces records of the chunk index,
and no node of any index is ever split or moved.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata as importlib_metadata
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError
from diffcam_core.events import Answer, GridSpec
from diffcam_core.heatmap import is_lattice
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.session import schema
from diffcam_core.session.kinds import KINDS

CREATOR = "Diffusion-CAM Studio"
_DISTRIBUTION = "diffusion-cam-studio"
_THUMBNAIL_SIDE = 256
_IMAGE_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Contents:
    """Everything that decides the layout of the file and does not change from step to step."""

    n_steps: int
    n_positions: int
    layers: tuple[int, ...]
    grids: tuple[GridSpec, ...]
    method: str
    valid: npt.NDArray[np.bool_]
    request: Mapping[str, Any]
    metadata: Mapping[str, Any]
    image: npt.NDArray[np.uint8]
    created: str
    answer: Answer | None
    text_room: int

    def check(self) -> None:
        """Refuse what the format cannot hold.

        Raises
        ------
        RunFileError
            Naming the first thing that does not fit.
        """
        _require(1 <= self.n_steps <= schema.MAX_STEPS, f"{self.n_steps} steps")
        _require(0 <= self.n_positions <= schema.MAX_POSITIONS, f"{self.n_positions} positions")
        _require(1 <= len(self.layers) <= schema.MAX_LAYERS, f"{len(self.layers)} layers")
        _require(len(set(self.layers)) == len(self.layers), "the same layer twice")
        _require(min(self.layers) >= INPUT_LAYER, f"layer {min(self.layers)}")
        _require(schema.is_name(self.method), f"a method named {self.method!r}")
        _require(
            self.valid.shape == (self.n_steps, len(self.layers)),
            f"a validity table of shape {self.valid.shape}",
        )
        _require(1 <= len(self.grids) <= schema.MAX_GRIDS, f"{len(self.grids)} grids")
        _require(len({grid.name for grid in self.grids}) == len(self.grids), "one grid twice")
        for grid in self.grids:
            _check_grid(grid)
        _require(
            self.image.dtype == np.uint8 and self.image.ndim == 3 and self.image.shape[2] == 3,
            f"an image of type {self.image.dtype} and shape {self.image.shape}",
        )
        _require(
            0 < self.image.shape[0] * self.image.shape[1] <= schema.MAX_IMAGE_PIXELS,
            f"an image of {self.image.shape[1]} x {self.image.shape[0]} pixels",
        )
        if self.answer is not None:
            self._check_answer(self.answer)

    def _check_answer(self, answer: Answer) -> None:
        length = self.n_positions
        for name in ("token_ids", "texts", "commit_step"):
            found = len(getattr(answer, name))
            _require(found == length, f"an answer with {found} {name} for {length} positions")
        targets = list(answer.targets)
        _require(targets == sorted(set(targets)), "targets that are not ascending")
        _require(all(0 <= t < length for t in targets), "a target outside the answer")
        _require(
            all(0 <= step < self.n_steps for step in answer.requested_steps),
            "a requested step that does not exist",
        )
        for grid in self.grids:
            chunk = 2 * len(targets) * grid.rows * grid.cols
            _require(chunk <= schema.MAX_CHUNK_BYTES, f"{chunk} bytes of maps in one step")


def build(
    file: h5py.File,
    contents: Contents,
    status: npt.NDArray[np.uint8],
    probability: npt.NDArray[np.float32],
) -> None:
    """Write the skeleton of a run into an empty file.

    Parameters
    ----------
    file : h5py.File
        Empty, writable.
    contents : Contents
        Checked.
    status : uint8 (steps, layers)
        First state of every (step, layer): not computed or invalid.
    probability : float32 (steps, targets)
        First state of the table of target probabilities: NaN.
    """
    try:
        version = importlib_metadata.version(_DISTRIBUTION)
    except importlib_metadata.PackageNotFoundError:
        version = "source"
    _attribute(file, "format", schema.FORMAT_NAME)
    _attribute(file, "format_version", schema.FORMAT_VERSION)
    _attribute(file, "app_version", version)
    _attribute(file, "creator", CREATOR)
    _attribute(file, "created", contents.created)
    _attribute(file, "schema", json.dumps(schema.DESCRIPTION, ensure_ascii=False))
    _annotate(file, "NXroot", "run-file", default="run")

    run = file.create_group("run")
    ready = contents.answer is not None
    _annotate(run, "NXentry", "run", default="maps" if ready else "image")
    _attribute(run, "definition", schema.FORMAT_NAME)
    _text(run, "request", schema.canonical_json(contents.request))
    _text(run, "metadata", schema.canonical_json(contents.metadata))
    _table(run, "closing", (schema.CLOSING_BYTES,), "uint8")
    _table(run, "complete", (), "uint8")
    plan = run.create_group("plan")
    _annotate(plan, "NXcollection", "plan")
    _attribute(plan, "method", contents.method)
    _static(plan, "layers", np.asarray(contents.layers, np.int64))
    _static(plan, "valid", contents.valid.astype(np.uint8))
    _image(run.create_group("image"), contents.image)
    _canvas(run.create_group("canvas"), contents)
    grids = run.create_group("grids")
    _annotate(grids, "NXcollection", "grids")
    _attribute(grids, "order", json.dumps([grid.name for grid in contents.grids]))
    for grid in contents.grids:
        group = grids.create_group(grid.name)
        _annotate(group, "NXcollection", "grid")
        dataset = _static(group, "rectangles", np.asarray(grid.rectangles, np.float32))
        _attribute(dataset, "units", "px")
    if contents.answer is not None:
        _answer(run.create_group("answer"), contents.answer)
        _maps(run.create_group("maps"), contents, contents.answer, status, probability)


def _image(group: h5py.Group, image: npt.NDArray[np.uint8]) -> None:
    _annotate(group, "NXdata", "image", signal="pixels")
    height, width = image.shape[:2]
    rows = max(1, min(height, _IMAGE_CHUNK_BYTES // (3 * width)))
    pixels = _table(group, "pixels", image.shape, "uint8", chunks=(rows, width, 3))
    pixels[...] = image
    _attribute(pixels, "interpretation", "rgb-image")
    _attribute(pixels, "crc32", zlib.crc32(np.ascontiguousarray(image).tobytes()))
    scale = min(1.0, _THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, png = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    _require(bool(done), "an image that has no thumbnail")
    _static(group, "thumbnail", np.asarray(png, np.uint8).reshape(-1))


def _canvas(group: h5py.Group, contents: Contents) -> None:
    _annotate(group, "NXdata", "canvas", signal="confidence", axes=["step", "position"])
    steps, length = contents.n_steps, contents.n_positions
    _static(group, "step", np.arange(steps, dtype=np.int64))
    _static(group, "position", np.arange(length, dtype=np.int64))
    for name, kind in (("token_ids", "int64"), ("guesses", "int64"), ("committed", "uint8")):
        _table(group, name, (steps, length), kind)
    _table(group, "confidence", (steps, length), "float32")
    room = contents.text_room
    _table(group, "texts", (steps, room), "uint8", chunks=(1, room))
    _table(group, "status", (steps,), "uint8")
    _table(group, "checksum", (steps,), "uint32")


def _answer(group: h5py.Group, answer: Answer) -> None:
    _annotate(group, "NXcollection", "answer")
    text = {
        "text": answer.text,
        "tokens": list(answer.texts),
        "requested_steps": [int(step) for step in answer.requested_steps],
    }
    _text(group, "text", schema.canonical_json(text))
    _static(group, "token_ids", np.asarray(answer.token_ids, np.int64))
    _static(group, "commit_step", np.asarray(answer.commit_step, np.int64))
    _static(group, "targets", np.asarray(answer.targets, np.int64))


def _maps(
    group: h5py.Group,
    contents: Contents,
    answer: Answer,
    status: npt.NDArray[np.uint8],
    probability: npt.NDArray[np.float32],
) -> None:
    steps, layers, targets = contents.n_steps, len(contents.layers), len(answer.targets)
    _annotate(group, "NXcollection", "methods", default=contents.method)
    method = group.create_group(contents.method)
    _annotate(method, "NXcollection", "method", default=contents.grids[0].name)
    states = _table(method, "status", (steps, layers), "uint8")
    states[...] = status
    names = ", ".join(f"{state.value} = {state.name.lower()}" for state in schema.Status)
    _attribute(states, "meaning", names)
    scores = _table(method, "target_probability", (steps, targets), "float32", fill=np.nan)
    if probability.size:
        scores[...] = probability
    for grid in contents.grids:
        data = method.create_group(grid.name)
        axes = ["step", "layer", "token", "y", "x"]
        _annotate(data, "NXdata", "maps", signal="maps", axes=axes)
        _attribute(data, "title", f"{contents.method}, grid {grid.name}")
        _static(data, "step", np.arange(steps, dtype=np.int64))
        _static(data, "layer", np.asarray(contents.layers, np.int64))
        _static(data, "token", np.asarray(answer.targets, np.int64))
        for name, count in (("y", grid.rows), ("x", grid.cols)):
            cells = _static(data, name, np.arange(count, dtype=np.int64))
            _attribute(cells, "units", "cells")
        shape = (steps, layers, targets, grid.rows, grid.cols)
        maps = _table(data, "maps", shape, "float16", chunks=(1, 1, *shape[2:]))
        _attribute(maps, "interpretation", "image")
        _attribute(maps, "long_name", "map / its own range")
        for name in ("minimum", "maximum", "sum"):
            _table(data, name, shape[:3], "float32", fill=np.nan)
        _table(data, "checksum", (steps, layers), "uint32")


def _annotate(
    group: h5py.Group,
    nexus: str,
    encoding: str,
    *,
    default: str = "",
    signal: str = "",
    axes: list[str] | None = None,
) -> None:
    _attribute(group, "NX_class", nexus)
    _attribute(group, "encoding-type", encoding)
    _attribute(group, "encoding-version", schema.ENCODING_VERSION)
    if default:
        _attribute(group, "default", default)
    if signal:
        _attribute(group, "signal", signal)
    if axes:
        group.attrs.create("axes", np.array([axis.encode() for axis in axes]))


def _attribute(target: h5py.Group | h5py.Dataset, name: str, value: str | int) -> None:
    if isinstance(value, int):
        target.attrs.create(name, np.int64(value))
        return
    # Fixed length: variable-length strings live in a heap that a reader would have to trust.
    raw = value.encode("utf-8") or b"\0"
    target.attrs.create(name, raw, dtype=h5py.string_dtype("utf-8", len(raw)))


def _text(group: h5py.Group, name: str, raw: bytes) -> None:
    dataset = group.create_dataset(name, data=raw, dtype=h5py.string_dtype("utf-8", len(raw)))
    _attribute(dataset, "crc32", zlib.crc32(raw))


def _static(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> h5py.Dataset:
    """Store a small array that never changes, with its checksum."""
    values = np.ascontiguousarray(values)
    dataset = _table(group, name, values.shape, values.dtype.name)
    if values.size:
        dataset[...] = values
    _attribute(dataset, "crc32", zlib.crc32(values.tobytes()))
    return dataset


def _table(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    kind: str,
    *,
    chunks: tuple[int, ...] | None = None,
    fill: float | None = None,
) -> h5py.Dataset:
    """Create a dataset with all its space: contiguous, or chunked with shuffle and gzip 1."""
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_obj_track_times(False)
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # Without this HDF5 fills only with a value that was set, and leaves old memory elsewhere.
    options.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    if fill is not None:
        options.set_fill_value(np.array(fill, dtype=kind))
    if chunks is not None and math.prod(shape) > 0:
        options.set_chunk(chunks)
        options.set_shuffle()
        options.set_deflate(1)
    space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), KINDS[kind], space, options))


def _check_grid(grid: GridSpec) -> None:
    _require(schema.is_name(grid.name), f"a grid named {grid.name!r}")
    _require(
        1 <= grid.rows <= schema.MAX_GRID_SIDE and 1 <= grid.cols <= schema.MAX_GRID_SIDE,
        f"a grid of {grid.rows} x {grid.cols} cells",
    )
    rectangles = np.asarray(grid.rectangles)
    _require(
        rectangles.shape == (grid.rows, grid.cols, 4),
        f"rectangles of shape {rectangles.shape} for {grid.rows} x {grid.cols} cells",
    )
    _require(is_lattice(rectangles), f"a grid {grid.name} whose cells do not form a lattice")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RunFileError(f"a run file cannot hold {what}")
