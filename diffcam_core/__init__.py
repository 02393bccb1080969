"""See, prove and publish where in an image a diffusion multimodal language model took a word from.

The public names below are loaded when they are first used, so that ``import diffcam_core`` costs
nothing and reading a run file never imports torch::

    import diffcam_core as dc

    model = dc.load_model("embedded")
    run = dc.explain(model, "scene.png", "Describe the image.", out="run.dcam")
    heat = run.map(token="cat", step="commit").refine("studio").on_image()
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcam_core.datasets.scenes import Scene as Scene
    from diffcam_core.datasets.scenes import make_scene as make_scene
    from diffcam_core.denoising.config import GenerationConfig as GenerationConfig
    from diffcam_core.engine import explain as explain
    from diffcam_core.engine import resume as resume
    from diffcam_core.errors import DiffcamError as DiffcamError
    from diffcam_core.heatmap import HeatMap as HeatMap
    from diffcam_core.images import open_image as open_image
    from diffcam_core.models import load_model as load_model
    from diffcam_core.refinement import Pipeline as Pipeline
    from diffcam_core.request import Request as Request
    from diffcam_core.session import Run as Run
    from diffcam_core.session import open_run as open_run

__version__ = "0.1.0"

# OpenMP's threads wait for each other by spinning unless told otherwise before torch is loaded.
# With one other busy program on two cores, that made a denoising step 70 times slower (measured);
# sleeping instead costs an idle machine next to nothing. A setting of the user's stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Public name -> module that defines it. Only `explain`, `resume` and `load_model` need torch.
_HOMES = {
    "DiffcamError": "diffcam_core.errors",
    "GenerationConfig": "diffcam_core.denoising.config",
    "HeatMap": "diffcam_core.heatmap",
    "Pipeline": "diffcam_core.refinement",
    "Request": "diffcam_core.request",
    "Run": "diffcam_core.session",
    "Scene": "diffcam_core.datasets.scenes",
    "explain": "diffcam_core.engine",
    "load_model": "diffcam_core.models",
    "make_scene": "diffcam_core.datasets.scenes",
    "open_image": "diffcam_core.images",
    "open_run": "diffcam_core.session",
    "resume": "diffcam_core.engine",
}

__all__ = [
    "DiffcamError",
    "GenerationConfig",
    "HeatMap",
    "Pipeline",
    "Request",
    "Run",
    "Scene",
    "__version__",
    "explain",
    "load_model",
    "make_scene",
    "open_image",
    "open_run",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
