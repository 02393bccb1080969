import math

import pytest
import torch

from diffcam_core.denoising.config import REMASKING
from diffcam_core.denoising.remasking import certainty

LOGITS = torch.tensor([[[2.0, 1.0, 0.0, -1.0], [0.5, 0.5, 0.5, 0.5], [-3.0, 4.0, 3.9, 0.0]]])
P = LOGITS.double().softmax(-1)
CANDIDATES = torch.tensor([[1, 0, 1]])


def _score(rule, p=P, seed=0):
    return certainty(rule, p, CANDIDATES, torch.Generator().manual_seed(seed))[0].tolist()


def test_low_confidence_is_the_candidate_s_probability():
    expected = [math.e / (math.e**2 + math.e + 1 + 1 / math.e), 0.25, P[0, 2, 1].item()]
    assert _score("low_confidence") == pytest.approx(expected, rel=1e-12)


def test_entropy_is_the_negative_entropy():
    expected = [sum(p * math.log(p + 1e-10) for p in row) for row in P[0].tolist()]
    assert _score("entropy") == pytest.approx(expected, rel=1e-12)
    assert _score("entropy")[1] == pytest.approx(-math.log(4), abs=1e-8)


def test_margin_is_best_minus_second():
    expected = [sorted(row)[-1] - sorted(row)[-2] for row in P[0].tolist()]
    assert _score("margin") == pytest.approx(expected, abs=1e-15)


def test_random_is_seeded_and_ignores_the_model():
    assert _score("random") == _score("random")
    assert _score("random") == _score("random", P.flip(-1))
    assert _score("random") != _score("random", seed=1)


def test_only_random_draws():
    for rule in REMASKING:
        generator = torch.Generator().manual_seed(5)
        before = generator.get_state()
        certainty(rule, P, CANDIDATES, generator)
        assert torch.equal(generator.get_state(), before) is (rule != "random")


def test_a_vanished_probability_stays_finite():
    p = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    score = certainty("entropy", p, torch.zeros(1, 1, dtype=torch.long), torch.Generator())
    assert torch.isfinite(score).all()


def test_margin_of_a_single_token():
    p = torch.ones(1, 2, 1, dtype=torch.float64)
    score = certainty("margin", p, torch.zeros(1, 2, dtype=torch.long), torch.Generator())
    assert score.tolist() == [[1.0, 1.0]]
