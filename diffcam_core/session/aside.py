"""What kills and failed jobs leave beside a run file, and how it is put right.

An unfinished run that is to be replaced waits under a side name until the new one has more.

Whoever overwrites a run with a request that then fails (a word that the answer does not hold)
would otherwise lose the steps of the old one for nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from diffcam_core.errors import DiffcamError
from diffcam_core.session.schema import part_path
from diffcam_core.session.storage import acquire_lock, lock_path, release_lock, sync_folder

SUFFIX = ".before"


class Aside:
    """The unfinished run that a new one of the same name replaces, if there is one.

    Parameters
    ----------
    part : Path
        The name of the unfinished file.

    Notes
    -----
    All methods are called by the holder of the run's lock. One that was killed leaves the side
    name; whoever comes next either puts it back or, having an answer, discards it.
    """

    def __init__(self, part: Path) -> None:
        self._part = part
        self.path = part.with_name(part.name + SUFFIX)

    @property
    def exists(self) -> bool:
        """Whether a run waits."""
        return self.path.exists()

    def keep(self) -> None:
        """Give the unfinished run its side name; the next rename may take the old one.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        # A run that waits already was replaced by one that was killed before it had an answer:
        # the older of the two is worth more.
        if not self._part.exists() or self.exists:
            return
        try:
            # Both names at once, so that a kill finds the run under its own.
            os.link(self._part, self.path)
        except OSError:
            self._part.replace(self.path)
        sync_folder(self._part.parent)

    def restore(self) -> None:
        """Put the run back, whatever has its name now.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        if self.exists:
            self.path.replace(self._part)
            # Two names of one file: replacing does nothing, and the side name stays.
            self.path.unlink(missing_ok=True)
            sync_folder(self._part.parent)

    def discard(self) -> None:
        """Forget the run: the new one has more to lose."""
        self.path.unlink(missing_ok=True)


def tidy(target: Path) -> None:
    """Put right what a kill left around a run; what another process is writing is left alone.

    Three things: the second name of a finished run (`publish` makes one and then takes the other
    away), a lock that nobody holds, and a run set aside whose successor never got to its name.

    Parameters
    ----------
    target : Path
        The run's final name.
    """
    part = part_path(target)
    aside = Aside(part)
    lost = aside.exists and not part.exists()
    if not (lost or _is_same_file(part, target) or lock_path(target).exists()):
        return
    try:
        lock = acquire_lock(target)
    except DiffcamError:
        return  # being written by somebody, or in a folder that we may only read
    try:
        if _is_same_file(part, target):
            part.unlink(missing_ok=True)
        elif not part.exists():
            aside.restore()
    finally:
        release_lock(lock)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
