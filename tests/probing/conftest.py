from __future__ import annotations

import pytest
from probing_cases import make_model, make_prompt, make_trajectory


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def prompt(model):
    return make_prompt(model)


@pytest.fixture(params=[True, False], ids=["prefix-cache", "full"])
def cached(request):
    return request.param


@pytest.fixture
def trajectory(prompt, cached):
    return make_trajectory(prompt, cached)[0]


@pytest.fixture
def final(prompt):
    return make_trajectory(prompt, True)[1]
