"""One command from a fresh clone to a finished demo run: ``python3 tools/start.py``.

Sets up ``.venv`` and, with a display, opens the Studio on a demo run; without
one it does the same job headless and names the files it wrote.
"""

from __future__ import annotations

import subprocess
import sys

from environment import ROOT, has_display, prepare


def main() -> int:
    """Return the exit code of the demo."""
    interpreter = prepare()
    if has_display():
        command = [str(interpreter), "-m", "diffcam_studio.app", "--demo"]
    else:
        print("No display found: running the demo without a window.", flush=True)
        target = str(ROOT / "demo-output")
        command = [str(interpreter), "-m", "diffcam_core.cli", "demo", "--out", target]
    return subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again to go on.\n")
        sys.exit(130)
