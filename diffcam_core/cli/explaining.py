"""``diffcam explain`` and ``diffcam demo``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcam_core.cli import EXIT_DONE, ReportedError
from diffcam_core.cli.interrupts import StopRequest, stop_on_signals
from diffcam_core.cli.output import OutputError, forget_output
from diffcam_core.cli.parsing import contrast_from, parse_layers, parse_steps, parse_tokens
from diffcam_core.cli.reporting import Reporter, make_reporter, write_json_line
from diffcam_core.errors import (
    CancelledError,
    DiffcamError,
    InputError,
    MissingMapsError,
)
from diffcam_core.events import Progress
from diffcam_core.session.schema import Status

if TYPE_CHECKING:
    from diffcam_core.denoising import GenerationConfig
    from diffcam_core.models.base import DiffusionVLM
    from diffcam_core.session import Run


@dataclass(frozen=True)
class ExplainOptions:
    """What was typed after ``diffcam explain``; see its help."""

    image: Path | None
    prompt: str | None
    out: Path | None
    model: str = "embedded"
    device: str = "auto"
    dtype: str | None = None
    layers: str = "all"
    steps: str = "all"
    tokens: list[str] | None = None
    method: str = "diffusion-cam"
    contrast: str = "none"
    distractor: str | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    as_json: bool = False
    typed: frozenset[str] = frozenset()


# Parts of the request, which a run file holds already.
_REQUEST_OPTIONS = (
    "prompt",
    "layers",
    "steps",
    "tokens",
    "method",
    "contrast",
    "distractor",
    "max_new_tokens",
    "denoising_steps",
    "block_length",
    "schedule",
    "shift",
    "remasking",
    "temperature",
    "prefix_cache",
    "seed",
)


def run_explain(options: ExplainOptions) -> int:
    """Run one job; return the exit code.

    Raises
    ------
    ReportedError
        After an error of which the reporter has told already.
    DiffcamError
        For any other one.
    """
    out = _check(options)
    with stop_on_signals() as stop, make_reporter(as_json=options.as_json) as reporter:
        return _reported(reporter, stop, lambda: _explain(options, out, reporter, stop))


def _check(options: ExplainOptions) -> Path:
    """Find what is missing before torch is loaded; return the run file's path."""
    if options.image is None and not options.resume:
        raise InputError("no image was given", "Name one: diffcam explain IMAGE --prompt …")
    if options.image is None and options.out is None:
        raise InputError("there is nothing to resume", "Name the run file with -o run.dcam.")
    if options.prompt is None and options.image is not None:
        raise InputError("no question was asked", 'Add one: --prompt "Describe the image."')
    ignored = [name for name in _REQUEST_OPTIONS if name in options.typed]
    if options.image is None and ignored:
        names = ", ".join("--" + name.replace("_", "-") for name in ignored)
        raise InputError(
            f"without an image --resume does what the run file asks, not {names}",
            "Leave that out, or name the image to have the request compared.",
        )
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite exclude each other", "Leave one of them out.")
    # Mistyped lists are told at once, not after the model has been loaded.
    parse_layers(options.layers)
    parse_steps(options.steps)
    parse_tokens(options.tokens)
    contrast_from(options.contrast, options.distractor)
    if options.out is not None:
        return options.out
    assert options.image is not None
    return Path(options.image.stem + ".dcam")


def _reported(reporter: Reporter, stop: StopRequest, job: Any) -> int:
    try:
        job()
    except CancelledError:
        return stop.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone. That is their right, but work that was broken off by
        # it is not done.
        if reporter.finished:
            raise
        forget_output()
        raise ReportedError from OutputError(
            "whoever read the output has gone, so the job was broken off",
            "Finished steps are kept; go on with --resume.",
        )
    except OutputError:
        raise
    except DiffcamError as error:
        if reporter.failed:
            raise ReportedError(str(error)) from error
        raise
    return stop.exit_code if reporter.cancelled else EXIT_DONE


