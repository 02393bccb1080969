"""From rows of words to one line for each method, refinement and layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from diffcam_core.errors import InputError
from diffcam_core.evaluation.outcome import Row, rounded
from diffcam_core.evaluation.plan import EvaluationPlan
from diffcam_core.evaluation.statistics import (
    Clustered,
    Estimate,
    PairedTest,
    estimate,
    estimate_f3,
    holm,
    paired_test,
    paired_test_f3,
)

F3: Final = "f3"
"""In rows the F3 of a word; in summaries and tables that of the means, as published."""

F3_PER_WORD: Final = "f3_per_word"
"""Mean of the words' own F3, which is smaller."""


@dataclass(frozen=True)
class SummaryRow:
    """One method with one refinement at one layer.

    Attributes
    ----------
    method, preset : str
    layer : int
    in_table : bool
        Whether this is the layer at which the pair is judged.
    items, words : int
        With at least one value, and measured words.
    estimates : mapping of str to Estimate
    tests : mapping of str to PairedTest
        Against the baseline; only of rows in the table, other than the baseline itself.
    """

    method: str
    preset: str
    layer: int
    in_table: bool
    items: int
    words: int
    estimates: Mapping[str, Estimate]
    tests: Mapping[str, PairedTest]

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers as they are stored."""
        return {
            "method": self.method,
            "preset": self.preset,
            "layer": self.layer,
            "in_table": self.in_table,
            "items": self.items,
            "words": self.words,
            "estimates": {n: _plain(asdict(e)) for n, e in self.estimates.items()},
            "tests": {n: _plain(asdict(t)) for n, t in self.tests.items()},
        }


@dataclass(frozen=True)
class Summary:
    """All lines, and what they are compared with."""

    baseline: tuple[str, str] | None
    rows: tuple[SummaryRow, ...]

    def table(self) -> tuple[SummaryRow, ...]:
        """One row for each method and refinement, at the layer it is judged at."""
        return tuple(row for row in self.rows if row.in_table)

    def best_layers(self) -> tuple[SummaryRow, ...]:
        """One row for each method and refinement, at its layer of highest F3 on these items."""
        best: dict[tuple[str, str], SummaryRow] = {}
        for row in self.rows:
            key = (row.method, row.preset)
            if key not in best or _f3(row) > _f3(best[key]):
                best[key] = row
        return tuple(best.values())


def parse_baseline(text: str, plan: EvaluationPlan) -> tuple[str, str]:
    """Read METHOD/REFINEMENT.

    Raises
    ------
    InputError
        If the plan has no such pair.
    """
    method, _, preset = text.partition("/")
    presets = [name for name, _ in plan.presets]
    preset = preset or presets[0]
    if method not in plan.methods or preset not in presets:
        raise InputError(
            f"the baseline {text} is not part of this evaluation",
            f"Use one of {', '.join(plan.methods)}, a slash, and one of {', '.join(presets)}.",
        )
    return method, preset


def summarise(
    plan: EvaluationPlan, rows: Iterable[Row], baseline: tuple[str, str] | None
) -> Summary:
    """Summarise.

    Parameters
    ----------
    plan : EvaluationPlan
    rows : iterable of dict
        Of all items.
    baseline : (method, refinement), optional
        None: no tests.

    Returns
    -------
    Summary
        In the order of the plan.
    """
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["preset"], row["layer"]), []).append(row)
    clustered = {key: _clustered(plan, found) for key, found in groups.items()}
    judged = {
        (method, preset, layer)
        for method in plan.methods
        for preset, _ in plan.presets
        if (layer := _judged_layer(plan, method, preset, groups)) is not None
    }
    against = next((clustered[key] for key in judged if key[:2] == baseline), None)
    order = {name: n for n, name in enumerate(plan.methods)}
    preset_order = {name: n for n, (name, _) in enumerate(plan.presets)}
    found = []
    for key in sorted(groups, key=lambda k: (order[k[0]], preset_order[k[1]], k[2])):
        values = clustered[key]
        is_tested = against is not None and key in judged and key[:2] != baseline
        nouns = [row for row in groups[key] if row["position"] >= 0]
        found.append(
            SummaryRow(
                method=key[0],
                preset=key[1],
                layer=key[2],
                in_table=key in judged,
                items=len({row["item"] for row in nouns}),
                words=len(nouns),
                estimates=_estimates(values),
                tests=_tests(values, against) if is_tested and against is not None else {},
            )
        )
    return Summary(baseline, _corrected(found))


def _clustered(plan: EvaluationPlan, rows: Sequence[Row]) -> dict[str, Clustered]:
    found = {}
    for metric in plan.metrics:
        values = [(row["item"], row[metric]) for row in rows if metric in row]
        name = F3_PER_WORD if metric == F3 else metric
        found[name] = Clustered.of([i for i, _ in values], [float(v) for _, v in values])
    return found


def _estimates(values: Mapping[str, Clustered]) -> dict[str, Estimate]:
    found = {name: estimate(value) for name, value in values.items()}
    return {n: e for n, e in {F3: estimate_f3(values), **found}.items() if e is not None}


def _tests(
    ours: Mapping[str, Clustered], baseline: Mapping[str, Clustered]
) -> dict[str, PairedTest]:
    found = {name: paired_test(ours[name], baseline[name]) for name in ours}
    return {n: t for n, t in {F3: paired_test_f3(ours, baseline), **found}.items() if t is not None}


def _corrected(rows: Sequence[SummaryRow]) -> tuple[SummaryRow, ...]:
    """Correct for all tests of the table together."""
    cells = [(n, name) for n, row in enumerate(rows) for name in row.tests]
    corrected = holm([rows[n].tests[name].p_wilcoxon for n, name in cells])
    tests: list[dict[str, PairedTest]] = [dict(row.tests) for row in rows]
    for (n, name), p in zip(cells, corrected, strict=True):
        tests[n][name] = replace(tests[n][name], p_holm=p)
    return tuple(replace(row, tests=t) for row, t in zip(rows, tests, strict=True))


def _judged_layer(
    plan: EvaluationPlan, method: str, preset: str, groups: Iterable[tuple[str, str, int]]
) -> int | None:
    """The layer of the plan; for a method without it (one map for the whole model) the nearest."""
    wanted = plan.layer_of(method, preset)
    there = [layer for m, p, layer in groups if (m, p) == (method, preset)]
    return min(there, key=lambda n: (abs(n - wanted), n)) if there else None


def _f3(row: SummaryRow) -> float:
    return row.estimates[F3].value if F3 in row.estimates else -math.inf


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: rounded(v) if isinstance(v, float) else v for n, v in values.items()}
