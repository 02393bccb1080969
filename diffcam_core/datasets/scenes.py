"""Sticker scenes: seeded pictures in which the exact mask of every word is known.

A scene is a ground texture with one to four stickers on it. Everything about
it (objects, sizes, relations, caption, questions) follows from one integer
seed, so held-out scenes are simply seeds that training never uses
(`TRAINING_SEEDS`, `HELD_OUT_SEEDS`).

Captions are unambiguous by construction: objects are named from left to right,
neighbours in that order are related along the axis on which they clearly
differ more, and sizes come from two ranges with a gap between them. The
stickers are Fluent Emoji 3D (MIT), see ``resources/stickers/LICENSE``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from diffcam_core.errors import InputError
from diffcam_core.shipped import resource_path

Size = Literal["small", "large"]
Relation = Literal["left of", "right of", "above", "below"]
QuestionKind = Literal["relation", "count", "ground"]

GROUNDS: tuple[str, ...] = ("grass", "sand", "water", "snow", "brick", "wood")
RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")
NUMBER_WORDS: tuple[str, ...] = ("zero", "one", "two", "three", "four")
DESCRIBE_PROMPT = "Describe the image."
COUNT_PROMPT = "How many objects are there?"
GROUND_PROMPT = "What is the ground?"

TRAINING_SEEDS = range(1_000_000, 10_000_000)
HELD_OUT_SEEDS = range(0, 100_000)

DIAMETERS: dict[Size, tuple[float, float]] = {"small": (0.23, 0.28), "large": (0.36, 0.46)}
MAX_OBJECTS = 4
# Two centres must differ by this share of the picture before a word says so.
CLEAR_MARGIN = 0.09
_TEXTURE_SIDE = 1024
# Crowded draws are thrown away early: they almost never find clear places.
_MOST_COVERED = 0.46

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SceneObject:
    """One sticker. Lengths are shares of the picture's side, angles degrees.

    ``centre`` is (x, y) from the top left corner, ``diameter`` the side of the
    square that holds the sticker, ``gain`` a factor on its brightness.
    """

    kind: str
    size: Size
    centre: tuple[float, float]
    diameter: float
    rotation: float
    mirrored: bool
    gain: float

    @property
    def phrase(self) -> str:
        """The object as captions name it, such as "a large cat"."""
        return f"a {self.size} {self.kind}"


@dataclass(frozen=True)
class Question:
    """A prompt about the scene with its only right answer."""

    prompt: str
    answer: str
    kind: QuestionKind


@dataclass(frozen=True)
class Scene:
    """A sticker scene; pure data, rendered on demand at any size."""

    seed: int
    ground: str
    ground_offset: tuple[float, float]
    ground_gain: tuple[float, float, float]
    objects: tuple[SceneObject, ...]

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Relation of object i to object i + 1, in the order of the caption."""
        return tuple(
            _clear_relation(a, b) or _dominant_relation(a, b)
            for a, b in zip(self.objects, self.objects[1:], strict=False)
        )

    @property
    def caption(self) -> str:
        """One sentence that names every object, its size, relation and the ground."""
        words = [self.objects[0].phrase]
        for relation, thing in zip(self.relations, self.objects[1:], strict=True):
            words += [relation, thing.phrase]
        return f"{' '.join(words)}, on the {self.ground}."

    @property
    def questions(self) -> tuple[Question, ...]:
        """Every question that has one clear answer in this scene."""
        count = NUMBER_WORDS[len(self.objects)]
        counted = "is one object" if len(self.objects) == 1 else f"are {count} objects"
        found = [
            Question(COUNT_PROMPT, f"there {counted}.", "count"),
            Question(GROUND_PROMPT, f"the ground is {self.ground}.", "ground"),
        ]
        for index, thing in enumerate(self.objects):
            # "nothing" is a rare answer, not the commonest: one side an object may give it.
            empty_side = RELATIONS[(self.seed + index) % len(RELATIONS)]
            others = [other for other in self.objects if other is not thing]
            sides = [_clear_relation(other, thing) for other in others]
            if not others or None in sides:
                continue
            for relation in RELATIONS:
                there = [o for o, side in zip(others, sides, strict=True) if side == relation]
                if len(there) > 1 or (not there and relation != empty_side):
                    continue
                subject = there[0].phrase if there else "nothing"
                found.append(
                    Question(
                        f"What is {relation} the {thing.kind}?",
                        f"{subject} is {relation} the {thing.kind}.",
                        "relation",
                    )
                )
        return tuple(found)

    def render(self, size: int = 384) -> UInt8Array:
        """Draw the scene.

        Parameters
        ----------
        size : int
            Side of the picture in pixels, 32 to 1024.

        Returns
        -------
        ndarray of uint8, shape (size, size, 3)
            RGB picture; the same bytes for the same seed and size.
        """
        return self._draw(size)[0]

    def masks(self, size: int = 384) -> BoolArray:
        """Exact visible masks.

        Returns
        -------
        ndarray of bool, shape (objects + 1, size, size)
            Pixel belongs to object i (its sticker covers more than half of
            it); the last mask is the ground, everything that no sticker covers.
        """
        owner = self._draw(size)[1]
        return np.stack([owner == i for i in range(len(self.objects))] + [owner < 0])

    def draw(self, size: int = 384) -> tuple[UInt8Array, BoolArray]:
        """Picture and masks in one pass, as `render` and `masks` give them."""
        picture, owner = self._draw(size)
        masks = np.stack([owner == i for i in range(len(self.objects))] + [owner < 0])
        return picture, masks

    def mask_of(self, word: str, size: int = 384) -> BoolArray | None:
        """Mask that a caption word stands for, or None if it names nothing.

        Parameters
        ----------
        word : str
            A kind of object or the ground, any case.
        """
        word = word.strip().lower()
        masks = self.masks(size)
        if word == self.ground:
            return np.asarray(masks[-1])
        for index, thing in enumerate(self.objects):
            if thing.kind == word:
                return np.asarray(masks[index])
        return None

    def _draw(self, size: int) -> tuple[UInt8Array, npt.NDArray[np.int8]]:
        if not 32 <= size <= _TEXTURE_SIDE:
            raise InputError(
                f"a scene cannot be drawn at {size} pixels",
                f"Choose a size between 32 and {_TEXTURE_SIDE}.",
            )
        picture = self._ground(size)
        owner = np.full((size, size), -1, np.int8)
        for index, thing in enumerate(self.objects):
            _paste(picture, owner, thing, index)
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8), owner

    def _ground(self, size: int) -> npt.NDArray[np.float32]:
        texture = _ground_texture(self.ground)
        span = _TEXTURE_SIDE // 2
        x, y = (int(o * (_TEXTURE_SIDE - span)) for o in self.ground_offset)
        crop = texture[y : y + span, x : x + span]
        shrink = cv2.INTER_AREA if size <= span else cv2.INTER_CUBIC
        ground = cv2.resize(crop, (size, size), interpolation=shrink)
        return np.asarray(ground * np.asarray(self.ground_gain, np.float32), np.float32)


