"""The results folder: a plan, one file for each finished item, and nothing else that counts.

``plan.json``
    What is evaluated. Written first.
``items/ID.json``, ``maps/ID.npz``
    What an item gave. A file appears whole or not at all (temporary file, fsync, rename), so a
    kill at any moment loses the items in work and no other.
``timings.jsonl``
    Seconds by item and method: differs from run to run, so no table is made from it.

Everything else in the folder is made from the items in the order of the plan, hence the same bytes
whoever did the work and in whatever order it was done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from diffcam_core.errors import DiffcamError, InputError, ResourceError, RunFileError
from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome
from diffcam_core.evaluation.plan import EvaluationPlan
from diffcam_core.evaluation.stored_maps import StoredMaps

PLAN: Final = "plan.json"
ITEMS: Final = "items"
MAPS: Final = "maps"
TIMINGS: Final = "timings.jsonl"
_FULL_DISK: Final = (28, 122)


class Store:
    """A results folder that belongs to one plan; see `open_store` and `read_store`."""

    def __init__(self, folder: Path, plan: EvaluationPlan) -> None:
        self.folder = folder
        self.plan = plan

    def done(self) -> frozenset[str]:
        """Ids of the finished items."""
        found = {file.stem for file in (self.folder / ITEMS).glob("*.json")}
        return frozenset(found & set(self.plan.items))

    def has(self, item: str) -> bool:
        """Whether an item is finished."""
        return (self.folder / ITEMS / f"{item}.json").exists()

    def write(self, outcome: ItemOutcome) -> None:
        """Keep what an item gave; its maps go first, so that a finished item has them."""
        if outcome.maps is not None:
            write_whole(self.folder / MAPS / f"{outcome.item}.npz", outcome.maps)
        data = _dumps(outcome.to_json(self.plan.metrics))
        write_whole(self.folder / ITEMS / f"{outcome.item}.json", data)
        line = {
            "item": outcome.item,
            "seconds": {k: round(v, 3) for k, v in outcome.seconds.items()},
        }
        with (self.folder / TIMINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self, item: str) -> ItemOutcome:
        """Read what an item gave.

        Raises
        ------
        RunFileError
            If its file is damaged or foreign.
        """
        found = ItemOutcome.from_json(_read_json(self.folder / ITEMS / f"{item}.json"))
        if found.item != item:
            raise RunFileError(
                f"items/{item}.json holds the item {found.item}", "Delete it and resume."
            )
        return found

    def outcomes(self) -> Iterator[ItemOutcome]:
        """Finished items in the order of the plan."""
        done = self.done()
        for item in self.plan.items:
            if item in done:
                yield self.read(item)

    def stored_maps(self) -> Iterator[tuple[str, StoredMaps]]:
        """Raw maps of the finished items that have any, in the order of the plan."""
        done = self.done()
        for item in self.plan.items:
            file = self.folder / MAPS / f"{item}.npz"
            if item in done and file.exists():
                yield item, StoredMaps.from_bytes(file.read_bytes())

    def failures(self) -> list[ItemFailure]:
        """Everything that went wrong, in the order of the plan."""
        return [failure for outcome in self.outcomes() for failure in outcome.failures]

    def forget_failed(self) -> int:
        """Delete the items with failures, so that they are computed again; return how many."""
        failed = [outcome.item for outcome in self.outcomes() if outcome.failures]
        for item in failed:
            (self.folder / ITEMS / f"{item}.json").unlink()
        return len(failed)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs from working in the folder; a killed one holds nothing.

        Raises
        ------
        InputError
            If another one does.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another evaluation works in {self.folder}", "Wait for it, or use another folder."
            ) from error
        try:
            for part in (self.folder, self.folder / ITEMS, self.folder / MAPS):
                part.mkdir(exist_ok=True)
                for file in part.iterdir():
                    if _is_left(file):
                        file.unlink()
            yield
        finally:
            lock.release()


def open_store(folder: str | os.PathLike[str], plan: EvaluationPlan, *, resume: bool) -> Store:
    """Open a results folder for work.

    Parameters
    ----------
    folder : path
        Made if missing.
    plan : EvaluationPlan
    resume : bool
        Go on with finished items of the same plan.

    Raises
    ------
    InputError
        If the folder holds something else, another plan, or results and `resume` is False.
    RunFileError
        If its plan cannot be read.
    """
    path = Path(folder)
    if (path / PLAN).exists():
        store = Store(path, EvaluationPlan.from_json(_read_json(path / PLAN)))
        # Maps that are kept though nobody asks for them any more change no number.
        kept = plan.keep_maps or store.plan.keep_maps
        difference = replace(plan, keep_maps=kept).difference(store.plan)
        if difference is not None:
            raise InputError(
                f"{path} holds another evaluation, which differs in {difference}",
                "Use another folder, or the same options.",
            )
        done = len(store.done())
        if done and not resume:
            raise InputError(
                f"{path} already holds {done} of {len(plan.items)} items",
                "Add --resume to go on, or use another folder.",
            )
    else:
        if path.is_file() or (path.is_dir() and any(not _is_left(p) for p in path.iterdir())):
            raise InputError(
                f"{path} is not empty and no results folder", "Use a new folder for --out."
            )
        store = Store(path, plan)
        write_whole(path / PLAN, _dumps(plan.to_json(), indent=1))
    return store


def read_store(folder: str | os.PathLike[str]) -> Store:
    """Open a results folder to look into.

    Raises
    ------
    InputError
        If it is none.
    RunFileError
        If its plan cannot be read.
    """
    path = Path(folder)
    if not (path / PLAN).is_file():
        raise InputError(f"{path} is no results folder", "It must hold a plan.json.")
    return Store(path, EvaluationPlan.from_json(_read_json(path / PLAN)))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns.

    Raises
    ------
    ResourceError
        If the disk is full.
    InputError
        If it cannot be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if error.errno in _FULL_DISK:
            raise ResourceError(
                f"{path} cannot be written: the disk is full",
                "Make room and resume; finished items are kept.",
            ) from error
        raise InputError(
            f"{path} cannot be written ({error.strerror})", "Check the folder and resume."
        ) from error


def _is_left(path: Path) -> bool:
    """Whether a killed run left the file while writing."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _dumps(value: Any, indent: int | None = None) -> bytes:
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )
    return f"{text}\n".encode()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DiffcamError):
            raise
        raise RunFileError(f"{path} cannot be read ({error})", "Delete it and resume.") from error
