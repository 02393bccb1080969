"""One job from request to run file: events, choices, cancel, resume, determinism."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffcam_core as dc
from diffcam_core.datasets.scenes import make_scene
from diffcam_core.denoising import GenerationConfig
from diffcam_core.errors import (
    CancelledError,
    DiffcamError,
    InputError,
    ResourceError,
    RunFileError,
    TargetError,
)
from diffcam_core.events import (
    Answer,
    CanvasStep,
    Done,
    Event,
    Failure,
    MapStep,
    Notice,
    Plan,
    Progress,
)
from diffcam_core.probing import Prober, Trajectory
from diffcam_core.request import Request
from diffcam_core.session import Run, Status, open_run, part_path

PROMPT = "a cat"


@pytest.fixture(scope="module")
def model(tiny_lavida: Path) -> Any:
    return dc.load_model(tiny_lavida, device="cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(11)
    return Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))


class Listener:
    """Keeps every event; can ask for a stop or raise when one arrives."""

    def __init__(self, trigger: Callable[[Event], bool] | None = None) -> None:
        self.events: list[Event] = []
        self.stop = False
        self._trigger = trigger

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._trigger is not None and self._trigger(event):
            self.stop = True

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def evidence(run: Run) -> dict[str, bytes]:
    """Everything that must be the same in two runs of one request, as bytes."""
    found: dict[str, bytes] = {
        "ids": run.token_ids.tobytes(),
        "canvas": run.canvas.tobytes(),
        "guesses": run.guesses.tobytes(),
        "confidence": run.confidence.tobytes(),
        "commit": run.commit_step.tobytes(),
        "status": run.status.tobytes(),
        "probability": run.target_probability.tobytes(),
        "image": run.image.tobytes(),
        "text": run.answer.encode(),
    }
    for step, column in zip(*np.nonzero(run.computed), strict=True):
        for grid in run.grids:
            chunk = run.raw_chunk(int(step), run.layers[column], grid)
            found[f"{step} {column} {grid}"] = (
                chunk.packed
                + chunk.minimum.tobytes()
                + chunk.maximum.tobytes()
                + chunk.total.tobytes()
            )
    return found


@pytest.fixture(scope="module")
def whole(
    model: Any, picture: Image.Image, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Event], dict[str, bytes]]:
    """An undisturbed run with its events and evidence."""
    path = tmp_path_factory.mktemp("whole") / "run.dcam"
    listener = Listener()
    with dc.explain(model, picture, PROMPT, out=path, on_event=listener) as run:
        return path, listener.events, evidence(run)


def test_order_of_events(whole: tuple[Path, list[Event], Any]) -> None:
    events = whole[1]
    kinds = [type(event) for event in events if not isinstance(event, (Progress, Notice))]
    n_steps = events[kinds_index(events, Plan)].n_steps
    assert kinds == [Plan, *[CanvasStep] * n_steps, Answer, *[MapStep] * n_steps, Done]
    assert [e.step for e in events if isinstance(e, CanvasStep)] == list(range(n_steps))
    assert [e.step for e in events if isinstance(e, MapStep)] == list(range(n_steps))
    assert isinstance(events[-1], Done)
    phases = list(dict.fromkeys(e.phase for e in events if isinstance(e, Progress)))
    assert phases == ["prepare", "generate", "explain", "write"]


def kinds_index(events: Sequence[Event], kind: type[Any]) -> int:
    return next(i for i, event in enumerate(events) if isinstance(event, kind))


def test_progress_counts_up_to_its_total(whole: tuple[Path, list[Event], Any]) -> None:
    by_phase: dict[str, list[Progress]] = {}
    for event in whole[1]:
        if isinstance(event, Progress):
            by_phase.setdefault(event.phase, []).append(event)
    for phase, found in by_phase.items():
        done = [event.done for event in found]
        assert done == sorted(done), phase
        assert found[-1].done == found[-1].total, phase
        assert all(e.eta_seconds is None or e.eta_seconds >= 0 for e in found)
    assert by_phase["explain"][-1].eta_seconds == 0.0


def test_run_agrees_with_the_events(whole: tuple[Path, list[Event], Any]) -> None:
    path, events, _ = whole
    answer = events[kinds_index(events, Answer)]
    plan = events[kinds_index(events, Plan)]
    assert not part_path(path).exists()
    with open_run(path) as run:
        assert run.complete
        assert run.prompt == PROMPT
        assert run.answer == answer.text
        assert run.targets == answer.targets
        assert np.array_equal(run.valid, plan.valid)
        for event in events:
            if isinstance(event, CanvasStep):
                assert np.array_equal(run.canvas[event.step], event.token_ids)
                assert np.array_equal(run.committed[event.step], event.committed)
            if isinstance(event, MapStep):
                again = run.map_step(event.step)
                for name, maps in event.maps.items():
                    kept = [event.layers.index(layer) for layer in again.layers]
                    span = np.nanmax(maps) - np.nanmin(maps)
                    assert np.allclose(again.maps[name], maps[kept], atol=span * 2**-11)
                assert np.array_equal(again.target_probability, event.target_probability)


def test_maps_are_those_of_the_method(
    model: Any, picture: Image.Image, whole: tuple[Path, list[Event], Any]
) -> None:
    """The paper's column, written down again with plain autograd over the whole sequence."""
    import torch

    events = whole[1]
    answer = events[kinds_index(events, Answer)]
    packed = model.prepare(picture, PROMPT)
    backbone = model.backbone
    start, end = packed.layout.span
    grid = packed.layout.grids[0]
    inside = grid.indices - start
    canvases = [np.full(len(answer.token_ids), model.mask_id)]
    canvases += [e.token_ids for e in events if isinstance(e, CanvasStep)]
    for event in events:
        if not isinstance(event, MapStep):
            continue
        for k, position in enumerate(event.targets):
            with torch.enable_grad():
                leaf = packed.embeds.clone().requires_grad_()
                prefix = backbone(leaf, use_cache=True, logits_at=())
                own = backbone.embed(torch.tensor(canvases[event.step])[None])
                logits = backbone(own, past=prefix.past).logits[0]
                score = logits[position, int(answer.token_ids[position])]
                states = prefix.hidden_states[:-1]
                gradients = torch.autograd.grad(score, states)
            for layer, (state, gradient) in enumerate(zip(states, gradients, strict=True)):
                activation, slope = state[0, start:end], gradient[0, start:end]
                weights = slope[inside].mean(0)
                expected = torch.relu(activation @ weights).detach().numpy()[inside]
                found = event.maps[grid.name][event.layers.index(layer), k].ravel()
                assert np.allclose(found, expected, rtol=1e-3, atol=1e-6 + 1e-4 * expected.max())


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_planned_validity_is_that_of_the_graph(
    model: Any, picture: Image.Image, tmp_path: Path, prefix_cache: bool
) -> None:
    config = GenerationConfig(max_new_tokens=4, prefix_cache=prefix_cache)
    with dc.explain(
        model, picture, PROMPT, generation=config, steps=[0], out=tmp_path / "v.dcam"
    ) as run:
        packed = model.prepare(picture, PROMPT)
        trajectory = Trajectory.from_written(packed, run.canvas, model.mask_id, prefix_cache)
        assert np.array_equal(run.valid, Prober(model, trajectory).valid())


