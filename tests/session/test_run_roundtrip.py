"""What is written comes back: every table exactly, every map within the documented bound."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from run_builder import assert_close_maps, make_truth

from diffcam_core.errors import RunFileError, TargetError
from diffcam_core.session import RunWriter, Status, open_run, schema


def test_everything_comes_back(tmp_path: Path) -> None:
    truth = make_truth(tiles=True)
    path = truth.write(tmp_path / "run.dcam")
    with open_run(path) as run:
        truth.check(run)
        assert run.methods == ("diffusion-cam",)
        assert run.layers == (0, 2, 5)
        assert list(run.grids) == ["base", "tiles"]
        assert run.metadata["seconds"] == 1.5
        assert run.prompt == "Where is the cat?"
        assert run.special_ids == (11, 99)
        np.testing.assert_array_equal(run.grids["tiles"].rectangles, truth.plan.grids[1].rectangles)
        np.testing.assert_array_equal(run.computed, truth.plan.valid)
        assert run.status[0, 2] == Status.INVALID
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.dcam"]


def test_one_map_has_its_native_scale_and_place(tmp_path: Path) -> None:
    truth = make_truth()
    with open_run(truth.write(tmp_path / "run.dcam")) as run:
        heat = run.map(token=2, step=3, layer=2)
        want = truth.steps[3].maps["base"][1, 2]
        assert_close_maps(heat.values[None], want[None])
        assert heat.raw_range == (float(want.min()), float(want.max()))
        assert heat.raw_sum == pytest.approx(float(want.astype(np.float64).sum()), rel=1e-6)
        assert (heat.step, heat.layer, heat.token, heat.n_steps) == (3, 2, 2, 4)
        assert heat.image_size == (70, 50)
        assert heat.history == ()
        assert run.map("cat", step=3, layer=2).token == 2
        assert run.map("cat", layer=0).step == truth.answer.commit_step[2]
        assert run.default_layer in run.layers


def test_context_is_the_maps_of_the_other_words(tmp_path: Path) -> None:
    truth = make_truth()
    with open_run(truth.write(tmp_path / "run.dcam")) as run:
        heat = run.map("cats", step=3, layer=2)
        # Not of its own two tokens (2, 3), of the marks (7, 10) or of the end token (11).
        others = [0, 1, 4, 5, 6, 8, 9]
        commit = truth.answer.commit_step
        maps = np.stack([truth.steps[commit[p]].maps["base"][1, p] for p in others])
        maps = maps[np.isfinite(maps).all(axis=(1, 2))]
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        assert heat.context is not None
        np.testing.assert_allclose(heat.context, (maps - low) / (high - low), atol=3e-4)
        # The same others at every step of the token.
        np.testing.assert_array_equal(run.map("cats", step=2, layer=2).context, heat.context)


def test_trajectory_and_ranges(tmp_path: Path) -> None:
    truth = make_truth()
    with open_run(truth.write(tmp_path / "run.dcam")) as run:
        found = run.trajectory(4, 5)
        assert np.isnan(found[0]).all()
        wanted = np.stack([truth.steps[s].maps["base"][2, 4] for s in range(4)])
        assert_close_maps(found, wanted)
        assert run.raw_range(4, 5) == (np.nanmin(wanted), np.nanmax(wanted))
        everything = np.stack([truth.steps[s].maps["base"][0] for s in range(4)])
        assert run.raw_range(layer=0) == (everything.min(), everything.max())
        event = run.map_step(0)
        assert event.layers == (0, 2)
        assert_close_maps(event.maps["base"][1], truth.steps[0].maps["base"][1])


def test_commit_only_runs_hold_only_what_was_asked(tmp_path: Path) -> None:
    truth = make_truth(commit_only=True, targets=(1, 2, 9))
    with open_run(truth.write(tmp_path / "run.dcam")) as run:
        truth.check(run)
        step = int(run.commit_step[2])
        assert run.map(2, layer=0).step == step
        other = next(s for s in truth.answer.requested_steps if s != step)
        with pytest.raises(TargetError, match="position 2 was not explained at step"):
            run.map(2, step=other, layer=0)
        with pytest.raises(TargetError, match="position 0 was not explained"):
            run.map(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token": 40}, "there is no position 40"),
        ({"token": "dog"}, "the answer has no word 'dog'"),
        ({"token": 1, "step": 4}, "there is no step 4"),
        ({"token": 1, "step": -1}, "there is no step -1"),
        ({"token": 1, "step": "last"}, "there is no step 'last'"),
        ({"token": 1, "layer": 1}, "layer 1 was not explained"),
        ({"token": 1, "grid": "tiles"}, "no grid 'tiles'"),
        ({"token": 1, "method": "tam"}, "no maps of method 'tam'"),
        ({"token": 1, "step": 0, "layer": 5}, "step 0, layer 5 is not valid"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, arguments: dict, message: str) -> None:
    truth = make_truth()
    with open_run(truth.write(tmp_path / "run.dcam")) as run, pytest.raises(TargetError) as caught:
        run.map(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_failed_layers_are_marked_and_count_as_done(tmp_path: Path) -> None:
    truth = make_truth()
    writer = truth.create(tmp_path / "run.dcam", answer=truth.answer)
    for event in truth.canvas:
        writer.add_canvas_step(event)
    event = truth.steps[1]
    part = replace(event, layers=(0, 5), maps={"base": event.maps["base"][[0, 2]]})
    writer.add_map_step(part)
    assert 1 not in writer.finished_steps
    writer.mark_failed(1, 2)
    assert 1 in writer.finished_steps
    truth.fill(writer)
    with open_run(writer.finish()) as run:
        assert run.complete
        assert run.status[1].tolist() == [Status.COMPUTED, Status.FAILED, Status.COMPUTED]
        with pytest.raises(TargetError, match="failed"):
            run.map(0, step=1, layer=2)
        assert_close_maps(run.maps(1, 5), event.maps["base"][2])


def test_runs_without_targets_or_text(tmp_path: Path) -> None:
    for name, texts, targets in (("a", ("", ""), ()), ("b", (), ()), ("c", ("<|eot_id|>",), (0,))):
        truth = make_truth(texts=texts, targets=targets)
        with open_run(truth.write(tmp_path / f"{name}.dcam")) as run:
            truth.check(run)
            assert run.answer == ""
            assert run.raw_range() == (0.0, 0.0) or targets
            assert [word.kind for word in run.words] == (["special"] if targets else [])


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.one_of(finite, st.floats(-4, 4, width=32), st.just(0.0)),
    ),
    missing=st.sets(st.integers(0, 2)),
)
@settings(deadline=None, max_examples=150)
def test_scale_survives_float16(values: np.ndarray, missing: set[int]) -> None:
    for index in missing:
        if index < len(values):
            values[index] = np.nan
    stored, low, high, total = schema.encode_maps(values)
    assert stored.dtype == np.float16
    assert 0 <= stored.min() <= stored.max() <= 1
    assert np.isfinite(total[~np.isnan(low)]).all()
    assert_close_maps(schema.decode_maps(stored, low, high), values)


@given(bad=st.sampled_from([np.inf, -np.inf, np.nan]), place=st.integers(0, 34))
@settings(deadline=None, max_examples=20)
def test_infinities_and_holes_are_refused(bad: float, place: int) -> None:
    values = np.ones((1, 5, 7), np.float32)
    values.flat[place] = bad
    with pytest.raises(ValueError, match="infinity or a NaN"):
        schema.encode_maps(values)


@given(
    texts=st.lists(st.text(max_size=12), min_size=0, max_size=6),
    prompt=st.text(max_size=40),
    rows=st.integers(1, 6),
    cols=st.integers(1, 6),
)
@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_and_shape(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], prompt: str, rows: int, cols: int
) -> None:
    truth = make_truth(texts=tuple(texts), rows=rows, cols=cols, steps=2, layers=(3,))
    truth.request = {"prompt": prompt, "nested": {"leer": "", "zahl": 1.5, "liste": [None, True]}}
    path = tmp_path_factory.mktemp("text") / "run.dcam"
    with open_run(truth.write(path)) as run:
        assert run.tokens == tuple(texts)
        assert run.request == truth.request
        for step in truth.answer.requested_steps:
            truth.check_step(run, step)


def test_long_texts_make_room_for_themselves(tmp_path: Path) -> None:
    long = tuple(f"{index}" + "ü" * 3000 for index in range(3))
    truth = make_truth(texts=long, targets=(0,))
    with open_run(truth.write(tmp_path / "run.dcam")) as run:
        truth.check(run)


def test_the_same_run_gives_the_same_map_bytes(tmp_path: Path) -> None:
    truth = make_truth(tiles=True)
    first, second = (truth.write(tmp_path / f"{name}.dcam") for name in "ab")
    assert evidence(first) == evidence(second)


def evidence(path: Path) -> dict[str, bytes]:
    """Stored bytes of every map chunk and table, read with plain h5py."""
    found: dict[str, bytes] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if not isinstance(item, h5py.Dataset) or name == "run/closing":
                return
            if item.chunks is None:
                found[name] = item[()].tobytes()
            else:
                for index in range(item.id.get_num_chunks()):
                    info = item.id.get_chunk_info(index)
                    data = item.id.read_direct_chunk(info.chunk_offset)[1]
                    found[f"{name}{info.chunk_offset}"] = bytes(data)

        file.visititems(visit)
    return found


def test_layout_follows_the_documented_rules(tmp_path: Path) -> None:
    path = make_truth(tiles=True).write(tmp_path / "run.dcam")
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == schema.FORMAT_NAME.encode()
        assert file.attrs["format_version"] == 1
        assert file.attrs["NX_class"] == b"NXroot"
        assert schema.parse_json(file.attrs["schema"]) == schema.DESCRIPTION
        group = file["run/maps/diffusion-cam/tiles"]
        maps = group["maps"]
        assert maps.dtype == np.float16
        assert maps.chunks == (1, 1, 12, 8, 9)
        assert (maps.compression, maps.compression_opts, maps.shuffle) == ("gzip", 1, True)
        axes = [axis.decode() for axis in group.attrs["axes"]]
        assert axes == ["step", "layer", "token", "y", "x"]
        assert [len(group[axis]) for axis in axes] == list(maps.shape)
        assert group["layer"][()].tolist() == [0, 2, 5]
        assert group.attrs["signal"] == b"maps"
        missing = []

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group) and not {
                "NX_class",
                "encoding-type",
                "encoding-version",
            } <= set(item.attrs):
                missing.append(name)

        file.visititems(visit)
        assert missing == []
        # A reader that only follows the NeXus defaults ends at the maps.
        node: h5py.Group = file
        while "default" in node.attrs:
            node = node[node.attrs["default"].decode()]
        assert node.attrs["NX_class"] == b"NXdata"
        # Anyone's gzip gives the same numbers as our own reader.
        stored = maps[2, 1].astype(np.float64)
        low, high = (group[name][2, 1][:, None, None] for name in ("minimum", "maximum"))
        wanted = ((1 - stored) * low + stored * high).astype(np.float32)
    with open_run(path) as run:
        np.testing.assert_array_equal(run.maps(2, 2, "tiles"), wanted)


def test_the_example_of_the_format_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text("utf-8")
    code = page.rsplit("```python", 1)[1].split("```", 1)[0]
    truth = make_truth()
    truth.write(tmp_path / "run.dcam")
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(code, names)
    wanted = truth.steps[3].maps["base"][2, 0]
    assert_close_maps(names["values"].astype(np.float32)[None], wanted[None])


def test_a_run_of_the_embedded_model_is_small(tmp_path: Path) -> None:
    truth = make_truth(
        steps=16,
        layers=tuple(range(6)),
        rows=14,
        cols=14,
        texts=tuple(f" w{i}" for i in range(32)),
        size=(140, 140),
    )
    path = truth.write(tmp_path / "run.dcam")
    # Random maps do not compress, real ones do: this is the worst case.
    assert path.stat().st_size < 3_000_000
    with open_run(path) as run:
        truth.check(run)


def test_reading_does_not_import_torch(tmp_path: Path) -> None:
    path = make_truth().write(tmp_path / "run.dcam")
    code = (
        "import sys; from diffcam_core.session import open_run; "
        f"run = open_run({str(path)!r}); "
        "run.map('cat', layer=0).refine('paper').on_image(); run.words; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    truth = make_truth()
    event = truth.steps[1]
    with truth.create(tmp_path / "run.dcam") as writer:
        with pytest.raises(RunFileError, match="no answer yet"):
            writer.add_map_step(event)
        truth.fill(writer, last_step=0)
        bad = {
            "step 9 is outside": replace(event, step=9),
            "explains the positions": replace(event, targets=(0,)),
            "layers that are not in the plan": replace(event, layers=(0, 1, 2)),
            "other grids": replace(event, maps={"tiles": event.maps["base"]}),
            "have shape": replace(event, maps={"base": event.maps["base"][:, :, 1:]}),
            "infinity": replace(event, maps={"base": event.maps["base"] * np.inf}),
        }
        for message, wrong in bad.items():
            with pytest.raises(RunFileError, match=message):
                writer.add_map_step(wrong)
        writer.add_map_step(event)
        assert writer.finished_steps == {0, 1}


def test_steps_that_are_there_are_never_written_again(tmp_path: Path) -> None:
    truth = make_truth()
    writer = truth.create(tmp_path / "run.dcam")
    truth.fill(writer)
    changed = replace(truth.steps[2], maps={"base": truth.steps[2].maps["base"] + 1})
    writer.add_map_step(changed)
    writer.add_canvas_step(replace(truth.canvas[1], token_ids=truth.canvas[1].token_ids + 1))
    with open_run(writer.finish()) as run:
        truth.check(run)


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    truth = make_truth()
    truth.metadata = {"array": np.zeros(3)}
    with pytest.raises(RunFileError, match="cannot be stored as JSON"):
        truth.create(tmp_path / "run.dcam")
    assert list(tmp_path.iterdir()) == []


def test_the_writer_keeps_a_run_without_answer(tmp_path: Path) -> None:
    truth = make_truth()
    with truth.create(tmp_path / "run.dcam") as writer:
        for event in truth.canvas[:3]:
            writer.add_canvas_step(event)
    with open_run(tmp_path / "run.dcam.part") as run:
        assert run.canvas_steps == (0, 1, 2)
        assert not run.complete
        assert run.methods == ()
        assert run.answer.startswith("A red cat")
        assert (run.canvas[3] == -1).all()
        np.testing.assert_array_equal(
            run.commit_step, np.where(truth.answer.commit_step < 3, truth.answer.commit_step, -1)
        )
        for step in range(3):
            truth.check_canvas(run, step)
        with pytest.raises(TargetError, match="while the answer was being written"):
            run.maps(0, 0)
    assert isinstance(writer, RunWriter)
