"""Stage 0: the tokenizer, and training pairs as token ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from diffcam_core.datasets.scenes import (
    DESCRIBE_PROMPT,
    RELATIONS,
    TRAINING_SEEDS,
    Scene,
    kinds,
    make_scene,
)
from tools.embedded_training.recipe import ANSWER_TOKENS

SPECIAL_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|mdm_mask|>",
)
VOCABULARY = 576
SYSTEM_MESSAGE = "You describe sticker scenes."
IMAGE_ID = -200

DESCRIBE_WORDINGS = (
    DESCRIBE_PROMPT,
    DESCRIBE_PROMPT,
    DESCRIBE_PROMPT,
    "Describe this image.",
    "Describe the picture.",
    "describe the image",
    "What is in the image?",
    "What do you see?",
)


def question_wordings(prompt: str) -> tuple[str, ...]:
    """The prompt as scenes state it, twice as often as in lower case without its mark."""
    return (prompt, prompt, prompt.lower().rstrip("?"))


def make_tokenizer(path: Path) -> Tokenizer:
    """Train a byte-level BPE on training captions, questions and the template; save it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.save(str(path))
    return tokenizer


def _corpus() -> Iterator[str]:
    for seed in TRAINING_SEEDS[-4000:]:
        scene = make_scene(seed)
        yield scene.caption
        yield DESCRIBE_WORDINGS[seed % len(DESCRIBE_WORDINGS)]
        yield f"system\n\n{SYSTEM_MESSAGE}"
        yield "user\n\n"
        yield "assistant\n\n"
        for question in scene.questions:
            yield question.prompt
            yield question.answer


def sub_token_counts(tokenizer: Tokenizer) -> dict[str, int]:
    """Sub-tokens of every noun as it stands inside an answer."""
    return {kind: len(tokenizer.encode(f" {kind}").ids) for kind in kinds()}


@dataclass(frozen=True)
class PairEncoder:
    """Turns a prompt and its answer into ids with the official template and its quirk."""

    tokenizer: Tokenizer

    def prompt_ids(self, prompt: str) -> tuple[list[int], list[int]]:
        """Ids before and after the image span; the first token after the image is dropped."""
        header = "<|start_header_id|>{}<|end_header_id|>\n\n"
        before = (
            "<|startoftext|>"
            + header.format("system")
            + SYSTEM_MESSAGE
            + "<|eot_id|>"
            + header.format("user")
        )
        after = f"\n{prompt}<|eot_id|>" + header.format("assistant")
        return self.tokenizer.encode(before).ids, self.tokenizer.encode(after).ids[1:]

    def answer_ids(self, answer: str) -> list[int]:
        """The answer, an end-of-turn token, then end-of-text up to the canvas length."""
        ids = [*self.tokenizer.encode(answer).ids, self.tokenizer.token_to_id("<|eot_id|>")]
        if len(ids) > ANSWER_TOKENS:
            raise ValueError(f"{len(ids)} tokens do not fit into the canvas: {answer}")
        return ids + [self.tokenizer.token_to_id("<|endoftext|>")] * (ANSWER_TOKENS - len(ids))


@dataclass(frozen=True)
class PairMix:
    """How often a training pair is a caption or a relation; the rest asks for count or ground."""

    captions: float
    relations: float


def draw_pair(scene: Scene, rng: np.random.Generator, mix: PairMix) -> tuple[str, str]:
    """A prompt and its answer; a scene without a clear relation gives a simple question."""
    choice = rng.random()
    if choice < mix.captions:
        return str(rng.choice(DESCRIBE_WORDINGS)), scene.caption
    relational = [q for q in scene.questions if q.kind == "relation"]
    simple = [q for q in scene.questions if q.kind != "relation"]
    pool = relational if relational and choice < mix.captions + mix.relations else simple
    question = pool[int(rng.integers(len(pool)))]
    wordings = question_wordings(question.prompt)
    return wordings[int(rng.integers(len(wordings)))], question.answer


def longest_answer(tokenizer: Tokenizer) -> int:
    """Most tokens that any caption can take: four objects, each with the longest noun."""
    worst = sorted(sub_token_counts(tokenizer).values())[-4:]
    relation = max(len(tokenizer.encode(f" {name}").ids) for name in RELATIONS)
    frame = len(tokenizer.encode("a large, on the grass.").ids) + 3 * len(
        tokenizer.encode(" a large").ids
    )
    return frame + sum(worst) + 3 * relation + 1
