"""What a full explanation costs: all tokens x all layers x all steps of one image.

Ours, in the same run beside
- the peer, the published procedure: for each token and layer one forward pass over prompt and
  answer and one full backward pass, parameter gradients included;
- the floor: for each step one forward pass and one activation-only backward pass per token, with
  stock attention, all layers at once.

Peer and floor are timed on a sample and scaled to the whole job; ours is run whole, and once more
on the sampled steps in turn with the others, so that the ratios see the same machine load.

    python benchmarks/engine.py [--random] [--regime full] [--steps commit] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcam_core.attribution import METHODS
from diffcam_core.datasets.scenes import make_scene
from diffcam_core.denoising import GenerationConfig, sample_from_backbone
from diffcam_core.layout import Grid, ImageLayout
from diffcam_core.models import Backbone, LladaConfig, load_model
from diffcam_core.models.base import Prompt
from diffcam_core.probing import Prober, Target, Trajectory

LIMIT_SECONDS = {"all": 30.0, "commit": 5.0}
TOKENS, STEPS = 32, 16


class Watch:
    """Wall and CPU seconds of pieces of work."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def running(self):
        """Time a block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def mean(self) -> tuple[float, float]:
        """Return mean wall and CPU seconds of one piece."""
        return float(np.mean(self.wall)), float(np.mean(self.cpu))


def random_case(seed: int) -> tuple[SimpleNamespace, Prompt]:
    """Return a random model of the embedded model's size, and a prompt of 196 + 53 tokens."""
    torch.manual_seed(seed)
    backbone = Backbone(
        LladaConfig(d_model=192, n_heads=6, n_layers=6, mlp_hidden_size=512, vocab_size=576)
    )
    backbone.eval().requires_grad_(False)
    side, start, length = 14, 30, 250
    grid = Grid(
        name="base",
        rows=side,
        cols=side,
        indices=np.arange(start, start + side * side),
        rectangles=np.zeros((side, side, 4), np.float32),
        image_size=(140, 140),
    )
    span = (start, start + side * side + 1)
    layout = ImageLayout((140, 140), span, (grid,), np.array([span[1] - 1]))
    embeds = torch.randn(1, length, 192) * 0.3
    prompt = Prompt(
        embeds, np.zeros(length, np.int64), layout, "", np.zeros((140, 140, 3), np.uint8)
    )
    return SimpleNamespace(backbone=backbone, mask_id=5, suppressed_ids=()), prompt


def generate(model, prompt: Prompt, cached: bool) -> tuple[Trajectory, list[int], list[int]]:
    """Write the answer; return its trajectory, final ids and commit steps."""
    config = GenerationConfig(max_new_tokens=TOKENS, steps=STEPS)
    records = list(
        sample_from_backbone(
            model.backbone,
            prompt.embeds,
            replace(config, prefix_cache=cached),
            model.mask_id,
            suppressed_ids=model.suppressed_ids,
        )
    )
    written = np.stack([record.canvas for record in records])
    commit = np.stack([record.committed for record in records]).argmax(0)
    trajectory = Trajectory.from_written(prompt, written, model.mask_id, cached)
    return trajectory, written[-1].tolist(), commit.tolist()


def explain(
    prober: Prober, requests: list[tuple[int, list[Target]]], on_first: Callable[[], None]
) -> int:
    """Do the whole job, maps included; return how many maps were made."""
    maps = 0
    for found in METHODS["diffusion-cam"].stream(prober, requests):
        maps += sum(len(grid) for grids in found.maps.values() for grid in grids.values())
        on_first()
    return maps


