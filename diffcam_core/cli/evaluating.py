"""``diffcam evaluate``: a model against pictures of which everything is known."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import typer

from diffcam_core.cli import EXIT_DONE
from diffcam_core.cli.interrupts import stop_on_signals
from diffcam_core.cli.reporting import in_words, make_reporter, write_json_line
from diffcam_core.errors import CancelledError, InputError
from diffcam_core.events import Progress

if TYPE_CHECKING:
    from diffcam_core.evaluation.quality import Rate, SceneQuality


def run_evaluate(
    dataset: str,
    *,
    quality: bool,
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
    if not quality:
        raise InputError("nothing was asked to be measured", "Add --quality.")
    from diffcam_core.evaluation.quality import evaluate_quality
    from diffcam_core.models import load_model

    seeds = range(first_seed, first_seed + count)
    # Standard output is for the result, so progress never goes there as JSON.
    with stop_on_signals() as stop, make_reporter(as_json=False) as reporter:
        loaded = load_model(model, device=device, dtype=dtype)
        begin = time.monotonic()

        def tell(done: int, total: int) -> None:
            left = (time.monotonic() - begin) * (total - done) / done if done else None
            reporter(Progress("generate", done, total, left))

        try:
            result = evaluate_quality(loaded, seeds, on_progress=tell, cancel=stop)
        except CancelledError:
            sys.stderr.write("Stopped: nothing was measured\n")
            return stop.exit_code
    if as_json:
        facts = {"dataset": dataset, "model": loaded.name, "first_seed": first_seed}
        write_json_line({**facts, "quality": result.to_json()})
    else:
        _show(result)
    return EXIT_DONE


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
