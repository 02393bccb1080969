"""Questions for the I/O thread and its answers: frozen, hashable, complete in themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from diffcam_studio.state.source import FloatArray, RunFacts
from diffcam_studio.state.view_state import Refinement, Scope

FrameState = Literal["ready", "not_computed", "no_path", "zero", "error"]


@dataclass(frozen=True)
class MapAddress:
    """Which raw maps are meant; ``version`` grows while a job adds to a live run."""

    run: str
    positions: tuple[int, ...]
    layer: int
    grid: str = ""
    method: str = ""
    version: int = 0


@dataclass(frozen=True)
class PanelQuery:
    """One panel of the canvas; ``stage`` None means after the whole pipeline."""

    address: MapAddress
    step: int
    refinement: Refinement
    scope: Scope
    stage: int | None = None
    contour: bool = False


@dataclass(frozen=True, eq=False)
class PanelFrame:
    """What one panel shows.

    ``values`` is float32 over the whole picture in shares of ``scope_max``;
    ``native`` the same on the token grid. ``regions`` and ``contour`` are lines
    (n, 2) in image pixels.
    """

    state: FrameState
    reason: str = ""
    values: FloatArray | None = None
    native: FloatArray | None = None
    raw: FloatArray | None = None
    raw_range: tuple[float, float] = (0.0, 0.0)
    raw_sum: float = 0.0
    scope_max: float = 0.0
    histogram: npt.NDArray[np.int64] | None = None
    contour: tuple[FloatArray, ...] = ()
    regions: tuple[FloatArray, ...] = ()
    region_word: str = ""
    metrics: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class LayersQuery:
    """Every layer at one step."""

    address: MapAddress
    step: int
    refinement: Refinement
    scope: Scope
    metric: str


@dataclass(frozen=True, eq=False)
class LayersFrame:
    """Maps (native grid, share of the scope's maximum) and values of the metric, one per layer."""

    maps: tuple[FloatArray | None, ...]
    values: tuple[float | None, ...]
    metric: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class TimelineQuery:
    """Every step of one word and layer."""

    address: MapAddress
    refinement: Refinement
    scope: Scope


@dataclass(frozen=True, eq=False)
class TimelineFrame:
    """Maps of every step, and the curve with its name."""

    maps: tuple[FloatArray | None, ...]
    curve: FloatArray
    curve_name: str


@dataclass(frozen=True)
class LadderQuery:
    """The stages of a pipeline at one step; the metrics are those after ``stage`` of them."""

    address: MapAddress
    step: int
    refinement: Refinement
    scope: Scope
    stage: int | None = None


@dataclass(frozen=True)
class StageParameter:
    """One number of a stage."""

    name: str
    title: str
    value: float
    default: float
    minimum: float
    maximum: float
    step: float
    help: str = ""
    decimals: int = 2
    choices: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, eq=False)
class StageFrame:
    """One stage: the map after it and the metric before and after."""

    stage: str
    title: str
    summary: str
    help: str
    enabled: bool
    changed: bool
    values: FloatArray | None
    delta: float | None
    parameters: tuple[StageParameter, ...] = ()


@dataclass(frozen=True, eq=False)
class LadderFrame:
    """The raw map, each stage, and the metrics of the end result with their change from raw."""

    stages: tuple[StageFrame, ...]
    raw: FloatArray | None
    raw_value: float | None
    metric: str
    metrics: tuple[tuple[str, float, float], ...] = ()
    region_word: str = ""
    reason: str = ""


@dataclass(frozen=True)
class OpenQuery:
    """Open a run file; ``scene`` is the record of its picture where the file lacks it."""

    path: str
    scene: str = ""


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A run that was opened."""

    facts: RunFacts


@dataclass(frozen=True)
class ImageQuery:
    """Read an image, or draw a demo scene, for the run sheet or the welcome page."""

    path: str
    longest: int = 0


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as uint8 (H, W, 3); ``scene`` is the record of a sticker scene, as JSON."""

    pixels: npt.NDArray[np.uint8]
    is_scene: bool = False
    scene: str = ""


@dataclass(frozen=True)
class ThumbnailQuery:
    """Thumbnail of a run file for the list of recent runs."""

    path: str


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """Small picture and one line about a run."""

    pixels: npt.NDArray[np.uint8] | None
    line: str


@dataclass(frozen=True)
class FolderQuery:
    """Find the newest run of a folder."""

    path: str


@dataclass(frozen=True)
class FoundRun:
    """A run file that was found."""

    path: str


@dataclass(frozen=True)
class FilesQuery:
    """Look which recent files are still there, and for unfinished runs in a folder."""

    recent: tuple[str, ...]
    folder: str


@dataclass(frozen=True, eq=False)
class FoundFiles:
    """Recent files by path with the time they were written; unfinished runs, newest first."""

    written: dict[str, float] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class CopyQuery:
    """Write a copy of a finished run file."""

    source: str
    target: str


@dataclass(frozen=True)
class ExportQuery:
    """Write the panels in sight as a figure or as data; the suffix of ``target`` decides.

    ``panels`` are (query, title, letter) in reading order; a lone panel has no letter. ``scene`` is
    the record of the picture where the file lacks it.
    """

    target: str
    panels: tuple[tuple[PanelQuery, str, str], ...]
    caption: str
    colour_map: str
    low: float
    high: float
    opacity: float
    scope: str
    mode: str = "single"
    columns: int = 0
    wipe: float = 0.5
    grey_image: bool = False
    show_contour: bool = False
    show_region: bool = False
    scene: str = ""


@dataclass(frozen=True)
class Written:
    """A file was written."""

    path: str
    detail: str = ""


@dataclass(frozen=True)
class Refused:
    """The question could not be answered; one line says why and how to mend it."""

    cause: str
    mend: str = ""


Query = (
    PanelQuery
    | LayersQuery
    | TimelineQuery
    | LadderQuery
    | OpenQuery
    | ImageQuery
    | ThumbnailQuery
    | FolderQuery
    | FilesQuery
    | CopyQuery
    | ExportQuery
)
