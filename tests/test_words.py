"""Words from tokens: grouping, finding, kinds; nothing is ever lost."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_core.words import find_occurrences, find_word, group_words, kind_of, lemma


def spelled(*texts: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(word.text, word.positions) for word in group_words(texts)]


def test_a_leading_space_begins_a_word() -> None:
    assert spelled("A", " red", " cat", " sits") == [
        ("A", (0,)),
        ("red", (1,)),
        ("cat", (2,)),
        ("sits", (3,)),
    ]


@pytest.mark.parametrize("mark", [" ", "\u2581", "\u0120"])
def test_subtokens_join(mark: str) -> None:
    assert spelled(f"{mark}gir", "af", "fe", f"{mark}on") == [("giraffe", (0, 1, 2)), ("on", (3,))]


def test_marks_stand_apart_and_may_share_a_token() -> None:
    assert spelled(" cat", ",", " dog.", "\n", " End", "...") == [
        ("cat", (0,)),
        (",", (1,)),
        ("dog", (2,)),
        (".", (2,)),
        ("End", (4,)),
        ("...", (5,)),
    ]


def test_apostrophes_and_hyphens_inside_of_words() -> None:
    assert spelled(" don", "'t", " T", "-", "shirt", " the", " cat", "'s", " -", " x") == [
        ("don't", (0, 1)),
        ("T-shirt", (2, 3, 4)),
        ("the", (5,)),
        ("cat's", (6, 7)),
        ("-", (8,)),
        ("x", (9,)),
    ]


@pytest.mark.parametrize(
    "special", ["<|eot_id|>", "<|mdm_mask|>", "</s>", "<eos>", "[MASK]", "[PAD]", " <|im_end|>"]
)
def test_special_tokens_are_never_part_of_a_word(special: str) -> None:
    words = group_words([" cat", special, "fish"])
    assert [(w.text, w.kind) for w in words] == [
        ("cat", "content"),
        (special.strip(), "special"),
        ("fish", "content"),
    ]


def test_masked_positions_separate() -> None:
    assert spelled(" ca", "", "t") == [("ca", (0,)), ("t", (2,))]


def test_scripts_without_spaces() -> None:
    assert spelled("一只", "猫", "在", "草地", "上", "。", "cat", "猫") == [
        ("一只", (0,)),
        ("猫", (1,)),
        ("在", (2,)),
        ("草地", (3,)),
        ("上", (4,)),
        ("。", (5,)),
        ("cat", (6,)),
        ("猫", (7,)),
    ]


def test_other_alphabets_and_unfinished_bytes() -> None:
    assert spelled(" caf", "é", " Straße", " кот") == [
        ("café", (0, 1)),
        ("Straße", (2,)),
        ("кот", (3,)),
    ]
    assert spelled(" na", "\ufffd", "\ufffd", "ve", " <0xE2>")[0][1] == (0, 1, 2, 3)
    assert spelled(" na", "<0xC3>", "<0xAF>", "ve")[0][1] == (0, 1, 2, 3)


ANSWER = ("Two", " cats", " and", " a", " Cat", ",", " a", " traffic", " lig", "ht", ".", "</s>")


@pytest.mark.parametrize(
    ("query", "positions"),
    [
        ("cat", (4,)),  # written like this, apart from case: wins over the plural
        ("cats", (1,)),
        ("CATS", (1,)),
        ("a", (3, 6)),
        ("traffic light", (7, 8, 9)),
        ("Traffic  Lights", (7, 8, 9)),
        ("light", (8, 9)),
        (",", (5,)),
        ("dog", ()),
        ("", ()),
        ("  ", ()),
        ("cat a", (4, 6)),  # marks between words do not matter
        ("ca", ()),
    ],
)
def test_find(query: str, positions: tuple[int, ...]) -> None:
    assert find_word(group_words(ANSWER), query) == positions


def test_find_folds_when_nothing_is_written_like_the_query() -> None:
    words = group_words([" two", " cats", " and", " Cats", "'"])
    assert find_occurrences(words, "cat") == ((1,), (3,))
    assert find_word(group_words([" a", " child"]), "children") == (1,)
    assert find_word(group_words([" wo", "lv", "es"]), "wolf") == (0, 1, 2)
    assert find_word(group_words([" ＣＡＴ"]), "cat") == (0,)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("cats", "cat"),
        ("dogs'", "dog"),
        ("dog's", "dog"),
        ("boxes", "box"),
        ("buses", "bus"),
        ("benches", "bench"),
        ("dishes", "dish"),
        ("tomatoes", "tomato"),
        ("cherries", "cherry"),
        ("ties", "tie"),
        ("people", "person"),
        ("feet", "foot"),
        ("houses", "house"),
        ("horses", "horse"),
        ("bees", "bee"),
        ("planes", "plane"),
        ("glasses", "glasses"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("octopus", "octopus"),
        ("Bäume", "bäume"),
    ],
)
def test_lemma(plural: str, singular: str) -> None:
    assert lemma(plural) == lemma(singular)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("the", "function"),
        ("On", "function"),
        ("isn't", "function"),
        ("isn’t", "function"),
        ("left", "function"),
        ("three", "number"),
        ("12", "number"),
        ("3.5", "number"),
        ("red", "other"),
        ("sitting", "other"),
        ("cat", "content"),
        ("Giraffe", "content"),
        ("猫", "content"),
        ("…", "mark"),
        ("--", "mark"),
    ],
)
def test_kinds(word: str, kind: str) -> None:
    assert kind_of(word) == kind


def test_only_content_words_count_as_nouns() -> None:
    words = group_words(["A", " red", " cat", " is", " on", " the", " grass", ".", "<|eot_id|>"])
    assert [w.text for w in words if w.is_noun] == ["cat", "grass"]
    assert [w.text for w in words if w.is_function] == ["A", "is", "on", "the"]


def test_grounds_of_the_scenes_are_nouns() -> None:
    scenes = pytest.importorskip("diffcam_core.datasets.scenes")
    assert [g for g in scenes.GROUNDS if not group_words([g])[0].is_noun] == []


texts = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from([" cat", "s", "'", "-", "<|eot_id|>", "", " ", "猫", "\ufffd", "<0xE2>"]),
    ),
    max_size=12,
)


@given(texts)
@settings(deadline=None, max_examples=300)
def test_no_visible_token_is_lost(tokens: list[str]) -> None:
    words = group_words(tokens)
    held = {position for word in words for position in word.positions}
    for position, text in enumerate(tokens):
        visible = any(c.isalnum() or c == "\ufffd" for c in text)
        if visible:
            assert position in held
    for word in words:
        assert word.positions == tuple(sorted(set(word.positions)))
        assert word.text
    firsts = [word.positions[0] for word in words]
    assert firsts == sorted(firsts)
    for word in words:
        if word.kind != "special":
            found = find_word(words, word.text)
            assert set(word.positions) <= set(found) or word.kind == "mark" or "\ufffd" in word.text


def test_words_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; import diffcam_core.words; "
        "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("skis", "ski"),
        ("taxis", "taxi"),
        ("brownies", "brownie"),
        ("ponies", "pony"),
        ("canvases", "canvas"),
        ("lenses", "lens"),
        ("firemen", "fireman"),
        ("policewomen", "policewoman"),
        ("grandchildren", "grandchild"),
        ("salespeople", "salesperson"),
        ("bookshelves", "bookshelf"),
        ("penknives", "penknife"),
        ("snowshoes", "snowshoe"),
        ("toothbrushes", "toothbrush"),
        ("potatoes", "potato"),
        ("houses", "house"),
        ("vases", "vase"),
        ("men's", "man"),
    ],
)
def test_plurals_meet_their_singular(plural: str, singular: str) -> None:
    assert lemma(plural) == lemma(singular) == singular


@pytest.mark.parametrize(
    "word",
    [
        "lens",
        "canvas",
        "glasses",
        "sunglasses",
        "scissors",
        "jeans",
        "specimen",
        "bus",
        "tennis",
        "grass",
        "cactus",
        "abdomen",
    ],
)
def test_what_looks_plural_but_is_not_stays(word: str) -> None:
    assert lemma(word) == word
