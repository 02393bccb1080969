"""The view as one immutable value, and pure functions that change it.

Everything a person can set in the window is here: run, step, layer, words,
refinement, colours, panels, docks. Undo, session restore, tests and figures
read this value; widgets never own state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

Mode = Literal["single", "tile", "wipe", "blink", "difference"]
Scope = Literal["map", "trajectory", "run"]
Split = Literal["refinement", "stage", "layer", "step", "token"]
Hold = Literal["", "blink", "difference", "image"]
ThemeChoice = Literal["system", "dark", "light"]

MODES: tuple[Mode, ...] = get_args(Mode)
SCOPES: tuple[Scope, ...] = get_args(Scope)
SPLITS: tuple[Split, ...] = get_args(Split)
COLOUR_MAPS = ("inferno", "viridis", "magma", "cividis", "batlow", "grey", "jet")
DIFFERENCE_MAPS = ("berlin", "vik", "puor")
MAX_PANELS = 8
MAX_STAGES = 5  # of the longest preset; each has a key
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Refinement:
    """Which refinement is shown: a preset, the stages switched off and changed parameters.

    ``changes`` holds (stage, parameter, value); ``raw`` shows the map as computed.
    """

    preset: str = "studio"
    off: tuple[str, ...] = ()
    changes: tuple[tuple[str, str, float | str], ...] = ()
    raw: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether this differs from the plain preset."""
        return bool(self.off or self.changes)


@dataclass(frozen=True)
class Appearance:
    """How values become colours on the canvas."""

    colour_map: str = "inferno"
    difference_map: str = "berlin"
    opacity: float = 0.60
    low: float = 0.0
    high: float = 1.0
    scope: Scope = "trajectory"
    grey_image: bool = False
    contour: bool = True
    region: bool = True
    colour_bar: bool = True
    difference_range: float = 0.6


@dataclass(frozen=True)
class Panel:
    """One tile of the canvas. A field that is None follows the cursor; others are pinned."""

    letter: str = "A"
    step: int | None = None
    layer: int | None = None
    tokens: tuple[int, ...] | None = None
    refinement: Refinement | None = None
    stage: int | None = None  # show the map after this many stages of the pipeline
    linked: bool = True

    @property
    def is_pinned(self) -> bool:
        """Whether step, layer or word stay when the cursor moves."""
        return any(pin is not None for pin in (self.step, self.layer, self.tokens))


@dataclass(frozen=True)
class Playback:
    """How the timeline plays."""

    playing: bool = False
    speed: float = 1.0
    loop: bool = False
    loop_in: int | None = None
    loop_out: int | None = None
    direction: int = 1
    follow_job: bool = True


@dataclass(frozen=True)
class Docks:
    """Which parts of the window are open."""

    left: bool = True
    right: bool = True
    log: bool = False
    folded: tuple[str, ...] = ("regions", "provenance")
    thin_timeline: bool = False


@dataclass(frozen=True)
class ViewState:
    """Everything that decides what the window shows.

    ``run`` is the key of the shown run (its path, or ``live:<job>``); ``grid``
    "" means the run's first grid; ``method`` "" its first method.
    """

    page: Literal["welcome", "workspace"] = "welcome"
    run: str = ""
    step: int = 0
    layer: int = 0
    tokens: tuple[int, ...] = ()
    grid: str = ""
    method: str = ""
    mode: Mode = "single"
    refinement: Refinement = field(default_factory=Refinement)
    appearance: Appearance = field(default_factory=Appearance)
    panels: tuple[Panel, ...] = (Panel("A"),)
    active_panel: int = 0
    split: Split = "stage"
    wipe: float = 0.5
    markers: tuple[int, ...] = ()
    playback: Playback = field(default_factory=Playback)
    docks: Docks = field(default_factory=Docks)
    theme: ThemeChoice = "system"
    hold: Hold = ""


# --- cursor ---------------------------------------------------------------------------------------


def show_run(
    state: ViewState, run: str, *, n_steps: int, layer: int, step: int, tokens: tuple[int, ...]
) -> ViewState:
    """Show another run; pins and markers belong to the old one and go."""
    panels = tuple(
        replace(panel, step=None, layer=None, tokens=None) if panel.is_pinned else panel
        for panel in state.panels
    )
    return replace(
        state,
        page="workspace",
        run=run,
        step=_clip(step, n_steps),
        layer=layer,
        tokens=tokens,
        grid="",
        method="",
        panels=panels,
        markers=(),
        hold="",
        playback=replace(state.playback, playing=False, loop_in=None, loop_out=None),
    )


