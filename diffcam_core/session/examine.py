"""Look at a file that anybody may have made, and say what is in it.

This is the only place that hands a foreign file to HDF5. It looks only at names that the format
knows, follows hard links inside the file only, and compares every shape, type, size and position
with the limits of :mod:`diffcam_core.session.schema` before it reads a byte of data. What it
returns is plain numbers: the small tables, and for each chunk of maps its place in the file. HDF5
never unpacks anything: a chunk may inflate to a thousand times its size, so that is done here with
the known size as limit.
"""

from __future__ import annotations

import json
import math
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError
from diffcam_core.events import Answer, GridSpec
from diffcam_core.heatmap import is_lattice
from diffcam_core.layers import INPUT_LAYER
from diffcam_core.session import schema
from diffcam_core.session.kinds import KINDS
from diffcam_core.session.schema import Status

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_MAGIC = b"\x89HDF\r\n\x1a\n"
DAMAGED = "The file is damaged: restore it from a copy, or run the job again."

# What HDF5 and h5py raise for a file that they cannot make sense of.
_HDF5_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)


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
            raise RunFileError(f"{what} cannot be unpacked", DAMAGED) from error
        if not inflate.eof:
            raise RunFileError(f"{what} cannot be unpacked", DAMAGED)
    if len(raw) != chunks.nbytes:
        raise RunFileError(f"{what} have the wrong size", DAMAGED)
    size = chunks.kind.itemsize
    flat = np.frombuffer(raw, np.uint8)
    if chunks.shuffled and size > 1:
        flat = flat.reshape(size, -1).T
    return np.ascontiguousarray(flat).reshape(-1).view(chunks.kind).reshape(chunks.chunk)


def open_regular(path: Path) -> BinaryIO:
    """Open an existing regular file for reading.

    Raises
    ------
    RunFileError
        If there is none, or it may not be read.
    """
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
def plain_errors(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file provokes into one line that names the file."""
    try:
        yield
    except RunFileError as error:
        raise RunFileError(f"{path.name}: {error.cause}", error.mend) from error
    except _HDF5_ERRORS as error:
        text = str(error).strip() or type(error).__name__
        cut = "truncated" in text
        raise RunFileError(
            f"{path.name} is {'cut off' if cut else 'damaged'}: {text:.200}",
            "Copy it again from where it came." if cut else DAMAGED,
        ) from error


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
        self.path = path
        self.file = file
        self.size = size
        self.table_bytes = 0

    def parts(self) -> Parts:
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
        try:
            closing = schema.parse_json(closing_raw.rstrip(b"\0") or b"{}")
        except ValueError as error:
            if complete:
                raise _bad("closing") from error
            closing = {}  # killed while these bytes were being written
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
            self._check_seal(closing, canvas["status"], methods[method], complete)
        elif complete:
            raise _bad("complete")
        return Parts(
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
        _within(layers, INPUT_LAYER, np.iinfo(np.int32).max, "plan/layers")
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
                raise _bad("closing")
            return
        for name, table in (
            ("canvas_status", canvas_status),
            ("status", method.status),
            ("target_probability", method.probability),
        ):
            if seal.get(name) != zlib.crc32(np.ascontiguousarray(table).tobytes()):
                raise _bad(name)

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
            raise RunFileError(f"{where} is missing", DAMAGED)
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
            at = tuple(int(side) for side in info.chunk_offset)
            wrong = (
                info.filter_mask != 0
                or not 0 <= offset <= offset + size <= self.size
                or size > longest
                or len(places) >= count
                or any(x >= n or x % c for x, n, c in zip(at, dataset.shape, chunk, strict=True))
            )
            places[at] = (offset, size)
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
    return RunFileError(f"{where} is damaged", DAMAGED)
