"""One command from a fresh clone to a finished demo run: ``python3 tools/start.py``.

Sets up ``.venv`` and, with a display, opens the Studio on a demo run; without
one it does the same job headless and names the files it wrote.
"""

from __future__ import annotations

import os
import subprocess
import sys

from environment import ROOT, has_display, prepare


def main() -> int:
    """Return the exit code of the demo."""
    interpreter = str(prepare())
    if has_display():
        return run([interpreter, "-m", "diffcam_studio.app", "--demo", *sys.argv[1:]])
    print("No display found: running the demo without a window.", flush=True)
    target = ROOT / "demo-output"
    code = run([interpreter, "-m", "diffcam_core.cli", "demo", "--out", str(target)])
    if code:
        return code
    window = target / "window.png"
    studio = [interpreter, "-m", "diffcam_studio.app", str(target / "run.dcam")]
    code = run([*studio, "--screenshot", str(window)], QT_QPA_PLATFORM="offscreen")
    if code == 0:
        print(f"window  {window}")
    return code


def run(command: list[str], **environment: str) -> int:
    """Run a command in the repository; return its exit code."""
    return subprocess.run(command, cwd=ROOT, check=False, env=os.environ | environment).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again to go on.\n")
        sys.exit(130)
