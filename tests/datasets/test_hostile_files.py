"""Files that lie, point outside or would break a reader: one clear line each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniatures as mini
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcam_core.datasets import files, masks
from diffcam_core.datasets.opening import open_dataset
from diffcam_core.errors import DatasetError, DiffcamError

SIZE = (mini.WIDTH, mini.HEIGHT)


def changed(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/passwd", "images/../../secret.png", "..\\secret.png", "a\0b", ""],
)
def test_paths_stay_inside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    mini.own_folder(root)
    mini.save(tmp_path / "secret.png", mini.picture(1))
    changed(root / "dataset.json", lambda d: d["items"][0].update(image=name))
    with pytest.raises(DatasetError, match=r"leads out|no usable|empty"):
        dataset = open_dataset("folder", root)
        dataset.load(dataset.ids()[0])


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links_out_of_the_folder_are_refused_but_the_folder_may_be_one(tmp_path: Path) -> None:
    root = mini.own_folder(tmp_path / "data")
    (tmp_path / "link").symlink_to(root)
    assert open_dataset("folder", tmp_path / "link").load("images/a.png").image.size
    mini.save(tmp_path / "secret.png", mini.picture(1))
    (root / "images" / "a.png").unlink()
    (root / "images" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match="leads out"):
        open_dataset("folder", root).load("a")


def test_user_links_to_image_folders_are_followed(tmp_path: Path) -> None:
    """A large image folder often lies on another disk."""
    pytest.importorskip("pycocotools")
    root = mini.coco(tmp_path / "coco")
    (root / "val2017").rename(tmp_path / "elsewhere")
    (root / "val2017").symlink_to(tmp_path / "elsewhere")
    assert open_dataset("coco", root).load("139").regions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "no valid JSON"),
        ("\udcff", "no valid JSON"),
        ("[]", "format"),
        ('{"format": "other"}', "format"),
        ('{"format": "diffcam-dataset", "version": 2}', "version"),
        ('{"format": "diffcam-dataset", "version": 1}', "items"),
        ('{"format": "diffcam-dataset", "version": 1, "items": [3]}', "item 0"),
        ('{"format": "diffcam-dataset", "version": 1, "items": [{"image": 3}]}', "image"),
    ],
)
def test_json_that_is_not_what_it_should_be(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset("folder", tmp_path)
    assert "\n" not in str(caught.value) and "dataset.json" in str(caught.value)


def test_large_and_odd_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(" " * 100)
    with pytest.raises(DatasetError, match="MB"):
        files.read_json(path, limit=50)
    with pytest.raises(DatasetError, match="regular file"):
        files.read_json(tmp_path)
    with pytest.raises(DatasetError, match="no file"):
        files.read_json(tmp_path / "missing.json")


CHANGES: list[tuple[str, Callable[[Any], None]]] = [
    ("no images", lambda d: d.pop("images")),
    ("annotations are text", lambda d: d.update(annotations="x")),
    ("an annotation is a number", lambda d: d["annotations"].append(3)),
    ("an image twice", lambda d: d["images"].append(d["images"][0])),
    ("width is a text", lambda d: d["images"][0].update(width="40")),
    ("width is true", lambda d: d["images"][0].update(width=True)),
    ("a gigantic size", lambda d: d["images"][0].update(width=10**9, height=10**9)),
    ("another size", lambda d: d["images"][0].update(width=41)),
    ("no file name", lambda d: d["images"][0].pop("file_name")),
    ("an unknown category", lambda d: d["annotations"][0].update(category_id=77)),
    ("a category of text", lambda d: d["annotations"][0].update(category_id="18")),
    ("no segmentation", lambda d: d["annotations"][0].pop("segmentation")),
    ("an empty segmentation", lambda d: d["annotations"][0].update(segmentation=[])),
    ("two points", lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3, 4]])),
    ("odd numbers", lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]])),
    ("text points", lambda d: d["annotations"][0].update(segmentation=[["a"] * 6])),
    ("nested points", lambda d: d["annotations"][0].update(segmentation=[[[1]] * 6])),
    ("far points", lambda d: d["annotations"][0].update(segmentation=[[0, 0, 1e12, 0, 0, 1e12]])),
    (
        "infinite points",
        lambda d: d["annotations"][0].update(segmentation=[[0, 0, 1e999, 0, 1, 1]]),
    ),
    ("short runs", lambda d: d["annotations"][2]["segmentation"].update(counts=[1, 2])),
    ("negative runs", lambda d: d["annotations"][2]["segmentation"].update(counts=[-1, 1201])),
    ("runs of text", lambda d: d["annotations"][2]["segmentation"].update(counts=["a"])),
    ("runs of another size", lambda d: d["annotations"][2]["segmentation"].update(size=[1, 1])),
    (
        "runs of a gigantic size",
        lambda d: d["annotations"][2]["segmentation"].update(size=[10**9] * 2),
    ),
    ("broken text", lambda d: d["annotations"][2]["segmentation"].update(counts="~~~~")),
    ("foreign text", lambda d: d["annotations"][2]["segmentation"].update(counts="ü")),
]


@pytest.mark.parametrize("change", [c for _, c in CHANGES], ids=[name for name, _ in CHANGES])
def test_broken_annotations(tmp_path: Path, change: Callable[[Any], None]) -> None:
    pytest.importorskip("pycocotools")
    mini.coco(tmp_path)
    changed(tmp_path / "annotations" / "instances_val2017.json", change)
    with pytest.raises(DatasetError) as caught:
        open_dataset("coco", tmp_path).load("139")
    text = str(caught.value)
    assert caught.value.mend and "\n" not in text
    assert "instances_val2017.json" in text or "000000000139.jpg" in text


def test_one_broken_example_leaves_the_others(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    mini.coco(tmp_path)
    (tmp_path / "val2017" / "000000000139.jpg").unlink()
    dataset = open_dataset("coco", tmp_path)
    with pytest.raises(DiffcamError, match=r"000000000139\.jpg"):
        dataset.load("139")
    assert dataset.load("42").captions


@pytest.mark.parametrize("mode", ["RGB", "small", "text"])
def test_label_pictures_are_checked(tmp_path: Path, mode: str) -> None:
    root = mini.label_pictures(tmp_path)
    path = root / "seg_label" / "a.png"
    if mode == "RGB":
        mini.save(path, mini.picture(1))
    elif mode == "small":
        mini.save(path, np.zeros((3, 3), np.uint8))
    else:
        path.write_text("nothing")
    with pytest.raises(DatasetError, match=r"a\.png"):
        open_dataset("grandf", root).load("a")


def test_sizes_are_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (12_000, 12_000)).save(path)  # 144 megapixels in 2 kB
    with pytest.raises(DatasetError, match="12000 x 12000"):
        masks.read_mask(path, SIZE)


def test_openpsg_entries_are_checked(tmp_path: Path) -> None:
    root = mini.openpsg(tmp_path)
    path = root / "psg" / "psg.json"
    good = path.read_text()
    for change, message in (
        (lambda d: d["data"][0]["segments_info"][0].update(category_id=99), "unknown category 99"),
        (lambda d: d["data"][0].update(pan_seg_file_name="../../x.png"), "leads out"),
        (lambda d: d["data"][0].update(file_name="/etc/passwd"), "leads out"),
        (lambda d: d["data"][0].update(pan_seg_file_name="val2017/x.png"), "panoptic picture"),
        (lambda d: d["data"].append(d["data"][0]), "twice"),
        (lambda d: d.update(thing_classes=3), "thing_classes"),
    ):
        path.write_text(good)
        changed(path, change)  # type: ignore[arg-type]
        with pytest.raises(DatasetError, match=message):
            open_dataset("openpsg", root).load("2343729")


def test_without_pycocotools_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DatasetError, match=r"\[eval\]"):
        masks.from_polygons(mini.polygon(1, 1, 5, 5), SIZE, "x")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 60), st.integers(1, 40))
def test_run_lengths_go_there_and_back(seed: int, share: float, width: int, height: int) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).random((height, width)) < share
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    np.testing.assert_array_equal(masks.unpack_runs(packed), mini.runs(mask))
    for counts in (packed.decode(), mini.runs(mask)):
        found = masks.from_runs({"size": [height, width], "counts": counts}, (width, height), "x")
        np.testing.assert_array_equal(found, mask)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40))
@example("")
@example("oooooooooooooooo")
@example("0" * 2000)
def test_no_text_breaks_the_decoder(counts: str) -> None:
    pytest.importorskip("pycocotools")
    try:
        mask = masks.from_runs({"size": [6, 7], "counts": counts}, (7, 6), "x")
    except DatasetError:
        return
    assert mask.shape == (6, 7)


def test_compressed_runs_of_a_large_mask() -> None:
    """Runs above 2^20 pixels, as of an image that is nearly all background."""
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((3000, 3000), np.uint8, order="F")
    mask[2990:, 2990:] = 1
    packed = coco.encode(mask)["counts"].decode()
    found = masks.from_runs({"size": [3000, 3000], "counts": packed}, (3000, 3000), "x")
    np.testing.assert_array_equal(found, mask.astype(bool))
