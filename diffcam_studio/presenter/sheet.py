"""What the run sheet knows of the model and says of the image."""

from __future__ import annotations

from dataclasses import replace

from diffcam_studio.jobs import Picture
from diffcam_studio.presenter.naming import device_text, model_title
from diffcam_studio.views.run_wish import SheetFacts
from diffcam_studio.worker.engine_thread import ModelFacts


def sheet_facts(model: ModelFacts | None, seconds_per_map: float) -> SheetFacts:
    """What the sheet offers and how long that takes."""
    facts = SheetFacts(seconds_per_map=seconds_per_map)
    if model is None:
        return facts
    return replace(
        facts,
        model=f"{model_title(model.source)}, {model.layers} layers",
        layers=model.layers,
        generation=model.generation,
        methods=model.methods or facts.methods,
        device=device_text(model.device),
    )


def image_warning(model: ModelFacts | None, picture: Picture) -> str:
    """Why a run on this image may say little; "" if there is no reason."""
    embedded = model is None or model.source == "embedded"
    if not embedded or picture.scene:
        return ""
    return (
        "This model reads sticker scenes only. The photograph still runs, "
        "but the answer may be wrong."
    )
