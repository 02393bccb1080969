"""Pack the stickers of the scene generator into one RGBA atlas.

The pictures are Microsoft's Fluent Emoji 3D (MIT), as packaged on npm by
``@lobehub/fluent-emoji-3d`` (MIT). Run after ``npm pack @lobehub/fluent-emoji-3d``::

    python tools/make_sticker_atlas.py package/assets resources/stickers
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

CELL = 192
COLUMNS = 10

STICKERS: dict[str, str] = {
    "airplane": "2708-fe0f",
    "apple": "1f34e",
    "ball": "26bd",
    "balloon": "1f388",
    "banana": "1f34c",
    "basketball": "1f3c0",
    "bee": "1f41d",
    "bicycle": "1f6b2",
    "broccoli": "1f966",
    "burger": "1f354",
    "bus": "1f68c",
    "butterfly": "1f98b",
    "cactus": "1f335",
    "camera": "1f4f7",
    "car": "1f697",
    "carrot": "1f955",
    "castle": "1f3f0",
    "cat": "1f408",
    "clock": "23f0",
    "crab": "1f980",
    "crown": "1f451",
    "cupcake": "1f9c1",
    "dog": "1f436",
    "donut": "1f369",
    "elephant": "1f418",
    "fish": "1f420",
    "flamingo": "1f9a9",
    "frog": "1f438",
    "ghost": "1f47b",
    "gift": "1f381",
    "guitar": "1f3b8",
    "hat": "1f3a9",
    "house": "1f3e0",
    "ladybug": "1f41e",
    "lemon": "1f34b",
    "lion": "1f981",
    "mushroom": "1f344",
    "octopus": "1f419",
    "owl": "1f989",
    "panda": "1f43c",
    "parrot": "1f99c",
    "penguin": "1f427",
    "pig": "1f437",
    "pineapple": "1f34d",
    "pizza": "1f355",
    "rabbit": "1f407",
    "robot": "1f916",
    "rocket": "1f680",
    "rose": "1f339",
    "snail": "1f40c",
    "snowman": "26c4",
    "strawberry": "1f353",
    "sunflower": "1f33b",
    "tractor": "1f69c",
    "train": "1f682",
    "tree": "1f333",
    "truck": "1f69a",
    "turtle": "1f422",
    "umbrella": "2614",
    "watermelon": "1f349",
    "whale": "1f433",
}


def main() -> None:
    """Write ``atlas.png`` and ``atlas.json`` into the target folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("assets", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    rows = -(-len(STICKERS) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    cells: dict[str, list[int]] = {}
    for index, (kind, code) in enumerate(STICKERS.items()):
        sticker = Image.open(arguments.assets / f"{code}.webp").convert("RGBA")
        sticker = sticker.crop(sticker.getbbox())
        side = max(sticker.size)
        square = Image.new("RGBA", (side, side))
        square.paste(sticker, ((side - sticker.width) // 2, (side - sticker.height) // 2))
        square = square.resize((CELL, CELL), Image.Resampling.LANCZOS)
        x, y = (index % COLUMNS) * CELL, (index // COLUMNS) * CELL
        atlas.paste(square, (x, y))
        cells[kind] = [x, y]
    arguments.target.mkdir(parents=True, exist_ok=True)
    atlas.save(arguments.target / "atlas.png", optimize=True)
    meta = {"cell": CELL, "cells": cells, "codes": STICKERS}
    (arguments.target / "atlas.json").write_text(json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
