"""Every reader on a miniature of its published layout, whose masks are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import miniatures as mini
import numpy as np
import pytest
from PIL import Image

from diffcam_core.datasets.opening import READERS, open_dataset
from diffcam_core.datasets.record import Record
from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_core.errors import DatasetError, InputError

pytest.importorskip("pycocotools")

DOG, GRASS = mini.box(2, 3, 12, 9), mini.box(0, 20, 40, 30)


def masks(record: Record) -> dict[str, np.ndarray]:
    for region in record.regions:
        assert region.mask.dtype == np.bool_ and region.mask.shape == record.image.shape[:2]
        assert region.mask.any() and region.names
    return {region.label: region.mask for region in record.regions}


def check_common(dataset: Any) -> None:
    ids = dataset.ids()
    assert len(ids) == len(set(ids)) and dataset.source
    for record_id in ids[:5]:
        record = dataset.load(record_id)
        assert (record.id, record.source) == (record_id, dataset.source)
        assert record.image.dtype == np.uint8 and record.image.ndim == 3 and record.prompt
        labels = [region.label for region in record.regions]
        assert len(labels) == len(set(labels))
    with pytest.raises(DatasetError, match="nothing like that"):
        dataset.load("nothing like that")


@pytest.mark.parametrize(("year", "kind"), [(2017, "val"), (2014, "val"), (2017, "train")])
def test_coco(tmp_path: Path, year: int, kind: str) -> None:
    dataset = open_dataset("coco", mini.coco(tmp_path, year, kind))
    check_common(dataset)
    assert dataset.source == f"coco {kind}{year}" and list(dataset.ids()) == ["42", "139"]
    record = dataset.load("139")
    assert record.captions == ("Two dogs near a crowd.", "Dogs.")
    found = masks(record)
    assert list(found) == ["dog", "person"]
    two = DOG | mini.box(15, 20, 25, 28) | mini.box(30, 20, 35, 28)
    np.testing.assert_array_equal(found["dog"], two)
    np.testing.assert_array_equal(found["person"], mini.box(20, 0, 30, 10))
    assert {"person", "man", "woman"} <= set(record.regions[1].names)
    assert dataset.load("42").regions == ()
    assert np.abs(record.image.astype(int) - mini.picture(139 % 7)).mean() < 6


def test_coco_parts_and_other_places(tmp_path: Path) -> None:
    mini.coco(tmp_path, 2014)
    mini.coco(tmp_path, 2017)
    assert open_dataset("coco", tmp_path).source == "coco val2017"
    assert open_dataset("coco", tmp_path, "val2014").source == "coco val2014"
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    assert open_dataset("coco", tmp_path).load("139").regions
    annotations = tmp_path / "annotations"
    (annotations / "instances_val2014.json").rename(annotations / "instances_minival2014.json")
    dataset = open_dataset("coco", tmp_path, "minival2014")
    assert dataset.load("139").captions and dataset.source == "coco minival2014"
    with pytest.raises(DatasetError, match="train2017"):
        open_dataset("coco", tmp_path, "train2017")


@pytest.mark.parametrize("hub", [False, True], ids=["glamm", "hub"])
@pytest.mark.parametrize("inside", [False, True], ids=["parent", "folder"])
def test_grandf_grounded_captions(tmp_path: Path, hub: bool, inside: bool) -> None:
    mini.grandf(tmp_path, hub)
    folder = tmp_path / "GranDf" if inside and not hub else tmp_path
    for part, first in (
        ("train", "sa_10010541"),
        ("psg-train", "000000000009"),
        ("psg-val", "000000000025"),
    ):
        dataset = open_dataset("grandf", folder, part)
        check_common(dataset)
        assert list(dataset.ids()) == [first]
        record = dataset.load(first)
        assert record.captions == ("A brown dog on the grass.",)
        found = masks(record)
        np.testing.assert_array_equal(found["a brown dog"], DOG)
        np.testing.assert_array_equal(found["the grass"], GRASS)
        assert [region.names[0] for region in record.regions] == ["dog", "grass"]


def test_grandf_evaluation_pairs(tmp_path: Path) -> None:
    mini.grandf(tmp_path)
    dataset = open_dataset("grandf", tmp_path)
    check_common(dataset)
    assert dataset.source == "grandf val" and list(dataset.ids()) == ["sa_7", "sa_9"]
    found = masks(dataset.load("sa_7"))
    np.testing.assert_array_equal(found["A brown dog"], DOG)
    np.testing.assert_array_equal(found["the grass"], GRASS)
    assert dataset.load("sa_9").regions == ()
    path = tmp_path / "GranDf/annotations/val_test/val_gcg_coco_mask_gt.json"
    data = json.loads(path.read_text())
    del data["annotations"][0]
    mini.write(path, data)
    with pytest.raises(DatasetError, match="1 masks for 2 labels"):
        open_dataset("grandf", tmp_path).load("sa_7")


@pytest.mark.parametrize("name", ["grandf", "openpsg"])
def test_label_pictures(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(name, mini.label_pictures(tmp_path))
    check_common(dataset)
    record = dataset.load("a")
    found = masks(record)
    np.testing.assert_array_equal(found["dog"], DOG)
    np.testing.assert_array_equal(found["grass-merged"], GRASS)
    assert record.captions == ("A dog on grass.",) and record.regions[1].names[0] == "grass"
    with pytest.raises(DatasetError, match="no parts"):
        open_dataset(name, tmp_path, "train")


@pytest.mark.parametrize("captions", [False, True])
def test_openpsg(tmp_path: Path, captions: bool) -> None:
    mini.openpsg(tmp_path, captions)
    dataset = open_dataset("openpsg", tmp_path)
    check_common(dataset)
    assert list(dataset.ids()) == ["2343729", "107902"]
    assert list(open_dataset("openpsg", tmp_path, "test").ids()) == ["107902"]
    assert list(open_dataset("openpsg", tmp_path, "train").ids()) == ["2343729"]
    record = dataset.load("107902")
    found = masks(record)
    assert list(found) == ["dog", "grass-merged"]  # a segment without a pixel is none
    two = DOG | mini.box(15, 20, 25, 28)
    np.testing.assert_array_equal(found["dog"], two)
    np.testing.assert_array_equal(found["grass-merged"], ~two & ~mini.box(0, 28, 40, 30))
    assert record.captions == (("Dogs on grass.",) if captions else ())
    assert record.regions[1].names[0] == "grass"


def test_openpsg_panoptic_pictures_among_the_annotations(tmp_path: Path) -> None:
    coco = mini.openpsg(tmp_path) / "coco"
    (coco / "annotations").mkdir()
    (coco / "panoptic_val2017").rename(coco / "annotations" / "panoptic_val2017")
    assert open_dataset("openpsg", tmp_path).load("107902").regions


def test_own_folder(tmp_path: Path) -> None:
    dataset = open_dataset("folder", mini.own_folder(tmp_path))
    check_common(dataset)
    assert dataset.source == "kitchen" and list(dataset.ids()) == ["a", "images/a.png"]
    record = dataset.load("a")
    np.testing.assert_array_equal(record.image, mini.picture(6))
    found = masks(record)
    expected = {
        "cup": DOG,
        "table": GRASS,
        "a small spoon": mini.box(5, 5, 9, 9),
        "window": mini.box(30, 0, 40, 10),
        "fork": mini.box(15, 20, 25, 28),
        "plate": mini.box(1, 1, 4, 4),
    }
    assert list(found) == list(expected)
    for label, mask in expected.items():
        np.testing.assert_array_equal(found[label], mask, err_msg=label)
    assert {"cup", "mug", "beaker"} <= set(record.regions[0].names)
    assert record.regions[2].names[-1] == "spoon"
    assert (record.prompt, dataset.load("images/a.png").prompt) == ("What is there?", "Where?")


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    """docs/datasets.md shows a dataset.json; it must be one."""
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    example = json.loads(text.split("```json\n")[1].split("```")[0])
    mini.write(tmp_path / "dataset.json", example)
    size = (60, 50)
    for item in example["items"]:
        mini.save(tmp_path / item["image"], mini.picture(1, size))
        for region in item["regions"]:
            if "mask" in region:
                level = region.get("value", 255)
                mini.save(tmp_path / region["mask"], np.full(size[::-1], level, np.uint8))
    dataset = open_dataset("folder", tmp_path)
    check_common(dataset)
    assert len(dataset.load(dataset.ids()[0]).regions) == len(example["items"][0]["regions"])


def test_scenes() -> None:
    dataset = open_dataset("scenes")
    check_common(dataset)
    assert len(dataset.ids()) == len(HELD_OUT_SEEDS)
    record, scene = dataset.load("scene-0000042"), make_scene(42)
    assert record.captions == (scene.caption,)
    np.testing.assert_array_equal(record.image, scene.render(384))
    found = masks(record)
    assert list(found) == [*(thing.kind for thing in scene.objects), scene.ground]
    for label, mask in found.items():
        np.testing.assert_array_equal(mask, scene.mask_of(label, 384))


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    mini.coco(tmp_path / "coco")
    mini.openpsg(tmp_path / "psg")
    mini.grandf(tmp_path / "grandf")
    mini.own_folder(tmp_path / "folder")
    for path in tmp_path.rglob("*"):
        if path.suffix in (".jpg", ".png"):
            path.write_bytes(b"not an image")
    for name, folder in (
        ("coco", "coco"),
        ("openpsg", "psg"),
        ("grandf", "grandf"),
        ("folder", "folder"),
    ):
        dataset = open_dataset(name, tmp_path / folder)
        with pytest.raises(InputError, match="not an image"):
            dataset.load(dataset.ids()[-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_belong_to_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    mini.own_folder(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(mini.picture(6))
    image.save(tmp_path / "images" / "a.png", exif=exif)
    np.testing.assert_array_equal(open_dataset("folder", tmp_path).load("a").image, mini.picture(6))


def test_unknown_names_and_folders(tmp_path: Path) -> None:
    for name in READERS:
        with pytest.raises(DatasetError, match="needs a folder"):
            open_dataset(name)
        with pytest.raises(DatasetError, match="no folder"):
            open_dataset(name, tmp_path / "missing")
        with pytest.raises(DatasetError):
            open_dataset(name, tmp_path)
    with pytest.raises(DatasetError, match="no dataset 'imagenet'"):
        open_dataset("imagenet")
    with pytest.raises(DatasetError, match="no parts"):
        open_dataset("scenes", part="val")
    with pytest.raises(DatasetError, match="no part 'nonsense'"):
        open_dataset("grandf", mini.grandf(tmp_path / "g"), "nonsense")
