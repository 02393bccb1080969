"""Read a run file that anybody may have made.

:func:`open_run` is the only place that hands a foreign file to HDF5. It looks only at names that
the format knows, follows hard links inside the file only, and compares every shape, type, size
and position with the limits of :mod:`diffcam_core.session.schema` before it reads a byte of data.
What it keeps is plain numbers: the small tables, and for each chunk of maps its place in the file.
HDF5 is closed again before the function returns, so scrubbing is a seek, a read and an inflate with
a known length, whatever the file claims.
"""

from __future__ import annotations

import json
import math
import os
import stat
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import h5py
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError, TargetError
from diffcam_core.events import Answer, GridSpec, MapStep
from diffcam_core.heatmap import HeatMap, is_lattice
from diffcam_core.session import schema
from diffcam_core.session.kinds import KINDS
from diffcam_core.session.schema import Status
from diffcam_core.words import Word, find_word, group_words

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_CACHE_BYTES = 32 * 1024 * 1024
_MAGIC = b"\x89HDF\r\n\x1a\n"
_DAMAGED = "The file is damaged: restore it from a copy, or run the job again."

# What HDF5 and h5py raise for a file that they cannot make sense of.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


@dataclass(frozen=True)
class Chunks:
    """Where the pieces of one compressed dataset lie in the file."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    kind: np.dtype[Any]
    shuffled: bool
    deflated: bool
    places: Mapping[tuple[int, ...], tuple[int, int]]

    @property
    def nbytes(self) -> int:
        """Bytes of one piece when unpacked."""
        return math.prod(self.chunk) * self.kind.itemsize


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
class RawChunk:
    """One (step, layer) as it lies in the file, for copying without loss."""

    packed: bytes
    minimum: FloatArray
    maximum: FloatArray
    total: FloatArray
    checksum: int


@dataclass(frozen=True, eq=False)
class _Parts:
    """What :func:`open_run` found; each part was checked."""

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


class Run:
    """An open run. Made by :func:`open_run`; close it, or use it as a context manager.

    Attributes
    ----------
    path : Path
    answer, prompt, model : str
    methods : tuple of str
        Methods with maps; empty while the answer is being generated.
    tokens : tuple of str
        Display text of each answer position.
    token_ids, commit_step : int64 (positions,)
        Final ids; step at which each was written, -1 where never.
    n_steps, n_positions : int
    layers, targets : tuple of int
        Layer indices with maps; explained positions.
    grids : dict of str to GridSpec
    canvas, guesses : int64 (steps, positions)
        Ids after each step (-1 where a step was not recorded); most probable ids.
    confidence : float32 (steps, positions)
        NaN where a step was not recorded.
    committed : bool (steps, positions)
    valid, computed : bool (steps, layers)
        Of the first method; columns follow ``layers``.
    status : uint8 (steps, layers)
        Codes of :class:`~diffcam_core.session.schema.Status`.
    target_probability : float32 (steps, positions)
        NaN where unknown.
    texts : dict of int to str
        Display text of every id that occurs.
    request, metadata : dict
    complete : bool
        Whether every requested step is in the file.

    Notes
    -----
    Use one thread at a time for the fastest reads; others wait, nothing breaks.
    """

    def __init__(self, path: Path, file: BinaryIO, parts: _Parts) -> None:
        self.path = path
        self._file = file
        self._parts = parts
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[Any, ...], npt.NDArray[np.float16]] = OrderedDict()
        self._cached_bytes = 0
        self.request = parts.request
        self.closing = parts.closing
        seal = {key: value for key, value in parts.closing.items() if key != "crc32"}
        self.metadata: dict[str, Any] = {
            **parts.metadata,
            **seal,
            "created": parts.created,
            "app_version": parts.app_version,
        }
        self.complete = parts.complete
        self.layers = parts.layers
        self.grids = parts.grids
        self.valid = parts.valid
        self.texts = parts.texts
        self.canvas: IntArray = parts.canvas["token_ids"]
        self.guesses: IntArray = parts.canvas["guesses"]
        self.confidence: FloatArray = parts.canvas["confidence"]
        self.committed: BoolArray = parts.canvas["committed"].astype(np.bool_)
        self.n_steps, self.n_positions = self.canvas.shape
        recorded = np.flatnonzero(parts.canvas["status"] == 1)
        self.canvas_steps: tuple[int, ...] = tuple(int(step) for step in recorded)
        self.answer_event = parts.answer
        self.methods: tuple[str, ...] = tuple(parts.methods)
        if parts.answer is not None:
            answer = parts.answer
            self.answer = answer.text
            self.tokens = answer.texts
            self.token_ids: IntArray = answer.token_ids
            self.commit_step: IntArray = answer.commit_step
            self.targets = answer.targets
            self.requested_steps = answer.requested_steps
        else:
            last = self.canvas[self.canvas_steps[-1]] if self.canvas_steps else None
            ids = last if last is not None else np.full(self.n_positions, -1, np.int64)
            self.tokens = tuple(parts.texts.get(int(token_id), "") for token_id in ids)
            self.answer = "".join(self.tokens)
            self.token_ids = np.asarray(ids, np.int64)
            self.commit_step = self._commits_so_far()
            self.targets = ()
            self.requested_steps = ()

    # Facts.

    @property
    def prompt(self) -> str:
        """The question that was asked."""
        return str(self.metadata.get("prompt", ""))

    @property
    def model(self) -> str:
        """The model, as the plan named it."""
        return str(self.metadata.get("model", ""))

    @property
    def created(self) -> str:
        """Date and time at which the run was begun, ISO 8601."""
        return self._parts.created

    @property
    def method(self) -> str:
        """The first method; while there are no maps, the one that was asked for."""
        return self.methods[0] if self.methods else self._parts.method

    @property
    def mask_id(self) -> int:
        """Id of the mask token, or -1 if the metadata do not say."""
        value = self.metadata.get("mask_id")
        return value if isinstance(value, int) else -1

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are no words: the mask and the end marks that the metadata name."""
        ends = self.metadata.get("eos_ids")
        found = (
            [value for value in ends if isinstance(value, int)] if isinstance(ends, list) else []
        )
        return tuple(dict.fromkeys([*found, *([self.mask_id] if self.mask_id >= 0 else [])]))

    @property
    def status(self) -> ByteArray:
        """(steps, layers) codes of the first method; not computed or invalid without maps."""
        return self.status_of(None)

    @property
    def computed(self) -> BoolArray:
        """(steps, layers): maps are there."""
        return np.asarray(self.status == Status.COMPUTED)

    @cached_property
    def target_probability(self) -> FloatArray:
        """(steps, positions) probability of each final token at each step; NaN where unknown."""
        table = np.full((self.n_steps, self.n_positions), np.nan, np.float32)
        if self.methods:
            table[:, list(self.targets)] = self._parts.methods[self.methods[0]].probability
        return table

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """Words of the answer and the positions that spell them."""
        return group_words(self.tokens)

    @property
    def default_layer(self) -> int:
        """Layer that is shown when none is asked for.

        The metadata's ``default_layer`` if it was explained, else the one two thirds of the way
        up.
        """
        wanted = self.metadata.get("default_layer")
        if isinstance(wanted, int) and wanted in self.layers:
            return wanted
        return self.layers[min(len(self.layers) - 1, round(len(self.layers) * 2 / 3))]

    @cached_property
    def image(self) -> ByteArray:
        """The original image, uint8 (H, W, 3); read and unpacked on first use.

        Raises
        ------
        RunFileError
            If its bytes are damaged.
        """
        pixels = self._parts.pixels
        image = np.empty(pixels.shape, np.uint8)
        for start in range(0, pixels.shape[0], pixels.chunk[0]):
            piece = self._unpack(pixels, (start, 0, 0), "the image")
            image[start : start + pixels.chunk[0]] = piece[: pixels.shape[0] - start]
        if zlib.crc32(image.tobytes()) != self._parts.pixels_crc:
            raise RunFileError(f"the image in {self.path.name} has changed", _DAMAGED)
        image.setflags(write=False)
        return image

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the image in pixels, known without reading it."""
        return self._parts.pixels.shape[1], self._parts.pixels.shape[0]

    @property
    def thumbnail(self) -> bytes:
        """The image in small, as the bytes of a PNG file."""
        return self._parts.thumbnail

    def status_of(self, method: str | None) -> ByteArray:
        """(steps, layers) codes of one method.

        Raises
        ------
        TargetError
            If the run has no such method.
        """
        if not self.methods and method is None:
            states = np.where(self.valid, Status.NOT_COMPUTED, Status.INVALID)
            return states.astype(np.uint8)
        return self._method(method).status

    # Maps.

    def map(
        self,
        token: int | str,
        step: int | Literal["commit"] = "commit",
        layer: int | None = None,
        grid: str | None = None,
        method: str | None = None,
    ) -> HeatMap:
        """Read one map.

        Parameters
        ----------
        token : int or str
            Answer position, or a word of the answer ("cat" also finds "cats"): its first
            position that was explained.
        step : int or "commit"
            Denoising step, or the one at which the token was written.
        layer : int, optional
            Layer index; :attr:`default_layer` if not given.
        grid, method : str, optional
            The first of :attr:`grids` and :attr:`methods` if not given.

        Returns
        -------
        HeatMap
            ``values`` are float32 in native units, at most (max - min) * 2**-12 off.

        Raises
        ------
        TargetError
            If the run has no such token, step, layer, grid or method, or the map was not asked
            for, not computed, failed or not valid.
        RunFileError
            If the map's bytes are damaged; the other maps stay readable.
        """
        position = self.position_of(token)
        row = self.targets.index(position)
        at = self._step(step, position)
        layer = self.default_layer if layer is None else layer
        name = self._grid_name(grid)
        tables, column, stored = self._read(at, layer, name, method)
        low, high = tables.minimum[at, column, row], tables.maximum[at, column, row]
        if np.isnan(low):
            raise TargetError(
                f"position {position} was not explained at step {at}",
                "Choose its commit step, or run with steps='all'.",
            )
        others = self._others(position, tables.minimum[at, column])
        return HeatMap(
            values=schema.decode_maps(stored[row], low, high),
            grid=self.grids[name],
            raw_range=(float(low), float(high)),
            raw_sum=float(tables.total[at, column, row]),
            image_size=self.image_size,
            step=at,
            layer=layer,
            token=position,
            method=self.method if method is None else method,
            token_ids=self._token_id_tuple,
            n_steps=self.n_steps,
            special_ids=self.special_ids,
            words=self._word_texts,
            context=stored[others].astype(np.float32) if others else None,
        )

    def maps(
        self, step: int, layer: int, grid: str | None = None, method: str | None = None
    ) -> FloatArray:
        """Read the maps of all targets at one step and layer.

        Returns
        -------
        float32 (targets, rows, cols)
            Native units; NaN where a target was not asked for at this step.

        Raises
        ------
        TargetError, RunFileError
            As :meth:`map`.
        """
        tables, column, stored = self._read(
            self._step(step, None), layer, self._grid_name(grid), method
        )
        return schema.decode_maps(
            stored, tables.minimum[step, column], tables.maximum[step, column]
        )

    def trajectory(
        self,
        token: int | str,
        layer: int | None = None,
        grid: str | None = None,
        method: str | None = None,
    ) -> FloatArray:
        """Read one token's maps at every step.

        Returns
        -------
        float32 (steps, rows, cols)
            Native units; NaN where there is no map.

        Raises
        ------
        TargetError, RunFileError
            As :meth:`map`.
        """
        row = self.targets.index(self.position_of(token))
        layer = self.default_layer if layer is None else layer
        name = self._grid_name(grid)
        spec = self.grids[name]
        result = np.full((self.n_steps, spec.rows, spec.cols), np.nan, np.float32)
        states = self._method(method).status[:, self._column(layer)]
        for step in np.flatnonzero(states == Status.COMPUTED):
            tables, column, stored = self._read(int(step), layer, name, method)
            low, high = tables.minimum[step, column, row], tables.maximum[step, column, row]
            if not np.isnan(low):
                result[step] = schema.decode_maps(stored[row], low, high)
        return result

    def raw_range(
        self,
        token: int | str | None = None,
        layer: int | None = None,
        grid: str | None = None,
        method: str | None = None,
    ) -> tuple[float, float]:
        """Smallest and largest raw value over all steps, from the tables alone.

        Parameters
        ----------
        token : int or str, optional
            One token's trajectory; None: all targets.
        layer : int, optional
            :attr:`default_layer` if not given.

        Returns
        -------
        (float, float)
            (0.0, 0.0) if there are no maps yet.

        Raises
        ------
        TargetError
            If there is no such token, layer, grid or method.
        """
        tables = self._method(method)
        column = self._column(self.default_layer if layer is None else layer)
        grid_tables = tables.grids[self._grid_name(grid)]
        ready = tables.status[:, column] == Status.COMPUTED
        low, high = grid_tables.minimum[ready, column], grid_tables.maximum[ready, column]
        if token is not None:
            row = self.targets.index(self.position_of(token))
            low, high = low[:, row], high[:, row]
        if low.size == 0 or np.isnan(low).all():
            return 0.0, 0.0
        return float(np.nanmin(low)), float(np.nanmax(high))

    def map_step(self, step: int, method: str | None = None) -> MapStep:
        """Rebuild the event of one step, as a listener would have got it (float16-rounded).

        Raises
        ------
        TargetError, RunFileError
            As :meth:`map`, if nothing of the step is there.
        """
        tables = self._method(method)
        step = self._step(step, None)
        ready = tuple(
            layer
            for column, layer in enumerate(self.layers)
            if tables.status[step, column] == Status.COMPUTED
        )
        empty = len(self.targets)
        maps = {
            name: np.stack([self.maps(step, layer, name, method) for layer in ready])
            if ready
            else np.empty((0, empty, spec.rows, spec.cols), np.float32)
            for name, spec in self.grids.items()
        }
        return MapStep(step, ready, self.targets, maps, tables.probability[step].copy())

    def find(self, word: str) -> tuple[int, ...]:
        """Answer positions that spell ``word``, each time that it occurs; empty if it does not."""
        return find_word(self.words, word)

    def position_of(self, token: int | str) -> int:
        """Turn a position or a word into an explained position.

        Raises
        ------
        TargetError
            If there is none.
        """
        if isinstance(token, str):
            found = self.find(token)
            explained = [position for position in found if position in self.targets]
            if explained:
                return explained[0]
            if found:
                raise TargetError(
                    f"the word {token!r} was not explained", "Run again with it among the tokens."
                )
            raise TargetError(
                f"the answer has no word {token!r}", f"Its words are: {self._word_list()}"
            )
        if token not in self.targets:
            if 0 <= token < self.n_positions:
                raise TargetError(
                    f"position {token} was not explained", "Run again with it among the tokens."
                )
            raise TargetError(
                f"there is no position {token}", f"The answer has {self.n_positions} positions."
            )
        return int(token)

    # Bytes, for the writer.

    @property
    def text_room(self) -> int:
        """Bytes that each step has for texts."""
        return int(self._parts.text_rows.shape[1])

    def canvas_rows(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        """One step's rows in the order of :data:`~diffcam_core.session.schema.CANVAS_ROWS`."""
        canvas = self._parts.canvas
        rows = [canvas[name][step] for name in schema.CANVAS_ROWS[:-1]]
        return (*rows, self._parts.text_rows[step])

    def probability_row(self, step: int) -> FloatArray:
        """(targets,) probabilities of one step."""
        row: FloatArray = self._method(None).probability[step]
        return row

    def raw_chunk(self, step: int, layer: int, grid: str) -> RawChunk:
        """One (step, layer) of the first method, verified but as it is stored.

        Raises
        ------
        RunFileError
            If it is damaged.
        """
        tables, column, _ = self._read(step, layer, grid, None)
        packed = b""
        if tables.maps is not None:
            offset, size = tables.maps.places[step, column, 0, 0, 0]
            packed = self._bytes(offset, size)
        return RawChunk(
            packed,
            tables.minimum[step, column],
            tables.maximum[step, column],
            tables.total[step, column],
            int(tables.checksum[step, column]),
        )

    def close(self) -> None:
        """Close the file. Maps that were read stay usable; may be called again."""
        with self._lock:
            self._file.close()
            self._cache.clear()
            self._cached_bytes = 0

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Run({self.path.name!r}, {self.n_steps} steps, {len(self.layers)} layers, "
            f"{len(self.targets)} targets, {'complete' if self.complete else 'incomplete'})"
        )

    # Inside.

    @cached_property
    def _token_id_tuple(self) -> tuple[int, ...]:
        return tuple(int(token_id) for token_id in self.token_ids)

    @cached_property
    def _word_texts(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words if word.kind not in ("special", "mark"))

    def _others(self, position: int, minima: FloatArray) -> list[int]:
        """Rows of the maps of the answer's other words that exist at this step and layer."""
        return [row for row in self._rivals(position) if not np.isnan(minima[row])]

    def _rivals(self, position: int) -> list[int]:
        same = {position}
        spoken: set[int] = set()
        for word in self.words:
            if position in word.positions:
                same.update(word.positions)
            if word.kind not in ("special", "mark"):
                spoken.update(word.positions)
        return [row for row, other in enumerate(self.targets) if other in spoken - same]

    def _word_list(self) -> str:
        names = list(dict.fromkeys(self._word_texts))
        return ", ".join(names[:12]) + (" …" if len(names) > 12 else "") + "."

    def _commits_so_far(self) -> IntArray:
        commits = np.full(self.n_positions, -1, np.int64)
        for step in self.canvas_steps:
            commits[self.committed[step]] = step
        return commits

    def _method(self, method: str | None) -> MethodTables:
        if not self._parts.methods:
            raise TargetError(
                f"{self.path.name} has no maps: it ended while the answer was being written",
                "Resume it.",
            )
        name = self.methods[0] if method is None else method
        if name not in self._parts.methods:
            raise TargetError(
                f"the run has no maps of method {name!r}", f"It has: {', '.join(self.methods)}."
            )
        return self._parts.methods[name]

    def _grid_name(self, grid: str | None) -> str:
        name = next(iter(self.grids)) if grid is None else grid
        if name not in self.grids:
            raise TargetError(f"the run has no grid {name!r}", f"It has: {', '.join(self.grids)}.")
        return name

    def _column(self, layer: int) -> int:
        if layer not in self.layers:
            layers = ", ".join(str(known) for known in self.layers)
            raise TargetError(f"layer {layer} was not explained", f"The run has layers {layers}.")
        return self.layers.index(layer)

    def _step(self, step: int | str, position: int | None) -> int:
        if step == "commit" and position is not None:
            committed = int(self.commit_step[position])
            if committed < 0:
                raise TargetError(f"position {position} was never written", "Name a step.")
            return committed
        if isinstance(step, str) or not 0 <= step < self.n_steps:
            raise TargetError(
                f"there is no step {step!r}", f"The steps are 0 to {self.n_steps - 1}, or 'commit'."
            )
        return int(step)

    def _read(
        self, step: int, layer: int, grid: str, method: str | None
    ) -> tuple[GridTables, int, npt.NDArray[np.float16]]:
        tables = self._method(method)
        column = self._column(layer)
        state = tables.status[step, column]
        if state != Status.COMPUTED:
            why = {
                Status.NOT_COMPUTED: ("is not computed", "Run or resume with this step."),
                Status.INVALID: (
                    "is not valid: no gradient reaches the whole image from there",
                    "Choose a step and layer that the validity lane shows as valid.",
                ),
                Status.FAILED: ("failed", "Run again in a wider number type."),
            }[Status(state)]
            raise TargetError(f"step {step}, layer {layer} {why[0]}", why[1])
        key = (method, grid, step, column)
        with self._lock:
            stored = self._cache.get(key)
            if stored is not None:
                self._cache.move_to_end(key)
                return tables.grids[grid], column, stored
            stored = self._load(tables.grids[grid], step, column, layer, grid)
            self._cache[key] = stored
            self._cached_bytes += stored.nbytes
            while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tables.grids[grid], column, stored

    def _load(
        self, tables: GridTables, step: int, column: int, layer: int, grid: str
    ) -> npt.NDArray[np.float16]:
        spec = self.grids[grid]
        what = f"the maps of step {step}, layer {layer}, grid {grid}"
        if tables.maps is None:
            stored = np.empty((len(self.targets), spec.rows, spec.cols), np.float16)
        else:
            piece = self._unpack(tables.maps, (step, column, 0, 0, 0), what)
            stored = piece.reshape(len(self.targets), spec.rows, spec.cols)
        crc = schema.map_checksum(
            stored.tobytes(),
            tables.minimum[step, column],
            tables.maximum[step, column],
            tables.total[step, column],
        )
        if crc != tables.checksum[step, column]:
            raise RunFileError(
                f"{what} in {self.path.name} have changed",
                "The other maps can be read; resume the run to compute these again.",
            )
        stored.setflags(write=False)
        return stored

    def _unpack(self, chunks: Chunks, start: tuple[int, ...], what: str) -> npt.NDArray[Any]:
        place = chunks.places.get(start)
        if place is None:
            raise RunFileError(f"{what} in {self.path.name} are missing", _DAMAGED)
        return unpack_chunk(chunks, self._bytes(*place), f"{what} in {self.path.name}")

    def _bytes(self, offset: int, size: int) -> bytes:
        with self._lock:
            if self._file.closed:
                raise RunFileError(f"{self.path.name} was closed", "Open it again.")
            try:
                self._file.seek(offset)
                data = self._file.read(size)
            except OSError as error:
                raise RunFileError(
                    f"{self.path.name} cannot be read: {error.strerror or error}",
                    "Check the drive.",
                ) from error
        return data


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run file, finished or not.

    Parameters
    ----------
    path : path-like
        A ``.dcam`` file or the ``.part`` of a run that was killed or is still going on.

    Returns
    -------
    Run
        The small tables are in memory; image and maps are read when they are asked for.

    Raises
    ------
    RunFileError
        If there is no such file, or it is not a run, damaged, of a newer format version, or
        declares what no run needs. One line, whatever the bytes are.
    """
    file_path = Path(os.path.abspath(path))  # noqa: PTH100 - the name given, links kept
    file = _open_regular(file_path)
    try:
        with _plain_errors(file_path):
            parts = _examine(file_path, os.fstat(file.fileno()).st_size)
        return Run(file_path, file, parts)
    except BaseException:
        file.close()
        raise


def unpack_chunk(chunks: Chunks, packed: bytes, what: str) -> npt.NDArray[Any]:
    """Undo gzip and shuffle of one chunk, never making more bytes than the chunk has.

    Raises
    ------
    RunFileError
        If the bytes are not exactly one such chunk.
    """
    raw = packed
    if chunks.deflated:
        inflate = zlib.decompressobj()
        try:
            raw = inflate.decompress(packed, chunks.nbytes + 1)
        except zlib.error as error:
            raise RunFileError(f"{what} cannot be unpacked", _DAMAGED) from error
        if not inflate.eof:
            raise RunFileError(f"{what} cannot be unpacked", _DAMAGED)
    if len(raw) != chunks.nbytes:
        raise RunFileError(f"{what} have the wrong size", _DAMAGED)
    size = chunks.kind.itemsize
    flat = np.frombuffer(raw, np.uint8)
    if chunks.shuffled and size > 1:
        flat = flat.reshape(size, -1).T
    return np.ascontiguousarray(flat).reshape(-1).view(chunks.kind).reshape(chunks.chunk)


def _open_regular(path: Path) -> BinaryIO:
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise RunFileError(f"{path} is a folder", "Name a .dcam file in it.")
        if not stat.S_ISREG(state.st_mode):
            # Opening a pipe would wait for ever.
            raise RunFileError(f"{path} is not a regular file", "Name a .dcam file.")
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        part = schema.part_path(path)
        if part != path and part.is_file():
            raise RunFileError(
                f"there is no run {path.name}, only its unfinished {part.name}",
                "Open that one, or resume the run.",
            ) from error
        raise RunFileError(f"there is no run at {path}", "Check the path.") from error
    except PermissionError as error:
        raise RunFileError(f"{path} may not be read", "Check its permissions.") from error
    except (OSError, ValueError) as error:
        raise RunFileError(f"{path!s:.200} is not a usable path: {error}") from error


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except RunFileError as error:
        raise RunFileError(f"{path.name}: {error.cause}", error.mend) from error
    except _HDF5_ERRORS as error:
        text = str(error).strip() or type(error).__name__
        cut = "truncated" in text
        raise RunFileError(
            f"{path.name} is {'cut off' if cut else 'damaged'}: {text:.200}",
            "Copy it again from where it came." if cut else _DAMAGED,
        ) from error


def _examine(path: Path, size: int) -> _Parts:
    with path.open("rb") as start:
        head = start.read(len(_MAGIC))
    if head != _MAGIC:
        raise RunFileError("this is not a run file", "Choose a file that Diffusion-CAM wrote.")
    with h5py.File(path, "r", locking=False) as file:
        return _Examiner(path, file, size).parts()


class _Examiner:
    """Reads one file top down and believes nothing."""

    def __init__(self, path: Path, file: h5py.File, size: int) -> None:
        self.path = path
        self.file = file
        self.size = size
        self.table_bytes = 0

    def parts(self) -> _Parts:
        root = self.file["/"]
        if self._attribute(root, "format", required=False) != schema.FORMAT_NAME:
            raise RunFileError(
                "this is an HDF5 file, but not a run", "Choose a file that Diffusion-CAM wrote."
            )
        version = self._attribute(root, "format_version")
        if not isinstance(version, int) or version < 1:
            raise _bad("format_version")
        if version > schema.FORMAT_VERSION:
            raise RunFileError(
                f"it has format version {version}, this program reads up to "
                f"{schema.FORMAT_VERSION}",
                "Update Diffusion-CAM Studio.",
            )
        run = self._group(root, "run")
        request = self._json(run, "request")
        metadata = self._json(run, "metadata")
        complete = int(self._table(run, "complete", "uint8", ())[()]) == 1
        closing_raw = self._table(run, "closing", "uint8", (schema.CLOSING_BYTES,)).tobytes()
        closing = schema.parse_json(closing_raw.rstrip(b"\0") or b"{}") if complete else {}
        if not complete:
            # It may have been killed while these bytes were being written.
            try:
                closing = schema.parse_json(closing_raw.rstrip(b"\0") or b"{}")
            except ValueError:
                closing = {}
        pixels, pixels_crc, thumbnail = self._image(self._group(run, "image"))
        grids = self._grids(self._group(run, "grids"))
        canvas, rows, texts = self._canvas(self._group(run, "canvas"))
        steps, length = canvas["token_ids"].shape
        answer: Answer | None = None
        methods: dict[str, MethodTables] = {}
        method, layers, valid = self._plan(self._group(run, "plan"), steps)
        if self._has(run, "answer"):
            answer = self._answer(self._group(run, "answer"), steps, length)
            methods = self._methods(self._group(run, "maps"), steps, layers, grids, answer)
            if method not in methods:
                raise _bad("maps")
            self._check_seal(closing, methods[method])
        elif complete:
            raise _bad("complete")
        return _Parts(
            created=str(self._attribute(root, "created")),
            app_version=str(self._attribute(root, "app_version")),
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
        method = self._attribute(group, "method")
        layers = self._static(group, "layers", "int64", (None,))
        valid = self._static(group, "valid", "uint8", (steps, len(layers)))
        if not isinstance(method, str) or not schema.is_name(method):
            raise _bad("plan: method")
        _within(layers, 0, np.iinfo(np.int32).max, "plan/layers")
        if not 1 <= len(layers) <= schema.MAX_LAYERS or len(np.unique(layers)) != len(layers):
            raise _bad("plan/layers")
        return method, tuple(int(layer) for layer in layers), valid == 1

    def _image(self, group: h5py.Group) -> tuple[Chunks, int, bytes]:
        dataset = self._dataset(group, "pixels", "uint8", (None, None, 3))
        height, width, _ = dataset.shape
        if not 0 < height * width <= schema.MAX_IMAGE_PIXELS:
            raise _bad("image/pixels")
        if dataset.chunks is None or dataset.chunks[1:] != (width, 3):
            raise _bad("image/pixels")
        crc = self._attribute(dataset, "crc32")
        if not isinstance(crc, int):
            raise _bad("image/pixels: crc32")
        thumbnail = self._static(group, "thumbnail", "uint8", (None,))
        return self._chunks(dataset), crc, thumbnail.tobytes()

    def _grids(self, group: h5py.Group) -> dict[str, GridSpec]:
        order = self._attribute(group, "order")
        try:
            names = json.loads(order) if isinstance(order, str) else None
        except (ValueError, RecursionError) as error:
            raise _bad("grids: order") from error
        if (
            not isinstance(names, list)
            or not 1 <= len(names) <= schema.MAX_GRIDS
            or not all(isinstance(name, str) and schema.is_name(name) for name in names)
        ):
            raise _bad("grids: order")
        grids: dict[str, GridSpec] = {}
        for name in names:
            cells = self._static(self._group(group, name), "rectangles", "float32", (None, None, 4))
            rows, cols = cells.shape[:2]
            if max(rows, cols) > schema.MAX_GRID_SIDE or not is_lattice(cells):
                raise _bad(f"grids/{name}/rectangles")
            grids[name] = GridSpec(name, rows, cols, cells)
        return grids

    def _canvas(
        self, group: h5py.Group
    ) -> tuple[dict[str, npt.NDArray[Any]], ByteArray, dict[int, str]]:
        ids = self._table(group, "token_ids", "int64", (None, None))
        steps, length = ids.shape
        if not (1 <= steps <= schema.MAX_STEPS and length <= schema.MAX_POSITIONS):
            raise _bad("canvas/token_ids")
        tables = {"token_ids": ids}
        for name, kind in (
            ("guesses", "int64"),
            ("confidence", "float32"),
            ("committed", "uint8"),
        ):
            tables[name] = self._table(group, name, kind, (steps, length))
        tables["status"] = self._table(group, "status", "uint8", (steps,))
        checksum = self._table(group, "checksum", "uint32", (steps,))
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
                raise _bad(f"canvas, step {step}")
            for key, text in schema.parse_json(rows[step].tobytes().rstrip(b"\0") or b"{}").items():
                if not isinstance(text, str):
                    raise _bad("canvas/texts")
                texts[int(key)] = text
        return tables, rows, texts

    def _texts(self, group: h5py.Group, steps: int) -> ByteArray:
        dataset = self._dataset(group, "texts", "uint8", (steps, None))
        room = int(dataset.shape[1])
        if dataset.chunks != (1, room):
            raise _bad("canvas/texts")
        self._account(steps * room, "canvas/texts")
        chunks = self._chunks(dataset)
        rows = np.zeros((steps, room), np.uint8)
        with self.path.open("rb") as file:
            for (step, _), (offset, size) in chunks.places.items():
                file.seek(offset)
                rows[step] = unpack_chunk(chunks, file.read(size), "canvas/texts")[0]
        return rows

    def _answer(self, group: h5py.Group, steps: int, length: int) -> Answer:
        text = self._json(group, "text")
        tokens, requested = text.get("tokens"), text.get("requested_steps")
        if (
            not isinstance(text.get("text"), str)
            or not isinstance(tokens, list)
            or len(tokens) != length
            or not all(isinstance(token, str) for token in tokens)
            or not isinstance(requested, list)
            or not all(type(step) is int and 0 <= step < steps for step in requested)
        ):
            raise _bad("answer/text")
        commit = self._static(group, "commit_step", "int64", (length,))
        targets = self._static(group, "targets", "int64", (None,))
        _within(commit, -1, steps - 1, "answer/commit_step")
        _within(targets, 0, length - 1, "answer/targets")
        if (np.diff(targets) <= 0).any():
            raise _bad("answer/targets")
        return Answer(
            token_ids=self._static(group, "token_ids", "int64", (length,)),
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
        names = self._names(group, schema.MAX_METHODS)
        if not names or not all(schema.is_name(name) for name in names):
            raise _bad("maps")
        default = self._attribute(group, "default", required=False)
        names.sort(key=lambda name: (name != default, name))
        methods = {}
        shape = (steps, len(layers), len(answer.targets))
        for name in names:
            method = self._group(group, name)
            status = self._table(method, "status", "uint8", shape[:2])
            if status.size and status.max() > max(Status):
                raise _bad(f"maps/{name}/status")
            probability = self._table(method, "target_probability", "float32", (steps, shape[2]))
            tables = {
                grid.name: self._grid_tables(self._group(method, grid.name), shape, grid)
                for grid in grids.values()
            }
            methods[name] = MethodTables(status, probability, tables)
        return methods

    def _grid_tables(
        self, group: h5py.Group, shape: tuple[int, int, int], grid: GridSpec
    ) -> GridTables:
        full = (*shape, grid.rows, grid.cols)
        dataset = self._dataset(group, "maps", "float16", full)
        maps: Chunks | None = None
        if math.prod(full):
            if dataset.chunks != (1, 1, *full[2:]):
                raise _bad(f"maps/{grid.name}: chunks")
            maps = self._chunks(dataset)
        return GridTables(
            maps,
            self._table(group, "minimum", "float32", shape),
            self._table(group, "maximum", "float32", shape),
            self._table(group, "sum", "float32", shape),
            self._table(group, "checksum", "uint32", shape[:2]),
        )

    def _check_seal(self, closing: dict[str, Any], method: MethodTables) -> None:
        seal = closing.get("crc32")
        if not isinstance(seal, dict):
            return
        for name, table in (
            ("status", method.status),
            ("target_probability", method.probability),
        ):
            if seal.get(name) != zlib.crc32(np.ascontiguousarray(table).tobytes()):
                raise _bad(f"maps: {name}")

    # Pieces. Each checks before it reads.

    def _names(self, group: h5py.Group, limit: int) -> list[str]:
        if len(group) > limit:
            raise _bad(group.name)
        return [str(name) for name in group]

    def _has(self, group: h5py.Group, name: str) -> bool:
        return bool(group.id.links.exists(name.encode()))

    def _child(self, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        where = f"{group.name}/{name}".replace("//", "/")
        if not self._has(group, name):
            raise RunFileError(f"{where} is missing", _DAMAGED)
        # Soft and external links could lead anywhere, even to another user's file.
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise RunFileError(f"{where} is a link", "Do not open files from this source.")
        return group[name]

    def _group(self, group: h5py.Group, name: str) -> h5py.Group:
        child = self._child(group, name)
        if not isinstance(child, h5py.Group):
            raise _bad(f"{group.name}/{name}")
        return child

    def _dataset(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> h5py.Dataset:
        child = self._child(group, name)
        where = f"{group.name}/{name}".removeprefix("/run/")
        if not isinstance(child, h5py.Dataset):
            raise _bad(where)
        if not child.id.get_type().equal(KINDS[kind]):
            raise _bad(f"{where}: type")
        found = child.shape
        if (
            found is None
            or len(found) != len(shape)
            or any(
                want is not None and want != have for want, have in zip(shape, found, strict=True)
            )
        ):
            raise _bad(f"{where}: shape")
        options = child.id.get_create_plist()
        if (
            options.get_layout()
            not in (
                h5py.h5d.COMPACT,
                h5py.h5d.CONTIGUOUS,
                h5py.h5d.CHUNKED,
            )
            or options.get_external_count()
        ):
            raise RunFileError(
                f"{where} lies outside of this file", "Do not open files from this source."
            )
        return child

    def _table(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        dataset = self._dataset(group, name, kind, shape)
        where = f"{group.name}/{name}".removeprefix("/run/")
        nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._account(nbytes, where)
        # A table without all its bytes in the file would be filled up in memory.
        if dataset.chunks is not None or dataset.id.get_storage_size() < nbytes:
            raise _bad(f"{where}: storage")
        return np.asarray(dataset[()])

    def _static(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        values = self._table(group, name, kind, shape)
        crc = self._attribute(group[name], "crc32")
        if crc != zlib.crc32(np.ascontiguousarray(values).tobytes()):
            raise _bad(f"{group.name}/{name}".removeprefix("/run/"))
        return values

    def _json(self, group: h5py.Group, name: str) -> dict[str, Any]:
        child = self._child(group, name)
        where = f"{group.name}/{name}".removeprefix("/run/")
        if not isinstance(child, h5py.Dataset) or child.shape != ():
            raise _bad(where)
        kind = child.id.get_type()
        if not _is_plain_text(kind) or kind.get_size() > schema.MAX_TEXT_BYTES:
            raise _bad(f"{where}: type")
        self._account(kind.get_size(), where)
        if child.chunks is not None or child.id.get_storage_size() < kind.get_size():
            raise _bad(f"{where}: storage")
        options = child.id.get_create_plist()
        if options.get_external_count():
            raise _bad(f"{where}: storage")
        raw = np.empty((), f"S{kind.get_size()}")
        child.id.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=kind)
        data = raw.tobytes()
        if self._attribute(child, "crc32") != zlib.crc32(data):
            raise _bad(where)
        try:
            return schema.parse_json(data)
        except ValueError as error:
            raise _bad(where) from error

    def _attribute(
        self, target: h5py.Group | h5py.Dataset, name: str, required: bool = True
    ) -> str | int | None:
        """Read a scalar attribute that is an int64 or a string of fixed length."""
        where = f"{target.name}: {name}"
        if not h5py.h5a.exists(target.id, name.encode()):
            if required:
                raise _bad(where)
            return None
        attribute = h5py.h5a.open(target.id, name.encode())
        kind = attribute.get_type()
        if attribute.shape != () or kind.get_size() > schema.MAX_ATTRIBUTE_BYTES:
            raise _bad(where)
        if kind.equal(KINDS["int64"]):
            number = np.empty((), np.int64)
            attribute.read(number)
            return int(number)
        if not _is_plain_text(kind):
            raise _bad(where)
        raw = np.empty((), f"S{kind.get_size()}")
        attribute.read(raw, mtype=kind)
        try:
            return raw.tobytes().rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad(where) from error

    def _chunks(self, dataset: h5py.Dataset) -> Chunks:
        where = dataset.name.removeprefix("/run/")
        options = dataset.id.get_create_plist()
        filters = [options.get_filter(i)[0] for i in range(min(options.get_nfilters(), 8))]
        allowed: tuple[list[int], ...] = (
            [],
            [h5py.h5z.FILTER_DEFLATE],
            [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE],
        )
        if filters not in allowed:
            raise RunFileError(
                f"{where} is packed with a filter that this format does not have",
                "Write it with shuffle and gzip.",
            )
        chunk = tuple(int(side) for side in dataset.chunks)
        nbytes = math.prod(chunk) * dataset.dtype.itemsize
        count = math.prod(-(-side // c) for side, c in zip(dataset.shape, chunk, strict=True))
        if nbytes > schema.MAX_CHUNK_BYTES or count > schema.MAX_CHUNKS:
            raise _bad(f"{where}: chunks")
        # Deflate makes incompressible data longer by 5 bytes in 16 KB and a header.
        longest = nbytes + nbytes // 1000 + 1024
        places: dict[tuple[int, ...], tuple[int, int]] = {}
        wrong = False

        def note(info: Any) -> bool | None:
            nonlocal wrong
            offset, size = int(info.byte_offset), int(info.size)
            wrong = (
                info.filter_mask != 0
                or not 0 <= offset <= offset + size <= self.size
                or size > longest
                or len(places) >= count
            )
            places[tuple(int(at) for at in info.chunk_offset)] = (offset, size)
            return True if wrong else None  # True ends the iteration

        dataset.id.chunk_iter(note)
        if wrong:
            raise _bad(f"{where}: chunks")
        return Chunks(
            shape=tuple(int(side) for side in dataset.shape),
            chunk=chunk,
            kind=dataset.dtype,
            shuffled=h5py.h5z.FILTER_SHUFFLE in filters,
            deflated=h5py.h5z.FILTER_DEFLATE in filters,
            places=places,
        )

    def _account(self, nbytes: int, where: str) -> None:
        """Refuse tables that take more than the file itself, alone or together."""
        self.table_bytes += nbytes
        if self.table_bytes > schema.MAX_TABLE_BYTES:
            raise RunFileError(
                f"{where} and what came before take more than "
                f"{schema.MAX_TABLE_BYTES // 2**20} MB of memory",
                "This is no run of any use.",
            )


def _is_plain_text(kind: Any) -> bool:
    return isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()


def _within(values: IntArray, low: int, high: int, where: str) -> None:
    if values.size and (values.min() < low or values.max() > high):
        raise _bad(where)


def _bad(where: str) -> RunFileError:
    return RunFileError(f"{where} is damaged", _DAMAGED)
