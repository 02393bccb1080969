"""A run file behind the interface that the Studio reads runs through."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from diffcam_studio.state.source import FloatArray, RunFacts, spans_of

if TYPE_CHECKING:
    from diffcam_core.session import Run


class FileRun:
    """Wraps an open :class:`diffcam_core.session.Run`; lives on the I/O thread."""

    def __init__(self, run: Run, key: str, scene: str = "") -> None:
        self._run = run
        self._key = key
        self._scene = scene
        self._facts: RunFacts | None = None

    def facts(self) -> RunFacts:
        """Everything but the maps; built once, a file does not change under us."""
        if self._facts is None:
            self._facts = self._build()
        return self._facts

    def maps(self, step: int, layer: int, grid: str, method: str) -> FloatArray | None:
        """Maps of all targets at one step and layer, or None where none were computed."""
        facts = self.facts()
        if not facts.is_computed(step, layer):
            return None
        return self._run.maps(step, layer, grid or None, method or None)

    def trajectory(self, position: int, layer: int, grid: str, method: str) -> FloatArray:
        """Maps of one position at every step; NaN where there is none."""
        return self._run.trajectory(position, layer, grid or None, method or None)

    def close(self) -> None:
        """Close the file."""
        self._run.close()

    def _build(self) -> RunFacts:
        run = self._run
        special = frozenset(run.special_ids)
        words = spans_of(run.words)
        metadata = {
            str(k): v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)
            for k, v in run.metadata.items()
        }
        known = run.canvas_steps
        return RunFacts(
            key=self._key,
            title=run.path.name.removesuffix(".part").removesuffix(".dcam"),
            image=run.image,
            prompt=run.prompt,
            model=run.model,
            methods=run.methods or ((run.method,) if run.method else ()),
            answer=run.answer,
            token_ids=run.token_ids,
            tokens=run.tokens,
            texts=dict(run.texts),
            mask_id=run.mask_id,
            end_ids=special - {run.mask_id},
            n_steps=run.n_steps,
            layers=run.layers,
            targets=run.targets,
            grids=dict(run.grids),
            canvas=run.canvas,
            guesses=run.guesses,
            confidence=run.confidence,
            commit_step=run.commit_step,
            valid=run.valid,
            computed=run.computed,
            target_probability=run.target_probability,
            words=words,
            default_layer=run.default_layer,
            requested_steps=run.requested_steps or None,
            steps_known=len(known),
            complete=run.complete,
            metadata=metadata,
            scene=metadata.get("scene") or self._scene,
        )
