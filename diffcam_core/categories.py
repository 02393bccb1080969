"""Which words of an answer name which category or phrase of a dataset; offline.

Rules
-----
1. A category's names are its own name and the synonyms shipped in
   ``resources/category-synonyms.json`` (written for this project, Apache-2.0): "person" is also
   named by "man", "woman", "boy" … Categories that are not in the file have their own name only.
2. Names of COCO's panoptic categories are read without their bookkeeping: "wall-other-merged" and
   "wall-brick" are "wall", "playingfield" is "playing field".
3. A free phrase ("a brown dog in the grass") is named by the run of content words that ends its
   first noun phrase ("dog"; for "a red traffic light": "traffic light", then "light"), and by the
   category of which that word is a synonym ("a boy": "boy", then "person").
4. Words are compared by lemma (`diffcam_core.words.lemma`): number, possessive and case do not
   count. A name of several words must stand in a row ("traffic lights").
5. Where names overlap, the longer one wins: in "hot dog" nothing names the category "dog".
6. A word that several categories share ("glass": cup, wine glass) goes to the one in the image; if
   both are there, to the one whose own name it is, else to the first.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from diffcam_core.errors import DiffcamError
from diffcam_core.shipped import resource_path
from diffcam_core.words import Word, group_words, kind_of, lemma

SYNONYMS: Final = "category-synonyms.json"
"""Shipped synonyms by category."""

_BOOKKEEPING = re.compile(r"-(?:other|merged|stuff)\b")
_RENAMED: Final = {"playingfield": "playing field", "window-blind": "window blind"}
_MATERIAL = re.compile(r"^(wall|floor)-[a-z]+$")


def plain_name(category: str) -> str:
    """Return a category's name as people say it (rule 2), lower case, single spaces.

    >>> plain_name("wall-other-merged"), plain_name("Traffic_Light")
    ('wall', 'traffic light')
    """
    name = _BOOKKEEPING.sub("", category.strip().casefold())
    name = _MATERIAL.sub(r"\1", name)
    name = _RENAMED.get(name, name)
    return " ".join(name.replace("_", " ").split())


def names_of(category: str) -> tuple[str, ...]:
    """Return the names of a category: its own, then its synonyms (rules 1 and 2)."""
    name = plain_name(category)
    return tuple(dict.fromkeys((name, *synonyms().get(name, ()))))


def names_of_phrase(phrase: str) -> tuple[str, ...]:
    """Return what may name the thing that a free phrase describes (rule 3).

    Returns
    -------
    tuple of str
        The whole phrase if no word of it is a noun by the rules of `diffcam_core.words`.
    """
    run: list[str] = []
    for word in group_words([phrase]):
        if word.is_noun:
            run.append(word.text.casefold())
        elif run:
            break
    if not run:
        text = " ".join(phrase.casefold().split())
        return (text,) if text else ()
    endings = [" ".join(run[start:]) for start in range(len(run))]
    known = [
        category for ending in endings for category in _categories_by_name().get(_key(ending), ())
    ]
    return tuple(dict.fromkeys((*endings, *known[:1])))


def assign(words: Sequence[Word], names: Sequence[Sequence[str]]) -> tuple[int | None, ...]:
    """Say which category each word of an answer names (rules 4 to 6).

    Parameters
    ----------
    words : sequence of Word
        From `words.group_words`.
    names : sequence of sequences of str
        Names of each category in the image, as of :func:`names_of`.

    Returns
    -------
    tuple of int or None
        For each word the index of the category it names, or names together with its neighbours.
    """
    spoken = [at for at, word in enumerate(words) if word.kind != "mark"]
    lemmas = [lemma(words[at].text) for at in spoken]
    wanted: dict[tuple[str, ...], int] = {}
    for index, group in enumerate(names):
        for name in group[:1]:
            wanted.setdefault(_key(name), index)
    for index, group in enumerate(names):
        for name in group[1:]:
            wanted.setdefault(_key(name), index)
    wanted.pop((), None)
    found: list[int | None] = [None] * len(words)
    taken = [False] * len(spoken)
    for size in sorted({len(key) for key in wanted}, reverse=True):
        for start in range(len(lemmas) - size + 1):
            named = wanted.get(tuple(lemmas[start : start + size]))
            if named is None or any(taken[start : start + size]):
                continue
            for at in range(start, start + size):
                taken[at] = True
                found[spoken[at]] = named
    return tuple(found)


@functools.cache
def synonyms() -> Mapping[str, tuple[str, ...]]:
    """Return the shipped synonyms: plain category name -> other names, the likeliest first."""
    try:
        table = json.loads(resource_path(SYNONYMS).read_text(encoding="utf-8"))["synonyms"]
        found = {name: tuple(map(str, others)) for name, others in table.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DiffcamError(
            f"the installation's {SYNONYMS} is damaged", "Reinstall Diffusion-CAM Studio."
        ) from error
    return MappingProxyType(found)


@functools.cache
def _categories_by_name() -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Lemmas of every synonym -> the categories that have it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for category, others in synonyms().items():
        for name in others:
            found.setdefault(_key(name), []).append(category)
    return {key: tuple(categories) for key, categories in found.items()}


def _key(name: str) -> tuple[str, ...]:
    """Lemmas of the words of a name."""
    return tuple(lemma(word.text) for word in group_words([name]) if kind_of(word.text) != "mark")