def go_to_step(state: ViewState, step: int, n_steps: int) -> ViewState:
    """Move the cursor to a step, kept inside 0 .. n_steps - 1."""
    return replace(state, step=_clip(step, n_steps))


def select_layer(state: ViewState, layer: int, layers: tuple[int, ...]) -> ViewState:
    """Select a layer; a layer that the run lacks leaves the state as it is."""
    return replace(state, layer=layer) if layer in layers else state


def move_layer(state: ViewState, change: int, layers: tuple[int, ...]) -> ViewState:
    """Go some rows up or down in the run's list of layers, stopping at its ends."""
    if not layers:
        return state
    index = layers.index(state.layer) if state.layer in layers else 0
    return replace(state, layer=layers[_clip(index + change, len(layers))])


def select_tokens(state: ViewState, tokens: Iterable[int]) -> ViewState:
    """Select a word or a phrase by its positions."""
    return replace(state, tokens=tuple(sorted(set(tokens))))


def toggle_tokens(state: ViewState, tokens: Iterable[int]) -> ViewState:
    """Add a word to the phrase or take it out; the last word stays."""
    chosen, current = set(tokens), set(state.tokens)
    result = current - chosen if chosen <= current else current | chosen
    return select_tokens(state, result) if result else state


# --- how it is shown ------------------------------------------------------------------------------


def set_mode(state: ViewState, mode: Mode) -> ViewState:
    """Change how panels share the canvas; comparing needs two panels, so a raw one is added."""
    if mode == "single":
        return replace(state, mode=mode)
    state = replace(state, mode=mode)
    if mode != "tile" and len(state.panels) < 2:
        state = replace(state, panels=(*state.panels, _raw_twin(state.panels)))
    return state


def set_appearance(state: ViewState, **changes: Any) -> ViewState:
    """Change colours, opacity, range or scope; values are brought into their limits."""
    if "opacity" in changes:
        changes["opacity"] = min(1.0, max(0.0, float(changes["opacity"])))
    look = replace(state.appearance, **changes)
    low, high = float(look.low), float(look.high)
    low = min(max(0.0, low), 0.99)
    high = min(max(low + 0.01, high), 1.0)
    return replace(state, appearance=replace(look, low=low, high=high))


def scale_range(state: ViewState, factor: float) -> ViewState:
    """Narrow (factor below 1) or widen the upper end of the colour range."""
    look = state.appearance
    high = look.low + (look.high - look.low) * factor
    return set_appearance(state, high=high)


def next_scope(state: ViewState) -> ViewState:
    """Go to the next normalisation scope."""
    index = SCOPES.index(state.appearance.scope)
    return set_appearance(state, scope=SCOPES[(index + 1) % len(SCOPES)])


def set_preset(state: ViewState, preset: str) -> ViewState:
    """Choose a refinement preset; own switches and parameters are dropped."""
    return _refine(state, Refinement(preset=preset))


def set_raw(state: ViewState, raw: bool) -> ViewState:
    """Show the raw map, or the refined one again."""
    return _refine(state, replace(active_refinement(state), raw=raw))


def switch_stage(state: ViewState, stage: str, on: bool) -> ViewState:
    """Switch one refinement stage; this also leaves the raw view."""
    shown = active_refinement(state)
    off = set(shown.off)
    off = off - {stage} if on else off | {stage}
    return _refine(state, replace(shown, off=tuple(sorted(off)), raw=False))


def change_parameter(state: ViewState, stage: str, name: str, value: float | str) -> ViewState:
    """Change one parameter of a stage; the last value for a parameter wins."""
    shown = active_refinement(state)
    kept = tuple(c for c in shown.changes if c[:2] != (stage, name))
    changes = tuple(sorted((*kept, (stage, name, value)), key=lambda c: c[:2]))
    return _refine(state, replace(shown, changes=changes, raw=False))


def reset_stage(state: ViewState, stage: str) -> ViewState:
    """Give one stage back the parameters of its preset."""
    shown = active_refinement(state)
    kept = tuple(c for c in shown.changes if c[0] != stage)
    return _refine(state, replace(shown, changes=kept))


# --- panels ---------------------------------------------------------------------------------------


