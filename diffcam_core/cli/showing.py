"""``diffcam info``, ``figure``, ``models`` and ``scenes``: everything that needs no model."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from PIL import Image, PngImagePlugin

from diffcam_core.cli.parsing import parse_step, parse_token
from diffcam_core.cli.reporting import in_words, printable, size_in_words, write_json_line
from diffcam_core.errors import InputError
from diffcam_core.images import SCENE_KEY
from diffcam_core.whole_files import write_together

if TYPE_CHECKING:
    from diffcam_core.datasets.scenes import Scene
    from diffcam_core.session import Run

_PNG_COLOURS = (0, 0, 0, 230, 80, 60, 60, 160, 230, 240, 190, 40, 120, 200, 90)
_MAX_HEADER = 100 * 1024 * 1024


# Run files.


def show_run(path: Path, *, as_json: bool) -> None:
    """Print what a run file holds."""
    from diffcam_core.session import open_run

    with open_run(path) as run:
        facts = _run_facts(run)
    if as_json:
        write_json_line(facts)
        return
    state = "complete" if facts["complete"] else "unfinished; finish it with diffcam explain "
    if not facts["complete"]:
        state += f"--resume -o {facts['path'].removesuffix('.part')}"
    grids = ", ".join(f"{name} {rows} x {cols}" for name, (rows, cols) in facts["grids"].items())
    width, height = facts["image_size"]
    rows = {
        "file": f"{facts['path']}  ({size_in_words(facts['bytes'])})",
        "state": state,
        "model": facts["model"],
        "prompt": facts["prompt"],
        "answer": facts["answer"],
        "image": f"{width} x {height} pixels, {grids}",
        "method": ", ".join(facts["methods"]),
        "steps": f"{facts['steps']}, of which {facts['explained_steps']} explained",
        "layers": _ranges(facts["layers"]),
        "tokens": f"{len(facts['tokens'])}, of which {len(facts['targets'])} explained",
    }
    if facts["seconds"] is not None:
        rows["time"] = in_words(facts["seconds"])
    if facts["created"]:
        rows["created"] = facts["created"]
    for name, text in rows.items():
        typer.echo(f"{name:<9}{printable(str(text))}")
    typer.echo(f"{'words':<9}" + printable(_words_line(facts)))


def _run_facts(run: Run) -> dict[str, Any]:
    metadata = run.metadata
    computed = np.asarray(run.computed)
    seconds = metadata.get("seconds")
    return {
        "path": str(run.path),
        "bytes": Path(run.path).stat().st_size,
        "complete": bool(run.complete),
        "model": run.model,
        "prompt": run.prompt,
        "answer": run.answer,
        "image_size": [int(run.image.shape[1]), int(run.image.shape[0])],
        "grids": {name: [grid.rows, grid.cols] for name, grid in run.grids.items()},
        "methods": list(run.methods),
        "steps": int(run.n_steps),
        "explained_steps": int(computed.any(axis=1).sum()),
        "layers": [int(layer) for layer in run.layers],
        "valid_layers": [
            int(layer) for column, layer in enumerate(run.layers) if run.valid[:, column].any()
        ],
        "tokens": list(run.tokens),
        "token_ids": [int(i) for i in run.token_ids],
        "commit_step": [int(step) for step in run.commit_step],
        "targets": [int(position) for position in run.targets],
        "words": [{"text": w.text, "positions": list(w.positions)} for w in run.words],
        "request": dict(run.request),
        "seconds": float(seconds) if isinstance(seconds, (int, float)) else None,
        "created": str(metadata.get("created", "")),
        "metadata": dict(metadata),
    }


def _words_line(facts: dict[str, Any]) -> str:
    steps = facts["commit_step"]
    return (
        "  ".join(
            f"{word['text'].strip()}@{min(steps[p] for p in word['positions'])}"
            for word in facts["words"]
        )
        + "  (word@step that wrote it)"
    )


def _ranges(numbers: list[int]) -> str:
    """Write [0, 1, 2, 5] as "0-2, 5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


# Figures.