def test_last_layer_is_planned_invalid_and_has_no_maps(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, list[Event], Any]
) -> None:
    with pytest.raises(TargetError, match="layers from 0 to 1"):
        dc.explain(model, picture, PROMPT, layers=[2], out=tmp_path / "r.dcam")
    assert list(tmp_path.iterdir()) == []
    with open_run(whole[0]) as run:
        assert not run.valid[:, -1].any()
        assert run.valid[:, :-1].all()
        assert (run.status[:, -1] == Status.INVALID).all()


def test_same_request_same_bytes(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, dict[str, bytes]]
) -> None:
    with dc.explain(model, picture, PROMPT, out=tmp_path / "again.dcam") as run:
        assert evidence(run) == whole[2]


def test_seeded_noise_repeats_and_differs(model: Any, picture: Image.Image, tmp_path: Path) -> None:
    config = GenerationConfig(max_new_tokens=8, steps=4, temperature=5.0)

    def ids(name: str, seed: int) -> bytes:
        out = tmp_path / name
        with dc.explain(
            model, picture, PROMPT, steps=[0], layers=[0], generation=config, seed=seed, out=out
        ) as run:
            return run.token_ids.tobytes()

    assert ids("a.dcam", 3) == ids("b.dcam", 3)
    assert ids("c.dcam", 4) != ids("a2.dcam", 3)


