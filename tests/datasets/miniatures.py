"""Writes miniature datasets in exactly the layouts in which their owners publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Smooth colours, so that JPEG keeps them."""
    y, x = np.mgrid[: size[1], : size[0]]
    planes = [
        (x * 3 + seed * 40) % 256,
        (y * 5 + seed * 20) % 256,
        np.full_like(x, seed * 30 % 256),
    ]
    return np.stack(planes, -1).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0: int, y0: int, x1: int, y1: int) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths, column by column, 0s first; a loop, as the format says it."""
    lengths, value = [0], False
    for pixel in mask.T.ravel():
        if bool(pixel) != value:
            lengths.append(0)
            value = not value
        lengths[-1] += 1
    return lengths


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths by pycocotools itself."""
    from pycocotools import mask as coco

    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in packed["size"]], "counts": packed["counts"].decode()}


CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "food", "id": 58, "name": "hot dog"},
]


def coco(root: Path, year: int = 2017, kind: str = "val") -> Path:
    """Two images; polygons, several instances, a crowd."""
    part = f"{kind}{year}"
    names = {n: f"{n:012d}.jpg" if year == 2017 else f"COCO_{part}_{n:012d}.jpg" for n in (139, 42)}
    for n, name in names.items():
        save(root / part / name, picture(n % 7), quality=95)
    images = [
        {
            "license": 3,
            "file_name": name,
            "coco_url": f"http://images.cocodataset.org/{part}/{name}",
            "height": HEIGHT,
            "width": WIDTH,
            "date_captured": "2013-11-14 17:02:52",
            "flickr_url": "http://farm7.staticflickr.com/x.jpg",
            "id": n,
        }
        for n, name in names.items()
    ]
    crowd = box(20, 0, 30, 10)

    def instance(number: int, image: int, category: int, segmentation: Any, crowd: int = 0) -> Any:
        return {
            "segmentation": segmentation,
            "area": 1.0,
            "iscrowd": crowd,
            "image_id": image,
            "bbox": [0.0, 0.0, 1.0, 1.0],
            "category_id": category,
            "id": number,
        }

    info = {"description": f"COCO {year} Dataset", "version": "1.0", "year": year}
    instances = [
        instance(1, 139, 18, polygon(2, 3, 12, 9)),
        instance(2, 139, 18, polygon(15, 20, 25, 28) + polygon(30, 20, 35, 28)),
        instance(900100000139, 139, 1, {"counts": runs(crowd), "size": [HEIGHT, WIDTH]}, 1),
    ]
    write(
        root / "annotations" / f"instances_{part}.json",
        {
            "info": info,
            "licenses": [{"id": 3, "name": "by-nc-nd", "url": "http://x"}],
            "images": images,
            "annotations": instances,
            "categories": CATEGORIES,
        },
    )
    write(
        root / "annotations" / f"captions_{part}.json",
        {
            "info": info,
            "licenses": [],
            "images": images,
            "annotations": [
                {"image_id": 139, "id": 7, "caption": "Two dogs near a crowd. \n"},
                {"image_id": 139, "id": 8, "caption": "Dogs."},
                {"image_id": 42, "id": 9, "caption": "Nothing."},
            ],
        },
    )
    return root


def grandf(root: Path, hub: bool = False) -> Path:
    """GLaMM's tree (or the hub's, without "annotations"), train, psg and val parts."""
    base = root / "GranDf" if not hub else root
    annotations = base / "annotations" if not hub else base
    dog, grass = box(2, 3, 12, 9), box(0, 20, 40, 30)
    groundings = {
        "a brown dog": {"token_positives": [0, 11], "rle_masks": [compressed(dog)]},
        "the grass": {
            "token_positives": [15, 24],
            "rle_masks": [compressed(grass & box(0, 0, 20, 30)), compressed(box(20, 20, 40, 30))],
        },
    }
    caption = '"A brown dog on the grass."'
    for name, file, image in (
        ("GranDf_HA_GCG_train", "sa_10010541.jpg", root / "GranDf_HA_images/train"),
        ("OpenPsgGCG_train", "000000000009.jpg", root / "coco_2017/train2017"),
        ("OpenPsgGCG_val", "000000000025.jpg", root / "coco_2017/train2017"),
    ):
        save(image / file, picture(2), quality=95)
        write(
            annotations / "train" / f"{name}.json",
            [{"file_name": file, "caption": caption, "groundings": groundings, "image_id": "x"}],
        )
    images = [{"id": "sa_7"}, {"id": "sa_9"}]
    for entry in images:
        save(root / "GranDf_HA_images/val_test" / f"{entry['id']}.jpg", picture(3), quality=95)
    for part in ("val", "test"):
        folder = annotations / "val_test"
        write(
            folder / f"{part}_gcg_coco_caption_gt.json",
            {
                "images": images,
                "annotations": [
                    {
                        "id": 1,
                        "image_id": "sa_7",
                        "caption": "A brown dog on the grass.",
                        "labels": ["A brown dog", "the grass"],
                    },
                    {"id": 2, "image_id": "sa_9", "caption": "Nothing.", "labels": []},
                ],
            },
        )
        write(
            folder / f"{part}_gcg_coco_mask_gt.json",
            {
                "images": images,
                "annotations": [
                    {
                        "id": n,
                        "image_id": "sa_7",
                        "category_id": 1,
                        "segmentation": compressed(mask),
                        "bbox": [0, 0, 1, 1],
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                    }
                    for n, mask in enumerate((dog, grass))
                ],
                "categories": [{"id": 1, "name": "object"}],
            },
        )
    return root


