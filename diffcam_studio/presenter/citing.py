"""How a map is cited: the sentence under its figure, and the code that makes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffcam_core.layers import layer_title
from diffcam_studio.presenter.naming import model_title, preset_title, scope_words
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import Panel, Refinement, ViewState
from diffcam_studio.worker.queries import LadderFrame


@dataclass(frozen=True)
class CitedMap:
    """What one panel of a figure shows, in words."""

    letter: str
    words: str
    step: int
    layer: int
    refinement: str

    @property
    def title(self) -> str:
        """Over the panel."""
        layer = layer_title(self.layer).lower()
        return f"{self.words}, t = {self.step}, {layer}, {self.refinement}"


def cited_map(
    state: ViewState, panel: Panel, facts: RunFacts, ladder: LadderFrame | None
) -> CitedMap:
    """Say what a panel shows, its pins included."""
    step, layer, tokens, refinement = vs.resolved(state, panel)
    name = preset_title(refinement).lower()
    if panel.stage is not None and ladder is not None:
        # Stages have proper names: "AKD" stays as it is.
        stages = ("raw", *(s.title for s in ladder.stages))
        at = min(panel.stage, len(stages) - 1)
        name = f"after {stages[at]}" if at else stages[0]
    return CitedMap(panel.letter, facts.phrase(tokens), step, layer, name)


def caption_of(state: ViewState, facts: RunFacts, maps: Sequence[CitedMap]) -> str:
    """Sentences under an exported figure: everything that a reader must know.

    What all maps share is said once; where they differ, each is named by its letter.
    """
    answer = f"“{facts.answer.strip()}”"
    steps = f"0–{facts.n_steps - 1}"
    sorts = {
        "words": tuple(f"“{m.words}” in {answer}" for m in maps),
        "step": tuple(f"step {m.step} of {steps}" for m in maps),
        "layer": tuple(layer_title(m.layer).lower() for m in maps),
    }
    brief = {
        "words": tuple(f"“{m.words}”" for m in maps),
        "step": tuple(f"step {m.step}" for m in maps),
        "layer": tuple(layer_title(m.layer).lower() for m in maps),
        "refinement": tuple(_refined(m.refinement) for m in maps),
    }
    shared = [texts[0] for texts in sorts.values() if len(set(texts)) == 1]
    if len(set(sorts["words"])) > 1:
        shared.insert(0, f"Words of {answer}")
    if len(set(sorts["step"])) > 1:
        shared.append(f"steps {steps}")
    sentences = [", ".join(shared)]
    if len(set(brief["refinement"])) == 1:
        sentences.append(_upper(brief["refinement"][0]))
    differ = [texts for texts in brief.values() if len(set(texts)) > 1]
    if differ:
        told = (f"{m.letter}: {', '.join(t[i] for t in differ)}" for i, m in enumerate(maps))
        sentences.append("; ".join(told))
    if state.mode == "difference" and len(maps) == 2:
        sentences.append(f"Shown is {maps[1].letter} \u2212 {maps[0].letter}")
    sentences += [scope_words(state.appearance.scope, facts), model_title(facts.model)]
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _refined(name: str) -> str:
    if name == "raw":
        return "no refinement"
    return name if name.startswith("after ") else f"{name} refinement"


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


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
