"""Holds the one view state, tells who listens what changed, and remembers the past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffcam_studio.state.view_state import ViewState, changed_fields

Listener = Callable[[ViewState, ViewState, frozenset[str]], None]

# Playing, holding a key or folding a dock is not work that anyone wants to undo.
_NOT_REMEMBERED = frozenset({"playback", "hold", "docks", "theme", "page"})
_HISTORY_LENGTH = 200


class Store:
    """The view state, its listeners and its history.

    Not a QObject: it lives on the GUI thread and calls listeners directly, in
    the order in which they came.
    """

    def __init__(self, state: ViewState | None = None) -> None:
        self._state = state or ViewState()
        self._listeners: list[Listener] = []
        self._past: list[tuple[ViewState, str | None]] = []
        self._future: list[ViewState] = []

    @property
    def state(self) -> ViewState:
        """The present state."""
        return self._state

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state of this run's view."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether something undone can be done again."""
        return bool(self._future)

    def listen(self, listener: Listener) -> None:
        """Call ``listener(old, new, changed fields)`` after each change."""
        self._listeners.append(listener)

    def apply(self, new: ViewState, *, key: str | None = None) -> bool:
        """Make ``new`` the present state.

        Parameters
        ----------
        new : ViewState
            Result of one of the functions of :mod:`view_state`.
        key : str, optional
            Names a gesture, such as dragging a slider. Changes in a row with
            the same key are undone together.

        Returns
        -------
        bool
            Whether anything changed.
        """
        old = self._state
        changed = changed_fields(old, new)
        if not changed:
            return False
        if "run" in changed:
            # Undo never swaps the run under the reader; its history starts anew.
            self._past.clear()
            self._future.clear()
        elif changed - _NOT_REMEMBERED:
            if not (key is not None and self._past and self._past[-1][1] == key):
                self._past.append((old, key))
                del self._past[:-_HISTORY_LENGTH]
            self._future.clear()
        self._set(new, changed)
        return True

    def follow(self, new: ViewState) -> bool:
        """Make ``new`` the present state by what a job did, which is nothing to undo.

        The whole history moves along: undo and redo change what a person changed and leave what
        the job chose where it is.
        """
        changed = changed_fields(self._state, new)
        if not changed:
            return False
        moved = {name: getattr(new, name) for name in changed}
        past = [(replace(state, **moved), key) for state, key in self._past]
        after = [*(state for state, _ in past[1:]), new]
        # An entry that the move made equal to its successor would be an undo that does nothing.
        self._past = [entry for entry, later in zip(past, after, strict=False) if entry[0] != later]
        self._future = [replace(state, **moved) for state in self._future]
        self._set(new, changed)
        return True

    def end_gesture(self) -> None:
        """Close the present gesture, so that the next change is its own undo entry."""
        if self._past:
            state, _ = self._past[-1]
            self._past[-1] = (state, None)

    def undo(self) -> bool:
        """Go back one entry; False if there is none."""
        if not self._past:
            return False
        before, _ = self._past.pop()
        self._future.append(self._state)
        self._restore(before)
        return True

    def redo(self) -> bool:
        """Do again what was undone; False if there is nothing."""
        if not self._future:
            return False
        self._past.append((self._state, None))
        self._restore(self._future.pop())
        return True

    def _restore(self, target: ViewState) -> None:
        now = self._state
        kept = {name: getattr(now, name) for name in _NOT_REMEMBERED}
        new = replace(target, **kept)
        self._set(new, changed_fields(now, new))

    def _set(self, new: ViewState, changed: frozenset[str]) -> None:
        old, self._state = self._state, new
        for listener in tuple(self._listeners):
            listener(old, new, changed)
