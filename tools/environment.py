"""Set up the project's own virtual environment; standard library only, any Python from 3.11."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
OLDEST = (3, 11)


def python() -> Path:
    """Path of the environment's interpreter."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare(extras: str = "") -> Path:
    """Create or update ``.venv`` with the tested versions and this checkout; return its Python.

    Parameters
    ----------
    extras : str
        Optional dependencies to install, such as "dev".

    Raises
    ------
    SystemExit
        With one line, if Python is too old or pip fails.
    """
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(f"Python {found} is too old. Run this with Python 3.11 or newer.")
    wanted = hashlib.sha256(
        CONSTRAINTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    ).hexdigest()
    stamp = FOLDER / f".ready-{extras or 'base'}"
    if python().exists() and stamp.exists() and stamp.read_text() == wanted:
        return python()
    print(f"Setting up {FOLDER} (once; a few minutes) ...", flush=True)
    if not python().exists():
        venv.create(FOLDER, with_pip=True)
    target = f"{ROOT}[{extras}]" if extras else str(ROOT)
    command = [
        str(python()),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        str(CONSTRAINTS),
        "--editable",
        target,
    ]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(
            "pip could not install the packages named in packaging/constraints.txt; "
            "its message above says which. Check the network and free disk space, then run again."
        )
    stamp.write_text(wanted)
    return python()


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
