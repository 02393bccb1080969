"""How well a model reads sticker scenes: are the words right before their maps are judged?

Every scene is put to the model with one prompt of each kind (describe, count, ground, one
relation), the answers are read word by word and compared with the scene, from which the
right words are known exactly. Intervals come from resampling whole scenes, since the words
of one scene are right or wrong together.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from diffcam_core.datasets.scenes import (
    DESCRIBE_PROMPT,
    DIAMETERS,
    GROUNDS,
    HELD_OUT_SEEDS,
    NUMBER_WORDS,
    RELATIONS,
    Scene,
    kinds,
    make_scene,
)
from diffcam_core.errors import CancelledError, InputError

if TYPE_CHECKING:
    import torch

    from diffcam_core.denoising import GenerationConfig
    from diffcam_core.models.base import DiffusionVLM

PICTURE_SIDE: Final = 384  # pixels, as `diffcam scenes` and the demo draw them
RESAMPLES: Final = 2000
# Keys and values of one batch of prompts. Measured on a CPU (2.5 M parameters, 222 prompt
# tokens): 8 prompts take 0.110 s each, 1 takes 0.186 s, 32 take 0.121 s each, so the batch
# should fit the caches; an accelerator wants as much as is sure to fit.
_BATCH_BYTES: Final = {"cpu": 20 << 20}
_BATCH_BYTES_ELSEWHERE: Final = 1 << 30
_LARGEST_BATCH: Final = 32

_MAIN: Final = ("noun_recall", "ground", "relation_words", "count", "exact_captions")
_PARTS: Final = (
    "noun_precision",
    "size_given_noun",
    "ground_in_captions",
    "ground_in_answers",
    "relations_in_captions",
    "relations_in_answers",
    "relation_given_nouns",
    "count_in_captions",
    "exact_answers",
)

Progress = Callable[[int, int], None]
Cancel = Callable[[], bool] | threading.Event


@dataclass(frozen=True)
class Rate:
    """A share of right cases with its 95 % bootstrap interval.

    Attributes
    ----------
    value, low, high : float or None
        In [0, 1]; None where there was no case at all.
    n : int
        Number of cases.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class KindRecall:
    """How often a kind of object is named when it is shown."""

    kind: str
    shown: int
    named: int

    @property
    def recall(self) -> float:
        """Named over shown."""
        return self.named / self.shown


@dataclass(frozen=True)
class Confusion:
    """A kind that captions name in place of another, which they leave out."""

    shown: str
    named: str
    times: int


@dataclass(frozen=True)
class SceneQuality:
    """What `evaluate_quality` found.

    Attributes
    ----------
    scenes, answers : int
        Scenes shown, prompts answered.
    held_out : bool
        Every seed is one that training never uses.
    seconds : float
        Wall time.
    noun_recall : Rate
        Objects whose noun stands in the caption, of all objects.
    ground : Rate
        Right ground in captions and in answers to the ground question.
    relation_words : Rate
        Relations (left of, right of, above, below) that stand between the two right nouns,
        of all that should, in captions and in answers to relation questions. A wrong or
        missing noun makes its relations wrong too.
    count : Rate
        Right answers to the count question.
    exact_captions : Rate
        Captions without any difference.
    parts : dict of str to Rate
        The same and more, taken apart: ``noun_precision``, ``size_given_noun``,
        ``ground_in_captions``, ``ground_in_answers``, ``relations_in_captions``,
        ``relations_in_answers``, ``relation_given_nouns`` (captions with both nouns right),
        ``count_in_captions``, ``exact_answers``.
    kinds : tuple of KindRecall
        Worst recall first.
    grounds : dict of str to Rate
        Per ground, over captions and answers.
    confusions : tuple of Confusion
        Most frequent first.
    """

    scenes: int
    answers: int
    held_out: bool
    seconds: float
    noun_recall: Rate
    ground: Rate
    relation_words: Rate
    count: Rate
    exact_captions: Rate
    parts: dict[str, Rate]
    kinds: tuple[KindRecall, ...]
    grounds: dict[str, Rate]
    confusions: tuple[Confusion, ...]

    def rows(self) -> tuple[tuple[str, Rate], ...]:
        """The rates as (title, rate) for a table: the five that matter first."""
        titled = [(name, getattr(self, name)) for name in _MAIN] + list(self.parts.items())
        return tuple((name.replace("_", " "), rate) for name, rate in titled)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        data = asdict(self)
        data["kinds"] = [{**asdict(kind), "recall": kind.recall} for kind in self.kinds]
        data["confusions"] = [asdict(confusion) for confusion in self.confusions]
        return data


