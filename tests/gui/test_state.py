"""View state, store, session files: pure data, no window."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_studio.state import view_state as vs
from diffcam_studio.state.settings import Places, Preferences, Settings
from diffcam_studio.state.store import Store
from diffcam_studio.state.view_state import Panel, Refinement, ViewState

LAYERS = (2, 4, 8)


def shown() -> ViewState:
    return vs.show_run(ViewState(), "a.dcam", n_steps=16, layer=4, step=5, tokens=(3,))


def test_cursor_stays_inside() -> None:
    state = shown()
    assert vs.go_to_step(state, 99, 16).step == 15
    assert vs.go_to_step(state, -4, 16).step == 0
    assert vs.move_layer(state, 1, LAYERS).layer == 8
    assert vs.move_layer(state, 9, LAYERS).layer == 8
    assert vs.move_layer(state, -9, LAYERS).layer == 2
    assert vs.select_layer(state, 7, LAYERS) == state


def test_phrases_grow_and_shrink_but_never_vanish() -> None:
    state = vs.toggle_tokens(shown(), (5, 6))
    assert state.tokens == (3, 5, 6)
    assert vs.toggle_tokens(state, (5, 6)).tokens == (3,)
    assert vs.toggle_tokens(shown(), (3,)).tokens == (3,)


@pytest.mark.parametrize("mode", ["wipe", "blink", "difference"])
def test_comparing_brings_a_raw_panel(mode: vs.Mode) -> None:
    state = vs.set_mode(shown(), mode)
    assert [p.letter for p in state.panels] == ["A", "B"]
    assert state.panels[1].refinement == Refinement(raw=True)
    assert vs.set_mode(state, "difference").panels == state.panels


def test_pins_hold_while_the_cursor_moves() -> None:
    state = vs.toggle_pin(shown())
    moved = replace(vs.go_to_step(state, 9, 16), layer=8, tokens=(7,))
    assert vs.resolved(moved, moved.panels[0])[:3] == (5, 4, (3,))
    free = vs.toggle_pin(moved)
    assert vs.resolved(free, free.panels[0])[:3] == (9, 8, (7,))


def test_split_close_and_swap() -> None:
    state = vs.split_panel(shown())
    assert state.mode == "tile"
    assert state.panels[1].step == 5
    swapped = vs.swap_panels(state)
    assert [p.letter for p in swapped.panels] == ["A", "B"]
    assert swapped.panels[0].step == 5
    assert swapped.panels[1].step is None
    closed = vs.close_panel(state, 1)
    assert closed.mode == "single"
    assert vs.close_panel(closed) == closed


def test_split_by_fills_the_tiles() -> None:
    state = vs.split_by(shown(), "layer", layers=LAYERS)
    assert [p.layer for p in state.panels] == list(LAYERS)
    state = vs.split_by(shown(), "step", steps=tuple(range(32)))
    assert [p.step for p in state.panels] == [0, 6, 12, 19, 25, 31]
    state = vs.split_by(shown(), "stage", stages=5)
    assert [p.stage for p in state.panels] == [0, 1, 2, 3, 4, 5]
    assert vs.split_by(shown(), "token", words=()) == shown()


def test_refinement_edits() -> None:
    state = vs.switch_stage(vs.set_raw(shown(), True), "smooth", False)
    assert state.refinement.off == ("smooth",)
    assert not state.refinement.raw
    state = vs.change_parameter(state, "smooth", "sigma", 1.5)
    state = vs.change_parameter(state, "smooth", "sigma", 2.0)
    assert state.refinement.changes == (("smooth", "sigma", 2.0),)
    assert vs.reset_stage(state, "smooth").refinement.changes == ()
    assert vs.set_preset(state, "paper").refinement == Refinement("paper")


@given(low=st.floats(-2, 2), high=st.floats(-2, 2), opacity=st.floats(-1, 2))
def test_ranges_are_always_usable(low: float, high: float, opacity: float) -> None:
    look = vs.set_appearance(ViewState(), low=low, high=high, opacity=opacity).appearance
    assert 0.0 <= look.low < look.high <= 1.0
    assert 0.0 <= look.opacity <= 1.0


def test_undo_goes_back_gesture_by_gesture() -> None:
    store = Store(shown())
    for opacity in (0.5, 0.4, 0.3):
        store.apply(vs.set_appearance(store.state, opacity=opacity), key="opacity")
    store.apply(vs.go_to_step(store.state, 9, 16), key="step")
    assert store.undo()
    assert (store.state.step, store.state.appearance.opacity) == (5, 0.3)
    assert store.undo()
    assert store.state == shown()
    assert not store.undo()
    assert store.redo()
    assert store.state.appearance.opacity == 0.3
    store.apply(vs.go_to_step(store.state, 1, 16))
    assert not store.can_redo


def test_a_new_gesture_with_the_same_key_is_its_own_entry() -> None:
    store = Store(shown())
    store.apply(vs.go_to_step(store.state, 6, 16), key="step")
    store.end_gesture()
    store.apply(vs.go_to_step(store.state, 7, 16), key="step")
    store.undo()
    assert store.state.step == 6


def test_what_a_job_does_is_nothing_to_undo() -> None:
    store = Store(shown())
    store.follow(vs.go_to_step(store.state, 6, 16))
    assert not store.can_undo
    store.apply(vs.set_appearance(store.state, opacity=0.2))
    store.follow(vs.go_to_step(store.state, 7, 16))
    assert store.undo()
    assert (store.state.step, store.state.appearance.opacity) == (7, 0.6)
    store.follow(vs.go_to_step(store.state, 8, 16))
    assert store.redo()
    assert (store.state.step, store.state.appearance.opacity) == (8, 0.2)
    # A step that a person chose and the job has left since is no entry of its own any more.
    store.apply(vs.go_to_step(store.state, 2, 16), key="step")
    store.follow(vs.go_to_step(store.state, 9, 16))
    assert store.undo()
    assert (store.state.step, store.state.appearance.opacity) == (9, 0.6)


def test_undo_keeps_docks_theme_and_playback() -> None:
    store = Store(shown())
    store.apply(vs.go_to_step(store.state, 9, 16))
    store.apply(replace(store.state, theme="light"))
    store.apply(vs.toggle_dock(store.state, "left"))
    store.undo()
    assert store.state.step == 5
    assert store.state.theme == "light"
    assert not store.state.docks.left


def test_another_run_starts_a_new_history() -> None:
    store = Store(shown())
    store.apply(vs.go_to_step(store.state, 9, 16))
    store.apply(replace(store.state, run="b.dcam"))
    assert not store.can_undo


def test_listeners_hear_only_changes() -> None:
    heard: list[frozenset[str]] = []
    store = Store(shown())
    store.listen(lambda _old, _new, changed: heard.append(changed))
    assert not store.apply(store.state)
    store.apply(replace(store.state, step=1, layer=2))
    assert heard == [frozenset({"step", "layer"})]


panels = st.lists(
    st.builds(
        Panel,
        letter=st.just("A"),
        step=st.none() | st.integers(0, 60),
        layer=st.none() | st.integers(0, 60),
        tokens=st.none() | st.lists(st.integers(0, 60), max_size=3).map(tuple),
        refinement=st.none()
        | st.builds(
            Refinement,
            preset=st.sampled_from(["studio", "paper"]),
            off=st.sets(st.sampled_from(["akd", "smooth"])).map(lambda s: tuple(sorted(s))),
            changes=st.lists(
                st.tuples(st.just("akd"), st.text(max_size=4), st.floats(0, 9)), max_size=2
            ).map(tuple),
            raw=st.booleans(),
        ),
        stage=st.none() | st.integers(0, 6),
        linked=st.booleans(),
    ),
    min_size=2,
    max_size=8,
).map(lambda ps: tuple(replace(p, letter="ABCDEFGH"[i]) for i, p in enumerate(ps)))


@settings(max_examples=60)
@given(
    panels=panels,
    step=st.integers(0, 500),
    tokens=st.lists(st.integers(0, 99), max_size=4).map(tuple),
    mode=st.sampled_from(vs.MODES),
    run=st.text(max_size=30),
)
def test_saved_views_come_back(
    panels: tuple[Panel, ...], step: int, tokens: tuple[int, ...], mode: vs.Mode, run: str
) -> None:
    state = replace(
        ViewState(), panels=panels, step=step, tokens=tokens, mode=mode, run=run, theme="light"
    )
    assert vs.from_json(vs.to_json(state)) == state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=150)
@given(name=st.sampled_from([f.name for f in fields(ViewState)]), value=json_values)
def test_damaged_fields_fall_back_to_defaults(name: str, value: object) -> None:
    data = json.loads(vs.to_json(ViewState()))
    data[name] = value
    state = vs.from_json(json.dumps(data))
    assert state.mode in vs.MODES
    assert 0 <= state.active_panel < len(state.panels)
    assert vs.from_json(vs.to_json(state)) == state


@given(text=st.text(max_size=60))
def test_damaged_text_gives_the_default_view(text: str) -> None:
    if not text.strip().isdigit():
        assert isinstance(vs.from_json(text), ViewState)


def test_session_file_round_trip_and_damage(places: Places) -> None:
    kept = Settings(places)
    view = replace(shown(), theme="light")
    wishes = Preferences(seconds_per_map=0.5)
    assert kept.save(view, ("a.dcam",), ("a.dcam", "b.png"), wishes)
    again, runs, recent, preferences = Settings(places).load()
    assert (again, runs, recent, preferences) == (view, ("a.dcam",), ("a.dcam", "b.png"), wishes)
    places.state_file.write_text('{"view": {"step": "x"}, "recent": 3, "preferences": []')
    assert Settings(places).load() == (ViewState(), (), (), Preferences())
    places.state_file.write_bytes(b"\xff\xfe\x00")
    assert Settings(places).load()[0] == ViewState()


def test_a_disk_that_refuses_does_not_stop_anyone(places: Places) -> None:
    places.config.parent.mkdir(parents=True, exist_ok=True)
    places.config.write_text("a file where the folder should be")
    assert not Settings(places).save(ViewState(), (), (), Preferences())
