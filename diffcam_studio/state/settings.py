"""What survives the program: window, view, recent files, measured speed. Damage never stops us."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import platformdirs
from PySide6.QtCore import QByteArray, QSettings

from diffcam_studio.state.view_state import ViewState, from_json, to_json

APP = "diffusion-cam-studio"
MAX_RECENT = 30


@dataclass(frozen=True)
class Places:
    """Folders of the program; tests give their own."""

    config: Path
    data: Path

    @classmethod
    def of_user(cls) -> Places:
        """The user's folders, as the system wants them."""
        return cls(platformdirs.user_config_path(APP), platformdirs.user_data_path(APP))

    @property
    def runs(self) -> Path:
        """Where new runs are written."""
        return self.data / "runs"

    @property
    def state_file(self) -> Path:
        """Where the view of the last session is kept."""
        return self.config / "session.json"


@dataclass(frozen=True)
class Preferences:
    """Choices and measurements kept between sessions."""

    runs_folder: str = ""
    single_keys: bool = True
    reduce_motion: bool = False
    seconds_per_map: float = 0.0
    last_prompt: str = ""


class Settings:
    """Window geometry in QSettings; view, recent files and preferences in one JSON file."""

    def __init__(self, places: Places | None = None) -> None:
        self.places = places or Places.of_user()
        self._window = QSettings(str(self.places.config / "window.ini"), QSettings.Format.IniFormat)

    # --- window -----------------------------------------------------------------------------------

    def geometry(self) -> tuple[QByteArray, QByteArray] | None:
        """Geometry and dock state of the last session, if they can be read."""
        geometry, docks = self._window.value("geometry"), self._window.value("docks")
        if isinstance(geometry, QByteArray) and isinstance(docks, QByteArray):
            return geometry, docks
        return None

    def save_geometry(self, geometry: QByteArray, docks: QByteArray) -> None:
        """Keep the window's place."""
        self._window.setValue("geometry", geometry)
        self._window.setValue("docks", docks)
        self._window.sync()

    # --- session ----------------------------------------------------------------------------------

    def load(self) -> tuple[ViewState, tuple[str, ...], tuple[str, ...], Preferences]:
        """View, open runs, recent files, preferences; defaults where the file is damaged."""
        try:
            text = self.places.state_file.read_text(encoding="utf-8")
            data = json.loads(text)
        except (OSError, ValueError, RecursionError):
            data = {}
        if not isinstance(data, Mapping):
            data = {}
        view = from_json(json.dumps(data.get("view", {})))
        return view, _paths(data.get("open")), _paths(data.get("recent")), _preferences(data)

    def save(
        self,
        view: ViewState,
        open_runs: tuple[str, ...],
        recent: tuple[str, ...],
        preferences: Preferences,
    ) -> bool:
        """Write the session; False if the disk refuses (which must not stop anyone)."""
        data = {
            "format": "diffcam-studio-session",
            "version": 1,
            "view": json.loads(to_json(view)),
            "open": list(open_runs),
            "recent": list(recent[:MAX_RECENT]),
            "preferences": asdict(preferences),
        }
        target = self.places.state_file
        part = target.with_suffix(".json.new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
            part.replace(target)
        except OSError:
            return False
        return True


def _paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    good = [v for v in value if isinstance(v, str) and 0 < len(v) < 4096]
    return tuple(dict.fromkeys(good))[:MAX_RECENT]


def _preferences(data: Mapping[str, object]) -> Preferences:
    raw = data.get("preferences")
    result = Preferences()
    if not isinstance(raw, Mapping):
        return result
    for entry in fields(Preferences):
        value, model = raw.get(entry.name), getattr(result, entry.name)
        if isinstance(model, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is type(model):
            result = replace(result, **{entry.name: value})
    return result