def evaluate_quality(
    model: DiffusionVLM,
    seeds: Iterable[int],
    *,
    on_progress: Progress | None = None,
    cancel: Cancel | None = None,
    generation: GenerationConfig | None = None,
    batch_size: int | None = None,
) -> SceneQuality:
    """Let a model read scenes and measure how right its words are.

    Parameters
    ----------
    model : DiffusionVLM
    seeds : iterable of int
        Scenes, usually from `datasets.scenes.HELD_OUT_SEEDS`.
    on_progress : callable, optional
        Told (answers done, answers in all) after each batch.
    cancel : callable or threading.Event, optional
        Asked before every denoising step.
    generation : GenerationConfig, optional
        Default: the model's own.
    batch_size : int, optional
        Prompts answered side by side; by default as many as memory and speed suggest.

    Raises
    ------
    InputError
        If there is no seed, or one is negative or given twice.
    CancelledError
        When `cancel` says so.
    """
    chosen = list(seeds)
    if not chosen:
        raise InputError("there is no scene to look at", "Ask for one scene or more")
    if len(set(chosen)) < len(chosen):
        raise InputError("a scene is asked for twice", "Give each seed once")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"a batch of {batch_size} prompts was asked for", "Use 1 or more")
    started = time.monotonic()
    exams = [_Exam.of(make_scene(seed)) for seed in chosen]
    total = sum(len(exam.tasks) for exam in exams)
    done = 0
    for batch in _answer(model, exams, generation, batch_size, cancel):
        done += batch
        if on_progress is not None:
            on_progress(done, total)
    return _summarise(exams, time.monotonic() - started)


@dataclass(frozen=True)
class _Task:
    """One prompt and its right answer."""

    kind: str  # "caption", "count", "ground" or "relation"
    prompt: str
    answer: str


@dataclass(frozen=True)
class _Exam:
    """A scene, what the model is asked about it, and the answers in the same order."""

    scene: Scene
    tasks: tuple[_Task, ...]
    answers: list[str]

    @classmethod
    def of(cls, scene: Scene) -> _Exam:
        tasks = [_Task("caption", DESCRIBE_PROMPT, scene.caption)]
        tasks += [_Task(q.kind, q.prompt, q.answer) for q in scene.questions]
        relations = [task for task in tasks if task.kind == "relation"]
        tasks = [task for task in tasks if task.kind != "relation"]
        if relations:
            # One of them, so that a crowded scene does not outweigh the others.
            pick = int(np.random.default_rng([scene.seed, 0xA5C]).integers(len(relations)))
            tasks.append(relations[pick])
        return cls(scene, tuple(tasks), [""] * len(tasks))


def _answer(
    model: DiffusionVLM,
    exams: Sequence[_Exam],
    generation: GenerationConfig | None,
    batch_size: int | None,
    cancel: Cancel | None,
) -> Iterator[int]:
    """Fill in every exam's answers; yields the number of answers of each batch."""
    # Prompts of one length go together: no padding, which these models would attend to.
    waiting: dict[int, list[tuple[_Exam, int, torch.Tensor]]] = defaultdict(list)

    def flush(length: int) -> int:
        group = waiting.pop(length)
        texts = _generate(model, [embeds for *_, embeds in group], generation, cancel)
        for (exam, number, _), text in zip(group, texts, strict=True):
            exam.answers[number] = text
        return len(group)

    for exam in exams:
        if _is_cancelled(cancel):
            raise CancelledError("the evaluation was cancelled")
        picture = Image.fromarray(exam.scene.render(PICTURE_SIDE))
        for number, task in enumerate(exam.tasks):
            embeds = model.prepare(picture, task.prompt).embeds.detach()
            length = embeds.shape[1]
            waiting[length].append((exam, number, embeds))
            if len(waiting[length]) >= (batch_size or _fitting_batch(model, length)):
                yield flush(length)
    for length in list(waiting):
        yield flush(length)


