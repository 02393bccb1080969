"""One run for all figure tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scene_run import write_scene_run

from diffcam_core.session import Run, open_run


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = write_scene_run(tmp_path_factory.mktemp("figures") / "scene.dcam")
    with open_run(path) as opened:
        yield opened
