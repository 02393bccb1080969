"""A job that is killed, starved of disk space or forbidden to write loses no finished step."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffcam_core as dc
from diffcam_core.errors import DiffcamError, ResourceError, RunFileError
from diffcam_core.events import Event, Failure
from diffcam_core.session import Run, open_run, part_path

PROMPT = "a cat"
GENERATION = {"max_new_tokens": 16, "steps": 8}

# Imports torch once and forks a child for each job, so that a kill costs milliseconds. A thread
# of the child kills it at a moment that nothing in the job knows of.
KILLER = """
import json, os, signal, sys, threading, time
import numpy as np
import diffcam_core as dc
from diffcam_core.events import CanvasStep, MapStep, Plan

model = dc.load_model(sys.argv[1], device="cpu")
generation = dc.GenerationConfig(**json.loads(sys.argv[2]))
image = np.load(sys.argv[3])
dc.explain, dc.open_run
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        print(json.dumps({"signal": status & 0x7F}), flush=True)
        continue
    seen = 0
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def die():
        time.sleep(task["delay"])
        os.kill(os.getpid(), signal.SIGKILL)

    def on_event(event):
        global seen
        if isinstance(event, (CanvasStep, MapStep)):
            os.write(log, f"{type(event).__name__} {event.step}\\n".encode())
        if seen == task["after"]:
            threading.Thread(target=die, daemon=True).start()
        seen += 1

    dc.explain(
        model, image, task["prompt"], generation=generation, out=task["out"], on_event=on_event
    ).close()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (30, 30, 3), dtype=np.uint8)


def run_it(model: Any, image: np.ndarray, out: Path, **options: Any) -> Run:
    config = dc.GenerationConfig(**GENERATION)
    return dc.explain(model, image, PROMPT, generation=config, out=out, **options)


def maps_of(run: Run) -> dict[str, bytes]:
    """All evidence of a run as bytes, by name."""
    found = {
        "canvas": run.canvas.tobytes(),
        "confidence": run.confidence.tobytes(),
        "probability": run.target_probability.tobytes(),
        "status": run.status.tobytes(),
    }
    for step, column in zip(*np.nonzero(run.computed), strict=True):
        for grid in run.grids:
            chunk = run.raw_chunk(int(step), run.layers[column], grid)
            tables = (chunk.minimum, chunk.maximum, chunk.total)
            name = f"{step} {column} {grid}"
            found[name] = chunk.packed + b"".join(table.tobytes() for table in tables)
    return found


@pytest.fixture(scope="module")
def undisturbed(
    model: Any, image: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, bytes]]:
    path = tmp_path_factory.mktemp("undisturbed") / "run.dcam"
    with run_it(model, image, path) as run:
        return path, maps_of(run)


@pytest.fixture(scope="module")
def killer(
    tiny_lavida: Path, image: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[str]]:
    folder = tmp_path_factory.mktemp("killer")
    np.save(folder / "image.npy", image)
    arguments = (str(tiny_lavida), json.dumps(GENERATION), str(folder / "image.npy"))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A fork must not inherit a pool of threads that exist only in the parent.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def signals() -> list[int]:
    """How the children of the killer ended."""
    return []


