"""Which wish each action stands for, as far as the controller alone can answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from diffcam_studio.commands import cursor, look, playing
from diffcam_studio.controller import Controller
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.view_state import ViewState


def controller_bindings(c: Controller) -> dict[str, Callable[[], object]]:
    """Return callbacks by action id; the window adds those that need it."""

    def to(change: Callable[[ViewState], ViewState], key: str | None = None) -> Callable[[], None]:
        return lambda: c.apply(change(c.state), key)

    bound: dict[str, Callable[[], object]] = {
        "file.close_run": lambda: c.close_run(),
        "file.welcome": to(lambda state: replace(state, page="welcome")),
        "edit.undo": c.undo,
        "edit.redo": c.redo,
        "edit.swap": to(vs.swap_panels),
        "view.split": to(vs.split_panel),
        "view.close_panel": to(vs.close_panel),
        "view.pin": to(vs.toggle_pin),
        "view.link": to(vs.toggle_link),
        "view.opacity_less": partial(look.more_opacity, c, -0.05),
        "view.opacity_more": partial(look.more_opacity, c, 0.05),
        "view.range_less": to(lambda state: vs.scale_range(state, 0.9), "range-key"),
        "view.range_more": to(lambda state: vs.scale_range(state, 1 / 0.9), "range-key"),
        "view.scope": to(vs.next_scope),
        "view.colour_bar": partial(look.flip, c, "colour_bar"),
        "view.contour": partial(look.flip, c, "contour"),
        "view.region": partial(look.flip, c, "region"),
        "view.grey": partial(look.flip, c, "grey_image"),
        "view.raw": to(lambda state: vs.set_raw(state, not vs.active_refinement(state).raw)),
        "view.left": to(lambda state: vs.toggle_dock(state, "left")),
        "view.right": to(lambda state: vs.toggle_dock(state, "right")),
        "view.log": to(lambda state: vs.toggle_dock(state, "log")),
        "view.thin": lambda: look.set_thin(c, not c.state.docks.thin_timeline),
        "run.cancel": c.cancel_job,
        "run.play": lambda: playing.play(c, not c.state.playback.playing),
        "run.step_back": lambda: c.go_to(c.state.step - 1),
        "run.step_forward": lambda: c.go_to(c.state.step + 1),
        "run.previous_computed": partial(cursor.next_computed, c, -1),
        "run.next_computed": partial(cursor.next_computed, c, 1),
        "run.previous_commit": partial(cursor.next_commit, c, -1),
        "run.next_commit": partial(cursor.next_commit, c, 1),
        "run.first": partial(cursor.end_step, c, 0),
        "run.last": partial(cursor.end_step, c, -1),
        "run.word_step": partial(cursor.word_step, c),
        "run.shuttle_back": partial(playing.shuttle, c, -1),
        "run.shuttle_stop": partial(playing.play, c, False),
        "run.shuttle_forward": partial(playing.shuttle, c, 1),
        "run.loop": to(lambda state: vs.set_playback(state, loop=not state.playback.loop)),
        "run.loop_in": partial(playing.loop_end, c, "loop_in"),
        "run.loop_out": partial(playing.loop_end, c, "loop_out"),
        "run.marker": to(vs.toggle_marker),
        "run.follow": lambda: playing.follow(c, not c.state.playback.follow_job),
        "run.layer_less": partial(cursor.move_layer, c, -1),
        "run.layer_more": partial(cursor.move_layer, c, 1),
        "run.previous_word": partial(cursor.next_word, c, -1, False),
        "run.next_word": partial(cursor.next_word, c, 1, False),
        "run.previous_noun": partial(cursor.next_word, c, -1, True),
        "run.next_noun": partial(cursor.next_word, c, 1, True),
    }
    for number in range(1, vs.MAX_STAGES + 1):
        bound[f"view.stage_{number}"] = partial(look.toggle_stage, c, number - 1)
    return bound
