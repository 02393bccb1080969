"""Which word names which category, by the documented rules."""

from __future__ import annotations

import json
import re

import pytest

from diffcam_core import categories
from diffcam_core.categories import assign, names_of, names_of_phrase, plain_name, synonyms
from diffcam_core.shipped import resource_path
from diffcam_core.words import group_words, kind_of, lemma

COCO = """
person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|
parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|
handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|
skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|
sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|
toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|
clock|vase|scissors|teddy bear|hair drier|toothbrush
""".replace("\n", "").split("|")

STUFF = re.findall(
    r"[a-z-]+",
    """
banner blanket bridge cardboard counter curtain door-stuff floor-wood flower fruit gravel house
light mirror-stuff net pillow platform playingfield railroad river road roof sand sea shelf snow
stairs tent towel wall-brick wall-stone wall-tile wall-wood water-other window-blind window-other
tree-merged fence-merged ceiling-merged sky-other-merged cabinet-merged table-merged
floor-other-merged pavement-merged mountain-merged grass-merged dirt-merged paper-merged
food-other-merged building-other-merged rock-merged wall-other-merged rug-merged
""",
)


def named(text: str, *of: str) -> list[str | None]:
    words = group_words([text])
    found = assign(words, [names_of(category) for category in of])
    return [None if index is None else of[index] for index in found]


def test_every_category_of_coco_has_its_entry() -> None:
    assert len(COCO) == 80 and len(STUFF) == 53
    assert set(COCO) <= set(synonyms())
    assert {plain_name(name) for name in STUFF} <= set(synonyms())
    for name in (*COCO, *STUFF):
        first, *others = names_of(name)
        assert first == plain_name(name) and "-" not in first
        assert len(set(others)) == len(others) and first not in others


def test_shipped_synonyms_are_singular_and_state_their_licence() -> None:
    data = json.loads(resource_path(categories.SYNONYMS).read_text(encoding="utf-8"))
    assert data["licence"] == "Apache-2.0" and "Diffusion-CAM Studio" in data["about"]
    for category, others in synonyms().items():
        for name in others:
            assert name == name.strip().lower() and name
            if name not in ("people", "cattle", "wine glasses", "shears", "stairs", "male"):
                assert lemma(name.split()[-1]) == name.split()[-1], (category, name)


@pytest.mark.parametrize(
    ("category", "plain"),
    [
        ("wall-other-merged", "wall"),
        ("wall-brick", "wall"),
        ("window-blind", "window blind"),
        ("window-other", "window"),
        ("floor-wood", "floor"),
        ("door-stuff", "door"),
        ("water-other", "water"),
        ("playingfield", "playing field"),
        ("sky-other-merged", "sky"),
        ("Traffic_Light", "traffic light"),
        ("t-shirt", "t-shirt"),
    ],
)
def test_bookkeeping_is_left_out(category: str, plain: str) -> None:
    assert plain_name(category) == plain


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("man", "person"),
        ("Women", "person"),
        ("boys", "person"),
        ("children", "person"),
        ("people", "person"),
        ("firemen", "person"),
        ("bikes", "bicycle"),
        ("plane", "airplane"),
        ("puppies", "dog"),
        ("sofa", "couch"),
        ("fridge", "refrigerator"),
        ("doughnuts", "donut"),
        ("television", "tv"),
        ("ski", "skis"),
        ("knives", "knife"),
        ("buses", "bus"),
        ("sidewalk", "pavement-merged"),
    ],
)
def test_synonyms_and_plurals(text: str, category: str) -> None:
    assert named(text, category) == [category]


def test_names_of_several_words() -> None:
    assert named("two traffic lights", "traffic light") == [None, "traffic light", "traffic light"]
    assert named("the light", "traffic light") == [None, None]
    assert named("hot dogs and a dog", "dog", "hot dog") == [
        "hot dog",
        "hot dog",
        None,
        None,
        "dog",
    ]
    assert named("hot dogs", "dog") == [None, "dog"]  # nothing in the image has the longer name
    assert named("traffic, light", "traffic light") == ["traffic light", None, "traffic light"]


def test_a_shared_word_goes_to_what_is_in_the_image() -> None:
    assert named("a glass", "wine glass") == [None, "wine glass"]
    assert named("a glass", "cup") == [None, "cup"]
    assert named("a glass", "cup", "wine glass") == [None, "cup"]
    assert named("a table", "dining table", "table-merged") == [None, "table-merged"]
    assert named("a zebra", "cup") == [None, None]


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("a brown dog in the grass", ("dog",)),
        ("The red traffic lights", ("traffic lights", "lights")),
        ("a boy", ("boy", "person")),
        ("two men wearing hats", ("men", "person")),
        ("the roof of the house", ("roof",)),
        ("grass", ("grass",)),
        ("it", ("it",)),
        ("  ", ()),
    ],
)
def test_phrases(phrase: str, names: tuple[str, ...]) -> None:
    assert names_of_phrase(phrase) == names


def test_a_phrase_is_not_named_by_its_category_s_other_names() -> None:
    words = group_words(["a woman and a man and a person"])
    assert assign(words, [names_of_phrase("a man")]) == (
        None, None, None, None, 0, None, None, 0,
    )  # fmt: skip


def test_coco_names_are_nouns() -> None:
    """But for colours: an orange on a table cannot be told from an orange table by lists."""
    for name in COCO:
        assert kind_of(name.split()[-1]) == "content" or name == "orange"
