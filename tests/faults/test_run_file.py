"""What can go wrong with a run file, done on purpose: kills, full disks, damage, malice."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from run_builder import Truth, make_truth

from diffcam_core.errors import DiffcamError, ResourceError, RunFileError
from diffcam_core.session import RunWriter, open_run, schema, storage

Log = list[tuple[str, int, bytes]]


def one_line(error: BaseException) -> str:
    """Assert that a message is one line and return it."""
    text = str(error)
    assert text
    assert "\n" not in text
    return text


def evidence(path: Path) -> dict[str, bytes]:
    """Stored bytes of all maps and tables below run/maps, read with plain h5py."""
    found: dict[str, bytes] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if not isinstance(item, h5py.Dataset):
                return
            if item.chunks is None:
                found[name] = item[()].tobytes()
                return
            for index in range(item.id.get_num_chunks()):
                where = item.id.get_chunk_info(index).chunk_offset
                found[f"{name}{where}"] = bytes(item.id.read_direct_chunk(where)[1])

        file["run/maps"].visititems(visit)
    return found


# Kills.


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Record every byte that reaches a run file, in order."""
    log: Log = []
    put, resize = storage.PartFile._put, storage.PartFile._resize

    def logged_put(self: storage.PartFile, offset: int, data: bytes) -> None:
        log.append(("write", offset, bytes(data)))
        put(self, offset, data)

    def logged_resize(self: storage.PartFile, size: int) -> None:
        log.append(("resize", size, b""))
        resize(self, size)

    monkeypatch.setattr(storage.PartFile, "_put", logged_put)
    monkeypatch.setattr(storage.PartFile, "_resize", logged_resize)
    return log