@dataclass(frozen=True)
class FigureOptions:
    """What was typed after ``diffcam figure``; see its help."""

    token: str
    kind: str = "token"
    step: str = "commit"
    layer: int | None = None
    preset: str | None = None
    method: str | None = None
    compare: tuple[str, ...] = ()
    normalise: str = "trajectory"
    colour_map: str | None = None
    style: str = "acl"


def draw_figure(path: Path, out: Path, options: FigureOptions, *, as_json: bool) -> None:
    """Draw one figure of a run and say where it is."""
    from diffcam_core.session import open_run

    token, common = parse_token(options.token), _figure_arguments(options)
    with open_run(path) as run:
        _drawers(options)[options.kind](run, token, out, **common)
    if as_json:
        write_json_line({"figure": str(out), "bytes": out.stat().st_size})
    else:
        typer.echo(f"{out}  ({size_in_words(out.stat().st_size)})")


def _figure_arguments(options: FigureOptions) -> dict[str, Any]:
    if options.normalise not in ("map", "trajectory"):
        raise InputError(f"--normalise {options.normalise!r} is unknown", "Use map or trajectory.")
    given: dict[str, Any] = {
        "normalisation": options.normalise,
        "style": options.style,
        "method": options.method,
    }
    if options.preset is not None:
        given["preset"] = options.preset
    if options.colour_map is not None:
        given["colour_map"] = options.colour_map
    step = parse_step(options.step)
    if options.kind != "trajectory":
        given["step"] = step
    elif step != "commit":
        raise InputError("a trajectory shows many steps", "Leave out --step.")
    if options.kind != "layers":
        given["layer"] = options.layer
    elif options.layer is not None:
        given["layers"] = (options.layer,)
    if options.compare and options.kind != "token":
        raise InputError("--compare goes with --kind token only", "Leave it out.")
    if options.compare:
        given["compare"] = options.compare
    return given


def _drawers(options: FigureOptions) -> dict[str, Callable[..., Path]]:
    from diffcam_core import figures

    drawers: dict[str, Callable[..., Path]] = {
        "token": figures.token_figure,
        "trajectory": figures.trajectory_figure,
        "layers": figures.layer_figure,
        "ladder": figures.ladder_figure,
    }
    if options.kind not in drawers:
        raise InputError(f"there is no figure {options.kind!r}", f"Use {', '.join(drawers)}.")
    return drawers


# Models.


def list_models(folders: list[Path], *, as_json: bool) -> None:
    """Print the models that are here, without loading any."""
    found = [_model_facts("embedded", _embedded_folder())]
    found += [_model_facts(name, folder) for name, folder in _hub_cache()]
    for folder in folders:
        facts = _model_facts(folder.name, folder)
        if facts["problem"]:
            raise InputError(f"{folder} is no model: {facts['problem']}", "Name its folder.")
        found.append({**facts, "unused_keys": _unused_keys(folder)})
    if as_json:
        write_json_line({"models": found})
        return
    for facts in found:
        typer.echo(printable(_model_line(facts)))
        for key in facts.get("unused_keys", ()):
            typer.echo(f"  not used: {printable(key)}")


def _unused_keys(folder: Path) -> list[str]:
    """Tensors that the program passes over; none if it could not load the model at all."""
    from diffcam_core.errors import CheckpointError
    from diffcam_core.models.loading import unused_keys

    try:
        return list(unused_keys(folder))
    except CheckpointError:
        return []


def _model_line(facts: dict[str, Any]) -> str:
    if facts["problem"]:
        return f"{facts['name']}  not usable: {facts['problem']}"
    reads = f", reads {facts['domain']} only" if facts["domain"] else ""
    return (
        f"{facts['name']}  {facts['model_type']}, {facts['parameters'] / 1e6:.1f} M parameters, "
        f"{facts['layers']} layers, {size_in_words(facts['bytes'])}{reads}  {facts['folder']}"
    )


def _embedded_folder() -> Path | None:
    from diffcam_core.errors import DiffcamError
    from diffcam_core.shipped import resource_path

    try:
        return resource_path("embedded-model")
    except DiffcamError:
        return None


