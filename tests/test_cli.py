"""The command line: exit codes, one-line errors, JSON, Ctrl-C. The model is tiny and random."""

from __future__ import annotations

import dataclasses
import json
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffcam_core.cli import main, parsing, reporting
from diffcam_core.cli.parsing import (
    contrast_from,
    parse_layers,
    parse_numbers,
    parse_step,
    parse_steps,
    parse_token,
    parse_tokens,
)
from diffcam_core.errors import InputError, RunFileError
from diffcam_core.events import Done, Event, MapStep, Progress
from diffcam_core.images import open_image, scene_record
from diffcam_core.session import open_run, part_path

N_STEPS = 4  # of the tiny checkpoint


class Result:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Runner = Callable[..., Result]


@pytest.fixture
def diffcam(capsys: pytest.CaptureFixture[str]) -> Runner:
    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "picture.png"
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def run_file(image: Path, tiny_lavida: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run.dcam"
    assert main(["explain", str(image), "-p", "a cat", "-m", str(tiny_lavida), "-o", str(out)]) == 0
    return out


def complains_once(result: Result, *words: str) -> None:
    """Exit code 2, one line that says the words, no traceback."""
    assert result.code == 2, result.err
    complaints = [line for line in result.err.splitlines() if line.startswith("diffcam: ")]
    assert len(complaints) == 1
    assert result.err.splitlines()[-1] == complaints[0]
    assert "Traceback" not in result.err
    for word in words:
        assert word in complaints[0]


# Starting.


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from diffcam_core.cli import main\n"
        "assert main(['--help']) == 0\n"
        "assert main(['explain', '--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("explain", "evaluate", "figure", "info", "models", "scenes", "demo"):
        assert command in done.stdout


def test_version_and_nothing(diffcam: Runner) -> None:
    assert diffcam("--version").out.startswith("diffcam ")
    assert diffcam().code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], ["bogus"]),
        (["info"], ["run"]),
        (["info", "--nonsense"], ["--nonsense"]),
        (["scenes", "--seed", "x", "-o", "a.png"], ["--seed"]),
        (["scenes", "--seed", "-1", "-o", "a.png"], ["--seed"]),
        (["explain"], ["no image"]),
        (["explain", "--resume"], ["-o"]),
        (["explain", "a.png"], ["--prompt"]),
        (["explain", "a.png", "-p", "x", "--resume", "--overwrite"], ["--overwrite"]),
        (["explain", "a.png", "-p", "x", "--layers", "top"], ["--layers"]),
        (["explain", "a.png", "-p", "x", "--steps", "3,"], ["--steps"]),
        (["explain", "a.png", "-p", "x", "--contrast", "word"], ["--distractor"]),
        (["explain", "a.png", "-p", "x"], ["a.png"]),
        (["info", "nothing.dcam"], ["nothing.dcam"]),
        (["figure", "nothing.dcam", "-t", "cat", "-o", "f.pdf"], ["nothing.dcam"]),
        (["models", "nowhere"], ["nowhere", "no such folder"]),
        (["models", "n" * 300], ["no such folder"]),
        (["info", "n" * 300], ["n"]),
        (["evaluate", "--quality", "-m", "n" * 300], ["n"]),
        (["explain", "n" * 300, "-p", "x"], ["n"]),
        (["scenes", "-o", "n" * 300 + ".png"], ["shorter name"]),
        (["evaluate"], ["--quality"]),
        (["evaluate", "--quality", "--dataset", "coco"], ["coco"]),
    ],
)
def test_wrong_usage_is_one_line(
    diffcam: Runner,
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    complains_once(diffcam(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(diffcam: Runner, tmp_path: Path) -> None:
    with pytest.raises(RunFileError):
        diffcam("info", tmp_path / "nothing.dcam", "--debug")
    with pytest.raises(RunFileError):
        diffcam("--debug", "info", tmp_path / "nothing.dcam")


def test_a_fault_of_ours_is_one_line_and_exit_code_1() -> None:
    code = (
        "import sys\n"
        "from diffcam_core.cli import app, main\n"
        "def broken(*a, **k): raise TypeError('a b\\nc')\n"
        "import diffcam_core.cli.showing as showing\n"
        "showing.list_models = broken\n"
        "sys.argv = ['diffcam', 'models', *sys.argv[1:]]\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "TypeError: a b c" in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code, "--debug"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


# Parsing.


def test_lists_of_numbers() -> None:
    assert parse_numbers("3", "x") == (3,)
    assert parse_numbers("0, 4,8-11,4", "x") == (0, 4, 8, 9, 10, 11)
    for bad in ("", ",", "a", "3-1", "-1", "1.5", "0-999999999", "9" * 12):
        with pytest.raises(InputError):
            parse_numbers(bad, "x")
    assert parse_layers("all") is None
    assert parse_layers("2-3") == (2, 3)
    assert parse_steps("All") == "all"
    assert parse_steps("commit") == "commit"
    assert parse_steps("0,2") == (0, 2)


def test_tokens() -> None:
    assert parse_tokens(None) is None
    assert parse_tokens(["cat,3", "traffic light", "5-7,cat"]) == (
        "cat",
        3,
        "traffic light",
        5,
        6,
        7,
    )
    with pytest.raises(InputError):
        parse_tokens(["cat,,dog"])
    assert parse_token(" cat ") == "cat"
    assert parse_token("12") == 12
    assert parse_step("commit") == "commit"
    assert parse_step("4") == 4
    for bad in ("", "x", "-1"):
        with pytest.raises(InputError):
            parse_step(bad)
    assert parsing.parse_token("²") == "²"


def test_contrasts() -> None:
    assert contrast_from("runner-up", None) == "runner_up"
    assert contrast_from("none", "dog") == "word:dog"
    assert contrast_from("word", "dog") == "word:dog"
    with pytest.raises(InputError):
        contrast_from("runner-up", "dog")


# Words and numbers for people.


def test_durations_and_sizes() -> None:
    assert reporting.in_words(0.84) == "0.8 s"
    assert reporting.in_words(12.2) == "12 s"
    assert reporting.in_words(200) == "3 min 20 s"
    assert reporting.in_words(7500) == "2 h 5 min"
    assert reporting.size_in_words(512) == "512 bytes"
    assert reporting.size_in_words(1_400_000) == "1.4 MB"
    assert reporting.size_in_words(5_000_000_000_000) == "5.0 TB"


def test_terminal_escapes_are_defused() -> None:
    assert reporting.printable("a\x1b[31mé\n") == "a\\x1b[31mé\\n"


# explain.


def test_explain_on_a_log(diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.dcam"
    result = diffcam("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out)
    assert result.code == 0, result.err
    assert result.out.startswith(str(out))
    assert "Explaining: 4 of 4" in result.err
    assert "\x1b" not in result.err
    with open_run(out) as run:
        assert run.complete


def test_explain_json_is_only_json(
    diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.dcam"
    result = diffcam("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--json")
    assert result.code == 0
    kinds = [line["event"] for line in result.lines]
    assert [k for k in kinds if k != "progress"] == [
        "plan",
        *["canvas"] * N_STEPS,
        "answer",
        *["maps"] * N_STEPS,
        "done",
    ]
    assert result.lines[-1]["path"] == str(out)
    assert result.err == ""
    with open_run(out) as run:
        (last,) = [line for line in result.lines if line["event"] == "maps"][-1:]
        grid = next(iter(run.grids))
        for column, layer in enumerate(last["layers"]):
            for row, value in enumerate(last["max"][grid][column]):
                if run.valid[-1, column]:
                    expected = run.maps(N_STEPS - 1, layer)[row].max()
                    assert value == pytest.approx(float(expected), rel=1e-3, abs=1e-6)
                else:
                    assert value is None


def test_explain_options_reach_the_request(
    diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.dcam"
    result = diffcam(
        *("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--layers", "0-1"),
        *("--steps", "0,5", "-t", "0-2", "-t", "4", "--contrast", "runner-up", "--seed", "9"),
        *("--max-new-tokens", "12", "--denoising-steps", "6", "--block-length", "4"),
        *("--schedule", "cosine", "--remasking", "entropy", "--temperature", "0.5"),
        *("--no-prefix-cache", "--device", "cpu", "--dtype", "float64"),
    )
    assert result.code == 0, result.err
    with open_run(out) as run:
        request = run.request
        assert run.targets == (0, 1, 2, 4)
        assert run.layers == (0, 1)
        assert run.requested_steps == (0, 5)
    assert request["contrast"] == "runner_up"
    assert request["seed"] == 9
    assert request["arithmetic"] == "float64 on cpu"
    generation = request["generation"]
    assert generation["max_new_tokens"] == 12
    assert generation["steps"] == 6
    assert generation["block_length"] == 4
    assert generation["prefix_cache"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-t", "zebra"], ["zebra", "words are"]),
        (["-t", "99"], ["99"]),
        (["--layers", "77"], ["77"]),
        (["--steps", "77"], ["77"]),
        (["--method", "guess"], ["guess"]),
        (["--contrast", "strong"], ["strong"]),
        (["--max-new-tokens", "0"], ["max_new_tokens"]),
        (["--schedule", "fast"], ["fast"]),
        (["--device", "abacus"], ["abacus"]),
        (["--dtype", "float7"], ["float7"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_unusable_requests(
    diffcam: Runner,
    image: Path,
    tiny_lavida: Path,
    tmp_path: Path,
    options: list[str],
    words: list[str],
    as_json: bool,
) -> None:
    out = tmp_path / "r.dcam"
    more = [*options, "--json"] if as_json else options
    result = diffcam("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, *more)
    complains_once(result, *words)
    assert not out.exists()
    if as_json:
        failures = [line for line in result.lines if line["event"] == "failure"]
        assert len(failures) == 1
        assert result.lines[-1] == failures[0]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_broken_images(diffcam: Runner, tiny_lavida: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    out = tmp_path / "r.dcam"
    complains_once(diffcam("explain", path, "-p", "x", "-m", tiny_lavida, "-o", out), "broken.png")
    complains_once(diffcam("explain", tmp_path, "-p", "x", "-m", tiny_lavida, "-o", out), "folder")
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_no_model(diffcam: Runner, image: Path, tmp_path: Path) -> None:
    complains_once(
        diffcam("explain", image, "-p", "x", "-m", tmp_path, "-o", tmp_path / "r.dcam"),
        "config.json",
    )


def test_a_taken_name_is_respected(
    diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.dcam"
    out.write_text("precious")
    base = ("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--steps", "0")
    complains_once(diffcam(*base), "r.dcam")
    assert out.read_text() == "precious"
    assert diffcam(*base, "--overwrite").code == 0
    with open_run(out) as run:
        assert run.complete


# Ctrl-C.


class Interrupting(reporting.JsonReporter):
    """Sends a signal to the process when the first map has arrived."""

    number = signal.SIGINT

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, MapStep) and event.step == 0:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_finished_steps(
    diffcam: Runner,
    image: Path,
    tiny_lavida: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_file: Path,
    number: signal.Signals,
    code: int,
) -> None:
    out = tmp_path / "r.dcam"
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Interrupting, "number", number)
    with monkeypatch.context() as patch:
        patch.setattr(
            "diffcam_core.cli.explaining.make_reporter", lambda *, as_json: Interrupting()
        )
        result = diffcam("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out)
    assert result.code == code
    assert result.lines[-1] == {**result.lines[-1], "event": "done", "cancelled": True}
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    with open_run(part_path(out)) as run:
        assert run.computed.any(1).tolist() == [True, False, False, False]

    unfinished = diffcam("info", part_path(out))
    assert unfinished.code == 0
    assert "--resume" in unfinished.out
    # Neither the image nor the prompt is needed to finish it.
    result = diffcam("explain", "--resume", "-o", out, "-m", tiny_lavida)
    assert result.code == 0, result.err
    with open_run(out) as run, open_run(run_file) as other:
        assert np.array_equal(run.maps(3, 1), other.maps(3, 1))
        assert run.complete


def test_resume_with_the_same_command(
    diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.dcam"
    base = ("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--resume")
    assert diffcam(*base).code == 0
    again = diffcam(*base)
    assert again.code == 0
    assert "complete already" in again.err
    complains_once(diffcam(*base, "--seed", "3"), "seed")
    complains_once(
        diffcam("explain", "--resume", "-o", tmp_path / "no.dcam", "-m", tiny_lavida), "no.dcam"
    )


# A terminal.


def test_live_bars(
    image: Path, tiny_lavida: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = reporting.RichReporter()
    from diffcam_core import explain, load_model

    with reporter:
        explain(
            load_model(tiny_lavida, device="cpu"),
            image,
            "a cat",
            out=tmp_path / "r.dcam",
            on_event=reporter,
        ).close()
    captured = capsys.readouterr()
    assert "Explaining" in captured.err
    assert captured.out.startswith(str(tmp_path / "r.dcam"))
    assert not reporter.failed
    assert not reporter.cancelled


def test_plain_lines_stay_few() -> None:
    import io

    stream = io.StringIO()
    reporter = reporting.PlainReporter(stream)
    for done in range(1001):
        reporter(Progress("explain", done, 1000, 1.0))
    reporter(Done("x", cancelled=True))
    assert len(stream.getvalue().splitlines()) == 11
    assert reporter.cancelled


# info, models, scenes.


def test_info(diffcam: Runner, run_file: Path) -> None:
    result = diffcam("info", run_file)
    assert result.code == 0
    assert "a cat" in result.out
    facts = diffcam("info", run_file, "--json").lines
    assert len(facts) == 1
    with open_run(run_file) as run:
        assert facts[0]["answer"] == run.answer
        assert facts[0]["layers"] == list(run.layers)
        assert facts[0]["valid_layers"] == [0, 1]
        assert facts[0]["complete"] is True
        assert facts[0]["explained_steps"] == N_STEPS


def test_info_of_damaged_and_foreign_files(
    diffcam: Runner, run_file: Path, image: Path, tmp_path: Path
) -> None:
    whole = run_file.read_bytes()
    cut = tmp_path / "cut.dcam"
    cut.write_bytes(whole[: len(whole) // 2])
    complains_once(diffcam("info", cut), "cut.dcam")
    complains_once(diffcam("info", image), image.name)
    complains_once(diffcam("info", tmp_path), tmp_path.name)


def test_models(
    diffcam: Runner, tiny_lavida: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcam_core import load_model

    snapshot = tmp_path / "hub" / "models--some--lavida" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in tiny_lavida.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    foreign = tmp_path / "hub" / "models--some--bert" / "snapshots" / "abc"
    foreign.mkdir(parents=True)
    (foreign / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = diffcam("models", tiny_lavida, "--json")
    assert result.code == 0
    found = {entry["name"]: entry for entry in result.lines[0]["models"]}
    assert set(found) == {"embedded", "some/lavida", tiny_lavida.name}
    model = load_model(tiny_lavida, device="cpu")
    assert found[tiny_lavida.name]["parameters"] == model.describe()["parameters"]
    assert found[tiny_lavida.name]["layers"] == 3
    assert "some/lavida" in diffcam("models").out


def test_models_with_damaged_weights(diffcam: Runner, tiny_lavida: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_lavida / "config.json").read_bytes())
    complains_once(diffcam("models", tmp_path), "safetensors")
    for content in (b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"[:9]):
        (tmp_path / "model.safetensors").write_bytes(content)
        complains_once(diffcam("models", tmp_path), "damaged")


def test_scenes(diffcam: Runner, tmp_path: Path) -> None:
    from diffcam_core.datasets.scenes import make_scene

    out, mask = tmp_path / "scene.png", tmp_path / "mask.png"
    result = diffcam("scenes", "--seed", 12, "-o", out, "--mask", mask, "--size", 200)
    assert result.code == 0
    scene = make_scene(12)
    assert scene.caption in result.out
    picture = open_image(out)
    assert np.array_equal(np.asarray(picture), scene.render(200))
    record = scene_record(picture)
    assert record is not None
    assert record["seed"] == 12
    with Image.open(mask) as labels:
        values = np.asarray(labels)
    for index, region in enumerate(scene.masks(200)):
        wanted = 0 if index == len(scene.objects) else index + 1
        assert np.array_equal(values == wanted, region)
    facts = diffcam("scenes", "--seed", 12, "-o", out, "--objects", 2, "--json").lines
    assert len(facts[0]["objects"]) == 2
    assert facts[0]["mask"] is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-o", "a.jpg"], "a.jpg"),
        (["-o", "a.png", "--mask", "a.png"], "same"),
        (["-o", "a.png", "--size", "9"], "9"),
        (["-o", "nowhere/a.png"], "nowhere"),
        (["-o", "a.png", "--objects", "9"], "--objects"),
    ],
)
def test_unusable_scenes(
    diffcam: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    complains_once(diffcam("scenes", *options), word)


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "f.pdf"],
        ["-o", "f.png", "--preset", "raw", "--step", "2", "--layer", "0", "--normalise", "map"],
        ["-o", "f.svg", "--compare", "raw", "--style", "slide"],
        ["-o", "f.png", "--kind", "trajectory", "--layer", "1"],
        ["-o", "f.png", "--kind", "layers", "--layer", "1"],
        ["-o", "f.png", "--kind", "ladder", "--preset", "paper"],
    ],
)
def test_figures(
    diffcam: Runner,
    run_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    result = diffcam("figure", run_file, "-t", 1, *options, "--json")
    assert result.code == 0, result.err
    (facts,) = result.lines
    drawn = tmp_path / facts["figure"]
    assert drawn.stat().st_size == facts["bytes"] > 1000
    heads = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<?xml"}
    assert drawn.read_bytes().startswith(heads[drawn.suffix])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-t", "zebra", "-o", "f.pdf"], "zebra"),
        (["-t", "0", "-o", "f.docx"], "docx"),
        (["-t", "0", "-o", "f.pdf", "--kind", "pie"], "pie"),
        (["-t", "0", "-o", "f.pdf", "--layer", "99"], "99"),
        (["-t", "0", "-o", "f.pdf", "--step", "99"], "99"),
        (["-t", "0", "-o", "f.pdf", "--step", "soon"], "soon"),
        (["-t", "0", "-o", "f.pdf", "--preset", "best"], "best"),
        (["-t", "0", "-o", "f.pdf", "--normalise", "not"], "not"),
        (["-t", "0", "-o", "f.pdf", "--method", "guess"], "guess"),
        (["-t", "0", "-o", "f.pdf", "--style", "haute"], "haute"),
        (["-t", "0", "-o", "f.pdf", "--colour-map", "mud"], "mud"),
        (["-t", "0", "-o", "f.pdf", "--kind", "trajectory", "--step", "1"], "--step"),
        (["-t", "0", "-o", "nowhere/f.pdf"], "nowhere"),
    ],
)
def test_unusable_figures(
    diffcam: Runner,
    run_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    complains_once(diffcam("figure", run_file, *options), word)
    assert list(tmp_path.iterdir()) == []


def test_demo(
    diffcam: Runner, tiny_lavida: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole main job, with the tiny model in the embedded one's place."""
    monkeypatch.setattr("diffcam_core.models.loading.resource_path", lambda _: tiny_lavida)
    folder = tmp_path / "new" / "demo"
    for _ in range(2):  # a second time replaces its own files
        result = diffcam("demo", "-o", folder, "--seed", 41, "--steps", "commit", "--json")
        assert result.code == 0, result.err
    files = result.lines[-1]
    assert files.pop("event") == "files"
    assert set(files) == {"scene", "mask", "run", "figure", "picture"}
    assert all(Path(path).stat().st_size > 100 for path in files.values())
    with open_run(files["run"]) as run:
        assert run.complete
    (tmp_path / "file").touch()
    complains_once(diffcam("demo", "-o", tmp_path / "file"), "file")


def test_evaluate_quality(diffcam: Runner, tiny_lavida: Path) -> None:
    base = ("evaluate", "--quality", "-m", tiny_lavida, "-n", 2, "--first-seed", 40)
    result = diffcam(*base, "--json")
    assert result.code == 0, result.err
    assert result.lines[0]["quality"]["scenes"] == 2
    assert 0 <= result.lines[0]["quality"]["noun_recall"]["value"] <= 1
    assert "noun recall" in diffcam(*base).out


# What goes wrong outside.


def test_scenes_replace_nothing_when_the_disk_is_full(diffcam: Runner, tmp_path: Path) -> None:
    """A file size limit stands in for a full disk."""
    out, mask = tmp_path / "s.png", tmp_path / "m.png"
    assert diffcam("scenes", "--seed", 3, "-o", out, "--mask", mask).code == 0
    before = out.read_bytes(), mask.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = diffcam("scenes", "--seed", 4, "-o", out, "--mask", mask)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    complains_once(result, "disk is full")
    assert (out.read_bytes(), mask.read_bytes()) == before
    # Nor is the scene left behind when its mask cannot be written.
    complains_once(
        diffcam("scenes", "-o", tmp_path / "n.png", "--mask", tmp_path / "no" / "m.png"), "m.png"
    )
    assert {entry.name for entry in tmp_path.iterdir()} == {"s.png", "m.png"}


def run_shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "diffcam_core.cli", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('DIFFCAM', shlex.join(words))}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_goes_is_no_fault(run_file: Path) -> None:
    done = run_shell("DIFFCAM | true", "info", run_file)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_output_that_cannot_be_written(run_file: Path, more: list[str]) -> None:
    done = run_shell("DIFFCAM > /dev/full", "info", run_file, *more)
    assert done.returncode == 2
    assert done.stderr.startswith("diffcam: the output cannot be written: No space left")
    assert done.stderr.count("\n") == 1


def test_a_job_broken_off_by_its_reader_is_not_done(
    image: Path, tiny_lavida: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.dcam"
    done = run_shell(
        "DIFFCAM | head -c 1 > /dev/null",
        *("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--json"),
    )
    assert done.returncode == (0 if out.exists() else 2), done.stderr
    assert "fault" not in done.stderr


@pytest.mark.parametrize(
    "typed",
    [
        ["-p", "Something else?"],
        ["--layers", "1"],
        ["--layers", "all"],
        ["--seed", "4"],
        ["--tokens", "99"],
        ["--no-prefix-cache"],
    ],
)
def test_resume_from_the_file_ignores_nothing_that_was_typed(
    diffcam: Runner, run_file: Path, tiny_lavida: Path, typed: list[str]
) -> None:
    name = "--prompt" if typed[0] == "-p" else typed[0].replace("--no-", "--")
    result = diffcam("explain", "--resume", "-o", run_file, "-m", tiny_lavida, *typed)
    complains_once(result, name, "without an image")


def test_missing_maps_are_not_done(
    diffcam: Runner, image: Path, tiny_lavida: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcam_core import engine

    method = engine.METHODS["diffusion-cam"]

    def broken(*arguments: Any) -> Any:
        for found in method.stream(*arguments):
            for grids in found.maps.values():
                next(iter(grids.values()))[0, 0, 0] = np.inf
            yield found

    methods = {"diffusion-cam": dataclasses.replace(method, stream=broken)}
    monkeypatch.setattr(engine, "METHODS", methods)
    out = tmp_path / "r.dcam"
    base = ("explain", image, "-p", "a cat", "-m", tiny_lavida, "-o", out, "--layers", "0")
    complains_once(diffcam(*base), "r.dcam is written, but without", "layers 0", "float32")
    result = diffcam("explain", "--resume", "-o", out, "-m", tiny_lavida, "--json")
    complains_once(result, "without")
    assert result.lines[-1]["kind"] == "MissingMapsError"


def test_evaluate_takes_the_contrasts_of_explain(diffcam: Runner) -> None:
    # It is the model that is missing then, no longer the contrast.
    for name in ("runner-up", "Log-Probability"):
        result = diffcam("evaluate", "--localisation", "--contrast", name, "-m", "nowhere")
        complains_once(result, "nowhere")
    complains_once(diffcam("evaluate", "--localisation", "--contrast", "word"), "contrast 'word'")


def test_wrong_usage_as_json(diffcam: Runner) -> None:
    result = diffcam("info", "--bogus", "--json")
    complains_once(result, "--bogus")
    assert [line["event"] for line in result.lines] == ["failure"]
