"""The comparison of all methods as a Markdown table, for docs/methods.md.

``python -m diffcam_core.attribution.matrix docs/methods.md`` puts it between the page's marks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from diffcam_core.attribution import METHODS, Method, Workload

BEGIN: Final = "<!-- matrix: begin -->"
END: Final = "<!-- matrix: end -->"

EXAMPLE: Final = Workload(steps=1, targets=10, layers=5, grids=((14, 14),))
"""What the column of passes is worked out for."""

_HEADINGS = (
    "method",
    "reads",
    "passes: forward / backward",
    "layers",
    "regimes",
    "sign",
    "contrast",
    "use it for",
    "not for",
    "source",
)


def as_markdown() -> str:
    """Return the table, one row for each method of `METHODS`."""
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(_row(m) for m in METHODS.values())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(method: Method) -> tuple[str, ...]:
    passes = method.passes(EXAMPLE)
    return (
        f"{method.title} (`{method.name}`)",
        method.reads,
        f"{passes.forward} / {passes.backward}",
        _layers(method),
        ", ".join(method.regimes),
        method.sign,
        "yes" if method.reads_score else "ignored",
        method.use,
        method.avoid,
        method.source,
    )


def _layers(method: Method) -> str:
    if not method.layered:
        return "one map for the whole model"
    first = "input" if method.first_layer < 0 else str(method.first_layer)
    return f"{first} to last but one" if method.needs_gradient else f"{first} to last"


def main(path: Path) -> None:
    """Put the table between the marks of a page."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
