"""From tokens to words: which positions spell which word, and what kind of word it is.

Everything works offline on display texts, that is, what ``model.token_text(id)`` returns: a space
(or the marks U+2581 and U+0120 that tokenizers use for it) at the start of a token begins a new
word.

Rules
-----
1. Texts are joined; each character remembers its position. Special tokens (``<|eot_id|>``,
   ``</s>``, ``[MASK]`` …) stand apart.
2. A word is a run of letters and digits; an apostrophe or hyphen between two letters belongs to it
   ("don't", "t-shirt"). A run of other visible characters is a mark. So several tokens may spell
   one word, and one token (" dog.") may hold a word and a mark.
3. In scripts without spaces (Chinese, Japanese, Thai …) every token is a word of its own.
4. A byte that is not a whole character yet (``<0xE2>`` or U+FFFD) belongs to the word it touches.
5. A word is a *function word* if the closed-class list below has it (articles, pronouns,
   prepositions, conjunctions, auxiliaries, particles), a *number* if it is made of digits or is a
   number word, *other* if the list of frequent adjectives, adverbs and verbs has it, else
   *content*. Only content words count as nouns. That errs on the side of nouns: a rare verb passes
   for one; a noun that is also in a list ("left", "square") does not.
6. Plurals (`lemma`), in this order: possessive endings go ("cat's", "cats'"); the list of irregular
   words ("people", "knives", "skis"); compounds of irregular ones ("firemen", "grandchildren",
   "salespeople"); words that look plural but are not ("glasses", "lens", "canvas") stay; then -ies
   becomes -y; -es goes after ss, x, zz, ch, sh and o; -s goes except after s, u and i.
7. Synonyms are a matter of categories: `diffcam_core.categories`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


Kind = Literal["content", "function", "number", "other", "mark", "special"]

FUNCTION_WORDS = _listed(
    """
    a an the this that these those each every either neither both all some any no none such what
    which whose another other others half
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one ones oneself
    who whom whoever whomever whatever whichever someone somebody something anyone anybody
    anything everyone everybody everything nobody nothing there here
    about above across after against along alongside amid amidst among amongst around as at atop
    before behind below beneath beside besides between beyond by concerning despite down during
    except for from in inside into like near of off on onto opposite out outside over past per
    regarding round since than through throughout till to toward towards under underneath unlike
    until up upon versus via with within without
    and but or nor so yet if unless because although though while whereas whether once when
    whenever where wherever how however why lest provided
    am is are was were be been being have has had having do does did doing done can could may
    might must shall should will would ought need dare
    isn't aren't wasn't weren't haven't hasn't hadn't don't doesn't didn't can't cannot couldn't
    mightn't mustn't shan't shouldn't won't wouldn't ain't
    i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd
    they'd i'll you'll he'll she'll it'll we'll they'll that's there's here's what's who's let's
    not n't 's 're 've 'll 'd 'm s t
    yes ok okay please
    left right
    also too very just only even still already again then now both quite rather almost
    """
)
"""Closed classes of English, lower case. "left" and "right" are here because answers about
places use them as relations."""

NUMBER_WORDS = _listed(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    hundred thousand million billion first second third fourth fifth sixth seventh eighth ninth
    tenth several many few much more most less least multiple various numerous
    """
)