def _explain(options: ExplainOptions, out: Path, reporter: Reporter, stop: StopRequest) -> None:
    model = _load(options, reporter)
    from diffcam_core import engine

    if options.image is None:
        with engine.resume(model, out, on_event=reporter, cancel=stop) as run:
            _refuse_failed_maps(run)
        return
    with engine.explain(
        model,
        options.image,
        options.prompt or "",
        layers=parse_layers(options.layers),
        steps=parse_steps(options.steps),
        tokens=parse_tokens(options.tokens),
        method=options.method,
        contrast=contrast_from(options.contrast, options.distractor),
        generation=_generation(model, options.generation),
        seed=options.seed,
        out=out,
        on_event=reporter,
        cancel=stop,
        resume=options.resume,
        overwrite=options.overwrite,
    ) as run:
        _refuse_failed_maps(run)


def _refuse_failed_maps(run: Run) -> None:
    """Do not call it done if maps that were asked for are not there."""
    failed = np.asarray(run.status) == Status.FAILED
    if run.complete and failed.any():
        layers = ", ".join(str(run.layers[column]) for column in np.flatnonzero(failed.any(0)))
        raise MissingMapsError(
            f"{run.path.name} is written, but without {failed.sum()} of its maps by step and "
            f"layer (layers {layers}), which are not finite numbers",
            "Run it again with --dtype float32 under another name.",
        )


def _load(options: ExplainOptions, reporter: Reporter) -> DiffusionVLM:
    reporter(Progress("load", 0, 1, None))
    if options.image is not None:
        # A broken image is told before a large model is read.
        from diffcam_core.images import open_image

        open_image(options.image)
    from diffcam_core.models import load_model

    model = load_model(options.model, device=options.device, dtype=options.dtype)
    reporter(Progress("load", 1, 1, 0.0))
    return model


def _generation(model: DiffusionVLM, given: dict[str, Any]) -> GenerationConfig | None:
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return None
    base = model.default_generation
    if "max_new_tokens" in changes:
        # Lengths that the model prefers for its own canvas say nothing about another one.
        base = dataclasses.replace(
            base, max_new_tokens=changes["max_new_tokens"], steps=None, block_length=None
        )
    return dataclasses.replace(base, **changes)


def run_demo(folder: Path, *, seed: int, steps: str, as_json: bool) -> int:
    """Make a scene, explain it with the embedded model and draw a figure.

    Returns
    -------
    int
        The exit code. Earlier files of the demo in the folder are replaced.
    """
    from diffcam_core.cli.showing import write_scene

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made: {error.strerror}", "Choose another with -o."
        ) from error
    scene = write_scene(folder / "scene.png", folder / "mask.png", seed=seed)
    options = ExplainOptions(
        image=folder / "scene.png",
        prompt="Describe the image.",
        out=folder / "run.dcam",
        steps=steps,
        overwrite=True,
        as_json=as_json,
    )
    code = run_explain(options)
    if code != EXIT_DONE:
        return code
    from diffcam_core.figures import token_figure
    from diffcam_core.session import open_run

    with open_run(folder / "run.dcam") as run:
        nouns = [thing.kind for thing in scene.objects]
        token = _first_named(run, nouns)
        for suffix in ("pdf", "png"):
            token_figure(run, token, folder / f"figure.{suffix}", compare=("raw",))
    files = {
        "scene": folder / "scene.png",
        "mask": folder / "mask.png",
        "run": folder / "run.dcam",
        "figure": folder / "figure.pdf",
        "picture": folder / "figure.png",
    }
    if as_json:
        write_json_line({"event": "files", **{name: str(path) for name, path in files.items()}})
    else:
        import typer

        for name, path in files.items():
            typer.echo(f"{name:<8}{path}")
    return EXIT_DONE


def _first_named(run: Run, nouns: list[str]) -> str | int:
    """The first noun of the scene that the answer names, else its most confident token."""
    named = {word.text.strip().lower(): word.text.strip() for word in run.words}
    for noun in nouns:
        if noun in named:
            return named[noun]
    certainty = np.asarray(run.confidence)[-1][list(run.targets)]
    return int(run.targets[int(np.argmax(certainty))])
