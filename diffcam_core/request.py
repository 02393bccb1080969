"""What a job was asked for: checked once, stored in the run file, compared when it is resumed.

Needs no torch, so that options can be checked and stored requests read without a model's weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from diffcam_core.denoising.config import GenerationConfig
from diffcam_core.errors import InputError, RunFileError, TargetError
from diffcam_core.layers import INPUT_LAYER

if TYPE_CHECKING:
    from diffcam_core.attribution import Method
    from diffcam_core.models.base import DiffusionVLM

Steps = Literal["all", "commit"] | Sequence[int]

CONTRASTS: Final = ("none", "runner_up", "log_probability")
"""Contrasts without a word; the fourth is ``"word:"`` followed by the distractor."""

_HASH_WHOLE_BELOW = 256 * 1024 * 1024
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """Everything that decides the maps of a run, as it is stored in the run file.

    Two runs with equal requests and equal images have equal maps. `layers` and `generation` are
    stored as they were resolved; `tokens` and `steps` as they were asked for.

    Parameters
    ----------
    prompt : str
        What the model is asked.
    layers : tuple of int
        Transformer blocks, ascending; `INPUT_LAYER` for what block 0 reads, and for methods that
        give one map for the whole model.
    steps : "all", "commit" or tuple of int
        Denoising steps to explain.
    tokens : tuple of int or str, optional
        Positions and words of the answer; None: the whole answer up to its first end token.
    method : str
        Name in `diffcam_core.attribution.METHODS`.
    contrast : str
        "none", "runner_up", "log_probability" or "word:" and a word.
    generation : GenerationConfig
        With `prefix_cache` resolved to True or False.
    seed : int
        Seed of the sampler.
    model : str
        Fingerprint of the weights and configuration.
    arithmetic : str
        Number type and kind of device, such as "float32 on cpu".
    """

    prompt: str
    layers: tuple[int, ...]
    steps: Literal["all", "commit"] | tuple[int, ...]
    tokens: tuple[int | str, ...] | None
    method: str
    contrast: str
    generation: GenerationConfig
    seed: int
    model: str
    arithmetic: str

    @property
    def asked_steps(self) -> tuple[int, ...]:
        """The steps in question: the given ones, or all of them."""
        return (
            self.steps if isinstance(self.steps, tuple) else tuple(range(self.generation.n_steps))
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "prompt": self.prompt,
            "layers": list(self.layers),
            "steps": self.steps if isinstance(self.steps, str) else list(self.steps),
            "tokens": None if self.tokens is None else list(self.tokens),
            "method": self.method,
            "contrast": self.contrast,
            "generation": self.generation.to_json(),
            "seed": self.seed,
            "model": self.model,
            "arithmetic": self.arithmetic,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read what :meth:`to_json` wrote, from an untrusted file.

        Raises
        ------
        RunFileError
            If a field is missing or of another kind.
        """
        try:
            steps, tokens = data["steps"], data["tokens"]
            return cls(
                prompt=_text(data["prompt"]),
                layers=tuple(_whole(layer) for layer in data["layers"]),
                steps=_steps_word(steps) or tuple(_whole(step) for step in steps),
                tokens=None
                if tokens is None
                else tuple(t if isinstance(t, str) else _whole(t) for t in tokens),
                method=_text(data["method"]),
                contrast=_text(data["contrast"]),
                generation=GenerationConfig.from_json(data["generation"]),
                seed=_whole(data["seed"]),
                model=_text(data["model"]),
                arithmetic=_text(data["arithmetic"]),
            )
        except (KeyError, TypeError, InputError) as error:
            reason = error.cause if isinstance(error, InputError) else f"{error} is not usable"
            raise RunFileError(
                f"the request in the file cannot be read: {reason}", "Start the run anew."
            ) from error


def make_request(
    model: DiffusionVLM,
    prompt: str,
    layers: Sequence[int] | None,
    steps: Steps,
    tokens: Sequence[int | str] | None,
    method: str,
    contrast: str,
    generation: GenerationConfig | None,
    seed: int,
    methods: Mapping[str, Method],
) -> Request:
    """Check every option that can be checked without running the model.

    Parameters
    ----------
    model, prompt, layers, steps, tokens, method, contrast, generation, seed
        As `diffcam_core.engine.explain` takes them.
    methods : mapping of str to Method
        What `method` may name.

    Raises
    ------
    InputError
        If an option cannot be used.
    TargetError
        If a layer, step or position does not exist.
    """
    if method not in methods:
        raise InputError(f"there is no method {method!r}", f"Use one of {', '.join(methods)}.")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("the prompt is empty", "Type a question or an instruction.")
    config = model.default_generation if generation is None else generation
    if not isinstance(config, GenerationConfig):
        raise InputError(
            f"generation is {config!r:.80}, not a GenerationConfig",
            "Use GenerationConfig(max_new_tokens=…), or None.",
        )
    if config.prefix_cache is None:
        config = replace(config, prefix_cache=model.supports_prefix_cache)
    if config.prefix_cache and not model.supports_prefix_cache:
        raise InputError(
            f"{model.name} does not work with a prefix cache", "Leave prefix_cache at None."
        )
    wanted = methods[method]
    if ("prefix-cache" if config.prefix_cache else "full") not in wanted.regimes:
        raise InputError(
            f"{wanted.title} is not defined {'with' if config.prefix_cache else 'without'} a "
            "prefix cache",
            f"Set prefix_cache to {not config.prefix_cache}, or choose another method.",
        )
    if not 0 <= _asked_whole(seed, "seed") <= _MAX_SEED:
        raise InputError(f"seed {seed} is out of range", "Use a number from 0 to 2**63 - 1.")
    return Request(
        prompt=prompt,
        layers=_chosen_layers(layers, model.backbone.n_layers)
        if wanted.layered
        else (INPUT_LAYER,),
        steps=_chosen_steps(steps, config.n_steps),
        tokens=_chosen_tokens(tokens, config.max_new_tokens),
        method=method,
        contrast=contrast,
        generation=config,
        seed=int(seed),
        model=fingerprint(model),
        arithmetic=f"{str(model.dtype).removeprefix('torch.')} on {model.device.type}",
    )


