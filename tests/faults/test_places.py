"""A run never takes the place of its own image, a pipe, a link, or a run that was worth more."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_builder import make_truth

import diffcam_core as dc
from diffcam_core.errors import CancelledError, RunFileError, TargetError
from diffcam_core.events import Answer, CanvasStep, MapStep
from diffcam_core.session import RunWriter, open_run, part_path

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


# An unfinished run that is overwritten.


@pytest.fixture
def unfinished(model: Any, picture: Path, tmp_path: Path) -> Path:
    """A run with some steps explained, under the name run.dcam.part."""
    out = tmp_path / "run.dcam"
    seen: list[Any] = []
    explain(
        model,
        picture,
        out,
        on_event=seen.append,
        cancel=lambda: any(isinstance(event, MapStep) for event in seen),
    ).close()
    return out


def test_a_request_that_fails_gives_the_unfinished_run_back(
    model: Any, picture: Path, unfinished: Path, tmp_path: Path
) -> None:
    before, names = part_path(unfinished).read_bytes(), names_in(tmp_path)
    with open_run(part_path(unfinished)) as run:
        assert run.computed.any()
    with pytest.raises(TargetError, match="nonsense"):
        explain(model, picture, unfinished, overwrite=True, tokens=["nonsense"])
    assert part_path(unfinished).read_bytes() == before
    assert names_in(tmp_path) == names

    events: list[Any] = []

    def stop_at_a_canvas() -> bool:
        return any(isinstance(event, CanvasStep) for event in events)

    with pytest.raises(CancelledError):
        explain(
            model,
            picture,
            unfinished,
            overwrite=True,
            on_event=events.append,
            cancel=stop_at_a_canvas,
        )
    assert part_path(unfinished).read_bytes() == before
    assert names_in(tmp_path) == names


def test_once_it_has_an_answer_the_new_run_stays(
    model: Any, picture: Path, unfinished: Path, tmp_path: Path
) -> None:
    events: list[Any] = []
    with explain(
        model,
        picture,
        unfinished,
        overwrite=True,
        seed=7,
        on_event=events.append,
        cancel=lambda: any(isinstance(event, Answer) for event in events),
    ) as run:
        assert run.request["seed"] == 7
    assert names_in(tmp_path) == {"picture.png", "run.dcam.part"}


def test_a_kill_before_the_answer_keeps_the_unfinished_run(tmp_path: Path) -> None:
    truth, other = make_truth(), make_truth(seed=1)
    path = tmp_path / "run.dcam"
    with truth.create(path) as writer:
        truth.fill(writer, last_step=0)
    before = unfinished_bytes(path)
    # What a kill leaves: nothing below is told that it ends.
    killed = other.create(path, overwrite=True)
    killed.add_canvas_step(other.canvas[0])
    killed._close()
    # Started a third time and failing in time, it is the first one that comes back.
    other.create(path, overwrite=True).abandon()
    assert unfinished_bytes(path) == before
    assert names_in(tmp_path) == {"run.dcam.part"}
    # Killed before the new file had its name, where links do not exist.
    part_path(path).rename(tmp_path / "run.dcam.part.before")
    RunWriter.resume(path, truth.request).abandon()
    with open_run(part_path(path)) as run:
        truth.check_step(run, 0)
    assert names_in(tmp_path) == {"run.dcam.part"}


def unfinished_bytes(path: Path) -> bytes:
    return part_path(path).read_bytes()