def split_panel(state: ViewState) -> ViewState:
    """Add a panel beside the active one, pinned to what is shown there now."""
    if len(state.panels) >= MAX_PANELS:
        return state
    active = state.panels[state.active_panel]
    twin = Panel(
        _next_letter(state.panels),
        step=state.step if active.step is None else active.step,
        layer=active.layer,
        tokens=active.tokens,
        refinement=active.refinement,
    )
    mode: Mode = "tile" if state.mode == "single" else state.mode
    return replace(state, panels=(*state.panels, twin), mode=mode)


def shown_panels(state: ViewState) -> tuple[Panel, ...]:
    """Return the panels of the view, and for a lone one the raw map that it is held against.

    The raw one is there for as long as the key is down; the view itself does not change.
    """
    if state.hold in ("blink", "difference") and len(state.panels) == 1:
        return (*state.panels, _raw_twin(state.panels))
    return state.panels


def close_panel(state: ViewState, index: int | None = None) -> ViewState:
    """Close a panel; the last one stays, and one alone is shown as Single."""
    if len(state.panels) == 1:
        return state
    gone = state.active_panel if index is None else index
    panels = tuple(panel for i, panel in enumerate(state.panels) if i != gone)
    active = min(state.active_panel, len(panels) - 1)
    mode: Mode = "single" if len(panels) == 1 else state.mode
    return replace(state, panels=panels, active_panel=active, mode=mode)


def activate_panel(state: ViewState, index: int) -> ViewState:
    """Make another panel the active one."""
    return replace(state, active_panel=_clip(index, len(state.panels)))


def toggle_pin(state: ViewState) -> ViewState:
    """Pin the active panel to the present step, layer and words, or let it follow again."""
    panel = state.panels[state.active_panel]
    changed = (
        replace(panel, step=None, layer=None, tokens=None)
        if panel.is_pinned
        else replace(panel, step=state.step, layer=state.layer, tokens=state.tokens)
    )
    return _replace_panel(state, state.active_panel, changed)


def toggle_link(state: ViewState) -> ViewState:
    """Take the active panel out of the link group of zoom and pan, or put it back."""
    panel = state.panels[state.active_panel]
    return _replace_panel(state, state.active_panel, replace(panel, linked=not panel.linked))


def swap_panels(state: ViewState) -> ViewState:
    """Exchange what the first two panels show."""
    if len(state.panels) < 2:
        return state
    a, b, *rest = state.panels
    swapped = (replace(b, letter=a.letter), replace(a, letter=b.letter))
    return replace(state, panels=(*swapped, *rest))


def split_by(
    state: ViewState,
    split: Split,
    *,
    layers: tuple[int, ...] = (),
    steps: tuple[int, ...] = (),
    words: tuple[tuple[int, ...], ...] = (),
    stages: int = 4,
) -> ViewState:
    """Fill the canvas with one panel per stage, layer, step, word or preset."""
    panels: list[Panel] = []
    letters = [chr(ord("A") + i) for i in range(MAX_PANELS)]
    if split == "stage":
        panels = [Panel(letters[i], stage=i) for i in range(min(stages + 1, MAX_PANELS))]
    elif split == "refinement":
        choices = [Refinement(raw=True), *map(Refinement, ("released", "paper", "studio"))]
        panels = [Panel(letters[i], refinement=choice) for i, choice in enumerate(choices)]
    elif split == "layer":
        panels = [Panel(letters[i], layer=v) for i, v in enumerate(_spread(layers, MAX_PANELS))]
    elif split == "step":
        panels = [Panel(letters[i], step=v) for i, v in enumerate(_spread(steps, 6))]
    else:
        panels = [Panel(letters[i], tokens=v) for i, v in enumerate(words[:MAX_PANELS])]
    if not panels:
        return state
    return replace(
        state, split=split, panels=tuple(panels), active_panel=len(panels) - 1, mode="tile"
    )


def compared(state: ViewState) -> tuple[int, int]:
    """The two panels that wipe, blink and difference compare: the first and the active one."""
    if len(shown_panels(state)) < 2:
        return 0, 0
    return 0, state.active_panel or 1


def resolved(state: ViewState, panel: Panel) -> tuple[int, int, tuple[int, ...], Refinement]:
    """Step, layer, positions and refinement that a panel shows now."""
    return (
        state.step if panel.step is None else panel.step,
        state.layer if panel.layer is None else panel.layer,
        state.tokens if panel.tokens is None else panel.tokens,
        state.refinement if panel.refinement is None else panel.refinement,
    )


