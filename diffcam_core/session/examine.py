"""Look at a file that anybody may have made, and say what is in it.

This is the only place that hands a foreign file to HDF5. It looks only at names that the format
knows, follows hard links inside the file only, and compares every shape, type, size and position
with the limits of :mod:`diffcam_core.session.schema` before it reads a byte of data (see
:mod:`diffcam_core.session.pieces`). What it returns is plain numbers: the small tables, and for
each chunk of maps its place in the file. HDF5 never unpacks anything: a chunk may inflate to a
thousand times its size, so that is done in :mod:`diffcam_core.session.chunks` with the known size
as limit.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError
from diffcam_core.events import Answer, GridSpec
from diffcam_core.heatmap import is_lattice
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.session import schema
from diffcam_core.session.chunks import Chunks, unpack_chunk
from diffcam_core.session.damage import bad
from diffcam_core.session.pieces import Pieces
from diffcam_core.session.schema import Status

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class GridTables:
    """Tables of one method on one grid, (steps, layers, targets) and (steps, layers)."""

    maps: Chunks | None
    minimum: FloatArray
    maximum: FloatArray
    total: FloatArray
    checksum: npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class MethodTables:
    """Everything of one method but the maps themselves."""

    status: ByteArray
    probability: FloatArray
    grids: Mapping[str, GridTables]


@dataclass(frozen=True, eq=False)
class Parts:
    """What :func:`examine` found; each part was checked."""

    created: str
    app_version: str
    request: dict[str, Any]
    metadata: dict[str, Any]
    closing: dict[str, Any]
    complete: bool
    pixels: Chunks
    pixels_crc: int
    thumbnail: bytes
    grids: dict[str, GridSpec]
    canvas: dict[str, npt.NDArray[Any]]
    texts: dict[int, str]
    text_rows: ByteArray
    answer: Answer | None
    methods: dict[str, MethodTables]
    method: str
    layers: tuple[int, ...]
    valid: BoolArray


def examine(path: Path, size: int) -> Parts:
    """Check a file of ``size`` bytes and take in everything but image and maps.

    Raises
    ------
    RunFileError
        If it is not a run, damaged, newer or declares what no run needs.
    Exception
        Whatever HDF5 raises; wrap the call in :func:`plain_errors`.
    """
    with path.open("rb") as start:
        head = start.read(len(_MAGIC))
    if head != _MAGIC:
        raise RunFileError("this is not a run file", "Choose a file that Diffusion-CAM wrote.")
    with h5py.File(path, "r", locking=False) as file:
        return _Examiner(path, file, size).parts()


class _Examiner:
    """Reads one file top down and believes nothing."""

    def __init__(self, path: Path, file: h5py.File, size: int) -> None:
        self._path = path
        self._file = file
        self._pieces = Pieces(size)

    def parts(self) -> Parts:
        root = self._file["/"]
        if self._pieces.attribute(root, "format", required=False) != schema.FORMAT_NAME:
            raise RunFileError(
                "this is an HDF5 file, but not a run", "Choose a file that Diffusion-CAM wrote."
            )
        version = self._pieces.attribute(root, "format_version")
        if not isinstance(version, int) or version < 1:
            raise bad("format_version")
        if version > schema.FORMAT_VERSION:
            raise RunFileError(
                f"it has format version {version}, this program reads up to "
                f"{schema.FORMAT_VERSION}",
                "Update Diffusion-CAM Studio.",
            )
        run = self._pieces.group(root, "run")
        request = self._pieces.json(run, "request")
        metadata = self._pieces.json(run, "metadata")
        complete = int(self._pieces.table(run, "complete", "uint8", ())[()]) == 1
        closing_raw = self._pieces.table(run, "closing", "uint8", (schema.CLOSING_BYTES,)).tobytes()
        try:
            closing = schema.parse_json(closing_raw.rstrip(b"\0") or b"{}")
        except ValueError as error:
            if complete:
                raise bad("closing") from error
            closing = {}  # killed while these bytes were being written
        pixels, pixels_crc, thumbnail = self._image(self._pieces.group(run, "image"))
        grids = self._grids(self._pieces.group(run, "grids"))
        canvas, rows, texts = self._canvas(self._pieces.group(run, "canvas"))
        steps, length = canvas["token_ids"].shape
        answer: Answer | None = None
        methods: dict[str, MethodTables] = {}
        method, layers, valid = self._plan(self._pieces.group(run, "plan"), steps)
        if self._pieces.has(run, "answer"):
            answer = self._answer(self._pieces.group(run, "answer"), steps, length)
            methods = self._methods(self._pieces.group(run, "maps"), steps, layers, grids, answer)
            if method not in methods:
                raise bad("maps")
            self._check_seal(closing, canvas["status"], methods[method], complete)
        elif complete:
            raise bad("complete")
        return Parts(
            created=str(self._pieces.attribute(root, "created")),
            app_version=str(self._pieces.attribute(root, "app_version")),
            request=request,
            metadata=metadata,
            closing=closing,
            complete=complete,
            pixels=pixels,
            pixels_crc=pixels_crc,
            thumbnail=thumbnail,
            grids=grids,
            canvas=canvas,
            texts=texts,
            text_rows=rows,
            answer=answer,
            methods=methods,
            method=method,
            layers=layers,
            valid=valid,
        )

    # Parts.

    def _plan(self, group: h5py.Group, steps: int) -> tuple[str, tuple[int, ...], BoolArray]:
        method = self._pieces.attribute(group, "method")
        layers = self._pieces.static(group, "layers", "int64", (None,))
        valid = self._pieces.static(group, "valid", "uint8", (steps, len(layers)))
        if not isinstance(method, str) or not schema.is_name(method):
            raise bad("plan: method")
        _within(layers, INPUT_LAYER, np.iinfo(np.int32).max, "plan/layers")
        if not 1 <= len(layers) <= schema.MAX_LAYERS or len(np.unique(layers)) != len(layers):
            raise bad("plan/layers")
        return method, tuple(int(layer) for layer in layers), valid == 1

    def _image(self, group: h5py.Group) -> tuple[Chunks, int, bytes]:
        dataset = self._pieces.dataset(group, "pixels", "uint8", (None, None, 3))
        height, width, _ = dataset.shape
        if not 0 < height * width <= schema.MAX_IMAGE_PIXELS:
            raise bad("image/pixels")
        if dataset.chunks is None or dataset.chunks[1:] != (width, 3):
            raise bad("image/pixels")
        crc = self._pieces.attribute(dataset, "crc32")
        if not isinstance(crc, int):
            raise bad("image/pixels: crc32")
        thumbnail = self._pieces.static(group, "thumbnail", "uint8", (None,))
        return self._pieces.chunks(dataset), crc, thumbnail.tobytes()

    def _grids(self, group: h5py.Group) -> dict[str, GridSpec]:
        order = self._pieces.attribute(group, "order")
        try:
            names = json.loads(order) if isinstance(order, str) else None
        except (ValueError, RecursionError) as error:
            raise bad("grids: order") from error
        if (
            not isinstance(names, list)
            or not 1 <= len(names) <= schema.MAX_GRIDS
            or not all(isinstance(name, str) and schema.is_name(name) for name in names)
        ):
            raise bad("grids: order")
        grids: dict[str, GridSpec] = {}
        for name in names:
            cells = self._pieces.static(
                self._pieces.group(group, name), "rectangles", "float32", (None, None, 4)
            )
            rows, cols = cells.shape[:2]
            if max(rows, cols) > schema.MAX_GRID_SIDE or not is_lattice(cells):
                raise bad(f"grids/{name}/rectangles")
            grids[name] = GridSpec(name, rows, cols, cells)
        return grids

    def _canvas(
        self, group: h5py.Group
    ) -> tuple[dict[str, npt.NDArray[Any]], ByteArray, dict[int, str]]:
        ids = self._pieces.table(group, "token_ids", "int64", (None, None))
        steps, length = ids.shape
        if not (1 <= steps <= schema.MAX_STEPS and length <= schema.MAX_POSITIONS):
            raise bad("canvas/token_ids")
        tables = {"token_ids": ids}
        for name, kind in (
            ("guesses", "int64"),
            ("confidence", "float32"),
            ("committed", "uint8"),
        ):
            tables[name] = self._pieces.table(group, name, kind, (steps, length))
        tables["status"] = self._pieces.table(group, "status", "uint8", (steps,))
        checksum = self._pieces.table(group, "checksum", "uint32", (steps,))
        rows = self._texts(group, steps)
        texts: dict[int, str] = {}
        for step in range(steps):
            if tables["status"][step] != 1:
                # Whatever a step left that was never acknowledged is not evidence.
                ids[step] = tables["guesses"][step] = -1
                tables["confidence"][step] = np.nan
                tables["committed"][step] = 0
                continue
            columns = [tables[name][step] for name in schema.CANVAS_ROWS[:-1]]
            if schema.canvas_checksum([*columns, rows[step]]) != checksum[step]:
                raise bad(f"canvas, step {step}")
            for key, text in schema.parse_json(rows[step].tobytes().rstrip(b"\0") or b"{}").items():
                if not isinstance(text, str):
                    raise bad("canvas/texts")
                texts[int(key)] = text
        return tables, rows, texts

    def _texts(self, group: h5py.Group, steps: int) -> ByteArray:
        dataset = self._pieces.dataset(group, "texts", "uint8", (steps, None))
        room = int(dataset.shape[1])
        if dataset.chunks != (1, room):
            raise bad("canvas/texts")
        self._pieces.account(steps * room, "canvas/texts")
        chunks = self._pieces.chunks(dataset)
        rows = np.zeros((steps, room), np.uint8)
        with self._path.open("rb") as file:
            for (step, _), (offset, size) in chunks.places.items():
                file.seek(offset)
                rows[step] = unpack_chunk(chunks, file.read(size), "canvas/texts")[0]
        return rows

    def _answer(self, group: h5py.Group, steps: int, length: int) -> Answer:
        text = self._pieces.json(group, "text")
        tokens, requested = text.get("tokens"), text.get("requested_steps")
        if (
            not isinstance(text.get("text"), str)
            or not isinstance(tokens, list)
            or len(tokens) != length
            or not all(isinstance(token, str) for token in tokens)
            or not isinstance(requested, list)
            or not all(type(step) is int and 0 <= step < steps for step in requested)
        ):
            raise bad("answer/text")
        commit = self._pieces.static(group, "commit_step", "int64", (length,))
        targets = self._pieces.static(group, "targets", "int64", (None,))
        _within(commit, -1, steps - 1, "answer/commit_step")
        _within(targets, 0, length - 1, "answer/targets")
        if (np.diff(targets) <= 0).any():
            raise bad("answer/targets")
        return Answer(
            token_ids=self._pieces.static(group, "token_ids", "int64", (length,)),
            texts=tuple(tokens),
            text=text["text"],
            commit_step=commit,
            targets=tuple(int(target) for target in targets),
            requested_steps=tuple(requested),
        )

    def _methods(
        self,
        group: h5py.Group,
        steps: int,
        layers: tuple[int, ...],
        grids: dict[str, GridSpec],
        answer: Answer,
    ) -> dict[str, MethodTables]:
        names = self._pieces.names(group, schema.MAX_METHODS)
        if not names or not all(schema.is_name(name) for name in names):
            raise bad("maps")
        default = self._pieces.attribute(group, "default", required=False)
        names.sort(key=lambda name: (name != default, name))
        methods = {}
        shape = (steps, len(layers), len(answer.targets))
        for name in names:
            method = self._pieces.group(group, name)
            status = self._pieces.table(method, "status", "uint8", shape[:2])
            if status.size and status.max() > max(Status):
                raise bad(f"maps/{name}/status")
            probability = self._pieces.table(
                method, "target_probability", "float32", (steps, shape[2])
            )
            tables = {
                grid.name: self._grid_tables(self._pieces.group(method, grid.name), shape, grid)
                for grid in grids.values()
            }
            methods[name] = MethodTables(status, probability, tables)
        return methods

    def _grid_tables(
        self, group: h5py.Group, shape: tuple[int, int, int], grid: GridSpec
    ) -> GridTables:
        full = (*shape, grid.rows, grid.cols)
        dataset = self._pieces.dataset(group, "maps", "float16", full)
        maps: Chunks | None = None
        if math.prod(full):
            if dataset.chunks != (1, 1, *full[2:]):
                raise bad(f"maps/{grid.name}: chunks")
            maps = self._pieces.chunks(dataset)
        return GridTables(
            maps,
            self._pieces.table(group, "minimum", "float32", shape),
            self._pieces.table(group, "maximum", "float32", shape),
            self._pieces.table(group, "sum", "float32", shape),
            self._pieces.table(group, "checksum", "uint32", shape[:2]),
        )

    def _check_seal(
        self,
        closing: dict[str, Any],
        canvas_status: ByteArray,
        method: MethodTables,
        required: bool,
    ) -> None:
        """Compare the tables that each step changes with the checksums taken at the end."""
        seal = closing.get("crc32")
        if not isinstance(seal, dict):
            if required:
                raise bad("closing")
            return
        for name, table in (
            ("canvas_status", canvas_status),
            ("status", method.status),
            ("target_probability", method.probability),
        ):
            if seal.get(name) != zlib.crc32(np.ascontiguousarray(table).tobytes()):
                raise bad(name)


def _within(values: IntArray, low: int, high: int, where: str) -> None:
    if values.size and (values.min() < low or values.max() > high):
        raise bad(where)