OTHER_WORDS = _listed(
    """
    red orange yellow green blue purple violet pink brown black white grey gray golden silver
    beige turquoise dark bright pale colorful colourful
    big small large little tiny huge tall short long wide narrow thick thin deep high low
    old young new round square flat empty full open closed wooden metallic metal plastic striped
    spotted beautiful pretty nice good bad happy sad clean dirty wet dry hot cold warm cool soft
    hard fast slow same different main whole single double visible nearby front upper lower
    central middle
    sitting sits sit standing stands stand lying lies lie walking walks walk running runs run
    looking looks look holding holds hold wearing wears wear eating eats eat drinking drinks drink
    playing plays play riding rides ride flying flies fly showing shows show shown depicts
    depicting features featuring contains containing appears appear appearing seems seem facing
    placed located positioned surrounded filled covered parked made seen see sees set stand
    hanging hangs hang going goes go coming comes come making makes make taking takes take
    getting gets get using uses use
    together apart away close closely slightly partly mostly mainly clearly possibly probably
    perhaps maybe really well often always never sometimes
    """
)
"""Frequent adjectives, adverbs and verb forms of image descriptions: content, but no nouns."""

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot",
    "teeth": "tooth", "geese": "goose", "mice": "mouse", "lice": "louse", "oxen": "ox",
    "wolves": "wolf", "knives": "knife", "wives": "wife", "lives": "life", "leaves": "leaf",
    "loaves": "loaf", "halves": "half", "shelves": "shelf", "calves": "calf", "thieves": "thief",
    "scarves": "scarf", "elves": "elf", "hooves": "hoof", "selves": "self", "dice": "die",
    "cacti": "cactus", "fungi": "fungus", "octopi": "octopus", "firemen": "fireman",
    "policemen": "policeman", "snowmen": "snowman", "buses": "bus", "gases": "gas",
    "lenses": "lens", "octopuses": "octopus", "cactuses": "cactus", "viruses": "virus",
    "walruses": "walrus", "crocuses": "crocus", "irises": "iris", "shoes": "shoe", "toes": "toe",
    "canoes": "canoe", "movies": "movie", "cookies": "cookie", "pies": "pie", "ties": "tie",
    "zombies": "zombie", "axes": "axe", "caches": "cache", "headaches": "headache",
    "quizzes": "quiz", "skis": "ski", "taxis": "taxi", "kiwis": "kiwi", "bikinis": "bikini",
    "safaris": "safari", "canvases": "canvas", "atlases": "atlas", "busses": "bus",
    "brownies": "brownie", "hoodies": "hoodie", "beanies": "beanie", "selfies": "selfie",
    "smoothies": "smoothie", "veggies": "veggie", "doggies": "doggie", "magpies": "magpie",
    "calories": "calorie", "dwarves": "dwarf", "wharves": "wharf", "neckties": "necktie",
    "bowties": "bowtie",
}  # fmt: skip
_UNCHANGED = _listed(
    """
    glasses sunglasses eyeglasses scissors trousers pants jeans shorts series species news lens
    canvas atlas christmas pajamas pyjamas binoculars
    """
)
_COMPOUNDS = (
    ("women", "woman"), ("men", "man"), ("children", "child"), ("people", "person"),
    ("wives", "wife"), ("knives", "knife"), ("shelves", "shelf"), ("teeth", "tooth"),
    ("mice", "mouse"), ("wolves", "wolf"), ("leaves", "leaf"), ("shoes", "shoe"),
)  # fmt: skip
# Words that end like a compound and are none.
_NO_COMPOUNDS = _listed("specimen abdomen omen acumen regimen stamen ramen semen")
_ES_STEM = re.compile(r"(?:ss|x|zz|ch|sh|o)es$")

_SPACE_MARKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n", "\u0109": "\t"})
_SPECIAL = re.compile(
    r"\s*(?:<\|[^|<>]*\|>|<｜[^<>]*｜>|</?[A-Za-z_][\w-]*>|\[[A-Z][A-Z_0-9]*\])\s*"
)
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNFINISHED = "\ufffd"

# Scripts that are written without spaces between words.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_SPACELESS_CLASS = "[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in _SPACELESS) + "]"
# Letters and digits, joined by single apostrophes and hyphens; else a run of marks.
_WORD = re.compile(
    rf"[^\W_]+(?:(?<!{_SPACELESS_CLASS})['’\-‐](?!{_SPACELESS_CLASS})[^\W_]+)*|[^\w\s]+|_+"
)


@dataclass(frozen=True)
class Word:
    """One word of an answer.

    Parameters
    ----------
    text : str
        As it reads in the answer, without spaces.
    positions : tuple of int
        Ascending answer positions whose tokens spell it.
    kind : str
        "content", "function", "number", "other", "mark" (punctuation) or "special".
    """

    text: str
    positions: tuple[int, ...]
    kind: Kind

    @property
    def is_noun(self) -> bool:
        """Whether the word may name an object: a content word by the rules of this module."""
        return self.kind == "content"

    @property
    def is_function(self) -> bool:
        """Whether the word is of a closed class."""
        return self.kind == "function"


def group_words(texts: Sequence[str]) -> tuple[Word, ...]:
    """Group display texts into words.

    Parameters
    ----------
    texts : sequence of str
        One per answer position; "" for a position without text (masked).

    Returns
    -------
    tuple of Word
        In order of appearance. Every position whose text is visible is in at least one word.
    """
    words: list[Word] = []
    characters: list[str] = []
    owners: list[int] = []

    def close() -> None:
        words.extend(_split("".join(characters), owners))
        characters.clear()
        owners.clear()

    for position, raw in enumerate(texts):
        text = _BYTE.sub(_UNFINISHED, raw.translate(_SPACE_MARKS))
        if not text:
            # A masked position: what stands before and after it is not one word.
            close()
        elif _SPECIAL.fullmatch(text):
            close()
            words.append(Word(text.strip(), (position,), "special"))
        else:
            characters.extend(text)
            owners.extend([position] * len(text))
    close()
    return tuple(words)


