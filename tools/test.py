"""Set up ``.venv`` with the development tools and run all tests: ``python3 tools/test.py``.

Arguments are handed to pytest.
"""

from __future__ import annotations

import subprocess
import sys

from environment import ROOT, prepare


def main() -> int:
    """Return pytest's exit code."""
    interpreter = prepare("dev")
    command = [str(interpreter), "-m", "pytest", *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again to go on.\n")
        sys.exit(130)
