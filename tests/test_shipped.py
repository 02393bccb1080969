"""Finding shipped files in a checkout and in an installed wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_core import shipped
from diffcam_core.errors import DiffcamError


def test_checkout_keeps_them_at_the_top():
    assert shipped.resource_path("stickers") == Path(__file__).parents[1] / "resources" / "stickers"


def test_a_wheel_keeps_them_inside_the_package(tmp_path):
    """Import a copy of the two modules laid out as the wheel installs them, in a fresh Python."""
    package = tmp_path / "site" / "diffcam_core"
    (package / "resources" / "stickers").mkdir(parents=True)
    source = Path(shipped.__file__).parent
    for name in ("__init__.py", "shipped.py", "errors.py"):
        shutil.copy(source / name, package / name)
    code = (
        "import sys; from diffcam_core.shipped import resource_path; "
        "print(resource_path('stickers')); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.stdout.split() == [str(package / "resources" / "stickers"), "False"]


def test_missing_file_is_one_clear_line():
    with pytest.raises(DiffcamError, match=r"lacks its own file nothing\. Reinstall"):
        shipped.resource_path("nothing")