def _chosen_layers(layers: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(n_layers))
    chosen = tuple(sorted({_asked_whole(layer, "layer") for layer in _listed(layers, "layers")}))
    if not chosen:
        raise InputError("no layer was asked for", "Name a layer, or None for all of them.")
    for layer in chosen:
        if not INPUT_LAYER <= layer < n_layers:
            raise TargetError(
                f"there is no layer {layer}",
                f"This model has layers 0 to {n_layers - 1}, and {INPUT_LAYER} for its input.",
            )
    return chosen


def _chosen_steps(steps: Steps, n_steps: int) -> Literal["all", "commit"] | tuple[int, ...]:
    word = _steps_word(steps)
    if word is not None:
        return word
    if isinstance(steps, str):
        raise InputError(f"steps is {steps!r}", 'Use "all", "commit" or step numbers.')
    chosen = tuple(sorted({_asked_whole(step, "step") for step in _listed(steps, "steps")}))
    if not chosen:
        raise InputError("no step was asked for", 'Use "all", "commit" or step numbers.')
    for step in chosen:
        if not 0 <= step < n_steps:
            raise TargetError(
                f"there is no denoising step {step}",
                f"This generation has steps 0 to {n_steps - 1}.",
            )
    return chosen


def _chosen_tokens(tokens: Sequence[int | str] | None, length: int) -> tuple[int | str, ...] | None:
    if tokens is None:
        return None
    if isinstance(tokens, str):
        tokens = (tokens,)
    chosen = tuple(
        token.strip() if isinstance(token, str) else _asked_whole(token, "token position")
        for token in _listed(tokens, "tokens")
    )
    if not chosen or "" in chosen:
        raise TargetError(
            "no token was asked for", "Name words or positions, or None for the whole answer."
        )
    for token in chosen:
        if isinstance(token, int) and not 0 <= token < length:
            raise TargetError(
                f"there is no answer position {token}",
                f"This generation has positions 0 to {length - 1}.",
            )
    return chosen


def resolve_contrast(model: DiffusionVLM, contrast: str) -> str | int:
    """Turn the request's contrast into that of a `Target`: a word becomes its first token.

    Raises
    ------
    InputError
        If there is no such contrast.
    """
    if contrast in CONTRASTS:
        return contrast
    # An unknown word and something that is no word at all get the same answer.
    kind, colon, word = str(contrast).partition(":")
    if kind != "word" or not colon:
        raise InputError(
            f"there is no contrast {contrast!r}",
            f"Use {', '.join(CONTRASTS)}, or word: and a word.",
        )
    ids = model.encode_word(word.strip()) if word.strip() else ()
    if not ids:
        raise InputError(f"the distractor {word!r} has no token", "Name a word.")
    return int(ids[0])


def _listed(values: Sequence[Any], what: str) -> Sequence[Any]:
    if not isinstance(values, Iterable):
        raise InputError(f"{what} is {values!r:.80}, not a list", f"Write {what}=[{values!r:.20}].")
    return values


def _steps_word(steps: object) -> Literal["all", "commit"] | None:
    if not isinstance(steps, str):
        return None
    if steps == "all":
        return "all"
    return "commit" if steps == "commit" else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r}")
    return value


def _asked_whole(value: object, what: str) -> int:
    """Accept Python and NumPy integers, and nothing that merely looks like one."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{what} {value!r} is not a whole number", "Give a whole number.")
    return int(value)


def fingerprint(model: DiffusionVLM) -> str:
    """Identify the weights and the configuration that a model was loaded from.

    Parameters
    ----------
    model : DiffusionVLM
        Its folder is read again.

    Returns
    -------
    str
        SHA-256 over the names and contents of config.json, the tokenizer and the weights. Weight
        files above 256 MB enter with their size, their header and three samples of 1 MB.

    Raises
    ------
    InputError
        If the folder has gone.
    """
    folder = Path(model.describe()["folder"])
    digest = hashlib.sha256()
    try:
        files = sorted(
            file
            for file in folder.iterdir()
            if file.suffix == ".safetensors" or file.name in ("config.json", "tokenizer.json")
        )
        for file in files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            for part in _samples(file):
                digest.update(part)
    except OSError as error:
        raise InputError(
            f"the model folder {folder} cannot be read any more", "Load the model again."
        ) from error
    return digest.hexdigest()


def _samples(file: Path) -> Iterator[bytes]:
    size, step = file.stat().st_size, 1 << 20
    with file.open("rb") as stream:
        if size <= _HASH_WHOLE_BELOW:
            while block := stream.read(step):
                yield block
            return
        for start in (0, size // 2, size - step):
            stream.seek(start)
            yield stream.read(step)
