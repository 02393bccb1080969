"""From the state of the view to questions for the I/O thread: plain functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcam_studio.presenter.citing import caption_of, cited_map
from diffcam_studio.presenter.naming import scope_words
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.worker.queries import (
    ExportQuery,
    LadderFrame,
    LadderQuery,
    LayersQuery,
    MapAddress,
    PanelQuery,
    Query,
    TimelineQuery,
)


@dataclass(frozen=True)
class Question:
    """One question for the I/O thread: whose place its answer takes, and how urgent it is."""

    slot: str
    query: Query
    priority: int


def questions_of(
    state: ViewState, facts: RunFacts, version: int, layer_metric: str
) -> list[Question]:
    """Return everything that a view needs to be shown.

    Parameters
    ----------
    state
        The view.
    facts
        The run that it shows.
    version
        How much of a live run is there; 0 for a file.
    layer_metric
        The measure that the list of layers shows.
    """
    found = [
        Question(f"panel:{panel.letter}", panel_query(state, panel, version), 2)
        for panel in visible_panels(state)
    ]
    # The docks and the timeline belong to the active panel, whatever of it is pinned.
    panel = vs.active_panel(state)
    step, layer, tokens, refinement = vs.resolved(state, panel)
    address, scope = _address(state, tokens, layer, version), state.appearance.scope
    layers = replace(address, layer=facts.layers[0])
    return [
        *found,
        Question("ladder", LadderQuery(address, step, refinement, scope, panel.stage), 3),
        Question("timeline", TimelineQuery(address, refinement, scope), 4),
        Question("layers", LayersQuery(layers, step, refinement, scope, layer_metric), 5),
    ]


def neighbours_of(state: ViewState, facts: RunFacts, version: int) -> list[Question]:
    """Return what the steps next to the cursor will need, before anyone asks for it."""
    panel = state.panels[state.active_panel]
    if panel.step is not None:
        return []
    query = panel_query(state, panel, version)
    return [
        Question(f"near:{change}", replace(query, step=state.step + change), 9)
        for change in (1, -1, 2)
        if 0 <= state.step + change < facts.n_steps
    ]


def visible_panels(state: ViewState) -> tuple[vs.Panel, ...]:
    """Return the panels whose maps are on the screen, or would be at the press of a key."""
    panels = vs.shown_panels(state)
    if state.mode == "tile":
        return panels
    pair = tuple(panels[i] for i in vs.compared(state))
    return tuple(dict.fromkeys((panels[state.active_panel], *pair)))


def panel_query(state: ViewState, panel: vs.Panel, version: int) -> PanelQuery:
    """Return the question for the map of one panel."""
    step, layer, tokens, refinement = vs.resolved(state, panel)
    return PanelQuery(
        _address(state, tokens, layer, version),
        step,
        refinement,
        state.appearance.scope,
        panel.stage,
        True,
    )


def export_query(
    state: ViewState, facts: RunFacts, ladder: LadderFrame | None, version: int, path: str
) -> ExportQuery:
    """Return the order to write what the canvas shows as a figure or as data."""
    panels = state.panels if state.mode != "single" else (state.panels[state.active_panel],)
    if state.mode in ("wipe", "blink", "difference"):
        panels = tuple(vs.shown_panels(state)[i] for i in vs.compared(state))
    cited = tuple(cited_map(state, panel, facts, ladder) for panel in panels)
    titled = tuple(
        (panel_query(state, panel, version), one.title, panel.letter if len(panels) > 1 else "")
        for panel, one in zip(panels, cited, strict=True)
    )
    look = state.appearance
    return ExportQuery(
        target=path,
        panels=titled,
        caption=caption_of(state, facts, cited),
        colour_map=look.colour_map,
        low=look.low,
        high=look.high,
        opacity=look.opacity,
        scope=scope_words(look.scope, facts),
        mode=state.mode,
        wipe=state.wipe,
        grey_image=look.grey_image,
        show_contour=look.contour,
        show_region=look.region,
        scene=facts.scene,
    )


def _address(state: ViewState, tokens: tuple[int, ...], layer: int, version: int) -> MapAddress:
    return MapAddress(state.run, tokens, layer, state.grid, state.method, version)