def _fitting_batch(model: DiffusionVLM, length: int) -> int:
    backbone = model.backbone
    size = 2 * backbone.n_layers * length * backbone.hidden_size * model.dtype.itemsize
    room = _BATCH_BYTES.get(model.device.type, _BATCH_BYTES_ELSEWHERE)
    return max(1, min(_LARGEST_BATCH, room // size))


def _generate(
    model: DiffusionVLM,
    embeds: Sequence[torch.Tensor],
    generation: GenerationConfig | None,
    cancel: Cancel | None,
) -> list[str]:
    import torch

    from diffcam_core.denoising import sample_batch_from_backbone

    steps = sample_batch_from_backbone(
        model.backbone,
        torch.cat(list(embeds)),
        generation or model.default_generation,
        model.mask_id,
        suppressed_ids=model.suppressed_ids,
        cancel=cancel,
        prefix_cache=model.supports_prefix_cache,
    )
    *_, last = steps
    texts = []
    for record in last:
        ends = np.flatnonzero(np.isin(record.canvas, model.eos_ids))
        texts.append(model.decode(record.canvas[: ends[0]] if ends.size else record.canvas))
    return texts


def _is_cancelled(cancel: Cancel | None) -> bool:
    if cancel is None:
        return False
    return cancel.is_set() if isinstance(cancel, threading.Event) else cancel()


# Reading an answer ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """The words of an answer that mean something."""

    text: str  # lower case, single spaces
    nouns: tuple[str, ...]  # kinds of objects in order, repeats kept
    sized: frozenset[tuple[str, str]]  # (size, noun) side by side
    links: frozenset[tuple[str, str | None, str]]  # noun, relation right behind it, next noun


def _read(answer: str) -> _Reading:
    words = re.findall(r"[a-z]+|[^a-z\s]", answer.lower())
    known = set(kinds())
    places = [place for place, word in enumerate(words) if word in known]
    links = frozenset(
        (words[here], _relation_at(words, here + 1), words[there])
        for here, there in itertools.pairwise(places)
    )
    sized = frozenset(
        (words[place - 1], words[place])
        for place in places
        if place and words[place - 1] in DIAMETERS
    )
    return _Reading(" ".join(words), tuple(words[p] for p in places), sized, links)


def _relation_at(words: Sequence[str], place: int) -> str | None:
    pair = tuple(words[place : place + 2])
    if pair in (("left", "of"), ("right", "of")):
        return " ".join(pair)
    return pair[0] if pair and pair[0] in ("above", "below") else None


def _ground_of(reading: _Reading) -> str | None:
    found = re.findall(rf"\b(?:on the|ground is) ({'|'.join(GROUNDS)})\b", reading.text)
    return str(found[-1]) if found else None


def _number_of(reading: _Reading) -> str | None:
    found = re.search(rf"\bthere (?:is|are) ({'|'.join(NUMBER_WORDS)})\b", reading.text)
    return found.group(1) if found else None


def _statement_of(reading: _Reading) -> tuple[str, str, str] | None:
    """Subject, relation and object of "a large cat is left of the dog"; "nothing" may be one."""
    noun = "|".join(kinds())
    pattern = rf"\b(nothing|{noun}) is ({'|'.join(RELATIONS)}) the ({noun})\b"
    found = re.search(pattern, reading.text)
    return (found[1], found[2], found[3]) if found else None


# Scoring ----------------------------------------------------------------------------------

Score = tuple[int, int]  # right cases, all cases


def _score(exam: _Exam) -> dict[str, Score]:
    """Right and all cases of every measure in one scene."""
    scores: dict[str, Score] = {}
    right = 0
    for task, answer in zip(exam.tasks, exam.answers, strict=True):
        reading, truth = _read(answer), _read(task.answer)
        exact = int(reading.text == truth.text)
        if task.kind == "caption":
            scores |= _score_caption(exam.scene, reading)
            scores["exact_captions"] = (exact, 1)
            continue
        right += exact
        if task.kind == "ground":
            scores["ground_in_answers"] = (int(_ground_of(reading) == exam.scene.ground), 1)
        elif task.kind == "count":
            scores["count"] = (int(_number_of(reading) == _number_of(truth)), 1)
        else:
            same = _statement_of(reading) == _statement_of(truth)
            scores["relations_in_answers"] = (int(same), 1)
    scores["exact_answers"] = (right, len(exam.tasks) - 1)
    scores["ground"] = _sum(scores, "ground_in_captions", "ground_in_answers")
    scores["relation_words"] = _sum(scores, "relations_in_captions", "relations_in_answers")
    return scores


def _score_caption(scene: Scene, reading: _Reading) -> dict[str, Score]:
    things = scene.objects
    shown, named = {thing.kind for thing in things}, set(reading.nouns)
    wanted = {
        (a.kind, relation, b.kind)
        for relation, (a, b) in zip(scene.relations, itertools.pairwise(things), strict=True)
    }
    neighbours = {(first, second) for first, _, second in reading.links}
    stated = len(wanted & reading.links)
    met = sum((first, second) in neighbours for first, _, second in wanted)
    sized = sum((thing.size, thing.kind) in reading.sized for thing in things)
    seen = len(shown & named)
    return {
        "noun_recall": (seen, len(shown)),
        "noun_precision": (seen, len(named)),
        "size_given_noun": (sized, seen),
        "ground_in_captions": (int(_ground_of(reading) == scene.ground), 1),
        "relations_in_captions": (stated, len(wanted)),
        "relation_given_nouns": (stated, met),
        "count_in_captions": (int(len(reading.nouns) == len(things)), 1),
    }


def _sum(scores: dict[str, Score], *names: str) -> Score:
    found = [scores[name] for name in names if name in scores]
    return sum(right for right, _ in found), sum(total for _, total in found)


def _summarise(exams: Sequence[_Exam], seconds: float) -> SceneQuality:
    scores = [_score(exam) for exam in exams]
    rates = {
        name: bootstrap_rate([score.get(name, (0, 0)) for score in scores])
        for name in (*_MAIN, *_PARTS)
    }
    grounds = {
        ground: bootstrap_rate(
            [
                score["ground"]
                for exam, score in zip(exams, scores, strict=True)
                if exam.scene.ground == ground
            ]
        )
        for ground in GROUNDS
    }
    return SceneQuality(
        scenes=len(exams),
        answers=sum(len(exam.tasks) for exam in exams),
        held_out=all(exam.scene.seed in HELD_OUT_SEEDS for exam in exams),
        seconds=seconds,
        **{name: rates[name] for name in _MAIN},
        parts={name: rates[name] for name in _PARTS},
        kinds=_recall_by_kind(exams),
        grounds={name: rate for name, rate in grounds.items() if rate.n},
        confusions=_confusions(exams),
    )


def bootstrap_rate(scores: Sequence[Score], resamples: int = RESAMPLES) -> Rate:
    """Share of right cases with its 95 % interval over resampled scenes.

    Parameters
    ----------
    scores : sequence of (right, all)
        One pair for each scene; scenes without a case count for nothing.
    resamples : int
        Bootstrap samples; the percentile interval (2.5, 97.5) is taken.
    """
    pairs = np.array([score for score in scores if score[1]], dtype=np.int64).reshape(-1, 2)
    if not len(pairs):
        return Rate(None, None, None, 0)
    right, total = (int(count) for count in pairs.sum(axis=0))
    # Scenes with equal pairs are exchangeable: draw how often each distinct pair comes.
    distinct, often = np.unique(pairs, axis=0, return_counts=True)
    draws = np.random.default_rng(0).multinomial(len(pairs), often / len(pairs), size=resamples)
    sums = draws @ distinct
    low, high = np.percentile(sums[:, 0] / sums[:, 1], (2.5, 97.5))
    return Rate(right / total, float(low), float(high), total)


def _recall_by_kind(exams: Sequence[_Exam]) -> tuple[KindRecall, ...]:
    shown: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for exam in exams:
        there = {thing.kind for thing in exam.scene.objects}
        shown.update(there)
        named.update(there & set(_caption_of(exam).nouns))
    found = (KindRecall(kind, shown[kind], named[kind]) for kind in shown)
    return tuple(sorted(found, key=lambda kind: (kind.recall, -kind.shown, kind.kind)))


def _confusions(exams: Sequence[_Exam]) -> tuple[Confusion, ...]:
    pairs: Counter[tuple[str, str]] = Counter()
    for exam in exams:
        there, said = {t.kind for t in exam.scene.objects}, set(_caption_of(exam).nouns)
        missed, invented = there - said, said - there
        # Only where it is plain which noun stands for which object.
        if len(missed) == len(invented) == 1:
            pairs[missed.pop(), invented.pop()] += 1
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(shown, named, times) for (shown, named), times in ranked)


def _caption_of(exam: _Exam) -> _Reading:
    return _read(
        next(a for t, a in zip(exam.tasks, exam.answers, strict=True) if t.kind == "caption")
    )
