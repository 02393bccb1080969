"""``python -m diffcam_core.cli`` is ``diffcam``."""

from __future__ import annotations

import sys

from diffcam_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