def active_panel(state: ViewState) -> Panel:
    """The panel whose facts the docks show, and which their controls change."""
    return state.panels[state.active_panel]


def active_refinement(state: ViewState) -> Refinement:
    """Refinement of the active panel: its own, or the one that it shares with the others."""
    return resolved(state, active_panel(state))[3]


def is_stage_on(state: ViewState, stage: str) -> bool:
    """Whether a refinement stage acts on the map of the active panel."""
    shown = active_refinement(state)
    return stage not in shown.off and not shown.raw


def through_stage(refinement: Refinement, count: int | None, stages: tuple[str, ...]) -> Refinement:
    """Refinement that ends after so many of its stages; None for all of them."""
    if count is None:
        return refinement
    if count == 0:
        return replace(refinement, raw=True)
    return replace(refinement, off=tuple(sorted({*refinement.off, *stages[count:]})))


# --- window ---------------------------------------------------------------------------------------


def toggle_dock(state: ViewState, name: Literal["left", "right", "log"]) -> ViewState:
    """Open or fold a side dock or the log."""
    return replace(state, docks=replace(state.docks, **{name: not getattr(state.docks, name)}))


def fold_section(state: ViewState, name: str, folded: bool) -> ViewState:
    """Fold or open one section of a dock."""
    names = set(state.docks.folded)
    names = names | {name} if folded else names - {name}
    return replace(state, docks=replace(state.docks, folded=tuple(sorted(names))))


def set_playback(state: ViewState, **changes: Any) -> ViewState:
    """Change how the timeline plays."""
    return replace(state, playback=replace(state.playback, **changes))


def next_step(play: Playback, step: int, n_steps: int) -> int | None:
    """Return the step after ``step`` while playing; None where playing ends."""
    first = play.loop_in if play.loop_in is not None else 0
    last = play.loop_out if play.loop_out is not None else n_steps - 1
    first, last = min(first, last), max(first, last)
    step += play.direction
    if first <= step <= last:
        return step
    if not play.loop:
        return None
    return first if play.direction > 0 else last


def toggle_marker(state: ViewState, step: int | None = None) -> ViewState:
    """Put a marker at a step (None is the present one), or take it away."""
    marks = set(state.markers) ^ {state.step if step is None else step}
    return replace(state, markers=tuple(sorted(marks)))


def changed_fields(old: ViewState, new: ViewState) -> frozenset[str]:
    """Names of the fields in which two states differ."""
    return frozenset(
        f.name for f in fields(ViewState) if getattr(old, f.name) != getattr(new, f.name)
    )


# --- as text --------------------------------------------------------------------------------------


def to_json(state: ViewState) -> str:
    """Write the state as JSON; what is only held for a moment is left out."""
    lasting = replace(state, hold="", playback=replace(state.playback, playing=False))
    return json.dumps(asdict(lasting), ensure_ascii=False, indent=1, sort_keys=True)


def from_json(text: str) -> ViewState:
    """Read a state written by :func:`to_json`.

    The text may come from another version or be damaged: whatever is unknown
    or of the wrong kind falls back to its default, one field at a time.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return ViewState()
    if not isinstance(raw, Mapping):
        return ViewState()
    default = ViewState()
    look = _section(raw.get("appearance"), default.appearance)
    state = replace(
        _section(raw, default),
        refinement=_refinement(raw.get("refinement")) or default.refinement,
        appearance=look,
        playback=replace(_section(raw.get("playback"), default.playback), playing=False),
        docks=_docks(raw.get("docks"), default.docks),
        panels=_panels(raw.get("panels")) or default.panels,
        tokens=_positions(raw.get("tokens")) or (),
        markers=_positions(raw.get("markers")) or (),
        hold="",
    )
    if state.appearance.colour_map not in COLOUR_MAPS:
        state = replace(state, appearance=replace(state.appearance, colour_map="inferno"))
    if state.appearance.difference_map not in DIFFERENCE_MAPS:
        state = replace(state, appearance=replace(state.appearance, difference_map="berlin"))
    if state.playback.speed not in SPEEDS:
        state = replace(state, playback=replace(state.playback, speed=1.0))
    state = replace(
        state,
        mode=_one_of(state.mode, MODES, default.mode),
        split=_one_of(state.split, SPLITS, default.split),
        theme=_one_of(state.theme, get_args(ThemeChoice), default.theme),
        page=_one_of(state.page, ("welcome", "workspace"), default.page),
        active_panel=_clip(state.active_panel, len(state.panels)),
        step=max(0, state.step),
        layer=max(0, state.layer),
        wipe=min(1.0, max(0.0, state.wipe)),
    )
    if state.appearance.scope not in SCOPES:
        state = replace(state, appearance=replace(state.appearance, scope=default.appearance.scope))
    if state.mode != "single" and state.mode != "tile" and len(state.panels) < 2:
        state = set_mode(state, state.mode)
    return set_appearance(state)


def _section(raw: object, default: Any) -> Any:
    """Take over scalar fields of the same kind as the default's; the rest keeps its default."""
    if not isinstance(raw, Mapping):
        return default
    found: dict[str, Any] = {}
    for entry in fields(default):
        if entry.name not in raw:
            continue
        value, model = raw[entry.name], getattr(default, entry.name)
        if isinstance(model, bool):
            good = isinstance(value, bool)
        elif isinstance(model, int):
            good = isinstance(value, int) and not isinstance(value, bool)
        elif isinstance(model, float):
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
            good = good and math.isfinite(value)
            value = float(value) if good else value
        elif isinstance(model, str):
            good = isinstance(value, str) and len(value) < 4096
        else:
            good = False
        if good:
            found[entry.name] = value
    return replace(default, **found)


