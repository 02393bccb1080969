"""The two tables of the paper, as Markdown and LaTeX, with what a reader must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from diffcam_core.evaluation.plan import EvaluationPlan
from diffcam_core.evaluation.refinements import ABLATION
from diffcam_core.evaluation.summary import F3, F3_PER_WORD, Summary, SummaryRow
from diffcam_core.metrics.registry import METRICS

MAIN_COLUMNS: Final = ("obj_iou", "contrast", "concentration", F3)
"""Columns of the published tables, in their order."""

SIGNIFICANT: Final = 0.05
_UNITS: Final = ("contrast",)  # everything else is a share, printed in per cent
_ABLATION_TITLES: Final = {
    "base": "Base map",
    "+akd": "+ AKD",
    "+dacg": "+ DACG",
    "+cba": "+ CBA",
    "+sicd": "+ SICD",
    "all": "All four",
}

_TEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{character: f"\\{character}" for character in "&%_#${}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "▲": r"$\blacktriangle$",
        "▼": r"$\blacktriangledown$",
        "–": "--",
    }
)


@dataclass(frozen=True)
class Cell:
    """One number of a table: its text without marks, and its marks."""

    text: str
    interval: str = ""
    best: bool = False
    better: bool = False
    worse: bool = False


@dataclass(frozen=True)
class Table:
    """A table before it is written in some form."""

    title: str
    note: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str | Cell, ...], ...]
    label: str


def metric_title(name: str) -> str:
    """Title of a column, with the direction that is better."""
    if name == F3_PER_WORD:
        return "F3 by word ↑"
    info = METRICS[name]
    return f"{info.title} {'↑' if info.direction == 'higher' else '↓'}"


def main_table(
    plan: EvaluationPlan, summary: Summary, titles: Mapping[str, str] | None = None
) -> Table:
    """Methods and refinements by measures, each at the layer it is judged at."""
    names = _main_presets(plan)
    rows = [row for row in summary.table() if row.preset in names]
    return Table(
        title="Methods and refinements",
        note=_against(summary),
        heads=("Method", "Refinement", "Layer", "Items", "Words", *_heads(_columns(plan))),
        lines=_lines(rows, _columns(plan), lambda row: _labels(row, titles)),
        label="methods",
    )


def ablation_table(
    plan: EvaluationPlan, summary: Summary, titles: Mapping[str, str] | None = None
) -> Table | None:
    """The four modules alone and together; None if they were not asked for."""
    asked = [name for name, _ in plan.presets]
    if not all(name in asked for name in ABLATION):
        return None
    method = summary.baseline[0] if summary.baseline is not None else plan.methods[0]
    rows = {row.preset: row for row in summary.table() if row.method == method}
    found = [rows[name] for name in ABLATION if name in rows]
    layers = ", ".join(dict.fromkeys(str(row.layer) for row in found))
    return Table(
        title=f"Ablation of the four modules: {(titles or {}).get(method, method)}",
        note=f"Layer {layers}; each module alone on the base map, then all four (= paper).",
        heads=("Modules", *_heads(MAIN_COLUMNS)),
        lines=_lines(found, MAIN_COLUMNS, lambda row: (_ABLATION_TITLES[row.preset],)),
        label="ablation",
    )


def best_layer_table(
    plan: EvaluationPlan, summary: Summary, titles: Mapping[str, str] | None = None
) -> Table | None:
    """Each pair at its own best layer; None where there is one layer only."""
    if len({row.layer for row in summary.rows}) < 2:
        return None
    names = _main_presets(plan)
    rows = [row for row in summary.best_layers() if row.preset in names]
    return Table(
        title="Each at its layer of highest F3",
        note="Layers chosen on these very items, so these numbers flatter; choose layers on other "
        "items (--layers-from) before you publish.",
        heads=("Method", "Refinement", "Layer", "Items", "Words", *_heads(MAIN_COLUMNS)),
        lines=_lines(rows, MAIN_COLUMNS, lambda row: _labels(row, titles), marks=False),
        label="best-layers",
    )


def to_markdown(
    plan: EvaluationPlan, summary: Summary, facts: str, titles: Mapping[str, str] | None = None
) -> str:
    """Write all tables.

    Parameters
    ----------
    plan : EvaluationPlan
    summary : Summary
    facts : str
        One paragraph: what was measured and what failed.
    titles : mapping of str to str, optional
        Names of methods for people.
    """
    parts = ["# Evaluation", "", facts, ""]
    for table in _tables(plan, summary, titles):
        parts += [f"## {table.title}", "", *([table.note, ""] if table.note else [])]
        parts.append(f"| {' | '.join(table.heads)} |")
        parts.append(
            f"| {' | '.join('---' if n < 1 else '---:' for n in range(len(table.heads)))} |"
        )
        parts += [f"| {' | '.join(_markdown(cell) for cell in line)} |" for line in table.lines]
        parts.append("")
    return "\n".join(parts)


def to_latex(
    plan: EvaluationPlan, summary: Summary, facts: str, titles: Mapping[str, str] | None = None
) -> str:
    """Write the paper's two tables (needs booktabs and amssymb); parameters as above."""
    parts = [f"% {line}" for line in facts.splitlines()]
    for table in _tables(plan, summary, titles):
        if table.label == "best-layers":
            continue
        first = 1 if table.label == "ablation" else 2
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{'l' * first}{'r' * (len(table.heads) - first)}}}",
            r"\toprule",
            " & ".join(_escaped(head) for head in table.heads) + r" \\",
            r"\midrule",
            *(" & ".join(_latex(cell) for cell in line) + r" \\" for line in table.lines),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_escaped(table.title)}. {_escaped(table.note)}}}",
            rf"\label{{tab:{table.label}}}",
            r"\end{table}",
            "",
        ]
    return "\n".join(parts)


