"""How a map is cited: the sentence under its figure, and the code that makes it again."""

from __future__ import annotations

from diffcam_studio.presenter.naming import model_title, preset_title, scope_words
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Refinement, ViewState


def caption_of(state: ViewState, facts: RunFacts, stages: tuple[str, ...] = ()) -> str:
    """Sentence under an exported figure: everything that a reader must know."""
    step, layer, tokens, refined = _shown(state, stages)
    refinement = preset_title(refined).lower()
    words = facts.phrase(tokens)
    return (
        f"“{words}” in “{facts.answer.strip()}”, step {step} of 0–{facts.n_steps - 1}, "
        f"layer {layer}. {refinement.capitalize()} refinement. "
        f"{scope_words(state.appearance.scope, facts)}. "
        f"{model_title(facts.model)}."
    )


def code_of(state: ViewState, facts: RunFacts, stages: tuple[str, ...] = ()) -> str:
    """Python that makes the map of the active panel again; ``stages`` names its pipeline's."""
    step, layer, tokens, refinement = _shown(state, stages)
    path = facts.metadata.get("path", facts.key).removeprefix("live:")
    token = tokens[0] if tokens else 0
    lines = [
        "import diffcam_core as dc",
        "",
        f"run = dc.open_run({path!r})",
        f"heat = run.map(token={token}, step={step}, layer={layer})",
    ]
    if not refinement.raw:
        if refinement.is_changed:
            lines.append("from diffcam_core.refinement import PRESETS")
            call = f"PRESETS[{refinement.preset!r}]"
            for stage, name, value in refinement.changes:
                call += f".with_parameters({stage!r}, {name}={value!r})"
            for stage in refinement.off:
                call += f".with_enabled({stage!r}, False)"
            lines.append(f"heat = heat.refine({call})")
        else:
            lines.append(f"heat = heat.refine({refinement.preset!r})")
    lines.append("values = heat.on_image()")
    return "\n".join(lines)


def _shown(
    state: ViewState, stages: tuple[str, ...]
) -> tuple[int, int, tuple[int, ...], Refinement]:
    panel = vs.active_panel(state)
    step, layer, tokens, refinement = vs.resolved(state, panel)
    return step, layer, tokens, vs.through_stage(refinement, panel.stage, stages)
