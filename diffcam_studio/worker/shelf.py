"""The runs that are open, and what was read of them: raw maps, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffcam_core.errors import DiffcamError, RunFileError
from diffcam_studio.state.source import FloatArray, RunFacts, RunSource
from diffcam_studio.state.view_state import Scope
from diffcam_studio.worker.maps import grid_of, mean_known, unit
from diffcam_studio.worker.queries import MapAddress

_KEPT_STACKS = 64
_OPEN_RUNS = 16


class Shelf:
    """Open runs, and the raw maps that were read of them.

    Parameters
    ----------
    live
        Runs that jobs write, by key. Another thread adds and removes them; here they are only
        looked up, one at a time.
    """

    def __init__(self, live: Mapping[str, RunSource] | None = None) -> None:
        self._live = live if live is not None else {}
        self._runs: OrderedDict[str, RunSource] = OrderedDict()
        self._stacks: OrderedDict[Any, FloatArray] = OrderedDict()
        self._scope_max: dict[Any, float] = {}
        self._commit_maps: OrderedDict[Any, dict[int, FloatArray]] = OrderedDict()

    # --- runs -------------------------------------------------------------------------------------

    def open(self, path: str, scene: str = "") -> RunFacts:
        """Open a run file, again if it was open."""
        from diffcam_core.session import open_run
        from diffcam_studio.worker.file_run import FileRun

        old = self._runs.pop(path, None)
        if old is not None:
            old.close()
            self._forget(path)
        source = FileRun(open_run(path), path, scene)
        try:
            facts = source.facts()
        except DiffcamError:
            source.close()
            raise
        self._runs[path] = source
        self._limit_open()
        return facts

    def source(self, key: str) -> RunSource:
        """Return an open run; a file that is not open any more is opened."""
        source = self._live.get(key) or self._runs.get(key)
        if source is None:
            if key.startswith("live:"):
                raise RunFileError("The job of this run is gone", "Open its file")
            self.open(key)
            source = self._runs[key]
        return source

    def facts(self, key: str) -> RunFacts:
        """Return what is known of a run."""
        return self.source(key).facts()

    def close(self) -> None:
        """Close every run."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        self._stacks.clear()

    def _limit_open(self) -> None:
        for key in tuple(self._runs)[:-_OPEN_RUNS]:
            self._runs.pop(key).close()
            self._forget(key)

    def _forget(self, key: str) -> None:
        for kept in [k for k in self._stacks if k[0] == key]:
            del self._stacks[kept]
        for kept in [k for k in self._scope_max if k[0] == key]:
            del self._scope_max[kept]
        for kept in [k for k in self._commit_maps if k[0] == key]:
            del self._commit_maps[kept]

    # --- raw maps ---------------------------------------------------------------------------------

    def stack(self, address: MapAddress) -> FloatArray:
        """Raw maps of the words at every step, mean over the words: (steps, rows, cols)."""
        key = (address.run, address)
        found = self._stacks.get(key)
        if found is not None:
            self._stacks.move_to_end(key)
            return found
        source = self.source(address.run)
        facts = source.facts()
        positions = [p for p in address.positions if p in facts.targets]
        spec = grid_of(facts, address.grid)
        if spec is None or not positions:
            stack = np.full((facts.n_steps, 0, 0), np.nan, np.float32)
        else:
            parts = [
                source.trajectory(p, address.layer, address.grid, address.method) for p in positions
            ]
            stack = parts[0] if len(parts) == 1 else mean_known(parts)
        self._stacks[key] = stack
        while len(self._stacks) > _KEPT_STACKS:
            self._stacks.popitem(last=False)
        return stack

    def scope_maximum(self, address: MapAddress, scope: Scope, raw: FloatArray | None) -> float:
        """Value that counts as 1 on the colour bar; ``raw`` is the shown map."""
        if scope == "map":
            return 0.0 if raw is None else float(np.nanmax(raw, initial=0.0))
        if scope == "trajectory":
            stack = self.stack(address)
            return float(np.nanmax(stack, initial=0.0)) if stack.size else 0.0
        key = (address.run, address.layer, address.grid, address.method, address.version)
        if key not in self._scope_max:
            source = self.source(address.run)
            facts = source.facts()
            top = 0.0
            for step in range(facts.n_steps):
                maps = source.maps(step, address.layer, address.grid, address.method)
                if maps is not None and maps.size:
                    top = max(top, float(np.nanmax(maps, initial=0.0)))
            self._scope_max[key] = top
        return self._scope_max[key]

    def context(self, address: MapAddress) -> FloatArray | None:
        """Maps of the answer's other words, each at its own commit step, each in [0, 1]."""
        key = (address.run, address.layer, address.grid, address.method, address.version)
        if key not in self._commit_maps:
            self._commit_maps[key] = self._read_commit_maps(address)
            while len(self._commit_maps) > _KEPT_STACKS:
                self._commit_maps.popitem(last=False)
        maps = self._commit_maps[key]
        facts = self.facts(address.run)
        same = set(address.positions)
        spoken: set[int] = set()
        for word in facts.words:
            spoken.update(word.positions)
            if set(word.positions) & set(address.positions):
                same.update(word.positions)
        others = [found for position, found in maps.items() if position in spoken - same]
        return np.stack(others) if others else None

    def _read_commit_maps(self, address: MapAddress) -> dict[int, FloatArray]:
        source = self.source(address.run)
        facts = source.facts()
        found: dict[int, FloatArray] = {}
        for row, position in enumerate(facts.targets):
            step = int(facts.commit_step[position])
            if step < 0:
                continue
            maps = source.maps(step, address.layer, address.grid, address.method)
            if maps is not None and np.isfinite(maps[row]).all():
                found[position] = unit(maps[row])
        return found