def _tables(
    plan: EvaluationPlan, summary: Summary, titles: Mapping[str, str] | None
) -> list[Table]:
    made = (
        main_table(plan, summary, titles),
        ablation_table(plan, summary, titles),
        best_layer_table(plan, summary, titles),
    )
    return [table for table in made if table is not None and table.lines]


def _main_presets(plan: EvaluationPlan) -> tuple[str, ...]:
    """Refinements beside those of the ablation, which has a table of its own."""
    names = tuple(name for name, _ in plan.presets)
    return tuple(name for name in names if name not in ABLATION) or names


def _columns(plan: EvaluationPlan) -> tuple[str, ...]:
    further = (name for name in plan.metrics if name not in MAIN_COLUMNS)
    return (*MAIN_COLUMNS, *further)


def _heads(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(metric_title(name) for name in columns)


def _labels(row: SummaryRow, titles: Mapping[str, str] | None) -> tuple[str, ...]:
    layer = "input" if row.layer < 0 else str(row.layer)
    title = (titles or {}).get(row.method, row.method)
    return (title, row.preset, layer, str(row.items), str(row.words))


def _against(summary: Summary) -> str:
    parts = ["Best of each column in bold."]
    if summary.baseline is not None:
        parts.append(
            f"▲ better and ▼ worse than {'/'.join(summary.baseline)} on the items that both have: "
            f"Wilcoxon signed-rank on the items' means, Holm over the table, p < {SIGNIFICANT}."
        )
    return " ".join(parts)


def _lines(
    rows: Sequence[SummaryRow],
    columns: Sequence[str],
    labels: Callable[[SummaryRow], tuple[str, ...]],
    marks: bool = True,
) -> tuple[tuple[str | Cell, ...], ...]:
    best = {name: _best(rows, name) for name in columns}
    return tuple(
        (*labels(row), *(_cell(row, name, best[name], marks) for name in columns)) for row in rows
    )


def _best(rows: Sequence[SummaryRow], name: str) -> float | None:
    values = [row.estimates[name].value for row in rows if name in row.estimates]
    if not values:
        return None
    return max(values) if METRICS[name].direction == "higher" else min(values)


def _cell(row: SummaryRow, name: str, best: float | None, marks: bool) -> Cell:
    found = row.estimates.get(name)
    if found is None:
        return Cell("–")
    scale, digits = (1, 2) if name in _UNITS else (100, 2)
    test = row.tests.get(name)
    counts = marks and test is not None and test.p_holm < SIGNIFICANT
    higher = METRICS[name].direction == "higher"
    better = test is not None and (test.difference > 0) == higher
    return Cell(
        text=f"{scale * found.value:.{digits}f}",
        interval=f"[{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}]",
        best=found.value == best,
        better=counts and better,
        worse=counts and not better,
    )


def _markdown(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    text = f"**{cell.text}**" if cell.best else cell.text
    mark = "▲" if cell.better else "▼" if cell.worse else ""
    return " ".join(part for part in (f"{text}{mark}", cell.interval) if part)


def _latex(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return _escaped(cell)
    text = rf"\textbf{{{cell.text}}}" if cell.best else cell.text.replace("–", "--")
    mark = (
        r"$^{\blacktriangle}$" if cell.better else r"$^{\blacktriangledown}$" if cell.worse else ""
    )
    return text + mark


def _escaped(text: str) -> str:
    return text.translate(_TEX)