# The last events of the job are 8 canvas steps and 8 map steps among about 25 progress reports.
@pytest.mark.parametrize("after", [0, 5, 14, 21, 24, 28, 33, 37])
def test_kill_at_a_random_moment(
    killer: subprocess.Popen[str],
    model: Any,
    image: np.ndarray,
    undisturbed: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    signals: list[int],
    after: int,
) -> None:
    out, log = tmp_path / "run.dcam", tmp_path / "log"
    delay = random.Random(after).uniform(0, 0.02)
    task = {"out": str(out), "log": str(log), "after": after, "delay": delay, "prompt": PROMPT}
    assert killer.stdin is not None
    assert killer.stdout is not None
    killer.stdin.write(json.dumps(task) + "\n")
    killer.stdin.flush()
    answer = json.loads(killer.stdout.readline())
    # The last ones may be done before the signal comes.
    assert answer["signal"] in (0, signal.SIGKILL)
    signals.append(answer["signal"])

    told = log.read_text().splitlines() if log.exists() else []
    source = part_path(out) if part_path(out).exists() else out
    if told:
        with open_run(source) as run:
            canvas = {int(line.split()[1]) for line in told if line.startswith("CanvasStep")}
            maps = {int(line.split()[1]) for line in told if line.startswith("MapStep")}
            assert canvas <= set(run.canvas_steps)
            assert maps <= set(np.flatnonzero(run.computed.any(1)).tolist())
            whole = undisturbed[1]
            for name, data in maps_of(run).items():
                if name[0].isdigit():
                    assert data == whole[name]
    with run_it(model, image, out, resume=True) as run:
        assert run.complete
        assert maps_of(run) == undisturbed[1]
    leftovers = {path.name for path in tmp_path.iterdir()} - {"run.dcam", "log"}
    # A kill while a file is laid out can leave its hidden draft or the lock; nothing else.
    assert all(name.startswith(".run.dcam") for name in leftovers), leftovers


def test_most_of_them_were_killed(signals: list[int]) -> None:
    """Or the test above would only repeat undisturbed runs."""
    if len(signals) < 8:
        pytest.skip("needs the whole test above, in this process")
    assert signals.count(signal.SIGKILL) > len(signals) / 2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.98])
def test_full_disk(
    model: Any,
    image: np.ndarray,
    undisturbed: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    share: float,
) -> None:
    """A file size limit stands in for a full disk: the kernel refuses to write further."""
    out = tmp_path / "run.dcam"
    events: list[Event] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * undisturbed[0].stat().st_size), hard))
    try:
        with pytest.raises(ResourceError) as error:
            run_it(model, image, out, on_event=events.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert "disk is full" in str(error.value)
    assert "\n" not in str(error.value)
    failure = events[-1]
    assert isinstance(failure, Failure)
    assert failure.message == str(error.value)
    if failure.kept_path is not None:
        with open_run(failure.kept_path) as run:
            told = [e.step for e in events if type(e).__name__ == "MapStep"]
            assert set(told) <= set(np.flatnonzero(run.computed.any(1)).tolist())
    with run_it(model, image, out, resume=True) as run:
        assert maps_of(run) == undisturbed[1]


def test_too_little_space_is_told_before_the_work(
    model: Any, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ResourceError, match="MB left"):
        run_it(model, image, tmp_path / "run.dcam")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux's /sys")
def test_read_only_folder(model: Any, image: np.ndarray) -> None:
    """Nobody may make files in /sys, root included."""
    with pytest.raises((RunFileError, ResourceError)) as error:
        run_it(model, image, Path("/sys/kernel/run.dcam"))
    assert "\n" not in str(error.value)
    assert "folder" in str(error.value)


def test_a_folder_under_the_name_of_the_run(model: Any, image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "run.dcam").mkdir()
    with pytest.raises(RunFileError):
        run_it(model, image, tmp_path / "run.dcam")
    (tmp_path / "other.dcam.part").mkdir()
    with pytest.raises(RunFileError):
        run_it(model, image, tmp_path / "other.dcam")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.7, 0.99])
def test_resume_of_a_truncated_file(
    model: Any,
    image: np.ndarray,
    undisturbed: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    keep: float,
) -> None:
    """Whatever can still be read is kept; if nothing can, one line says so and nothing is lost."""
    out = tmp_path / "run.dcam"
    whole = undisturbed[0].read_bytes()
    cut = whole[: int(keep * len(whole)) if keep < 1 else int(keep)]
    part_path(out).write_bytes(cut)
    try:
        with run_it(model, image, out, resume=True) as run:
            assert maps_of(run) == undisturbed[1]
    except DiffcamError as error:
        assert "\n" not in str(error)
        assert part_path(out).read_bytes() == cut
