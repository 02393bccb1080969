"""What the views are given to show: frozen props, plain arrays and tuples, no engine behind them.

A view never fetches anything. It is handed one of these objects, paints it, and
answers with Qt signals that say what the user wants. Arrays are shared, never
copied or written to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

CanvasMode = Literal["single", "tile", "wipe", "blink", "difference"]
PanelState = Literal["empty", "loading", "ready", "error", "no_path"]
CellState = Literal[
    "not_computed", "queued", "computing", "computed", "partly", "failed", "invalid"
]
ChipState = Literal["masked", "guess", "written", "masked_again", "end"]
Peek = Literal["none", "blink", "difference", "image"]


@dataclass(frozen=True)
class ColourScale:
    """How numbers become colours, and the sentence that says so on the colour bar.

    ``scope`` is always printed next to the bar. A ``diverging`` scale is symmetric
    about zero: ``low`` must be ``-high``.
    """

    cmap: str = "inferno"
    low: float = 0.0
    high: float = 1.0
    scope: str = "Share of maximum, over trajectory"
    diverging: bool = False
    decimals: int = 2


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """Cells of the native grid; ``rectangles`` (rows, cols, 4): x0, y0, x1, y1 in image pixels."""

    rows: int
    cols: int
    rectangles: FloatArray


@dataclass(frozen=True)
class PanelMessage:
    """What a panel says instead of a map: 20 px icon, title, detail and one button."""

    icon: str
    title: str
    detail: str = ""
    action: str = ""
    action_icon: str = ""
    action_key: str = "retry"


@dataclass(frozen=True, eq=False)
class PanelProps:
    """One panel of the canvas.

    Attributes
    ----------
    key
        Stable identity; signals carry it.
    badge, title, subtitle, tag, metric
        Parts of the header: "A", "cat", "Step 19, layer 5", "Studio", "F3 0.379".
    pins
        Pinned parts of the title, shown as accent tags with a pin ("Step 14").
    image
        uint8 (H, W, 3), the picture below the map, or None.
    values
        float32 map over the whole picture, any resolution with the picture's
        aspect (the shell hands over (H, W)); NaN counts as the low end.
    regions
        Outlines of drawn or true regions, each (n, 2) float32 x, y in image pixels, closed.
    contour
        Lines of the threshold contour, each (n, 2) float32 in image pixels.
    progress
        0..1 for the line under the header while loading or live; None for no line
        (a loading panel without a share shows half a line).
    """

    key: str
    badge: str = "A"
    title: str = ""
    subtitle: str = ""
    tag: str = ""
    metric: str = ""
    pins: tuple[str, ...] = ()
    state: PanelState = "ready"
    image: ByteArray | None = None
    values: FloatArray | None = None
    scale: ColourScale = field(default_factory=ColourScale)
    opacity: float = 0.6
    alpha_by_value: bool = False
    grey_image: bool = False
    patches: PatchGrid | None = None
    regions: tuple[FloatArray, ...] = ()
    contour: tuple[FloatArray, ...] = ()
    show_regions: bool = True
    show_contour: bool = True
    message: PanelMessage | None = None
    progress: float | None = None
    live: bool = False
    pinned: bool = False
    linked: bool = True


@dataclass(frozen=True)
class SplitChoice:
    """One way to fill the tiles ("stage", "Refinement stage")."""

    key: str
    title: str


@dataclass(frozen=True, eq=False)
class CanvasProps:
    """All panels and how they stand together."""

    panels: tuple[PanelProps, ...] = ()
    mode: CanvasMode = "single"
    active: int = 0
    pair: tuple[int, int] = (0, 1)
    columns: int | None = None
    show_colour_bar: bool = True
    show_crosshair: bool = True
    link_zoom: bool = True
    link_cursor: bool = True
    link_colour: bool = True
    splits: tuple[SplitChoice, ...] = ()
    split: str = ""
    grids: tuple[tuple[int, int], ...] = ()
    blink_hz: float = 1.0
    difference_map: str = "berlin"


@dataclass(frozen=True)
class Camera:
    """Where linked panels look: ``zoom`` 1 is fitted, centre as a share of the picture (0..1)."""

    zoom: float = 1.0
    x: float = 0.5
    y: float = 0.5


@dataclass(frozen=True)
class Readout:
    """What lies under the cursor; ``row`` and ``col`` are None outside every cell."""

    panel: str
    x: float
    y: float
    value: float | None
    row: int | None
    col: int | None


@dataclass(frozen=True)
class Chip:
    """One answer position (or one run of end marks) in the token strip.

    ``text`` is the written word, the guess or the old word of a token that was
    masked again; ``runner_up`` and ``commit_step`` are for the tooltip.
    """

    position: int
    text: str
    state: ChipState = "written"
    confidence: float = 0.0
    now: bool = False
    selected: bool = False
    same: bool = False
    commit_step: int | None = None
    runner_up: str = ""
    count: int = 1


@dataclass(frozen=True)
class TokenStripProps:
    """The answer at one step; positions keep their place, only the state of a chip changes."""

    chips: tuple[Chip, ...] = ()
    title: str = "Answer"
    written: int = 0
    total: int = 0
    step: int | None = None


@dataclass(frozen=True)
class Commit:
    """A token that was written at a step; ``end`` for end marks, drawn as grey dots."""

    position: int
    text: str
    end: bool = False
    selected: bool = False


@dataclass(frozen=True, eq=False)
class Curve:
    """One value per step; NaN where there is none."""

    name: str
    values: FloatArray
    decimals: int = 2


@dataclass(frozen=True, eq=False)
class TimelineProps:
    """Everything that the timeline shows.

    Attributes
    ----------
    valid
        bool (steps,): a gradient path to the whole image span exists.
    cells, shares
        State of each step and share of its layers that is computed (0..1).
    maps
        Native-grid float32 (rows, cols) of the current word and layer for each
        step, or None; coloured with ``scale``, the same as on the canvas.
    commits
        Tokens written at each step, in answer order.
    cell_help
        Tooltip of a cell ("" for the default sentence), for example cause and mend of a failure.
    """

    n_steps: int = 0
    step: int = 0
    valid: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    invalid_reason: str = "No gradient path"
    cells: tuple[CellState, ...] = ()
    shares: tuple[float, ...] = ()
    cell_help: tuple[str, ...] = ()
    maps: tuple[FloatArray | None, ...] = ()
    maps_title: str = "Maps"
    map_aspect: float = 4 / 3
    scale: ColourScale = field(default_factory=ColourScale)
    commits: tuple[tuple[Commit, ...], ...] = ()
    curve: Curve | None = None
    second_curve: Curve | None = None
    masked_share: float | None = None
    markers: tuple[int, ...] = ()
    loop: tuple[int, int] | None = None
    looping: bool = False
    playing: bool = False
    speed: float = 1.0
    following: bool | None = None


@dataclass(frozen=True, eq=False)
class LayerRow:
    """One layer: its map (native grid), the value of the chosen metric and the bar's share.

    ``reason`` says why there is no map.
    """

    layer: int
    title: str
    values: FloatArray | None = None
    value: float | None = None
    share: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class LayerListProps:
    """Layers from the first to the last; ``metrics`` fills the choice in the header."""

    rows: tuple[LayerRow, ...] = ()
    selected: int | None = None
    scale: ColourScale = field(default_factory=ColourScale)
    metric: str = ""
    metrics: tuple[str, ...] = ()
    aspect: float = 4 / 3


@dataclass(frozen=True)
class ParameterProps:
    """One number of a refinement stage, as refinement describes it.

    ``choices`` (value, title) makes it a choice instead of a slider.
    """

    name: str
    title: str
    value: float
    minimum: float
    maximum: float
    step: float
    default: float
    help: str = ""
    decimals: int = 2
    unit: str = ""
    choices: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, eq=False)
class LadderRow:
    """One refinement stage: switch, map after it, change of the chosen metric, parameters."""

    stage: str
    title: str
    summary: str = ""
    help: str = ""
    enabled: bool = True
    changed: bool = False
    values: FloatArray | None = None
    delta: float | None = None
    parameters: tuple[ParameterProps, ...] = ()


@dataclass(frozen=True, eq=False)
class LadderProps:
    """The raw map and every stage above it, in the order in which they act."""

    rows: tuple[LadderRow, ...] = ()
    preset: str = ""
    presets: tuple[tuple[str, str], ...] = ()
    metric: str = ""
    raw_values: FloatArray | None = None
    raw_summary: str = ""
    raw_value: float | None = None
    image: ByteArray | None = None
    scale: ColourScale = field(default_factory=ColourScale)
    opacity: float = 0.8
    decimals: int = 3
    target: str = ""


@dataclass(frozen=True, eq=False)
class AppearanceProps:
    """Colours of the selected panels.

    ``histogram`` holds counts of equal bins over ``domain``; it is drawn on a
    logarithmic count axis. A ``fixed_range`` follows the maps and is only shown.
    """

    target: str = "Panel A"
    scale: ColourScale = field(default_factory=ColourScale)
    cmaps: tuple[str, ...] = ("inferno", "viridis", "magma", "cividis", "batlow", "grey")
    opacity: float = 0.6
    histogram: npt.NDArray[np.int64] | None = None
    domain: tuple[float, float] = (0.0, 1.0)
    normalise: str = "trajectory"
    normalise_choices: tuple[tuple[str, str], ...] = (
        ("map", "Map"),
        ("trajectory", "Trajectory"),
        ("run", "Run"),
    )
    show_bar: bool = False
    fixed_range: bool = False


@dataclass(frozen=True)
class MetricProps:
    """One measured value and its change from the raw map; ``formula`` is set in fixed width."""

    key: str
    title: str
    value: float | None
    delta: float | None = None
    decimals: int = 3
    help: str = ""
    formula: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True)
class MetricsProps:
    """The Metrics section; ``reason`` says why there are none."""

    metrics: tuple[MetricProps, ...] = ()
    region: str = ""
    meta: str = "change from raw"
    reason: str = ""


@dataclass(frozen=True)
class ProvenanceProps:
    """Where the picture comes from: key and value rows, and the code that makes it again."""

    rows: tuple[tuple[str, str], ...] = ()
    code: str = ""
