"""A tiny random LaViDa goes through the whole evaluation: names, shapes and batches fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from diffcam_core.datasets.scenes import DESCRIBE_PROMPT, make_scene
from diffcam_core.denoising import GenerationConfig, sample_from_backbone
from diffcam_core.evaluation import quality
from diffcam_core.evaluation.quality import evaluate_quality
from diffcam_core.models.base import DiffusionVLM
from diffcam_core.models.lavida import LaViDa
from diffcam_core.models.lavida_config import LavidaConfig
from diffcam_core.models.lavida_network import LavidaNetwork
from diffcam_core.models.tokenizer import TextTokenizer

SPECIAL = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|mdm_mask|>",
]
SEEDS = (3, 4, 5)


@pytest.fixture(scope="module")
def model():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    config = LavidaConfig.from_dict(
        {
            "d_model": 16,
            "n_heads": 2,
            "n_layers": 2,
            "mlp_hidden_size": 24,
            "vocab_size": 262,
            "mask_token_id": 261,
            "eos_token_id": 257,
            "image_aspect_ratio": "pad",
            "mm_spatial_pool_stride": 1,
            "system_message": "Look.",
            "default_generation": {"max_new_tokens": 8},
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
        }
    )
    torch.manual_seed(0)
    network = LavidaNetwork(config).eval().requires_grad_(False)
    text = TextTokenizer.from_json(tokenizer.to_str())
    return LaViDa(network, text, "tiny", Path())


def test_the_model_is_what_the_evaluation_asks_for(model):
    assert isinstance(model, DiffusionVLM)


def test_a_random_model_is_measured(model):
    found = evaluate_quality(model, SEEDS)
    assert found.answers == sum(len(quality._Exam.of(make_scene(s)).tasks) for s in SEEDS)
    assert found.exact_captions.value == 0
    assert all(rate.value is None or 0 <= rate.value <= 1 for _, rate in found.rows())


def test_answers_are_those_of_one_prompt_at_a_time(model, monkeypatch):
    heard = {}
    score = quality._score
    monkeypatch.setattr(
        quality,
        "_score",
        lambda exam: heard.update({exam.scene.seed: list(exam.answers)}) or score(exam),
    )
    config = GenerationConfig(12, prefix_cache=False)
    evaluate_quality(model, SEEDS, generation=config, batch_size=2)
    for seed in SEEDS:
        picture = make_scene(seed).render(quality.PICTURE_SIDE)
        prompt = model.prepare(Image.fromarray(picture), DESCRIBE_PROMPT)
        *_, last = sample_from_backbone(model.backbone, prompt.embeds, config, model.mask_id)
        ends = np.flatnonzero(np.isin(last.canvas, model.eos_ids))
        kept = last.canvas[: ends[0]] if ends.size else last.canvas
        assert heard[seed][0] == model.decode(kept)
