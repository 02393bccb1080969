"""The recipe of the embedded model against slower ways to the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, GROUNDS, TRAINING_SEEDS, kinds, make_scene
from diffcam_core.models.llada import Backbone, LladaConfig
from tools.embedded_training.copies import copies_logits
from tools.embedded_training.language import (
    LANGUAGE,
    RELATIONS,
    LanguageStage,
    adopt_checkpoint,
    mask_copies,
    starting_network,
)
from tools.embedded_training.optimiser import Muon
from tools.embedded_training.pictures import patch_shares
from tools.embedded_training.recipe import ANSWER_TOKENS, DRAWN_SIZE, GRID
from tools.embedded_training.words import (
    SPECIAL_TOKENS,
    PairEncoder,
    draw_pair,
    longest_answer,
    make_tokenizer,
    sub_token_counts,
)

SHIPPED = Path(__file__).parents[2] / "resources" / "embedded-model"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PairEncoder:
    return PairEncoder(make_tokenizer(tmp_path_factory.mktemp("words") / "tokenizer.json"))


def test_copies_equal_the_backbone_with_a_prefix_cache() -> None:
    torch.manual_seed(0)
    config = LladaConfig(d_model=24, n_heads=3, n_layers=3, mlp_hidden_size=40, vocab_size=30)
    backbone = Backbone(config).double()
    prefix = torch.randn(2, 11, 24, dtype=torch.float64)
    copies = torch.randn(2, 4, 5, 24, dtype=torch.float64)
    together = copies_logits(backbone, prefix, copies)
    for b in range(2):
        past = backbone(prefix[b : b + 1], use_cache=True, logits_at=[]).past
        for m in range(4):
            alone = backbone(copies[b : b + 1, m], past=past).logits
            torch.testing.assert_close(together[b, m], alone[0], atol=1e-12, rtol=1e-10)


def test_muon_equals_that_of_torch_up_to_bfloat16() -> None:
    torch.manual_seed(0)
    starts = [torch.randn(24, 40), torch.randn(24, 40), torch.randn(40, 24)]
    ours = [torch.nn.Parameter(start.clone()) for start in starts]
    theirs = [torch.nn.Parameter(start.clone()) for start in starts]
    mine = Muon(ours, lr=0.02, momentum=0.95, weight_decay=0.01)
    peer = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.01)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        mine.step()
        peer.step()
    for start, a, b in zip(starts, ours, theirs, strict=True):
        moved = (b - start).norm()
        assert moved > 0.1
        assert (a - b).norm() < 0.05 * moved, (a - b).norm() / moved


def test_patch_shares_count_the_pixels_of_the_masks() -> None:
    scene = make_scene(TRAINING_SEEDS.start, n_objects=3)
    _, masks = scene.draw(DRAWN_SIZE)
    shares = patch_shares(scene, masks)
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
    cell = DRAWN_SIZE // GRID
    for row, col in ((0, 0), (5, 7), (GRID - 1, GRID - 1)):
        window = masks[:, row * cell : (row + 1) * cell, col * cell : (col + 1) * cell]
        expected = {
            kinds().index(o.kind): w.mean() for o, w in zip(scene.objects, window, strict=False)
        }
        expected[len(kinds()) + GROUNDS.index(scene.ground)] = window[-1].mean()
        for index, share in enumerate(shares[row * GRID + col]):
            assert share == pytest.approx(expected.get(index, 0.0), abs=1e-6)


def test_every_answer_fits_the_canvas(encoder: PairEncoder) -> None:
    assert longest_answer(encoder.tokenizer) <= ANSWER_TOKENS
    for seed in TRAINING_SEEDS[:60]:
        scene = make_scene(seed)
        answers = [scene.caption, *(question.answer for question in scene.questions)]
        for answer in answers:
            ids = encoder.answer_ids(answer)
            assert len(ids) == ANSWER_TOKENS
            assert encoder.tokenizer.decode(ids, skip_special_tokens=True) == answer


def test_any_prompt_can_be_typed(encoder: PairEncoder) -> None:
    for prompt in ("Où est le chat ?", "猫はどこ?", "🐈 \t\x01", "naïve façade"):
        ids = encoder.tokenizer.encode(prompt).ids
        assert encoder.tokenizer.decode(ids) == prompt


def test_some_nouns_have_several_sub_tokens(encoder: PairEncoder) -> None:
    counts = sub_token_counts(encoder.tokenizer)
    assert 1 <= sum(count > 1 for count in counts.values()) <= 12
    assert all(encoder.tokenizer.token_to_id(token) is not None for token in SPECIAL_TOKENS)


def test_template_drops_the_token_after_the_image(encoder: PairEncoder) -> None:
    before, after = encoder.prompt_ids(DESCRIBE_PROMPT)
    text = encoder.tokenizer.decode(before + after, skip_special_tokens=False)
    assert text.count("<|start_header_id|>") == 3
    # The newline between image and question is the token that LaViDa's splitter drops.
    assert re.search(r"user<\|end_header_id\|>\n\nDescribe the image\.<\|eot_id\|>", text)


def test_masks_cover_all_shares_and_hide_only_the_answer() -> None:
    answers = torch.randint(1, 50, (64, ANSWER_TOKENS))
    canvases, masked = mask_copies(answers, 6, 0, torch.Generator().manual_seed(0))
    assert canvases.shape == (64, 6, ANSWER_TOKENS)
    assert masked[:, 0].all()
    assert torch.equal(canvases == 0, masked)
    kept = answers[:, None].expand_as(canvases)
    assert torch.equal(canvases[~masked], kept[~masked])
    shares = masked[:, 1:].float().mean(-1)
    assert shares.min() < 0.2
    assert shares.max() > 0.8
    assert shares.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("stage", [LANGUAGE, RELATIONS], ids=lambda stage: stage.name)
def test_pairs_are_true_of_their_scene(stage: LanguageStage) -> None:
    kinds_of_prompt = set()
    for seed in TRAINING_SEEDS[:200]:
        scene = make_scene(seed)
        prompt, answer = draw_pair(scene, np.random.default_rng(seed), stage.mix)
        asked = [q for q in scene.questions if q.answer == answer]
        assert answer == scene.caption or asked
        if asked and answer != scene.caption:
            assert any(q.prompt.lower().rstrip("?") == prompt.lower().rstrip("?") for q in asked)
        kinds_of_prompt.add(prompt.split()[0].lower())
    assert {"describe", "what", "how"} <= kinds_of_prompt


def test_training_goes_on_from_a_published_checkpoint(tmp_path: Path) -> None:
    """The adopted weights are those of the file, so a later stage starts where it ended."""
    adopt_checkpoint(SHIPPED, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    network = starting_network(tmp_path, RELATIONS, tokenizer)
    again = network.state_dict_for_checkpoint()
    published = load_file(SHIPPED / "model.safetensors")
    assert again.keys() == published.keys()
    for key, tensor in published.items():
        torch.testing.assert_close(again[key], tensor.float(), atol=0, rtol=0)
