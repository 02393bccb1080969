"""``diffcam evaluate``: a model against pictures of which everything is known."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from diffcam_core.cli import EXIT_DONE
from diffcam_core.cli.interrupts import stop_on_signals
from diffcam_core.cli.reporting import in_words, make_reporter, write_json_line
from diffcam_core.errors import CancelledError, InputError
from diffcam_core.events import EventSink, Phase, Progress

if TYPE_CHECKING:
    from diffcam_core.evaluation.localisation import Localisation
    from diffcam_core.evaluation.quality import Rate, SceneQuality

_CONTRASTS = ("none", "runner_up", "log_probability")


def run_evaluate(
    dataset: str,
    *,
    quality: bool,
    localisation: bool,
    method: str,
    contrast: str,
    model: str,
    device: str,
    dtype: str | None,
    count: int,
    first_seed: int,
    as_json: bool,
) -> int:
    """Measure; return the exit code."""
    if dataset != "scenes":
        raise InputError(f"there is no dataset {dataset!r}", "Use scenes.")
    if not quality and not localisation:
        raise InputError(
            "nothing was asked to be measured", "Add --out, --quality or --localisation."
        )
    from diffcam_core.attribution import METHODS
    from diffcam_core.models import load_model

    if method not in METHODS:
        raise InputError(f"there is no method {method!r}", f"Use one of {', '.join(METHODS)}.")
    # As ``explain`` takes it.
    contrast = contrast.strip().lower().replace("-", "_")
    if contrast not in _CONTRASTS:
        raise InputError(
            f"there is no contrast {contrast!r} here", f"Use one of {', '.join(_CONTRASTS)}."
        )
    seeds = range(first_seed, first_seed + count)
    words: SceneQuality | None = None
    maps: Localisation | None = None
    # Standard output is for the result, so progress never goes there as JSON.
    with stop_on_signals() as stop, make_reporter(as_json=False) as reporter:
        loaded = load_model(model, device=device, dtype=dtype)
        try:
            if quality:
                from diffcam_core.evaluation.quality import evaluate_quality

                tell = _teller(reporter, "generate")
                words = evaluate_quality(loaded, seeds, on_progress=tell, cancel=stop)
            if localisation:
                from diffcam_core.evaluation.localisation import localise

                maps = localise(
                    loaded,
                    seeds,
                    method=method,
                    contrast=contrast,
                    on_progress=_teller(reporter, "explain"),
                    cancel=stop,
                )
        except CancelledError:
            sys.stderr.write("Stopped: nothing was measured\n")
            return stop.exit_code
    if as_json:
        facts: dict[str, object] = {"dataset": dataset, "model": loaded.name}
        facts |= {"first_seed": first_seed}
        if words is not None:
            facts["quality"] = words.to_json()
        if maps is not None:
            facts["localisation"] = maps.to_json()
        write_json_line(facts)
    else:
        if words is not None:
            _show(words)
        if maps is not None:
            _show_maps(maps)
    return EXIT_DONE


def _teller(reporter: EventSink, phase: Phase) -> Callable[[int, int], None]:
    begin = time.monotonic()

    def tell(done: int, total: int) -> None:
        left = (time.monotonic() - begin) * (total - done) / done if done else None
        reporter(Progress(phase, done, total, left))

    return tell


def _show_maps(result: Localisation) -> None:
    kind = "held-out" if result.held_out else "NOT held-out"
    typer.echo(
        f"{result.scenes} {kind} scenes, {result.nouns_named} of {result.nouns_shown} nouns named, "
        f"{in_words(result.seconds)}"
    )
    typer.echo(f"{'map':<10}layer  Obj-IoU  Contrast  Concentration     F3  pointing")
    for row in result.rows:
        typer.echo(
            f"{row.preset:<10}{row.layer:>5}{row.obj_iou.value:>9.3f}{row.contrast.value:>10.2f}"
            f"{row.concentration.value:>15.3f}{row.f3:>7.3f}{row.pointing.value:>10.3f}"
        )


def _show(result: SceneQuality) -> None:
    kind = "held-out" if result.held_out else "NOT held-out"
    typer.echo(
        f"{result.scenes} {kind} scenes, {result.answers} answers, {in_words(result.seconds)}"
    )
    for title, rate in result.rows():
        typer.echo(f"{title:<24}{_rate(rate)}")
    worst = [k for k in result.kinds if k.recall < 1][:5]
    if worst:
        typer.echo("least recalled: " + ", ".join(f"{k.kind} {k.recall:.2f}" for k in worst))


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "no case"
    return f"{rate.value:.3f}  [{rate.low:.3f}, {rate.high:.3f}]  n = {rate.n}"