def test_commit_steps_only(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, Any]
) -> None:
    listener = Listener()
    with dc.explain(
        model, picture, PROMPT, steps="commit", out=tmp_path / "c.dcam", on_event=listener
    ) as run:
        with open_run(whole[0]) as full:
            for position in run.targets:
                own = int(run.commit_step[position])
                mine = run.map(token=position, layer=0)
                assert mine.step == own
                theirs = full.map(token=position, layer=0)
                assert np.allclose(mine.values, theirs.values, rtol=1e-2, atol=1e-6)
                trajectory = run.trajectory(position, 0)
                asked = ~np.isnan(trajectory).all((1, 2))
                assert np.flatnonzero(asked).tolist() == [own]
        assert set(run.requested_steps) == {int(run.commit_step[p]) for p in run.targets}
        assert run.complete
    assert listener.of(Plan)[0].requested_steps is None


def test_chosen_steps_layers_and_positions(
    model: Any, picture: Image.Image, tmp_path: Path
) -> None:
    with dc.explain(
        model, picture, PROMPT, steps=[2, 0], layers=[1, 0, 1], tokens=[3, 1], out=tmp_path / "c"
    ) as run:
        assert run.layers == (0, 1)
        assert run.targets == (1, 3)
        assert np.flatnonzero(run.computed.any(1)).tolist() == [0, 2]
        assert run.complete


def test_numpy_numbers_are_numbers(model: Any, picture: Image.Image, tmp_path: Path) -> None:
    with dc.explain(
        model, picture, PROMPT, steps=np.arange(1), layers=np.array([0]), out=tmp_path / "n.dcam"
    ) as run:
        assert run.layers == (0,)