def replay(start: bytes, log: Log) -> Iterator[bytes]:
    """Yield the file after each write, and after each page of a long write."""
    image = bytearray(start)
    yield bytes(image)
    for kind, at, data in log:
        if kind == "resize":
            image.extend(bytes(max(0, at - len(image))))
            yield bytes(image)
            continue
        # The system may be interrupted between two pages of one write, never inside of one.
        begin = 0
        while begin < len(data):
            end = min(len(data), ((at + begin) // 4096 + 1) * 4096 - at)
            if at + end > len(image):
                image.extend(bytes(at + end - len(image)))
            image[at + begin : at + end] = data[begin:end]
            begin = end
            yield bytes(image)


def test_killed_before_or_after_any_single_write(tmp_path: Path, recorded: Log) -> None:
    truth = make_truth(tiles=True, steps=3, layers=(0, 1))
    path = tmp_path / "run.dcam"
    writer = truth.create(path, answer=truth.answer)
    start = writer.part_path.read_bytes()
    recorded.clear()
    acknowledged: list[tuple[int, Callable[[Any], None]]] = []
    for event in truth.canvas:
        writer.add_canvas_step(event)
        step = event.step
        acknowledged.append((len(recorded), lambda run, s=step: truth.check_canvas(run, s)))
    for step in (2, 0, 1):
        writer.add_map_step(truth.steps[step])
        acknowledged.append((len(recorded), lambda run, s=step: truth.check_step(run, s)))
    writer.finish(seconds=1)
    states = 0
    torn = tmp_path / "torn.dcam.part"
    for count in range(len(recorded)):
        # State after `count` whole writes, then each page of the next one.
        for image in replay(_apply(start, recorded[:count]), recorded[count : count + 1]):
            torn.write_bytes(image)
            with open_run(torn) as run:
                for needed, check in acknowledged:
                    if needed <= count:
                        check(run)
            states += 1
    assert states > 100


def _apply(start: bytes, log: Log) -> bytes:
    image = start
    for image in replay(start, log):  # noqa: B007 - the last one is wanted
        pass
    return image


def test_resumed_after_any_step_gives_the_same_bytes(tmp_path: Path) -> None:
    truth = make_truth(tiles=True)
    whole = evidence(truth.write(tmp_path / "whole.dcam"))
    for last in range(-1, 4):
        path = tmp_path / f"run{last}.dcam"
        with truth.create(path) as writer:
            truth.fill(writer, last_step=last)
        again = RunWriter.resume(path, truth.request, image=truth.image)
        assert again.finished_steps == set(range(last + 1))
        assert again.canvas_steps == {0, 1, 2, 3}
        restored = again.answer
        assert restored is not None
        assert restored.text == truth.answer.text
        assert restored.targets == truth.answer.targets
        with again.reading() as run:
            for step in again.finished_steps:
                truth.check_step(run, step)
        truth.fill(again)
        assert again.finish() == path
        assert evidence(path) == whole
        assert sorted(entry.name for entry in tmp_path.glob(f"*{path.name}*")) == [path.name]


def test_resumed_while_the_answer_was_being_written(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    with truth.create(path) as writer:
        for event in truth.canvas[:2]:
            writer.add_canvas_step(event)
    again = RunWriter.resume(path.with_name("run.dcam.part"), truth.request)
    assert again.answer is None
    assert again.canvas_steps == {0, 1}
    truth.fill(again)
    with open_run(again.finish()) as run:
        truth.check(run)


def test_a_cancelled_run_under_its_final_name_can_be_resumed(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    writer = truth.create(path)
    truth.fill(writer, last_step=1)
    writer.finish()
    with open_run(path) as run:
        assert not run.complete
    again = RunWriter.resume(path, truth.request)
    # Killed once more: now there are both files, and it still goes on.
    again.add_map_step(truth.steps[2])
    again.abandon()
    last = RunWriter.resume(path, truth.request)
    assert last.missing_steps == (3,)
    truth.fill(last)
    with open_run(last.finish()) as run:
        truth.check(run)
    with pytest.raises(RunFileError, match=r"run\.dcam is complete already"):
        RunWriter.resume(path, truth.request)


def test_resume_names_what_differs(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    with truth.create(path) as writer:
        truth.fill(writer, last_step=0)
    before = writer.part_path.read_bytes()
    with pytest.raises(RunFileError) as caught:
        RunWriter.resume(path, {**truth.request, "seed": 1, "new": None})
    text = one_line(caught.value)
    assert "seed is 0 there and 1 here" in text
    assert "new is null there" in text
    with pytest.raises(RunFileError, match="the image is another one"):
        RunWriter.resume(path, truth.request, image=truth.image + 1)
    with pytest.raises(RunFileError, match="no unfinished run"):
        RunWriter.resume(tmp_path / "other.dcam", truth.request)
    assert writer.part_path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.dcam.part"]


def test_differences_say_what_differs() -> None:
    """However long the values are, both sides are never shown alike."""
    config = {"max_new_tokens": 32, "remasking": "low_confidence", "schedule": "shift", "z": 1}
    one, two = {"generation": config}, {"generation": {**config, "z": 2, "new": None}}
    assert schema.differences(one, two) == [
        "generation.new is null there and null here",
        "generation.z is 2 there and 1 here",
    ]
    long = "What is in the picture, and where? " * 9
    (text,) = schema.differences({"prompt": long + "a cat"}, {"prompt": long + "a dog"})
    assert "a cat" in text
    assert "a dog" in text
    assert len(text) < 200


def test_resume_computes_damaged_maps_again(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    with truth.create(path) as writer:
        truth.fill(writer, last_step=2)
    with h5py.File(writer.part_path, "r") as file:
        maps = file["run/maps/diffusion-cam/base/maps"].id
        info = maps.get_chunk_info_by_coord((1, 1, 0, 0, 0))
    _flip(writer.part_path, info.byte_offset + info.size // 2)
    again = RunWriter.resume(path, truth.request)
    assert again.missing_steps == (1, 3)
    truth.fill(again)
    with open_run(again.finish()) as run:
        truth.check(run)


WORKER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from run_builder import make_truth
from diffcam_core.session import RunWriter
truth = make_truth(tiles=True, steps=40, rows=12, cols=12)
path = Path({path!r})
writer = RunWriter.resume(path, truth.request) if {resume} else truth.create(path)
if writer.answer is None:
    for event in truth.canvas:
        writer.add_canvas_step(event)
        print("canvas", event.step, flush=True)
    writer.set_answer(truth.answer)
for step in writer.missing_steps:
    writer.add_map_step(truth.steps[step])
    print("maps", step, flush=True)
writer.finish()
"""


def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    truth = make_truth(tiles=True, steps=40, rows=12, cols=12)
    path = tmp_path / "run.dcam"
    tests = str(Path(__file__).parents[1])
    rng = random.Random(7)
    acknowledged: set[tuple[str, int]] = set()
    for attempt in range(3):
        code = WORKER.format(tests=tests, path=str(path), resume=attempt > 0)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        patience = rng.randrange(5, 25)
        for line in process.stdout:
            kind, step = line.split()
            acknowledged.add((kind, int(step)))
            patience -= 1
            if patience == 0:
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:
            kind, _, step = line.strip().partition(" ")
            if line.endswith("\n") and step:
                acknowledged.add((kind, int(step)))
        assert process.wait(60) == -signal.SIGKILL
        with open_run(schema.part_path(path)) as run:
            assert not run.complete
            for kind, step in acknowledged:
                (truth.check_canvas if kind == "canvas" else truth.check_step)(run, step)
    writer = RunWriter.resume(path, truth.request, image=truth.image)
    truth.fill(writer)
    writer.finish()
    assert evidence(path) == evidence(truth.write(tmp_path / "whole.dcam"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"run.dcam", "whole.dcam"}


# Disks.


class _FullDisk:
    """Lets so many bytes through, then says that the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, number: int) -> None:
        self.room = room
        put = storage.PartFile._put

        def limited(part: storage.PartFile, offset: int, data: bytes) -> None:
            fits = max(0, min(len(data), self.room))
            self.room -= len(data)
            put(part, offset, data[:fits])
            if fits < len(data):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(storage.PartFile, "_put", limited)


def test_full_disk_at_any_byte(tmp_path: Path, recorded: Log) -> None:
    truth = make_truth(steps=3, layers=(0, 1))
    truth.write(tmp_path / "whole.dcam")
    whole = evidence(tmp_path / "whole.dcam")
    total = sum(len(data) for _, _, data in recorded)
    rng = random.Random(3)
    for attempt in range(12):
        path = tmp_path / f"run{attempt}.dcam"
        done: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            _FullDisk(patch, rng.randrange(total), errno.ENOSPC)
            with pytest.raises(ResourceError) as caught:
                _write_noting(truth, path, done)
            assert "disk is full" in one_line(caught.value)
        part = schema.part_path(path)
        names = {entry.name for entry in tmp_path.glob(f"*{path.name}*")}
        assert names <= {part.name}
        if not part.exists():
            assert done == []
            continue
        assert part.name in str(caught.value)
        with open_run(part) as run:
            for step in done:
                truth.check_step(run, step)
        writer = RunWriter.resume(path, truth.request)
        truth.fill(writer)
        writer.finish()
        assert evidence(path) == whole


def _write_noting(truth: Truth, path: Path, done: list[int]) -> None:
    with truth.create(path) as writer:
        for event in truth.canvas:
            writer.add_canvas_step(event)
        writer.set_answer(truth.answer)
        for step in writer.missing_steps:
            writer.add_map_step(truth.steps[step])
            done.append(step)
        writer.finish()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX resource limits")
def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    import resource

    truth = make_truth(steps=8, rows=12, cols=12)
    path = tmp_path / "run.dcam"
    done: list[int] = []
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    room = truth.write(tmp_path / "whole.dcam").stat().st_size * 2 // 3
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, old[1]))
        with pytest.raises(ResourceError, match="disk is full"):
            _write_noting(truth, path, done)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert done
    with open_run(schema.part_path(path)) as run:
        for step in done:
            truth.check_step(run, step)
    writer = RunWriter.resume(path, truth.request)
    truth.fill(writer)
    with open_run(writer.finish()) as run:
        truth.check(run)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def refusing(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(RunFileError) as caught:
        make_truth().create(tmp_path / "run.dcam")
    expected = "cannot be written" if number != errno.EIO else os.strerror(errno.EIO)
    assert expected in one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        with pytest.raises(RunFileError, match="cannot be written"):
            make_truth().create(folder / "run.dcam")
    finally:
        folder.chmod(0o700)


def test_folders_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="there is no folder"):
        make_truth().create(tmp_path / "nowhere" / "run.dcam")
    with pytest.raises(RunFileError, match="is a folder"):
        make_truth().create(tmp_path)
    with pytest.raises(RunFileError, match="name for unfinished runs"):
        make_truth().create(tmp_path / "run.dcam.part")


def test_names_that_are_taken(tmp_path: Path) -> None:
    truth, other = make_truth(), make_truth(seed=1)
    path = truth.write(tmp_path / "run.dcam")
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="exists already"):
        other.create(path)
    assert path.read_bytes() == before
    # Overwriting keeps the old file until the new one is whole.
    writer = other.create(path, overwrite=True)
    other.fill(writer)
    assert path.read_bytes() == before
    writer.finish()
    with open_run(path) as run:
        other.check(run)
    with truth.create(tmp_path / "two.dcam") as writer:
        truth.fill(writer, last_step=0)
    with pytest.raises(RunFileError, match=r"unfinished run two\.dcam\.part exists"):
        truth.create(tmp_path / "two.dcam")


def test_a_file_that_appears_while_the_run_goes_on(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    writer = truth.create(path)
    truth.fill(writer)
    path.write_text("mine")
    with pytest.raises(RunFileError, match="appeared while the run was going on"):
        writer.finish()
    writer.abandon()
    assert path.read_text() == "mine"
    with open_run(schema.part_path(path)) as run:
        truth.check(run)
    path.unlink()
    again = RunWriter.resume(path, truth.request)
    assert again.missing_steps == ()
    assert again.finish() == path


def test_only_one_writer(tmp_path: Path) -> None:
    truth = make_truth()
    path = tmp_path / "run.dcam"
    with truth.create(path) as first:
        truth.fill(first, last_step=0)
        for second in (truth.create, lambda p: RunWriter.resume(p, truth.request)):
            with pytest.raises(RunFileError, match="another process"):
                second(path)
        # Readers may look meanwhile, and the writer does not mind.
        with open_run(first.part_path) as run:
            truth.check_step(run, 0)
            first.add_map_step(truth.steps[1])
            truth.check_step(run, 0)
    RunWriter.resume(path, truth.request).abandon()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.dcam.part"]


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    truth = make_truth()
    writer = truth.create(tmp_path / "run.dcam")
    writer.abandon()
    writer.abandon()
    with pytest.raises(RunFileError, match="is closed"):
        writer.add_canvas_step(truth.canvas[0])


# Damage.


def _flip(path: Path, at: int, bit: int = 3) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, Path]:
    truth = make_truth(tiles=True)
    return truth, truth.write(tmp_path_factory.mktemp("damage") / "run.dcam")


def _read_all(path: Path, truth: Truth) -> bool:
    """Say whether the file was refused; if it was not, everything in it must be as written."""
    try:
        with open_run(path) as run:
            truth.check(run)
    except RunFileError as error:
        one_line(error)
        return True
    return False


def test_truncated_anywhere(finished: tuple[Truth, Path], tmp_path: Path) -> None:
    truth, path = finished
    data = path.read_bytes()
    torn = tmp_path / "torn.dcam"
    for part in range(50):
        torn.write_bytes(data[: len(data) * part // 50])
        assert _read_all(torn, truth)
    torn.write_bytes(data[:-1])
    assert _read_all(torn, truth)


def test_flipped_bits_are_noticed_or_harmless(finished: tuple[Truth, Path], tmp_path: Path) -> None:
    truth, path = finished
    data = path.read_bytes()
    rng = random.Random(11)
    torn = tmp_path / "torn.dcam"
    places = [rng.randrange(2048) for _ in range(120)]
    places += [rng.randrange(len(data)) for _ in range(120)]
    refused = 0
    for at in places:
        torn.write_bytes(data)
        _flip(torn, at, rng.randrange(8))
        refused += _read_all(torn, truth)
    assert refused > 60


def test_one_damaged_chunk_costs_one_step_and_layer(
    finished: tuple[Truth, Path], tmp_path: Path
) -> None:
    truth, path = finished
    torn = shutil.copy(path, tmp_path / "torn.dcam")
    with h5py.File(torn, "r") as file:
        maps = file["run/maps/diffusion-cam/tiles/maps"].id
        info = maps.get_chunk_info_by_coord((2, 1, 0, 0, 0))
    _flip(torn, info.byte_offset + info.size // 3)
    with open_run(torn) as run:
        with pytest.raises(RunFileError) as caught:
            run.map(0, step=2, layer=2, grid="tiles")
        assert "step 2, layer 2, grid tiles" in one_line(caught.value)
        for step in (0, 1, 3):
            truth.check_step(run, step)
        run.map(0, step=2, layer=2, grid="base")
        run.map(0, step=2, layer=5, grid="tiles")


def test_swapped_chunks_and_changed_scales_are_noticed(
    finished: tuple[Truth, Path], tmp_path: Path
) -> None:
    _, path = finished
    torn = shutil.copy(path, tmp_path / "torn.dcam")
    with h5py.File(torn, "r+") as file:
        group = file["run/maps/diffusion-cam/base"]
        other = group["maps"].id.read_direct_chunk((3, 0, 0, 0, 0))[1]
        group["maps"].id.write_direct_chunk((2, 0, 0, 0, 0), other)
        group["maximum"][1, 0, 4] *= 2
    with open_run(torn) as run:
        for step in (1, 2):
            with pytest.raises(RunFileError, match="have changed"):
                run.maps(step, 0)
        run.maps(3, 0)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    cases: dict[str, bytes] = {
        "empty": b"",
        "text": b"hello\n" * 100,
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "magic": b"\x89HDF\r\n\x1a\n",
        "zeros": bytes(4096),
    }
    for name, data in cases.items():
        file = tmp_path / f"{name}.dcam"
        file.write_bytes(data)
        with pytest.raises(RunFileError) as caught:
            open_run(file)
        assert f"{name}.dcam" in one_line(caught.value)
    with h5py.File(tmp_path / "foreign.dcam", "w") as file:
        file["data"] = np.arange(5)
    with pytest.raises(RunFileError, match="an HDF5 file, but not a run"):
        open_run(tmp_path / "foreign.dcam")
    with pytest.raises(RunFileError, match="there is no run at"):
        open_run(tmp_path / "none.dcam")
    with pytest.raises(RunFileError, match="is a folder"):
        open_run(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcam")
    with pytest.raises(RunFileError, match="not a regular file"):
        open_run(tmp_path / "pipe.dcam")
    with pytest.raises(RunFileError, match="not a usable path"):
        open_run("a\0b")
    with (
        make_truth().create(tmp_path / "late.dcam"),
        pytest.raises(RunFileError, match="only its unfinished"),
    ):
        open_run(tmp_path / "late.dcam")


# Malice.


@contextmanager
def _changed(path: Path, target: Path) -> Iterator[h5py.File]:
    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        yield file


def _replace(file: h5py.File, name: str, **options: Any) -> None:
    """Put another dataset in the place of one, with its attributes."""
    attributes = {
        key: (file[name].attrs.get_id(key).dtype, value) for key, value in file[name].attrs.items()
    }
    del file[name]
    created = file.create_dataset(name, **options)
    for key, (kind, value) in attributes.items():
        created.attrs.create(key, value, dtype=kind)


def _newer(file: h5py.File, tmp: Path) -> None:
    file.attrs["format_version"] = np.int64(2)


def _soft_link(file: h5py.File, tmp: Path) -> None:
    del file["run/canvas/token_ids"]
    file["run/canvas/token_ids"] = h5py.SoftLink("/run/canvas/guesses")


def _external_link(file: h5py.File, tmp: Path) -> None:
    del file["run/answer"]
    file["run/answer"] = h5py.ExternalLink(str(tmp / "elsewhere.h5"), "/answer")


def _external_storage(file: h5py.File, tmp: Path) -> None:
    (tmp / "secret").write_bytes(bytes(4096))
    _replace(
        file,
        "run/closing",
        shape=(4096,),
        dtype="u1",
        external=[(str(tmp / "secret"), 0, 4096)],
    )


def _virtual(file: h5py.File, tmp: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="u1")
    layout[:] = h5py.VirtualSource(str(tmp / "elsewhere.h5"), "data", shape=(4,))
    del file["run/canvas/status"]
    file.create_virtual_dataset("run/canvas/status", layout)


def _references(file: h5py.File, tmp: Path) -> None:
    _replace(file, "run/canvas/status", data=np.array([file.ref] * 4, dtype=h5py.ref_dtype))


def _variable_text(file: h5py.File, tmp: Path) -> None:
    _replace(file, "run/request", data="{}", dtype=h5py.string_dtype())


def _gigantic_table(file: h5py.File, tmp: Path) -> None:
    for name in ("token_ids", "guesses"):
        _replace(file, f"run/canvas/{name}", shape=(60_000, 60_000), dtype="i8")


def _gigantic_chunk(file: h5py.File, tmp: Path) -> None:
    shape = (4, 3, 12, 20_000, 20_000)
    _replace(file, "run/maps/diffusion-cam/base/maps", shape=shape, dtype="f2", chunks=(1,) * 5)


def _other_type(file: h5py.File, tmp: Path) -> None:
    _replace(file, "run/answer/commit_step", data=np.zeros(12, "f8"))


def _other_shape(file: h5py.File, tmp: Path) -> None:
    _replace(file, "run/canvas/guesses", data=np.zeros((4, 13), "i8"))


def _other_filter(file: h5py.File, tmp: Path) -> None:
    name = "run/maps/diffusion-cam/base/maps"
    data = file[name][()]
    _replace(file, name, data=data, chunks=(1, 1, *data.shape[2:]), compression="lzf")


def _bomb(file: h5py.File, tmp: Path) -> None:
    import zlib

    # 50 KB that inflate to 50 MB; HDF5 itself would make all of them.
    packed = zlib.compress(bytes(50_000_000), 1)
    file["run/maps/diffusion-cam/base/maps"].id.write_direct_chunk((1, 0, 0, 0, 0), packed)


def _missing(file: h5py.File, tmp: Path) -> None:
    del file["run/image/pixels"]


def _group_for_dataset(file: h5py.File, tmp: Path) -> None:
    del file["run/request"]
    file.create_group("run/request")


def _deep_json(file: h5py.File, tmp: Path) -> None:
    _text(file, "run/request", b'{"a":' + b"[" * 200_000)


def _many_digits(file: h5py.File, tmp: Path) -> None:
    _text(file, "run/request", b'{"a":' + b"9" * 200_000 + b"}")


def _list_for_object(file: h5py.File, tmp: Path) -> None:
    _text(file, "run/metadata", b"[1, 2]")


def _text(file: h5py.File, name: str, raw: bytes) -> None:
    import zlib

    del file[name]
    kind = h5py.string_dtype("utf-8", len(raw))
    file.create_dataset(name, data=raw, dtype=kind).attrs["crc32"] = np.int64(zlib.crc32(raw))


def _crossed_cells(file: h5py.File, tmp: Path) -> None:
    import zlib

    cells = file["run/grids/base/rectangles"]
    boxes = cells[()]
    boxes[0, 0] = np.nan
    cells[...] = boxes
    cells.attrs["crc32"] = np.int64(zlib.crc32(boxes.tobytes()))


MALICE = {
    _newer: "format version 2, this program reads up to 1",
    _soft_link: "is a link",
    _external_link: "is a link",
    _external_storage: "outside of this file",
    _virtual: "outside of this file",
    _references: "canvas/status: type is damaged",
    _variable_text: "request: type is damaged",
    _gigantic_table: "canvas/token_ids",
    _gigantic_chunk: "maps",
    _other_type: "answer/commit_step: type is damaged",
    _other_shape: "canvas/guesses: shape is damaged",
    _other_filter: "a filter that this format does not have",
    _bomb: "maps",
    _missing: "image/pixels is missing",
    _group_for_dataset: "request is damaged",
    _deep_json: "request is damaged",
    _many_digits: "request is damaged",
    _list_for_object: "metadata is damaged",
    _crossed_cells: "grids/base/rectangles is damaged",
}


@pytest.mark.parametrize("change", MALICE, ids=lambda change: change.__name__.strip("_"))
def test_malice(
    finished: tuple[Truth, Path], tmp_path: Path, change: Callable[[h5py.File, Path], None]
) -> None:
    _, path = finished
    target = tmp_path / "evil.dcam"
    with _changed(path, target) as file:
        change(file, tmp_path)
    with pytest.raises(RunFileError) as caught, open_run(target) as run:
        run.maps(1, 0)
    assert MALICE[change] in one_line(caught.value)


def test_every_error_names_the_file_and_a_way_out(
    finished: tuple[Truth, Path], tmp_path: Path
) -> None:
    _, path = finished
    target = tmp_path / "evil.dcam"
    with _changed(path, target) as file:
        _other_shape(file, tmp_path)
    with pytest.raises(DiffcamError) as caught:
        open_run(target)
    assert caught.value.cause.startswith("evil.dcam: ")
    assert caught.value.mend