def _docks(raw: object, default: Docks) -> Docks:
    docks: Docks = _section(raw, default)
    if isinstance(raw, Mapping) and isinstance(raw.get("folded"), list):
        names = [n for n in raw["folded"] if isinstance(n, str) and len(n) < 40]
        docks = replace(docks, folded=tuple(names[:20]))
    return docks


def _refinement(raw: object) -> Refinement | None:
    if not isinstance(raw, Mapping):
        return None
    result: Refinement = _section(raw, Refinement())
    off = raw.get("off")
    if isinstance(off, list):
        names = {s for s in off if isinstance(s, str) and len(s) < 80}
        result = replace(result, off=tuple(sorted(names)))
    changes = raw.get("changes")
    if isinstance(changes, list):
        good = [
            (c[0], c[1], c[2])
            for c in changes
            if isinstance(c, list)
            and len(c) == 3
            and isinstance(c[0], str)
            and isinstance(c[1], str)
            and (isinstance(c[2], str) or (isinstance(c[2], (int, float)) and math.isfinite(c[2])))
        ]
        result = replace(result, changes=tuple(good))
    return result


def _panels(raw: object) -> tuple[Panel, ...]:
    if not isinstance(raw, list):
        return ()
    panels: list[Panel] = []
    for entry in raw[:MAX_PANELS]:
        if not isinstance(entry, Mapping):
            continue
        panels.append(
            Panel(
                letter=_next_letter(tuple(panels)),
                step=_index(entry.get("step")),
                layer=_index(entry.get("layer")),
                tokens=_positions(entry.get("tokens")),
                refinement=_refinement(entry.get("refinement")),
                stage=_index(entry.get("stage")),
                linked=entry.get("linked") is not False,
            )
        )
    return tuple(panels)


def _index(value: object) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if good and isinstance(value, int) else None


def _positions(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(v for v in value if _index(v) is not None)


def _one_of(value: Any, allowed: tuple[Any, ...], default: Any) -> Any:
    return value if value in allowed else default


def _clip(index: int, length: int) -> int:
    return max(0, min(index, length - 1))


def _next_letter(panels: tuple[Panel, ...]) -> str:
    used = {panel.letter for panel in panels}
    return next(c for c in "ABCDEFGHIJ" if c not in used)


def _raw_twin(panels: tuple[Panel, ...]) -> Panel:
    return Panel(_next_letter(panels), refinement=Refinement(raw=True))


def _refine(state: ViewState, refinement: Refinement) -> ViewState:
    """Change the refinement of the active panel where it stands: its own, or the shared one."""
    panel = active_panel(state)
    if panel.refinement is None:
        return replace(state, refinement=refinement)
    return _replace_panel(state, state.active_panel, replace(panel, refinement=refinement))


def _replace_panel(state: ViewState, index: int, panel: Panel) -> ViewState:
    panels = (*state.panels[:index], panel, *state.panels[index + 1 :])
    return replace(state, panels=panels)


def _spread(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Take at most `count` values, evenly spread, with both ends."""
    if len(values) <= count:
        return values
    return tuple(values[round(i * (len(values) - 1) / (count - 1))] for i in range(count))
