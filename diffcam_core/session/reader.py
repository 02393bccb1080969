"""Open runs, and read maps from them while somebody scrubs.

HDF5 has done its part when :func:`open_run` returns (see :mod:`diffcam_core.session.examine`): a
map is a seek, a read and an inflate with a known length, whatever the file claims.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError, TargetError
from diffcam_core.events import MapStep
from diffcam_core.heatmap import HeatMap
from diffcam_core.session import schema
from diffcam_core.session.chunks import Chunks, unpack_chunk
from diffcam_core.session.damage import DAMAGED, plain_errors
from diffcam_core.session.examine import GridTables, MethodTables, Parts, examine
from diffcam_core.session.opening import open_regular
from diffcam_core.session.schema import Status
from diffcam_core.words import Word, find_word, group_words

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_CACHE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class RawChunk:
    """One (step, layer) as it lies in the file, for copying without loss."""

    packed: bytes
    minimum: FloatArray
    maximum: FloatArray
    total: FloatArray
    checksum: int


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

    def __init__(self, path: Path, file: BinaryIO, parts: Parts) -> None:
        self.path = path
        self._file = file
        self._parts = parts
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[Any, ...], npt.NDArray[np.float16]] = OrderedDict()
        self._cached_bytes = 0
        self._rivals_of: dict[int, IntArray] = {}
        self._commit_maps: dict[tuple[str | None, str, int], FloatArray] = {}
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
            raise RunFileError(f"the image in {self.path.name} has changed", DAMAGED)
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
            context=self._maps_of_others(position, layer, name, method),
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

    def _maps_of_others(
        self, position: int, layer: int, grid: str, method: str | None
    ) -> FloatArray | None:
        """Maps of the answer's other words at this layer, each at its own commit step, in [0, 1].

        The commit step is the one at which every explained word has a map, whatever the steps that
        were asked for, so a refinement that uses the others gives the same in every run.
        """
        key = (method, grid, layer)
        if key not in self._commit_maps:
            self._commit_maps[key] = self._read_commit_maps(layer, grid, method)
        found = self._commit_maps[key][self._rivals(position)]
        found = found[np.isfinite(found).all(axis=(1, 2))]
        return found if len(found) else None

    def _read_commit_maps(self, layer: int, grid: str, method: str | None) -> FloatArray:
        spec = self.grids[grid]
        maps = np.full((len(self.targets), spec.rows, spec.cols), np.nan, np.float32)
        column = self._column(layer)
        status = self._method(method).status
        for row, position in enumerate(self.targets):
            step = int(self.commit_step[position])
            if step < 0 or status[step, column] != Status.COMPUTED:
                continue
            tables, _, stored = self._read(step, layer, grid, method)
            if not np.isnan(tables.minimum[step, column, row]):
                maps[row] = stored[row]
        return maps

    def _rivals(self, position: int) -> IntArray:
        known = self._rivals_of.get(position)
        if known is None:
            known = self._rivals_of[position] = self._find_rivals(position)
        return known

    def _find_rivals(self, position: int) -> IntArray:
        same = {position}
        spoken: set[int] = set()
        for word in self.words:
            if position in word.positions:
                same.update(word.positions)
            if word.kind not in ("special", "mark"):
                spoken.update(word.positions)
        rows = [row for row, other in enumerate(self.targets) if other in spoken - same]
        return np.array(rows, dtype=np.int64)

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
            raise RunFileError(f"{what} in {self.path.name} are missing", DAMAGED)
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
    file = open_regular(file_path)
    try:
        with plain_errors(file_path):
            parts = examine(file_path, os.fstat(file.fileno()).st_size)
        return Run(file_path, file, parts)
    except BaseException:
        file.close()
        raise
