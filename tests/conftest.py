"""Fixtures shared by all tests: the golden folders and their arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden_folder() -> Callable[[str], Path]:
    """Return the folder of a golden set by name."""
    return lambda name: GOLDEN / name


@pytest.fixture(scope="session")
def golden_arrays() -> Callable[[str], Mapping[str, np.ndarray]]:
    """Return the arrays of a golden set by name, read lazily and never as pickle."""
    return lambda name: np.load(GOLDEN / name / "io.npz", allow_pickle=False)


@pytest.fixture(scope="session")
def tiny_lavida(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random LaViDa checkpoint folder: 3 blocks, width 24, 4 x 4 image tokens.

    Same class, keys and files as the embedded model. Copy the folder before changing it.
    """
    from tiny_checkpoint import write_tiny_lavida

    return write_tiny_lavida(tmp_path_factory.mktemp("tiny") / "tiny-lavida")