def floor_step(model, trajectory: Trajectory, step: int, targets: list[Target]) -> None:
    """One forward pass with a graph above block 0, then one stock backward per target."""
    backbone = model.backbone
    embeds = trajectory.prompt.embeds
    answer = backbone.embed(torch.as_tensor(trajectory.canvases[step])[None])
    cached = trajectory.prefix_cache
    x = embeds if cached else torch.cat((embeds, answer), 1)
    hidden: list[Tensor] = []
    for index in range(backbone.n_layers):
        with torch.set_grad_enabled(index > 0):
            x, kv = backbone.run_block(index, x, None, cached)
            if index == 0:
                x = x.detach().requires_grad_()
            hidden.append(x)
            if cached:
                answer, _ = backbone.run_block(index, answer, kv)
    out = answer if cached else x[:, embeds.shape[1] :]
    logits = backbone.head(out[0, [target.position for target in targets]])
    for k, target in enumerate(targets):
        torch.autograd.grad(
            logits[k, target.token_id], hidden, retain_graph=True, allow_unused=True
        )


def peer_once(model, trajectory: Trajectory, final: list[int], target: Target, layer: int) -> None:
    """Explain one token at one layer as published: forward, then full backward."""
    backbone = model.backbone
    answer = backbone.embed(torch.tensor(final)[None])
    embeds = torch.cat((trajectory.prompt.embeds, answer), 1)
    out = backbone(embeds)
    out.hidden_states[layer].retain_grad()
    row = trajectory.prompt.embeds.shape[1] + target.position
    out.logits[0, row, target.token_id].backward()
    for parameter in backbone.parameters():
        parameter.grad = None


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Run everything and return the figures."""
    if arguments.random:
        model, prompt = random_case(arguments.seed)
    else:
        model = load_model("embedded", device="cpu")
        image = Image.fromarray(make_scene(arguments.seed).render(512))
        prompt = model.prepare(image, "Describe the image.")
    cached = arguments.regime == "prefix-cache"
    trajectory, final, commit = generate(model, prompt, cached)
    targets = [Target(k, token) for k, token in enumerate(final)]
    if arguments.steps == "commit":
        requests = [
            (s, [targets[k] for k in range(TOKENS) if commit[k] == s]) for s in range(STEPS)
        ]
    else:
        requests = [(s, targets) for s in range(STEPS)]
    pairs = sum(len(some) for _, some in requests)
    n_layers = model.backbone.n_layers

    whole, first = Watch(), []
    begin = time.perf_counter()
    with whole.running():
        prober = Prober(model, trajectory, max_chunk=arguments.chunk)
        maps = explain(prober, requests, lambda: first or first.append(time.perf_counter() - begin))

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; before peer and floor

    chosen = [requests[i] for i in np.linspace(0, STEPS - 1, arguments.sample).round().astype(int)]
    ours, floor, peer = Watch(), Watch(), Watch()
    random = np.random.default_rng(0)
    for step, some in chosen:
        with ours.running():
            explain(prober, [(step, some)], lambda: None)
        with floor.running():
            floor_step(model, trajectory, step, some)
        model.backbone.requires_grad_(True)
        for _ in range(arguments.peer_sample):
            target = some[int(random.integers(len(some)))]
            with peer.running():
                peer_once(model, trajectory, final, target, int(random.integers(n_layers)))
        model.backbone.requires_grad_(False)

    steps = len(requests)
    scaled = {
        "ours, sampled steps": [value * steps for value in ours.mean()],
        "floor": [value * steps for value in floor.mean()],
        "peer": [value * pairs * n_layers for value in peer.mean()],
    }
    # In commit mode the sampled steps differ in size, and ours shares passes between steps only
    # when it is run whole.
    base = scaled["ours, sampled steps"] if arguments.steps == "all" else list(whole.mean())
    if arguments.steps == "commit":
        share = pairs / steps / np.mean([len(some) for _, some in chosen])
        scaled["floor"] = [value * share for value in scaled["floor"]]
    wall, cpu = whole.mean()
    return {
        "model": "random" if arguments.random else "embedded",
        "regime": arguments.regime,
        "steps": arguments.steps,
        "job": {"steps": steps, "layers": n_layers, "targets": pairs, "maps": maps},
        "prompt_tokens": int(prompt.embeds.shape[1]),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "machine": platform.processor() or platform.machine(),
        "chunk": prober.chunk,
        "seconds_ours": {"wall": wall, "cpu": cpu, "first_map": first[0]},
        "seconds_scaled": {
            name: {"wall": values[0], "cpu": values[1]} for name, values in scaled.items()
        },
        "sampled": {"steps": len(chosen), "peer_passes": len(peer.wall)},
        "ratio_peer_over_ours": {
            "wall": scaled["peer"][0] / base[0],
            "cpu": scaled["peer"][1] / base[1],
        },
        "ratio_ours_over_floor": {
            "wall": base[0] / scaled["floor"][0],
            "cpu": base[1] / scaled["floor"][1],
        },
        "limit_seconds": LIMIT_SECONDS[arguments.steps],
        "peak_megabytes": peak / 1e3,
    }


def measure_chunks(arguments: argparse.Namespace) -> dict[int, float]:
    """Return CPU seconds of one step by chunk size, the least of several interleaved rounds."""
    model, prompt = random_case(arguments.seed)
    trajectory, final, _ = generate(model, prompt, arguments.regime == "prefix-cache")
    targets = [Target(k, token) for k, token in enumerate(final)]
    probers = {chunk: Prober(model, trajectory, max_chunk=chunk) for chunk in (1, 2, 4, 8, 16, 32)}
    best = dict.fromkeys(probers, float("inf"))
    for round_ in range(4):
        for chunk, prober in probers.items():
            watch = Watch()
            with watch.running():
                explain(prober, [(round_, targets)], lambda: None)
            best[chunk] = min(best[chunk], watch.cpu[0])
    return best


def main() -> None:
    """Measure, print a table, optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", action="store_true", help="a random model of the same size")
    parser.add_argument("--regime", choices=("prefix-cache", "full"), default="prefix-cache")
    parser.add_argument("--steps", choices=("all", "commit"), default="all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, help="most targets in one backward pass")
    parser.add_argument("--sample", type=int, default=3, help="steps timed against peer and floor")
    parser.add_argument("--peer-sample", type=int, default=4, help="peer passes per sampled step")
    parser.add_argument("--chunks", action="store_true", help="only compare chunk sizes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    if arguments.chunks:
        curve = measure_chunks(arguments)
        print("targets a pass   CPU seconds a step")
        for chunk, seconds in curve.items():
            print(f"{chunk:14d}   {seconds:18.3f}")
        figures: dict[str, object] = {"cpu_seconds_by_chunk": curve}
    else:
        figures = measure(arguments)
        show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def show(figures: dict) -> None:
    """Print the table."""
    job, ours = figures["job"], figures["seconds_ours"]
    print(
        f"{figures['model']} model, {figures['regime']}, steps {figures['steps']}: "
        f"{job['maps']} maps of {job['targets']} (token, step) pairs in {job['layers']} layers; "
        f"prompt {figures['prompt_tokens']} tokens; {figures['threads']} threads, load "
        f"{figures['load_average']:.1f}, {figures['chunk']} targets a pass"
    )
    print(f"{'':40s}{'wall s':>10s}{'CPU s':>10s}")
    limit = figures["limit_seconds"]
    print(f"{f'ours, run whole (limit {limit:.0f} s)':40s}{ours['wall']:10.2f}{ours['cpu']:10.2f}")
    print(f"{'ours, first map':40s}{ours['first_map']:10.2f}")
    for name, seconds in figures["seconds_scaled"].items():
        print(f"{name + ', scaled':40s}{seconds['wall']:10.2f}{seconds['cpu']:10.2f}")
    peer, floor = figures["ratio_peer_over_ours"], figures["ratio_ours_over_floor"]
    print(f"{'peer / ours':40s}{peer['wall']:10.1f}{peer['cpu']:10.1f}")
    print(f"{'ours / floor':40s}{floor['wall']:10.2f}{floor['cpu']:10.2f}")
    print(
        f"peer: {figures['sampled']['peer_passes']} passes sampled, scaled to "
        f"{job['targets'] * job['layers']}; floor: {figures['sampled']['steps']} steps sampled, "
        f"scaled to {job['steps']}; memory {figures['peak_megabytes']:.0f} MB"
    )


if __name__ == "__main__":
    main()