def _hub_cache() -> list[tuple[str, Path]]:
    """LaViDa-class models that the hub's own tools have fetched before."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    found = []
    for config in sorted(hub.glob("models--*/snapshots/*/config.json")):
        if _read_config(config).get("model_type") == "llava_llada":
            name = config.parents[2].name.removeprefix("models--").replace("--", "/")
            found.append((name, config.parent))
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _model_facts(name: str, folder: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "folder": "" if folder is None else str(folder)}
    if folder is None:
        return {**facts, "problem": "this installation lacks it; reinstall Diffusion-CAM Studio"}
    try:
        there = folder.is_dir()
    except OSError:  # such as a name that is too long
        there = False
    if not there:
        return {**facts, "problem": "there is no such folder"}
    config = _read_config(folder / "config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not config or not weights:
        missing = "config.json" if not config else "safetensors weights"
        return {**facts, "problem": f"it has no {missing}"}
    layers = config.get("n_layers", config.get("num_hidden_layers"))
    domain = config.get("domain")
    try:
        parameters = sum(_count_parameters(file) for file in weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {**facts, "problem": "its weights are damaged"}
    return {
        **facts,
        "problem": None,
        "model_type": str(config.get("model_type", "unknown")),
        "parameters": parameters,
        "layers": layers if isinstance(layers, int) else None,
        "bytes": sum(file.stat().st_size for file in weights),
        "domain": domain if isinstance(domain, str) else None,
    }


def _count_parameters(file: Path) -> int:
    """Count the numbers in a safetensors file from its header alone."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_MAX_HEADER, file.stat().st_size):
            raise ValueError("header longer than the file")
        header = json.loads(stream.read(length))
    return sum(
        int(np.prod(entry["shape"], dtype=np.int64))
        for name, entry in header.items()
        if name != "__metadata__"
    )


# Scenes.


def make_scene_files(
    out: Path, mask: Path | None, *, seed: int, objects: int | None, size: int, as_json: bool
) -> None:
    """Write a scene and say what is in it."""
    scene = write_scene(out, mask, seed=seed, objects=objects, size=size)
    if as_json:
        write_json_line(
            {**scene_facts(scene), "image": str(out), "mask": str(mask) if mask else None}
        )
        return
    typer.echo(f"{out}  {scene.caption}")
    if mask is not None:
        names = [f"{i} {thing.kind}" for i, thing in enumerate(scene.objects, start=1)]
        typer.echo(f"{mask}  0 {scene.ground}, {', '.join(names)}")


def write_scene(
    out: Path, mask: Path | None, *, seed: int, objects: int | None = None, size: int = 384
) -> Scene:
    """Write a scene as PNG, with how it was made in its text, and its masks as indexed PNG.

    Raises
    ------
    InputError
        If the options are out of range, the name is not that of a PNG or it cannot be written.
    ResourceError
        If the disk is full. After either neither file has changed.
    """
    from diffcam_core.datasets.scenes import make_scene

    for path in (out, mask):
        if path is not None and path.suffix.lower() != ".png":
            raise InputError(f"{path.name} is no PNG name", "Scenes and masks end in .png.")
    if mask is not None and mask.absolute() == out.absolute():
        raise InputError("scene and mask have the same name", "Give them two names.")
    scene = make_scene(seed, objects)
    picture, masks = scene.draw(size)
    text = PngImagePlugin.PngInfo()
    text.add_text(SCENE_KEY, json.dumps(scene_facts(scene)))
    files = {out: _png(Image.fromarray(picture), pnginfo=text)}
    if mask is not None:
        labels = np.zeros(picture.shape[:2], np.uint8)
        for index, region in enumerate(masks[:-1], start=1):
            labels[region] = index
        image = Image.fromarray(labels, mode="P")
        image.putpalette(_PNG_COLOURS)
        files[mask] = _png(image)
    write_together(files)
    return scene


def scene_facts(scene: Scene) -> dict[str, Any]:
    """Everything that is known about a scene, as JSON values."""
    return {
        "seed": scene.seed,
        "ground": scene.ground,
        "caption": scene.caption,
        "objects": [asdict(thing) for thing in scene.objects],
        "questions": [asdict(question) for question in scene.questions],
    }


def _png(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", **options)
    return stream.getvalue()
