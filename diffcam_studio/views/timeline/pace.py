"""How often a dragging hand may ask for a step."""

from __future__ import annotations

from PySide6.QtCore import QElapsedTimer, QObject, QTimer, Signal

FRAME_MS = 16


class OncePerFrame(QObject):
    """Passes wishes for a step on at most once a frame; the last one is never lost."""

    sent = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._wanted: int | None = None
        self._last: int | None = None
        self._clock = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._send)

    @property
    def is_waiting(self) -> bool:
        """Whether a wish waits for the next frame."""
        return self._timer.isActive()

    def restart(self) -> None:
        """Forget the step sent last, so that it may be sent again."""
        self._last = None

    def request(self, step: int) -> None:
        """Wish for a step."""
        self._wanted = step
        if self._timer.isActive():
            return
        wait = FRAME_MS - self._clock.elapsed() if self._clock.isValid() else 0
        if wait > 0:
            self._timer.start(int(wait))
        else:
            self._send()

    def finish(self, step: int) -> None:
        """Wish for a step and do not wait: the hand has let go."""
        self._timer.stop()
        self._wanted = step
        self._send()

    def stop(self) -> None:
        """Let go of a wish that waits."""
        self._timer.stop()

    def _send(self) -> None:
        self._clock.start()
        if self._wanted is not None and self._wanted != self._last:
            self._last = self._wanted
            self.sent.emit(self._wanted)