def label_pictures(root: Path) -> Path:
    """The layout of Token Activation Map."""
    save(root / "image" / "a.jpg", picture(4), quality=95)
    levels = np.zeros((HEIGHT, WIDTH), np.uint8)
    levels[box(0, 20, 40, 30)] = 2
    levels[box(2, 3, 12, 9)] = 1
    save(root / "seg_label" / "a.png", levels)
    write(
        root / "anno.json",
        [["image/a.jpg", "A dog on grass.", "seg_label/a.png", {"dog": 1, "grass-merged": 2}]],
    )
    return root


THINGS, STUFF = ["person", "dog"], ["grass-merged", "wall-other-merged", "sky-other-merged"]


def openpsg(root: Path, annotated_captions: bool = False) -> Path:
    """OpenPSG's data/ folder; the same photograph annotated twice."""
    coco = root / "coco"
    save(coco / "val2017" / "000000000139.jpg", picture(5), quality=95)
    segments = np.full((HEIGHT, WIDTH), 70_000)
    segments[box(2, 3, 12, 9)] = 3_226_956
    segments[box(15, 20, 25, 28)] = 300
    segments[box(0, 28, 40, 30)] = 0
    planes = [segments % 256, segments // 256 % 256, segments // 65536]
    save(coco / "panoptic_val2017" / "000000000139.png", np.stack(planes, -1).astype(np.uint8))
    infos = [
        {"id": 3_226_956, "category_id": 1, "iscrowd": 0, "isthing": 1, "area": 60},
        {"id": 300, "category_id": 1, "iscrowd": 0, "isthing": 1, "area": 80},
        {"id": 70_000, "category_id": 2, "iscrowd": 0, "isthing": 0, "area": 1},
        {"id": 999, "category_id": 3, "iscrowd": 0, "isthing": 0, "area": 0},
    ]
    entry = {
        "file_name": "val2017/000000000139.jpg",
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": "2343729",
        "pan_seg_file_name": "panoptic_val2017/000000000139.png",
        "segments_info": infos,
        "relations": [[0, 2, 3]],
        "annotations": [{"bbox": [2, 3, 12, 9], "bbox_mode": 0, "category_id": 1}],
        "coco_image_id": "139",
    }
    write(
        root / "psg" / "psg.json",
        {
            "data": [entry, {**entry, "image_id": "107902"}],
            "thing_classes": THINGS,
            "stuff_classes": STUFF,
            "predicate_classes": ["over", "on"],
            "test_image_ids": ["107902"],
        },
    )
    if annotated_captions:
        write(
            coco / "annotations" / "captions_val2017.json",
            {"annotations": [{"image_id": 139, "id": 1, "caption": "Dogs on grass."}]},
        )
    return root


def own_folder(root: Path) -> Path:
    """A folder with dataset.json, every kind of mask."""
    save(root / "images" / "a.png", picture(6))
    save(root / "masks" / "cup.png", box(2, 3, 12, 9).astype(np.uint8) * 255)
    levels = np.zeros((HEIGHT, WIDTH), np.uint16)
    levels[box(0, 20, 40, 30)] = 1002
    Image.fromarray(levels).save(root / "masks" / "levels.png")
    palette = Image.fromarray(box(5, 5, 9, 9).astype(np.uint8) * 3, "P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 0, 0, 0])
    palette.save(root / "masks" / "palette.png")
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    clear[..., 0] = 200
    clear[box(30, 0, 40, 10), 3] = 255
    save(root / "masks" / "clear.png", clear)
    write(
        root / "dataset.json",
        {
            "format": "diffcam-dataset",
            "version": 1,
            "name": "kitchen",
            "prompt": "What is there?",
            "items": [
                {
                    "id": "a",
                    "image": "images/a.png",
                    "captions": ["A cup on a table."],
                    "regions": [
                        {"label": "cup", "names": ["beaker"], "mask": "masks/cup.png"},
                        {"label": "table", "mask": "masks/levels.png", "value": 1002},
                        {"label": "a small spoon", "mask": "masks/palette.png", "value": 3},
                        {"label": "window", "mask": "masks/clear.png"},
                        {"label": "fork", "segmentation": polygon(15, 20, 25, 28)},
                        {"label": "plate", "segmentation": compressed(box(1, 1, 4, 4))},
                    ],
                },
                {"image": "images/a.png", "prompt": "Where?"},
            ],
        },
    )
    return root
