"""Refinement as the view asks for it: pipelines from its settings, and their stages in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcam_core.errors import InputError
from diffcam_studio.state.source import FloatArray, RunFacts
from diffcam_studio.state.view_state import Refinement
from diffcam_studio.worker.maps import unit
from diffcam_studio.worker.queries import StageFrame, StageParameter

if TYPE_CHECKING:
    from diffcam_core.refinement import Pipeline


def pipeline_of(refinement: Refinement) -> Pipeline:
    """Pipeline of a preset with the switches and parameters of the view.

    Stages and parameters that the preset lacks, for example from an older
    session, are left out.
    """
    from diffcam_core import refinement as core

    pipeline = core.as_pipeline(
        refinement.preset if refinement.preset in core.PRESETS else "studio"
    )
    names = {stage.name for stage in pipeline.stages}
    for stage, parameter, value in refinement.changes:
        if stage in names:
            try:
                pipeline = pipeline.with_parameters(stage, **{parameter: value})
            except InputError:
                continue
    for stage in refinement.off:
        if stage in names:
            pipeline = pipeline.with_enabled(stage, False)
    return pipeline


def stages_of(
    raw: FloatArray, pipeline: Pipeline, facts: RunFacts, context: FloatArray | None
) -> list[tuple[str, FloatArray]]:
    """Return (name, map) after each stage that is on; ``context`` holds the other words' maps."""
    from diffcam_core import refinement as core

    return core.stages(unit(raw), pipeline, context_maps=context, **_context_of(facts))


def refined_steps(
    stack: FloatArray,
    steps: list[int],
    refinement: Refinement,
    facts: RunFacts,
    context: FloatArray | None,
) -> dict[int, FloatArray]:
    """Refine the maps of some steps in one batch."""
    if refinement.raw or not steps:
        return {step: unit(stack[step]) for step in steps}
    from diffcam_core import refinement as core

    batch = np.stack([unit(stack[step]) for step in steps])
    shared = None if context is None else np.repeat(context[None], len(steps), axis=0)
    done = core.apply(batch, pipeline_of(refinement), context_maps=shared, **_context_of(facts))
    return {step: done[i] for i, step in enumerate(steps)}


def stage_frame(
    stage: Any, original: Any, values: FloatArray | None, delta: float | None
) -> StageFrame:
    """Describe a stage beside the one of the unchanged preset."""
    return StageFrame(
        stage=stage.name,
        title=_short_title(stage),
        summary=_summary(stage),
        help=f"{stage.info.title}. {stage.info.help}",
        enabled=stage.enabled,
        changed=stage.module != original.module or stage.enabled != original.enabled,
        values=values,
        delta=delta,
        parameters=_parameters(stage, original),
    )


def _context_of(facts: RunFacts) -> dict[str, Any]:
    height, width = facts.image.shape[:2] if facts.image is not None else (0, 0)
    words = tuple(w.text for w in facts.words)
    return {
        "token_ids": tuple(facts.token_ids.tolist()),
        "n_steps": facts.n_steps or None,
        "image_size": (width, height) if width and height else None,
        "special_ids": (*facts.end_ids, facts.mask_id),
        "words": words or None,
    }


def _short_title(stage: Any) -> str:
    return stage.name.upper() if stage.kind in ("akd", "dacg", "cba", "sicd") else stage.info.title


def _summary(stage: Any) -> str:
    if not stage.enabled:
        return "Off"
    values = stage.module.to_dict()
    parts = [f"{info.title} {_plain(values[info.name])}" for info in stage.info.parameters[:2]]
    return ", ".join(parts) or stage.info.help


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _parameters(stage: Any, original: Any) -> tuple[StageParameter, ...]:
    found = []
    values, defaults = stage.module.to_dict(), original.module.to_dict()
    for info in stage.info.parameters:
        if info.kind == "choice":
            choices = tuple((float(i), name) for i, name in enumerate(info.choices))
            found.append(
                StageParameter(
                    info.name,
                    info.title,
                    float(info.choices.index(values[info.name])),
                    float(info.choices.index(defaults[info.name])),
                    0.0,
                    float(max(1, len(info.choices) - 1)),
                    1.0,
                    info.help,
                    0,
                    choices,
                )
            )
            continue
        step = float(info.step or 0.01)
        decimals = max(0, math.ceil(-math.log10(step)))
        found.append(
            StageParameter(
                info.name,
                info.title,
                float(values[info.name]),
                float(defaults[info.name]),
                float(info.minimum or 0.0),
                float(info.maximum if info.maximum is not None else 1.0),
                step,
                info.help,
                decimals,
            )
        )
    return tuple(found)
