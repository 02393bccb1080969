"""Everything that is made from the items of a results folder: rows, summary, tables, plots.

Made from the items alone, in the order of the plan, so that the same items give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffcam_core.evaluation.outcome import KEYS, ItemOutcome, Row, rounded, to_columns
from diffcam_core.evaluation.plan import EvaluationPlan
from diffcam_core.evaluation.plots import distribution_plot, layers_plot, sweep_plot
from diffcam_core.evaluation.refinements import ABLATION
from diffcam_core.evaluation.sensitivity import Sweep, as_rows, sweep
from diffcam_core.evaluation.store import Store, write_whole
from diffcam_core.evaluation.summary import F3, Summary, SummaryRow, summarise
from diffcam_core.evaluation.tables import to_latex, to_markdown

PLOTS: Final = "plots"
_TEXT_KEYS: Final = ("item", "word", "label", "method", "preset")


@dataclass(frozen=True)
class Outputs:
    """What was written, and what could not be.

    Attributes
    ----------
    summary : Summary
    facts : str
        What was measured, in a sentence or two.
    files : tuple of Path
    notices : tuple of (str, str)
        Cause and mend of what is missing.
    """

    summary: Summary
    facts: str
    files: tuple[Path, ...]
    notices: tuple[tuple[str, str], ...]


def write_outputs(
    store: Store,
    *,
    baseline: tuple[str, str] | None = None,
    sweeps: Sequence[tuple[str, str]] = (),
    titles: Mapping[str, str] | None = None,
    plots: bool = True,
    cancel: Callable[[], bool] | None = None,
) -> Outputs:
    """Write rows, summary, tables and plots into the results folder.

    Parameters
    ----------
    store : Store
    baseline : (method, refinement), optional
        What the others are tested against.
    sweeps : sequence of (method, refinement)
        Whose constants are varied; needs kept maps.
    titles : mapping of str to str, optional
        Names of methods for people.
    plots : bool
    cancel : callable, optional
        Asked during sweeps.
    """
    plan, folder = store.plan, store.folder
    outcomes = list(store.outcomes())
    rows = [row for outcome in outcomes for row in outcome.rows]
    columns = to_columns(rows, plan.metrics)
    summary = summarise(plan, rows, baseline)
    facts = _facts(plan, outcomes)
    files: dict[str, bytes] = {
        "rows.csv": _csv(list(columns), list(zip(*columns.values(), strict=True))),
        "rows.json": _json(columns),
        "items.csv": _csv(*_items(outcomes)),
        "failures.csv": _csv(
            ["item", "method", "error", "message"],
            [[f.item, f.method, f.error, f.message] for o in outcomes for f in o.failures],
        ),
        "summary.json": _json(
            {
                "facts": facts,
                "baseline": None if baseline is None else list(baseline),
                "rows": [row.to_json() for row in summary.rows],
            }
        ),
        "summary.csv": _csv(*_summary_table(summary)),
        "tables.md": to_markdown(plan, summary, facts, titles).encode(),
        "tables.tex": to_latex(plan, summary, facts, titles).encode(),
    }
    notices: list[tuple[str, str]] = []
    parquet = _parquet(columns)
    if parquet is None:
        notices.append(
            (
                "rows.parquet is not written, since pyarrow is not installed",
                "Run pip install 'diffusion-cam-studio[eval]', then the same with --resume.",
            )
        )
    else:
        files["rows.parquet"] = parquet
    found = [_sweep(store, method, preset, summary, cancel) for method, preset in sweeps]
    if found:
        swept = [_rounded(row) for row in as_rows(found)]
        files["sensitivity.json"] = _json(swept)
        files["sensitivity.csv"] = _csv(list(swept[0]), [list(row.values()) for row in swept])
    if plots:
        files |= _plots(plan, summary, rows, found, titles)
    for name, data in files.items():
        write_whole(folder / name, data)
    return Outputs(summary, facts, tuple(folder / name for name in files), tuple(notices))


def _facts(plan: EvaluationPlan, outcomes: Sequence[ItemOutcome]) -> str:
    shown = sum(len(outcome.shown) for outcome in outcomes)
    named = sum(len(outcome.named) for outcome in outcomes)
    failures = sum(len(outcome.failures) for outcome in outcomes)
    limits = "".join(f"; {key} on the first {count} items" for key, count in plan.limits)
    steps = {
        "commit": "the step that wrote each word",
        "first": "the first step",
        "last": "the last step",
    }.get(str(plan.steps), f"step {plan.steps}")
    return (
        f"{len(outcomes)} of {len(plan.items)} items of {plan.dataset.name} "
        f"({plan.items[0]} to {plan.items[-1]}), model {plan.model} ({plan.dtype} on "
        f"{plan.device}), {named} of {shown} masked things named, maps at {steps}{limits}. "
        f"{failures or 'No'} failure{'' if failures == 1 else 's'}. "
        "Brackets: 95 % interval, items resampled."
    )


def _items(outcomes: Iterable[ItemOutcome]) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = [
        [o.item, "; ".join(o.shown), "; ".join(o.named), len(o.failures), o.answer]
        for o in outcomes
    ]
    return ["item", "shown", "named", "failures", "answer"], rows


def _summary_table(summary: Summary) -> tuple[list[str], list[list[Any]]]:
    names = list(dict.fromkeys(name for row in summary.rows for name in row.estimates))
    head = ["method", "preset", "layer", "in_table", "items", "words"]
    for name in names:
        head += [name, f"{name}_low", f"{name}_high", f"{name}_difference"]
        head += [f"{name}_difference_low", f"{name}_difference_high", f"{name}_items"]
        head += [f"{name}_p_bootstrap", f"{name}_p_wilcoxon", f"{name}_p_holm"]
    return head, [_summary_line(row, names) for row in summary.rows]


def _summary_line(row: SummaryRow, names: Iterable[str]) -> list[Any]:
    line: list[Any] = [row.method, row.preset, row.layer, row.in_table, row.items, row.words]
    for name in names:
        found, test = row.estimates.get(name), row.tests.get(name)
        numbers: list[Any] = [None] * 3
        if found is not None:
            numbers = [found.value, found.low, found.high]
        tested: list[Any] = [None] * 7
        if test is not None:
            tested = [test.difference, test.low, test.high, test.items]
            tested += [test.p_bootstrap, test.p_wilcoxon, test.p_holm]
        line += [rounded(v) if isinstance(v, float) else v for v in (*numbers, *tested)]
    return line


def _sweep(
    store: Store,
    method: str,
    preset: str,
    summary: Summary,
    cancel: Callable[[], bool] | None,
) -> Sweep:
    pipeline = dict(store.plan.presets)[preset]
    assert pipeline is not None  # the raw map has no constants; refused when it is asked for
    layers = [r.layer for r in summary.table() if (r.method, r.preset) == (method, preset)]
    layer = layers[0] if layers else store.plan.layer_of(method, preset)
    return sweep(store.stored_maps, method, layer, preset, pipeline, cancel=cancel)


def _plots(
    plan: EvaluationPlan,
    summary: Summary,
    rows: Sequence[Row],
    sweeps: Sequence[Sweep],
    titles: Mapping[str, str] | None,
) -> dict[str, bytes]:
    presets = [name for name, _ in plan.presets]
    main = [name for name in presets if name not in ABLATION] or presets
    made: dict[str, bytes | None] = {
        f"distribution-{metric}.png": distribution_plot(summary, rows, metric, main)
        for metric in plan.metrics
    }
    made |= {f"layers-{F3}-{_safe(p)}.png": layers_plot(summary, p, titles) for p in main}
    for one in sweeps:
        for stage in dict.fromkeys(point.stage for point in one.points):
            name = f"sensitivity-{_safe(one.method)}-{_safe(one.preset)}-{_safe(stage)}.png"
            made[name] = sweep_plot(one, stage)
    return {f"{PLOTS}/{name}": data for name, data in made.items() if data is not None}


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {n: rounded(v) if isinstance(v, float) else v for n, v in row.items()}


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"{text}\n".encode()


def _csv(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return stream.getvalue().encode()


def _parquet(columns: Mapping[str, list[Any]]) -> bytes | None:
    """Columns with their types, whatever is in them; None without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    numbers = {name: pyarrow.float64() for name in columns if name not in KEYS}
    whole = {name: pyarrow.int64() for name in KEYS if name not in _TEXT_KEYS}
    texts = {name: pyarrow.string() for name in _TEXT_KEYS}
    types = {**texts, **whole, **numbers}
    table = pyarrow.table(
        {name: pyarrow.array(values, types[name]) for name, values in columns.items()}
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
