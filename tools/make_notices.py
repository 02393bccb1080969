"""Write THIRD_PARTY_NOTICES.md from what is installed: ``python tools/make_notices.py``.

Lists every distribution that the program needs at run time, with its version
and licence as the distribution itself declares them, and repeats the notices
of what the repository carries inside ``resources/``.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "diffusion-cam-studio"


def runtime_closure(name: str) -> dict[str, Distribution]:
    """All distributions that `name` needs on this platform, extras left out."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(key)
        except PackageNotFoundError:
            continue  # needed on another platform or Python only
        for requirement in found[key].requires or ():
            if "extra ==" not in requirement:
                match = re.match(r"[A-Za-z0-9._-]+", requirement)
                if match:
                    waiting.append(match[0])
    found.pop(name)
    return dict(sorted(found.items()))


def licence_of(package: Distribution) -> str:
    """The licence expression, or what the classifiers say, or the first line of the field."""
    meta = package.metadata
    if meta.get("License-Expression"):
        return str(meta["License-Expression"])
    declared = [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    if declared:
        return ", ".join(c.rsplit(" :: ", 1)[-1] for c in declared)
    return (meta.get("License") or "see the distribution").strip().splitlines()[0]


def main() -> None:
    """Write the file at the top of the repository."""
    lines = [
        "# Third-party notices",
        "",
        "Written by `tools/make_notices.py` from the tested environment; do not edit by hand.",
        "",
        "## Carried in this repository and in its wheel",
        "",
    ]
    resources = ROOT / "resources"
    for notice in sorted([*resources.rglob("LICENSE*"), *resources.rglob("*OFL.txt")]):
        lines += [
            f"### {notice.parent.relative_to(ROOT)}",
            "",
            "```text",
            notice.read_text(encoding="utf-8").strip(),
            "```",
            "",
        ]
    lines += [
        "## Needed at run time, installed by pip from their own distributions",
        "",
        "| distribution | version | licence |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {package.metadata['Name']} | {package.version.split('+')[0]} | {licence_of(package)} |"
        for package in runtime_closure(NAME).values()
    ]
    lines += [
        "",
        "Qt (through PySide6) is used under the LGPL-3.0: it is installed as separate, replaceable",
        "libraries, and its sources are published by the Qt Project.",
        "",
        "Methods, not code, come from: Diffusion-CAM (arXiv 2604.11005), Grad-CAM (Selvaraju et",
        "al., ICCV 2017), TAM (ICCV 2025), LaViDa, LLaDA, SigLIP. The numbers in `tests/golden`",
        "were obtained by running the public codes named in `tests/golden/README.md`; no code of",
        "theirs is included.",
        "",
    ]
    (ROOT / "THIRD_PARTY_NOTICES.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
