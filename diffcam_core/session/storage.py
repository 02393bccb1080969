"""Bytes on the disk: the only place that decides how run files are locked, written and renamed.

HDF5 writes to a :class:`PartFile`, never to the disk itself. That gives three promises which the
library alone does not make:

* **A kill at any moment leaves a readable file.** Everything HDF5 writes between two commits is
  held back and then applied in a safe order: first the bytes beyond the end of what was committed
  before (nothing refers to them yet), then the changes of existing bytes.
* **A full disk is like a kill.** The first failed write is remembered and raised by
  :meth:`PartFile.commit`; HDF5 itself never sees it. So closing always works and the bytes on the
  disk stay a prefix of a safe order. (Told of the error, HDF5 2.0 keeps dirty pages that it can
  neither write nor drop, and closing the file fails again and again.)
* **Tests see every write.** They replay each prefix of the sequence and open the result.
"""

from __future__ import annotations

import bisect
import errno
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from diffcam_core.errors import DiffcamError, ResourceError, RunFileError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class PartFile(io.RawIOBase):
    """A file that HDF5 may scribble on between commits without endangering what was committed.

    Parameters
    ----------
    path : Path
        The file; it must exist unless ``create`` is set.
    create : bool
        Start an empty file and write through (no holding back): used for skeletons, which are
        built under another name and only renamed when they are whole.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        super().__init__()
        self.path = path
        self._file: BinaryIO = path.open("w+b" if create else "r+b", buffering=0)
        self._held = not create
        self._pending: list[tuple[int, bytes]] = []
        self._committed = self._file.seek(0, os.SEEK_END)
        self._size = self._committed
        self._position = 0
        self.error: OSError | None = None

    # What h5py's "fileobj" driver calls.

    def readable(self) -> bool:
        """Say that HDF5 may read back what it wrote."""
        return True

    def writable(self) -> bool:
        """Say that HDF5 may write."""
        return True

    def seekable(self) -> bool:
        """Say that HDF5 may jump."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; only absolute positions and the end are used by HDF5."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Read from the disk and lay what is held back over it."""
        view = memoryview(buffer).cast("B")
        start = self._position
        count = max(0, min(len(view), self._size - start))
        view[:count] = bytes(count)
        try:
            self._file.seek(start)
            filled = 0
            while filled < count:
                got = self._file.readinto(view[filled:count])  # type: ignore[attr-defined]
                if not got:
                    break
                filled += got
        except OSError as error:
            self.error = self.error or error
        for offset, data in self._pending:
            low, high = max(offset, start), min(offset + len(data), start + count)
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position += count
        return count

    def write(self, buffer: Buffer, /) -> int:
        """Hold the bytes back, or write them through while the file is being created."""
        data = bytes(memoryview(buffer).cast("B"))
        if self._held or self.error is not None:
            self._pending.append((self._position, data))
        else:
            try:
                self._put(self._position, data)
            except OSError as error:
                self.error = error
                self._pending.append((self._position, data))
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Note the length that HDF5 wants; the disk follows at the next commit."""
        self._size = self._position if size is None else size
        return self._size

    def flush(self) -> None:
        """Do nothing: HDF5 flushes in the middle of its work; :meth:`commit` is ours."""

    # What the writer calls.

    def commit(self) -> None:
        """Bring everything held back to the disk, new space first, changes of old space last.

        Raises
        ------
        OSError
            The first error since the file was opened, now and on every later call.
        """
        if self.error is not None:
            raise self.error
        try:
            edge = self._committed
            for offset, data in self._pending:
                if offset + len(data) > edge:
                    cut = max(0, edge - offset)
                    self._put(offset + cut, data[cut:])
            if self._size > self._file.seek(0, os.SEEK_END):
                self._resize(self._size)
            # The superblock, at offset 0, is the first of the old bytes: it announces the space
            # that the index records behind it refer to.
            old = ((offset, data[: edge - offset]) for offset, data in self._pending)
            for offset, data in _merged((start, data) for start, data in old if start < edge):
                self._put(offset, data)
        except OSError as error:
            self.error = error
            raise
        self._pending.clear()
        self._committed = max(self._committed, self._size)

    def sync(self) -> None:
        """Wait until the bytes are on the medium itself."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what is still held back is dropped."""
        if not self.closed:
            self._pending.clear()
            self._file.close()
        super().close()

    def _put(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._file.seek(offset)
            written = self._file.write(view)
            offset += written
            view = view[written:]

    def _resize(self, size: int) -> None:
        self._file.truncate(size)


def _merged(changes: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Join overlapping or touching writes, later ones winning, in ascending order."""
    in_order = list(changes)
    spans: list[list[int]] = []
    for start, end in sorted((offset, offset + len(data)) for offset, data in in_order):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    buffers = [bytearray(end - start) for start, end in spans]
    starts = [start for start, _ in spans]
    for offset, data in in_order:
        index = bisect.bisect_right(starts, offset) - 1
        at = offset - starts[index]
        buffers[index][at : at + len(data)] = data
    return [(start, bytes(buffer)) for start, buffer in zip(starts, buffers, strict=True)]


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can do that."""
    if os.name == "nt":  # pragma: no cover - Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(source: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its final name in one step that cannot be seen half done.

    Parameters
    ----------
    source, target : Path
        In the same folder.
    overwrite : bool
        Replace a file that has the name already; otherwise FileExistsError is raised even if it
        appeared a moment ago.
    """
    if overwrite:
        source.replace(target)
    else:
        try:
            target.hardlink_to(source)
        except FileExistsError:
            raise
        except OSError:
            # No hard links here (FAT, some network drives): the best left is check and rename.
            if target.exists():
                raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
            source.replace(target)
        else:
            # Somebody who found both names may have taken this one away (`tidy`).
            source.unlink(missing_ok=True)
    sync_folder(target.parent)


def acquire_lock(path: Path) -> FileLock:
    """Become the one writer of ``path``.

    Raises
    ------
    RunFileError
        If another process writes this run now, or the folder does not let us.
    """
    lock = FileLock(lock_path(path), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        if not Path(lock.lock_file).exists():
            # filelock takes a system that lets nobody create files there for a slow one.
            refusal = OSError(errno.EACCES, os.strerror(errno.EACCES))
            raise explain_os_error(refusal, path, "start") from error
        raise RunFileError(
            f"{path.name} is being written by another process",
            "Wait for it, or choose another name.",
        ) from error
    except (OSError, NotImplementedError) as error:
        raise explain_os_error(error, path, "start") from error
    return lock


def lock_path(path: Path) -> Path:
    """Name of the file whose lock makes the one writer of ``path``."""
    return path.with_name(f".{path.name}.lock")


def release_lock(lock: FileLock) -> None:
    """Stop being the writer and take the lock file away."""
    if lock.is_locked:
        if os.name != "nt":
            # Unlinked while held: whoever opened it before finds that it has no name any more
            # and tries again. (On Windows an open file keeps its name.)
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def explain_os_error(error: Exception, path: Path, doing: str, kept: str = "") -> DiffcamError:
    """Turn a failure of the system into one line that says what to do.

    Parameters
    ----------
    error : Exception
        What the system raised.
    path : Path
        The run file that the user asked for.
    doing : str
        A verb phrase: "start", "write step 3 of".
    kept : str
        Sentence on what is safe, put before the mend.
    """
    number = getattr(error, "errno", None)
    if number in _FULL:
        return ResourceError(
            f"the disk is full: could not {doing} {path.name}",
            f"{kept} Free some space in {path.parent} and resume.".strip(),
        )
    if number in _FORBIDDEN:
        return RunFileError(
            f"could not {doing} {path.name}: the folder {path.parent} cannot be written",
            f"{kept} Choose another folder, or allow writing there.".strip(),
        )
    if number in (errno.ENOENT, errno.ENOTDIR):
        return RunFileError(
            f"could not {doing} {path.name}: there is no folder {path.parent}",
            f"{kept} Create it, or choose another folder.".strip(),
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return RunFileError(
        f"could not {doing} {path.name}: {reason}",
        f"{kept} Check the drive, or choose another folder.".strip(),
    )
