"""Groups, tables, texts and chunks of a foreign HDF5 file, each checked before it is read."""

from __future__ import annotations

import math
import zlib
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from diffcam_core.errors import RunFileError
from diffcam_core.session import schema
from diffcam_core.session.chunks import Chunks
from diffcam_core.session.damage import DAMAGED, bad
from diffcam_core.session.kinds import KINDS


class Pieces:
    """Groups, tables and texts of a foreign file; each is checked before it is read.

    Parameters
    ----------
    size
        Bytes of the file; nothing may lie outside.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._table_bytes = 0

    def names(self, group: h5py.Group, limit: int) -> list[str]:
        """Return the names in a group, at most ``limit``."""
        if len(group) > limit:
            raise bad(group.name)
        return [str(name) for name in group]

    def has(self, group: h5py.Group, name: str) -> bool:
        """Whether a group holds something of that name, whatever it is."""
        return bool(group.id.links.exists(name.encode()))

    def _child(self, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        where = f"{group.name}/{name}".replace("//", "/")
        if not self.has(group, name):
            raise RunFileError(f"{where} is missing", DAMAGED)
        # Soft and external links could lead anywhere, even to another user's file.
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise RunFileError(f"{where} is a link", "Do not open files from this source.")
        return group[name]

    def group(self, group: h5py.Group, name: str) -> h5py.Group:
        """Return a group inside another."""
        child = self._child(group, name)
        if not isinstance(child, h5py.Group):
            raise bad(f"{group.name}/{name}")
        return child

    def dataset(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> h5py.Dataset:
        """Return a dataset of this type and shape (None: any side) that lies inside the file."""
        child = self._child(group, name)
        where = f"{group.name}/{name}".removeprefix("/run/")
        if not isinstance(child, h5py.Dataset):
            raise bad(where)
        if not child.id.get_type().equal(KINDS[kind]):
            raise bad(f"{where}: type")
        found = child.shape
        if (
            found is None
            or len(found) != len(shape)
            or any(
                want is not None and want != have for want, have in zip(shape, found, strict=True)
            )
        ):
            raise bad(f"{where}: shape")
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

    def table(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        """Read a small dataset, once all its bytes are known to be in the file."""
        dataset = self.dataset(group, name, kind, shape)
        where = f"{group.name}/{name}".removeprefix("/run/")
        nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
        self.account(nbytes, where)
        # A table without all its bytes in the file would be filled up in memory.
        if dataset.chunks is not None or dataset.id.get_storage_size() < nbytes:
            raise bad(f"{where}: storage")
        return np.asarray(dataset[()])

    def static(
        self, group: h5py.Group, name: str, kind: str, shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        """Read a table that never changes, and compare it with its checksum."""
        values = self.table(group, name, kind, shape)
        crc = self.attribute(group[name], "crc32")
        if crc != zlib.crc32(np.ascontiguousarray(values).tobytes()):
            raise bad(f"{group.name}/{name}".removeprefix("/run/"))
        return values

    def json(self, group: h5py.Group, name: str) -> dict[str, Any]:
        """Read a JSON object that is stored as plain text."""
        child = self._child(group, name)
        where = f"{group.name}/{name}".removeprefix("/run/")
        if not isinstance(child, h5py.Dataset) or child.shape != ():
            raise bad(where)
        kind = child.id.get_type()
        if not _is_plain_text(kind) or kind.get_size() > schema.MAX_TEXT_BYTES:
            raise bad(f"{where}: type")
        self.account(kind.get_size(), where)
        if child.chunks is not None or child.id.get_storage_size() < kind.get_size():
            raise bad(f"{where}: storage")
        options = child.id.get_create_plist()
        if options.get_external_count():
            raise bad(f"{where}: storage")
        raw = np.empty((), f"S{kind.get_size()}")
        child.id.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=kind)
        data = raw.tobytes()
        if self.attribute(child, "crc32") != zlib.crc32(data):
            raise bad(where)
        try:
            return schema.parse_json(data)
        except ValueError as error:
            raise bad(where) from error

    def attribute(
        self, target: h5py.Group | h5py.Dataset, name: str, required: bool = True
    ) -> str | int | None:
        """Read a scalar attribute that is an int64 or a string of fixed length."""
        where = f"{target.name}: {name}"
        if not h5py.h5a.exists(target.id, name.encode()):
            if required:
                raise bad(where)
            return None
        attribute = h5py.h5a.open(target.id, name.encode())
        kind = attribute.get_type()
        if attribute.shape != () or kind.get_size() > schema.MAX_ATTRIBUTE_BYTES:
            raise bad(where)
        if kind.equal(KINDS["int64"]):
            number = np.empty((), np.int64)
            attribute.read(number)
            return int(number)
        if not _is_plain_text(kind):
            raise bad(where)
        raw = np.empty((), f"S{kind.get_size()}")
        attribute.read(raw, mtype=kind)
        try:
            return raw.tobytes().rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError as error:
            raise bad(where) from error

    def chunks(self, dataset: h5py.Dataset) -> Chunks:
        """Return where the pieces of a compressed dataset lie, once each place is possible."""
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
            raise bad(f"{where}: chunks")
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
                or not 0 <= offset <= offset + size <= self._size
                or size > longest
                or len(places) >= count
                or any(x >= n or x % c for x, n, c in zip(at, dataset.shape, chunk, strict=True))
            )
            places[at] = (offset, size)
            return True if wrong else None  # True ends the iteration

        dataset.id.chunk_iter(note)
        if wrong:
            raise bad(f"{where}: chunks")
        return Chunks(
            shape=tuple(int(side) for side in dataset.shape),
            chunk=chunk,
            kind=dataset.dtype,
            shuffled=h5py.h5z.FILTER_SHUFFLE in filters,
            deflated=h5py.h5z.FILTER_DEFLATE in filters,
            places=places,
        )

    def account(self, nbytes: int, where: str) -> None:
        """Refuse tables that take more than the file itself, alone or together."""
        self._table_bytes += nbytes
        if self._table_bytes > schema.MAX_TABLE_BYTES:
            raise RunFileError(
                f"{where} and what came before take more than "
                f"{schema.MAX_TABLE_BYTES // 2**20} MB of memory",
                "This is no run of any use.",
            )


def _is_plain_text(kind: Any) -> bool:
    return isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