class Scripted:
    """A model whose answer is known: the tiny model, but its canvas is overwritten."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self._model = model
        self._ids = np.asarray(ids, np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def sample(self, *_: Any, **__: Any) -> Any:
        from diffcam_core.denoising import StepRecord

        length = len(self._ids)
        canvas = np.full(length, self._model.mask_id, np.int64)
        for step in range(length // 2):
            committed = np.zeros(length, bool)
            committed[2 * step : 2 * step + 2] = True
            canvas = np.where(committed, self._ids, canvas)
            yield StepRecord(
                step, canvas, self._ids, np.ones(length, np.float32), committed, 2 * step + 2
            )


@pytest.fixture
def scripted(model: Any, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    cat, dog = model.encode_word("cat"), model.encode_word("dog")
    ids = [*cat, *dog, *cat]
    ids += [model.eos_ids[0]] * (8 - len(ids))
    fake = Scripted(model, ids)
    monkeypatch.setattr("diffcam_core.engine.job.sample_from_backbone", fake.sample)
    return fake


def test_padding_is_explained_only_if_asked(
    scripted: Scripted, picture: Image.Image, tmp_path: Path
) -> None:
    first_end = int(np.flatnonzero(np.isin(scripted._ids, scripted.eos_ids))[0])
    with dc.explain(scripted, picture, PROMPT, steps=[0], layers=[0], out=tmp_path / "d") as run:
        assert run.targets == tuple(range(first_end + 1))
        assert run.answer == "cat dog cat"
    with dc.explain(
        scripted, picture, PROMPT, steps=[0], layers=[0], tokens=[7], out=tmp_path / "p"
    ) as run:
        assert run.targets == (7,)


def test_words_become_all_their_positions(
    scripted: Scripted, picture: Image.Image, tmp_path: Path
) -> None:
    cat = scripted.encode_word("cat")
    dog = scripted.encode_word("dog")
    places = [i for i in range(8) if scripted._ids[i] in cat]
    with dc.explain(
        scripted, picture, PROMPT, steps=[0], layers=[0], tokens=["Cat"], out=tmp_path / "a"
    ) as run:
        assert run.targets == tuple(places)
    with dc.explain(
        scripted, picture, PROMPT, steps=[0], layers=[0], tokens=("dog", 0), out=tmp_path / "b"
    ) as run:
        assert run.targets == (0, *(i for i in range(8) if scripted._ids[i] in dog))


def test_a_distractor_is_not_set_against_itself(
    scripted: Scripted, picture: Image.Image, tmp_path: Path
) -> None:
    dog = scripted.encode_word("dog")[0]
    listener = Listener()
    with dc.explain(
        *(scripted, picture, PROMPT),
        contrast="word:dog",
        steps=[0],
        layers=[0],
        out=tmp_path / "a",
        on_event=listener,
    ) as run:
        assert run.targets
        assert dog not in run.token_ids[list(run.targets)]
    assert any("distractor" in notice.message for notice in listener.of(Notice))
    with pytest.raises(TargetError, match="another word"):
        dc.explain(
            scripted, picture, PROMPT, contrast="word:dog", tokens=["dog"], out=tmp_path / "b"
        )


def test_an_unknown_word_names_the_known_ones(
    scripted: Scripted, picture: Image.Image, tmp_path: Path
) -> None:
    listener = Listener()
    with pytest.raises(TargetError, match="cat, dog"):
        dc.explain(
            scripted, picture, PROMPT, tokens=["zebra"], out=tmp_path / "z", on_event=listener
        )
    failure = listener.of(Failure)[0]
    assert failure.kind == "TargetError"
    assert listener.events[-1] is failure
    # Nothing is left that would stand in the way of the corrected request.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"layers": [3]}, TargetError),
        ({"layers": [-1]}, TargetError),
        ({"layers": []}, InputError),
        ({"layers": [1.5]}, InputError),
        ({"layers": [True]}, InputError),
        ({"steps": "sometimes"}, InputError),
        ({"steps": [99]}, TargetError),
        ({"steps": []}, InputError),
        ({"tokens": [8]}, TargetError),
        ({"tokens": []}, TargetError),
        ({"tokens": [" "]}, TargetError),
        ({"method": "guesswork"}, InputError),
        ({"contrast": "much"}, InputError),
        ({"contrast": "word:"}, InputError),
        ({"seed": -1}, InputError),
        ({"seed": 2**64}, InputError),
        ({"prompt": "  "}, InputError),
        ({"image": "/nonexistent.png"}, InputError),
        ({"out": "/nonexistent/run.dcam"}, RunFileError),
    ],
)
def test_bad_requests_fail_before_anything_is_written(
    model: Any, picture: Image.Image, tmp_path: Path, changes: dict[str, Any], kind: type[Any]
) -> None:
    arguments: dict[str, Any] = {
        "image": picture,
        "prompt": PROMPT,
        "out": tmp_path / "run.dcam",
        **changes,
    }
    listener = Listener()
    with pytest.raises(kind) as error:
        dc.explain(model, **arguments, on_event=listener)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert [type(e) for e in listener.events if not isinstance(e, Progress)] == [Failure]
    assert listener.of(Failure)[0].kept_path is None


@pytest.mark.parametrize("contrast", ["runner_up", "log_probability", "word:dog"])
def test_contrasts_change_the_maps(
    model: Any,
    picture: Image.Image,
    tmp_path: Path,
    whole: tuple[Path, Any, Any],
    contrast: str,
) -> None:
    with (
        dc.explain(
            model, picture, PROMPT, steps=[0], contrast=contrast, out=tmp_path / "c.dcam"
        ) as run,
        open_run(whole[0]) as plain,
    ):
        assert not np.allclose(run.maps(0, 0), plain.maps(0, 0))


# Cancel.


def stop_when(kind: type[Any], step: int | None = None) -> Callable[[Event], bool]:
    return lambda e: isinstance(e, kind) and (step is None or getattr(e, "step", None) == step)


@pytest.mark.parametrize(
    ("trigger", "canvas", "maps"),
    [
        (stop_when(CanvasStep, 0), 1, 0),
        (stop_when(CanvasStep, 2), 3, 0),
        (stop_when(Answer), 4, 0),
        (stop_when(MapStep, 0), 4, 1),
        (stop_when(MapStep, 2), 4, 3),
    ],
)
def test_cancel_keeps_what_is_done_and_resume_completes_it(
    model: Any,
    picture: Image.Image,
    tmp_path: Path,
    whole: tuple[Path, Any, dict[str, bytes]],
    trigger: Callable[[Event], bool],
    canvas: int,
    maps: int,
) -> None:
    out = tmp_path / "run.dcam"
    listener = Listener(trigger)
    with dc.explain(
        model, picture, PROMPT, out=out, on_event=listener, cancel=lambda: listener.stop
    ) as run:
        assert not run.complete
        assert len(run.canvas_steps) == canvas
        assert int(run.computed.any(1).sum()) == maps
        kept = run.path
    assert kept == part_path(out)
    done = listener.events[-1]
    assert isinstance(done, Done)
    assert done.cancelled
    assert done.path == str(kept)

    again = Listener()
    with dc.explain(model, picture, PROMPT, out=out, resume=True, on_event=again) as run:
        assert run.complete
        assert evidence(run) == whole[2]
    assert not part_path(out).exists()
    # A listener that joins at the resume sees the whole story.
    assert len(again.of(CanvasStep)) == 4
    assert [e.step for e in again.of(MapStep)] == [0, 1, 2, 3]
    assert len(again.of(Answer)) == 1


@pytest.mark.parametrize(("steps", "prefix_cache"), [("commit", True), ("all", False)])
def test_resume_of_other_kinds_of_runs(
    model: Any, picture: Image.Image, tmp_path: Path, steps: Any, prefix_cache: bool
) -> None:
    """Steps that share backward passes, and the regime without prefix cache."""
    config = GenerationConfig(max_new_tokens=24, steps=12, prefix_cache=prefix_cache)
    options: dict[str, Any] = {"steps": steps, "generation": config, "layers": [0, 1]}
    with dc.explain(model, picture, PROMPT, out=tmp_path / "whole.dcam", **options) as run:
        expected = evidence(run)
        stop_at = sorted(run.requested_steps)[len(run.requested_steps) // 2]
    out = tmp_path / "r.dcam"
    listener = Listener(stop_when(MapStep, stop_at))
    with dc.explain(
        *(model, picture, PROMPT),
        out=out,
        on_event=listener,
        cancel=lambda: listener.stop,
        **options,
    ) as run:
        assert not run.complete
    with dc.explain(model, picture, PROMPT, out=out, resume=True, **options) as run:
        assert evidence(run) == expected


def test_cancel_before_anything_exists(model: Any, picture: Image.Image, tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(CancelledError):
        dc.explain(
            model, picture, PROMPT, out=tmp_path / "r", on_event=listener, cancel=lambda: True
        )
    assert listener.events[-1] == dataclasses.replace(listener.events[-1], path="", cancelled=True)
    assert list(tmp_path.iterdir()) == []


def test_cancel_with_an_event_in_the_middle_of_a_step(
    model: Any, picture: Image.Image, tmp_path: Path
) -> None:
    import threading

    flag = threading.Event()
    asked: list[int] = []

    def cancel() -> bool:
        # Set between two questions inside one step of the explain phase.
        asked.append(1)
        return flag.is_set()

    def on_event(event: Event) -> None:
        if isinstance(event, Answer):
            flag.set()

    with dc.explain(
        model, picture, PROMPT, out=tmp_path / "r.dcam", on_event=on_event, cancel=flag
    ) as run:
        assert not run.complete
    assert asked == []
    assert cancel()


def test_an_exception_in_the_listener_keeps_the_steps(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, dict[str, bytes]]
) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, MapStep) and event.step == 1:
            raise KeyboardInterrupt

    out = tmp_path / "r.dcam"
    with pytest.raises(KeyboardInterrupt):
        dc.explain(model, picture, PROMPT, out=out, on_event=on_event)
    with open_run(part_path(out)) as run:
        assert run.computed.any(1).tolist() == [True, True, False, False]
    with dc.explain(model, picture, PROMPT, out=out, resume=True) as run:
        assert evidence(run) == whole[2]


# Resume.


def test_resume_of_a_complete_run_computes_nothing(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, Any]
) -> None:
    out = tmp_path / "run.dcam"
    out.write_bytes(whole[0].read_bytes())
    before = out.stat().st_mtime_ns
    listener = Listener()
    dc.explain(model, picture, PROMPT, out=out, resume=True, on_event=listener).close()
    assert out.stat().st_mtime_ns == before
    assert listener.of(MapStep) == []
    assert isinstance(listener.events[-1], Done)
    with pytest.raises(RunFileError, match="prompt"):
        dc.explain(model, picture, "another", out=out, resume=True)
    with pytest.raises(RunFileError, match="image"):
        dc.explain(model, picture.rotate(180), PROMPT, out=out, resume=True)


def test_resume_without_a_file_starts(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, dict[str, bytes]]
) -> None:
    with dc.explain(model, picture, PROMPT, out=tmp_path / "r.dcam", resume=True) as run:
        assert evidence(run) == whole[2]


def unfinished(model: Any, picture: Image.Image, out: Path) -> None:
    listener = Listener(stop_when(MapStep, 0))
    dc.explain(
        model, picture, PROMPT, out=out, on_event=listener, cancel=lambda: listener.stop
    ).close()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"prompt": "a dog"}, "prompt"),
        ({"seed": 1}, "seed"),
        ({"layers": [0]}, "layers"),
        ({"tokens": [0]}, "tokens"),
        ({"contrast": "runner_up"}, "contrast"),
        ({"generation": GenerationConfig(max_new_tokens=4)}, "generation"),
    ],
)
def test_resume_of_another_request_is_refused(
    model: Any, picture: Image.Image, tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    out = tmp_path / "r.dcam"
    unfinished(model, picture, out)
    before = part_path(out).read_bytes()
    arguments: dict[str, Any] = {"prompt": PROMPT, **changes}
    with pytest.raises(RunFileError, match=word):
        dc.explain(model, picture, out=out, resume=True, **arguments)
    assert part_path(out).read_bytes() == before


def test_resume_with_other_weights_is_refused(
    model: Any, picture: Image.Image, tmp_path: Path
) -> None:
    from tiny_checkpoint import write_tiny_lavida

    out = tmp_path / "r.dcam"
    unfinished(model, picture, out)
    other = dc.load_model(write_tiny_lavida(tmp_path / "other", seed=1), device="cpu")
    with pytest.raises(RunFileError, match="model"):
        dc.explain(other, picture, PROMPT, out=out, resume=True)


def test_resume_from_the_file_alone(
    model: Any, picture: Image.Image, tmp_path: Path, whole: tuple[Path, Any, dict[str, bytes]]
) -> None:
    out = tmp_path / "r.dcam"
    unfinished(model, picture, out)
    with dc.resume(model, out) as run:
        assert run.complete
        assert evidence(run) == whole[2]


def test_names_that_are_taken(model: Any, picture: Image.Image, tmp_path: Path) -> None:
    out = tmp_path / "r.dcam"
    out.write_bytes(b"precious")
    with pytest.raises(RunFileError):
        dc.explain(model, picture, PROMPT, out=out)
    assert out.read_bytes() == b"precious"
    with dc.explain(model, picture, PROMPT, out=out, steps=[0], layers=[0], overwrite=True) as run:
        assert run.complete
    unfinished(model, picture, tmp_path / "s.dcam")
    with pytest.raises(RunFileError):
        dc.explain(model, picture, PROMPT, out=tmp_path / "s.dcam")


# Faults of arithmetic and memory.


def test_overflow_marks_the_layer_and_goes_on(
    model: Any, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcam_core.engine import job

    method = job.METHODS["diffusion-cam"]
    calls = [0]

    def broken(*arguments: Any, **options: Any) -> Any:
        maps = method.compute(*arguments, **options)
        calls[0] += 1
        if calls[0] == 2:
            next(iter(maps.values()))[0, 0, 0] = np.inf
        return maps

    methods = {"diffusion-cam": dataclasses.replace(method, compute=broken)}
    monkeypatch.setattr(job, "METHODS", methods)
    listener = Listener()
    with dc.explain(
        model, picture, PROMPT, steps=[0, 1], out=tmp_path / "r.dcam", on_event=listener
    ) as run:
        assert run.complete
        assert run.status[0].tolist() == [Status.COMPUTED, Status.FAILED, Status.INVALID]
        assert run.status[1].tolist() == [Status.COMPUTED, Status.COMPUTED, Status.INVALID]
    assert any("finite" in notice.message for notice in listener.of(Notice))


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
)
def test_out_of_memory_keeps_the_steps(
    model: Any,
    picture: Image.Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    real = Prober.stream

    def stream(prober: Prober, requests: Any) -> Any:
        for step, targets in requests:
            if step == 2:
                raise fault
            yield from real(prober, [(step, targets)])

    monkeypatch.setattr(Prober, "stream", stream)
    listener = Listener()
    out = tmp_path / "r.dcam"
    with pytest.raises(ResourceError, match="memory ran out"):
        dc.explain(model, picture, PROMPT, out=out, on_event=listener)
    failure = listener.of(Failure)[0]
    assert failure.kept_path == str(part_path(out))
    with open_run(failure.kept_path) as run:
        assert run.computed.any(1).tolist() == [True, True, False, False]


def test_a_fault_of_the_program_is_not_hidden(
    model: Any, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(*_: Any) -> Any:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Prober, "stream", stream)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        dc.explain(model, picture, PROMPT, out=tmp_path / "r.dcam")
    assert part_path(tmp_path / "r.dcam").exists()


# The embedded model's domain.


def domain_notices(model: Any, image: Any, out: Path) -> list[str]:
    listener = Listener()
    dc.explain(
        model, image, PROMPT, steps=[0], layers=[0], tokens=[0], out=out, on_event=listener
    ).close()
    return [notice.message for notice in listener.of(Notice)]


def test_only_a_scene_model_speaks_of_scenes(
    model: Any, picture: Image.Image, tmp_path: Path, tiny_lavida: Path
) -> None:
    from tiny_checkpoint import write_tiny_lavida

    assert domain_notices(model, picture, tmp_path / "a.dcam") == []
    folder = write_tiny_lavida(tmp_path / "scenes-model", domain="sticker scenes")
    reader = dc.load_model(folder, device="cpu")
    assert reader.domain == "sticker scenes"
    (message,) = domain_notices(reader, picture, tmp_path / "b.dcam")
    assert "sticker scenes only" in message
    scene = Image.fromarray(make_scene(41).render(200))
    assert domain_notices(reader, scene, tmp_path / "c.dcam") == []


# Requests.


def test_request_survives_json(whole: tuple[Path, Any, Any]) -> None:
    with open_run(whole[0]) as run:
        request = Request.from_json(run.request)
        assert request.to_json() == run.request
        assert request.layers == run.layers
        for key in run.request:
            for damage in (None, 3.5, {}, [[]], "x"):
                if damage == run.request[key]:
                    continue
                broken = {**run.request, key: damage}
                try:
                    Request.from_json(broken)
                except DiffcamError as error:
                    assert "\n" not in str(error)
            missing = {k: v for k, v in run.request.items() if k != key}
            with pytest.raises(RunFileError):
                Request.from_json(missing)


def test_threads_wait_without_spinning() -> None:
    import os
    import subprocess
    import sys

    code = "import os, diffcam_core; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        if given is not None:
            env["OMP_WAIT_POLICY"] = given
        found = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == expected


def test_public_names_and_lightness() -> None:
    import subprocess
    import sys

    code = (
        "import sys, diffcam_core as dc\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(dc.__all__) <= set(dir(dc))\n"
        "dc.open_run, dc.open_image, dc.GenerationConfig, dc.Request, dc.HeatMap, dc.Pipeline\n"
        "dc.make_scene, dc.Run\n"
        "assert 'torch' not in sys.modules, 'torch came in'\n"
        "dc.explain, dc.load_model, dc.resume\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        dc.nothing  # noqa: B018