def find_word(words: Sequence[Word], query: str) -> tuple[int, ...]:
    """Find a word, or several words in a row, in an answer.

    Parameters
    ----------
    words : sequence of Word
        From :func:`group_words`.
    query : str
        "cat" finds "cat", "Cat", "cats" and "cat's"; "traffic light" finds the two in a row.

    Returns
    -------
    tuple of int
        Ascending positions of all places where it occurs; empty if it does not.
    """
    return tuple(sorted({p for place in find_occurrences(words, query) for p in place}))


def find_occurrences(words: Sequence[Word], query: str) -> tuple[tuple[int, ...], ...]:
    """Find each place where a word occurs; parameters as :func:`find_word`.

    Returns
    -------
    tuple of tuple of int
        Positions of each occurrence, in order. Words as they are written win over folded ones: in
        "glass … glasses" the query "glasses" finds the second only.
    """
    wanted = [word.text for word in group_words([query]) if word.kind != "mark"]
    if not wanted:
        wanted = [query.strip()] if query.strip() else []
        spoken = list(words)
    else:
        spoken = [word for word in words if word.kind != "mark"]
    if not wanted:
        return ()
    for fold in (_plain, lemma):
        keys = [fold(text) for text in wanted]
        texts = [fold(word.text) for word in spoken]
        found = [
            tuple(sorted({p for word in spoken[at : at + len(keys)] for p in word.positions}))
            for at in range(len(texts) - len(keys) + 1)
            if texts[at : at + len(keys)] == keys
        ]
        if found:
            return tuple(found)
    return ()


def lemma(word: str) -> str:
    """Fold case and English plural and possessive endings: "Cats", "cat's" and "cat" are equal.

    Parameters
    ----------
    word : str

    Returns
    -------
    str
        For comparing only; not always a word ("glass" stays, "glasses" stays too).
    """
    text = _plain(word)
    for ending in ("'s", "s'"):
        if text.endswith(ending) and len(text) > len(ending) + 1:
            text = text[: -len(ending)] + ("s" if ending == "s'" else "")
    if text in _IRREGULAR:
        return _IRREGULAR[text]
    for plural, singular in _COMPOUNDS:
        if text.endswith(plural) and text not in _NO_COMPOUNDS:
            return text[: -len(plural)] + singular
    if text in _UNCHANGED or len(text) < 4 or not text.endswith("s"):
        return text
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    if _ES_STEM.search(text):
        return text[:-2]
    if text.endswith(("ss", "us", "is")):
        return text
    return text[:-1]


def kind_of(word: str) -> Kind:
    """Classify a word by the rules of this module.

    Parameters
    ----------
    word : str
        Without spaces.

    Returns
    -------
    str
        As :attr:`Word.kind`, never "special".
    """
    text = _plain(word)
    if not any(character.isalnum() or character == _UNFINISHED for character in text):
        return "mark"
    # Numbers first: "one" is a count in an answer more often than a pronoun.
    if text in NUMBER_WORDS or all(c.isdigit() or c in ".,-" for c in text):
        return "number"
    if text in FUNCTION_WORDS:
        return "function"
    if text in OTHER_WORDS:
        return "other"
    return "content"


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().replace("’", "'").replace("‐", "-")


def _split(text: str, owners: Sequence[int]) -> list[Word]:
    """Find the words of a text without special tokens."""
    # Unfinished bytes count as letters, so that they stay with the word they touch.
    searched = text.replace(_UNFINISHED, "x")
    words = []
    for match in _WORD.finditer(searched):
        for start, end in _pieces(text, owners, match.start(), match.end()):
            positions = tuple(dict.fromkeys(owners[start:end]))
            shown = text[start:end]
            words.append(Word(shown, positions, kind_of(shown)))
    return words


def _pieces(text: str, owners: Sequence[int], start: int, end: int) -> list[tuple[int, int]]:
    """Cut a word at token boundaries beside characters of scripts without spaces."""
    cuts = [start]
    for at in range(start + 1, end):
        beside = _is_spaceless(text[at - 1]) or _is_spaceless(text[at])
        if owners[at] != owners[at - 1] and beside:
            cuts.append(at)
    cuts.append(end)
    return [(low, high) for low, high in pairwise(cuts) if low < high]


def _is_spaceless(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _SPACELESS)