@functools.cache
def kinds() -> tuple[str, ...]:
    """The nouns of all stickers, alphabetical."""
    return tuple(sorted(_atlas()[1]))


@functools.cache
def vocabulary() -> frozenset[str]:
    """Every word that captions, questions and answers can contain, lower case."""
    fixed = "a the is are there nothing object objects on of how many what describe image ground"
    words = {*fixed.split(), *kinds(), *GROUNDS, *NUMBER_WORDS, *DIAMETERS}
    return frozenset(words | {"left", "right", "above", "below"})


def make_scene(seed: int, n_objects: int | None = None) -> Scene:
    """Build the scene of a seed.

    Parameters
    ----------
    seed : int
        Non-negative; the same seed always gives the same scene.
    n_objects : int, optional
        1 to 4; by default drawn from the seed.

    Raises
    ------
    InputError
        If `seed` or `n_objects` is out of range.
    """
    if seed < 0:
        raise InputError(f"scene seed {seed} is negative", "Use a seed of 0 or more.")
    if n_objects is not None and not 1 <= n_objects <= MAX_OBJECTS:
        raise InputError(f"a scene cannot hold {n_objects} objects", "Use 1 to 4 objects.")
    rng = np.random.default_rng([seed, 0xD1FF])
    count = n_objects or int(rng.choice(4, p=(0.1, 0.25, 0.35, 0.3))) + 1
    return Scene(
        seed=seed,
        ground=str(rng.choice(GROUNDS)),
        ground_offset=(float(rng.random()), float(rng.random())),
        ground_gain=_ground_gain(rng),
        objects=_place(rng, count),
    )


def _ground_gain(rng: np.random.Generator) -> tuple[float, float, float]:
    light = rng.uniform(0.88, 1.08)
    red, green, blue = light * rng.uniform(0.96, 1.04, 3)
    return float(red), float(green), float(blue)


