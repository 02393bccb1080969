import json
import subprocess
import sys

import pytest

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import InputError


def test_defaults_are_those_of_the_published_scripts():
    config = GenerationConfig()
    assert (config.max_new_tokens, config.block, config.n_steps) == (64, 64, 32)
    assert (config.schedule, config.shift, config.remasking) == ("shift", 3.0, "low_confidence")


@pytest.mark.parametrize(
    ("options", "blocks", "per_block", "total"),
    [
        ({"max_new_tokens": 16}, 1, 8, 8),
        ({"max_new_tokens": 16, "block_length": 4}, 4, 2, 8),
        ({"max_new_tokens": 15, "block_length": 3}, 5, 1, 5),
        ({"max_new_tokens": 7, "block_length": 1}, 7, 1, 7),
        ({"max_new_tokens": 16, "block_length": 8, "steps": 16}, 2, 8, 16),
        ({"max_new_tokens": 16, "block_length": 8, "steps": 2}, 2, 1, 2),
        ({"max_new_tokens": 1}, 1, 1, 1),
    ],
)
def test_steps_and_blocks(options, blocks, per_block, total):
    config = GenerationConfig(**options)
    assert (config.n_blocks, config.steps_per_block, config.n_steps) == (blocks, per_block, total)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_new_tokens": 0}, "1 to 16384"),
        ({"max_new_tokens": 20_000}, "1 to 16384"),
        ({"max_new_tokens": 8.0}, "whole number"),
        ({"max_new_tokens": True}, "whole number"),
        ({"max_new_tokens": 12, "block_length": 5}, "1, 2, 3, 4, 6, 12"),
        ({"max_new_tokens": 12, "block_length": 24}, "does not divide"),
        ({"max_new_tokens": 12, "block_length": 0}, "does not divide"),
        ({"max_new_tokens": 12, "steps": 13}, "from 1 to 12"),
        ({"max_new_tokens": 12, "steps": 0}, "from 1 to 12"),
        ({"max_new_tokens": 12, "block_length": 4, "steps": 2}, "from 3 to 12"),
        ({"max_new_tokens": 12, "block_length": 4, "steps": 7}, "Give 6 or 9"),
        ({"schedule": "linear"}, "shift, uniform, cosine, logit_normal"),
        ({"remasking": "entrophy"}, "low_confidence, entropy, margin, random"),
        ({"shift": 0.0}, "0.001 to 1000"),
        ({"shift": float("nan")}, "finite number"),
        ({"temperature": -0.1}, "Give 0"),
        ({"temperature": float("inf")}, "finite number"),
        ({"prefix_cache": "yes"}, "True, False, or None"),
    ],
)
def test_a_bad_value_is_refused_with_its_mend(options, named):
    with pytest.raises(InputError) as caught:
        GenerationConfig(**options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_round_trip():
    config = GenerationConfig(32, 8, 16, "cosine", 2.0, "margin", 0.5, False)
    assert GenerationConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_field_is_named():
    with pytest.raises(InputError, match=r"'top_p'.*max_new_tokens"):
        GenerationConfig.from_json({"top_p": 0.9})


def test_planning_needs_no_torch():
    code = (
        "import sys; from diffcam_core.denoising import GenerationConfig, tokens_per_step;"
        "tokens_per_step(GenerationConfig()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
