"""A run never takes the place of its own image, a pipe, a link, or a run that was worth more."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffcam_core as dc
from diffcam_core.errors import RunFileError
from diffcam_core.session import RunWriter, part_path

PROMPT = "a cat"


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(path)
    return path


def explain(model: Any, image: Any, out: Path, **options: Any) -> Any:
    return dc.explain(model, image, PROMPT, out=out, layers=[0], **options)


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# What must not be replaced.


def test_the_image_is_never_replaced(model: Any, picture: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.dcam"
    link.symlink_to(picture)
    (tmp_path / "twin.dcam").hardlink_to(picture)
    (tmp_path / "photo.dcam.part").hardlink_to(picture)
    before, names = picture.read_bytes(), names_in(tmp_path)
    for out in (picture, link, tmp_path / "twin.dcam", tmp_path / "photo.dcam"):
        with pytest.raises(RunFileError, match="is the image"):
            explain(model, picture, out, overwrite=True)
    with Image.open(picture) as opened, pytest.raises(RunFileError, match="is the image"):
        explain(model, opened, picture, overwrite=True)
    assert picture.read_bytes() == before
    assert names_in(tmp_path) == names


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.dcam", "run.dcam.part"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_pipe_is_never_replaced(
    model: Any, picture: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    os.mkfifo(tmp_path / name)
    names = names_in(tmp_path)
    with pytest.raises(RunFileError, match="device or a pipe"):
        explain(model, picture, tmp_path / "run.dcam", overwrite=overwrite)
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
    assert names_in(tmp_path) == names


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_broken_link_is_told_before_the_work(
    model: Any, picture: Path, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "run.dcam"
    out.symlink_to(tmp_path / "gone.dcam")
    events: list[Any] = []
    with pytest.raises(RunFileError, match="leads nowhere"):
        explain(model, picture, out, overwrite=overwrite, on_event=events.append)
    assert [type(event).__name__ for event in events] == ["Failure"]
    assert out.is_symlink()


@pytest.mark.parametrize("resume", [True, False])
def test_a_name_that_is_too_long(model: Any, picture: Path, tmp_path: Path, resume: bool) -> None:
    out = tmp_path / ("x" * 300 + ".dcam")
    with pytest.raises(RunFileError, match="shorter name") as error:
        explain(model, picture, out, resume=resume)
    assert len(str(error.value)) < 200
    with pytest.raises(RunFileError, match="shorter name"):
        dc.resume(model, out)
    assert part_path(out).name not in names_in(tmp_path)


# Kills at the very end.


def test_a_kill_between_the_two_names_of_a_finished_run(
    model: Any, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.dcam"
    explain(model, picture, out).close()
    before = out.read_bytes()
    for again in (
        lambda: explain(model, picture, out, resume=True),
        lambda: dc.resume(model, out),
        lambda: dc.resume(model, part_path(out)),
    ):
        part_path(out).hardlink_to(out)
        with again() as run:
            assert run.complete
        assert names_in(tmp_path) == {"picture.png", "run.dcam"}
        assert out.read_bytes() == before
    part_path(out).hardlink_to(out)
    with pytest.raises(RunFileError, match="complete already"):
        RunWriter.resume(out, {})
    assert names_in(tmp_path) == {"picture.png", "run.dcam"}


def test_the_lock_of_a_killed_process_goes_with_the_next_look(
    model: Any, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.dcam"
    explain(model, picture, out).close()
    (tmp_path / ".run.dcam.lock").touch()
    explain(model, picture, out, resume=True).close()
    assert names_in(tmp_path) == {"picture.png", "run.dcam"}