def _place(rng: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    """Draw objects that do not touch, from left to right, with every relation clear."""
    names = rng.choice(len(kinds()), size=count, replace=False)
    while True:
        large = rng.random(count) < 0.6
        ranges = np.array([DIAMETERS["large" if big else "small"] for big in large])
        diameters = rng.uniform(ranges[:, 0], ranges[:, 1])
        if float(np.sum(diameters**2)) > _MOST_COVERED:
            continue
        room = 0.98 - diameters[:, None]
        draws = 0.01 + diameters[:, None] / 2 + rng.random((256, count, 2)) * room
        fits = np.flatnonzero(_are_clear(draws, diameters))
        if fits.size:
            break
    centres = draws[fits[0]]
    return tuple(
        SceneObject(
            kind=kinds()[int(names[i])],
            size="large" if large[i] else "small",
            centre=(float(centres[i, 0]), float(centres[i, 1])),
            diameter=float(diameters[i]),
            rotation=float(rng.uniform(-12, 12)),
            mirrored=bool(rng.random() < 0.5),
            gain=float(rng.uniform(0.88, 1.1)),
        )
        for i in np.argsort(centres[:, 0])
    )


def _are_clear(
    centres: npt.NDArray[np.float64], diameters: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which of many draws (draws, objects, 2) neither touch nor leave a word in doubt."""
    count = len(diameters)
    first, second = np.triu_indices(count, 1)
    gaps = np.abs(centres[:, first] - centres[:, second])
    apart = np.hypot(gaps[..., 0], gaps[..., 1]) >= 0.54 * (diameters[first] + diameters[second])
    ordered = gaps[..., 0] >= CLEAR_MARGIN
    from_left = np.take_along_axis(centres, np.argsort(centres[..., :1], axis=1), axis=1)
    steps = np.abs(np.diff(from_left, axis=1))
    related = np.abs(steps[..., 0] - steps[..., 1]) >= CLEAR_MARGIN
    return np.asarray((apart & ordered).all(axis=1) & related.all(axis=1))


def _dominant_relation(a: SceneObject, b: SceneObject) -> Relation:
    dx, dy = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _clear_relation(a: SceneObject, b: SceneObject) -> Relation | None:
    """Where `a` lies as seen from `b`, or None if the two axes differ too little to say."""
    dx, dy = abs(a.centre[0] - b.centre[0]), abs(a.centre[1] - b.centre[1])
    return _dominant_relation(a, b) if abs(dx - dy) >= CLEAR_MARGIN else None


def _paste(
    picture: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int8],
    thing: SceneObject,
    index: int,
) -> None:
    size = picture.shape[0]
    sticker = _sticker(thing.kind, thing.mirrored)
    cell = sticker.shape[0]
    scale = thing.diameter * size / cell
    # One affine map does scaling, rotation and sub-pixel placement; shrinking
    # first by area keeps the result free of aliasing.
    side = max(8, round(thing.diameter * size))
    if side < cell:
        sticker = cv2.resize(sticker, (side, side), interpolation=cv2.INTER_AREA)
        scale = thing.diameter * size / side
        cell = side
    angle = np.deg2rad(thing.rotation)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    cx, cy = thing.centre[0] * size - 0.5, thing.centre[1] * size - 0.5
    reach = int(np.ceil(0.75 * thing.diameter * size)) + 2
    x0, y0 = max(0, int(cx) - reach), max(0, int(cy) - reach)
    x1, y1 = min(size, int(cx) + reach), min(size, int(cy) + reach)
    half = (cell - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, cx - x0 - cos * half + sin * half],
            [sin, cos, cy - y0 - sin * half - cos * half],
        ]
    )
    warped = cv2.warpAffine(
        sticker,
        matrix,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 0),
    )
    alpha = warped[..., 3:]
    region = picture[y0:y1, x0:x1]
    region *= 1 - alpha
    # The atlas is premultiplied, so colour never bleeds out of transparent pixels.
    region += np.minimum(warped[..., :3] * thing.gain, 255 * alpha)
    owner[y0:y1, x0:x1][alpha[..., 0] > 0.5] = index


@functools.cache
def _atlas() -> tuple[npt.NDArray[np.float32], dict[str, tuple[int, int]], int]:
    folder = resource_path("stickers")
    meta = json.loads((folder / "atlas.json").read_text(encoding="utf-8"))
    with Image.open(folder / "atlas.png") as image:
        rgba = np.asarray(image.convert("RGBA"), np.float32)
    alpha = rgba[..., 3:] / 255
    premultiplied = np.concatenate([rgba[..., :3] * alpha, alpha], axis=-1)
    cells = {kind: (int(x), int(y)) for kind, (x, y) in meta["cells"].items()}
    return premultiplied, cells, int(meta["cell"])


@functools.cache
def _sticker(kind: str, mirrored: bool) -> npt.NDArray[np.float32]:
    pixels, cells, cell = _atlas()
    x, y = cells[kind]
    sticker = pixels[y : y + cell, x : x + cell]
    return np.ascontiguousarray(sticker[:, ::-1] if mirrored else sticker)


def _noise(rng: np.random.Generator, cell: float, stretch: float = 1.0) -> npt.NDArray[np.float32]:
    """Smooth noise of mean 0 and standard deviation 1 whose grains are `cell` pixels high."""
    rows = max(2, int(_TEXTURE_SIDE / cell))
    cols = max(2, int(_TEXTURE_SIDE / (cell * stretch)))
    coarse = rng.standard_normal((rows, cols)).astype(np.float32)
    smooth = cv2.resize(coarse, (_TEXTURE_SIDE, _TEXTURE_SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


@functools.cache
def _ground_texture(ground: str) -> npt.NDArray[np.float32]:
    """A (1024, 1024, 3) float32 texture, 0 to 255, the same in every process."""
    rng = np.random.default_rng([GROUNDS.index(ground), 0x617])
    makers = {
        "grass": _grass,
        "sand": _sand,
        "water": _water,
        "snow": _snow,
        "brick": _brick,
        "wood": _wood,
    }
    return np.asarray(np.clip(makers[ground](rng), 0, 255), np.float32)


def _tinted(
    base: tuple[int, int, int], *parts: tuple[npt.NDArray[np.float32], tuple[float, float, float]]
) -> npt.NDArray[np.float32]:
    texture = np.empty((_TEXTURE_SIDE, _TEXTURE_SIDE, 3), np.float32)
    texture[:] = base
    for noise, weights in parts:
        texture += noise[..., None] * np.asarray(weights, np.float32)
    return texture


def _grass(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return _tinted(
        (86, 130, 62),
        (_noise(rng, 90), (10, 12, 6)),
        (_noise(rng, 9, 0.35), (10, 14, 7)),
        (_noise(rng, 4, 0.5), (7, 9, 5)),
    )


def _sand(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return _tinted(
        (214, 184, 132),
        (_noise(rng, 24, 8), (9, 9, 8)),
        (_noise(rng, 2), (8, 8, 7)),
        (_noise(rng, 120), (6, 6, 5)),
    )


def _water(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    waves = _noise(rng, 16, 4)
    foam = np.maximum(waves - 1.1, 0)
    return _tinted(
        (44, 116, 176),
        (_noise(rng, 110), (8, 12, 14)),
        (waves, (9, 14, 14)),
        (foam, (45, 40, 32)),
    )


def _snow(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return _tinted(
        (228, 234, 242),
        (_noise(rng, 100), (7, 6, 4)),
        (_noise(rng, 14), (4, 3, 3)),
        (_noise(rng, 2), (4, 4, 3)),
    )


def _brick(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    texture = _tinted((158, 82, 62), (_noise(rng, 3), (9, 7, 6)), (_noise(rng, 60), (7, 5, 4)))
    high, wide, joint = 44, 104, 6
    rows = np.arange(_TEXTURE_SIDE)
    for top in range(0, _TEXTURE_SIDE, high):
        shift = (top // high % 2) * wide // 2
        for left in range(-shift, _TEXTURE_SIDE, wide):
            tone = rng.normal(0, 11)
            texture[top : top + high, max(left, 0) : max(left + wide, 0)] += tone
        in_row = (rows >= top) & (rows < top + high)
        joints = (rows + shift) % wide < joint
        texture[np.ix_(in_row, joints)] = (188, 178, 166)
    texture[rows % high < joint] = (188, 178, 166)
    return texture


def _wood(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    grain = _noise(rng, 5, 26)
    texture = _tinted(
        (150, 104, 66),
        (grain, (11, 9, 7)),
        (_noise(rng, 2, 12), (5, 4, 3)),
        (_noise(rng, 90), (6, 5, 4)),
    )
    plank = 128
    for top in range(0, _TEXTURE_SIDE, plank):
        texture[top : top + plank] += rng.normal(0, 9)
        texture[top : top + 5] *= 0.62
    return texture
