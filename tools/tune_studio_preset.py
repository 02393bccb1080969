"""Tune the constants of the refinement preset `studio` on cached maps of TRAINING scenes.

    python tools/tune_studio_preset.py maps.npz -o studio.json
    python tools/tune_studio_preset.py --synthetic 200            (tries the tool itself)

The .npz (read without pickle) holds, for N noun tokens of training scenes:

    maps      (N, rows, cols) float   raw maps at the commit step, any scale
    masks     (N, H, W) uint8 or bool the object that the noun names, at image size
    scene     (N,) int                which scene each map belongs to
    split     text                    must be "train": held-out scenes are for the table only
    context   (N, rows, cols) float   optional: mean of the other words' normalised maps
    token_ids (N, L) int              optional: answer ids, for the `released` and `paper` rows
    n_steps   int                     optional: denoising steps T, for the `paper` row

Half of the scenes are searched on, the other half only reported, so that a tuning that has merely
learned its scenes shows. The search is random, then one coordinate at a time; it maximises the mean
logarithm of the gain in Obj-IoU, Contrast, Concentration and F3 over the better of `released` and
`paper`, with a penalty as soon as one of the four does not gain. Same input, same seed, same
result. The constants found are printed as code for diffcam_core/refinement/presets.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from diffcam_core import refinement
from diffcam_core.errors import DiffcamError, InputError
from diffcam_core.metrics import localization as loc
from diffcam_core.refinement import PRESETS, Pipeline

# Where the search looks, inside the wider ranges that a user may set. The floor of the focus gate
# is not searched: a lower one always "gains" contrast, by hiding evidence.
SPACE: dict[tuple[str, str], tuple[float, float]] = {
    ("rivals", "strength"): (0.0, 1.0),
    ("smooth", "sigma"): (0.0, 1.5),
    ("background", "spreads"): (-1.0, 4.0),
    ("background", "limit"): (0.0, 0.8),
    ("focus", "cut"): (0.1, 2.0),
    ("focus", "softness"): (0.1, 2.0),
    ("focus", "gamma"): (0.2, 2.0),
}
ORDERS = (
    ("rivals", "smooth", "background", "focus", "rescale"),
    ("smooth", "rivals", "background", "focus", "rescale"),
    ("rivals", "background", "smooth", "focus", "rescale"),
)
NAMES = ("Obj-IoU", "Contrast", "Concentration", "F3", "Pointing")
JUDGED = 4  # the first four; pointing is only reported
REQUIRED_GAIN = math.log(1.05)  # a gain below 5 % on the training half may not hold elsewhere
PENALTY = 4.0


@dataclass(frozen=True)
class Cases:
    """Normalised maps, their masks and what the presets may know beside them."""

    maps: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    scene: npt.NDArray[np.int64]
    context: npt.NDArray[np.float32] | None
    token_ids: npt.NDArray[np.int64] | None
    n_steps: int | None

    def take(self, chosen: npt.NDArray[np.bool_]) -> Cases:
        """Return some of the cases."""
        return replace(
            self,
            maps=self.maps[chosen],
            masks=self.masks[chosen],
            scene=self.scene[chosen],
            context=None if self.context is None else self.context[chosen],
            token_ids=None if self.token_ids is None else self.token_ids[chosen],
        )


def normalise(maps: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Stretch each map to [0, 1]; constant maps become 0."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    return np.where(span > 0, (maps - low) / np.where(span > 0, span, 1), 0).astype(np.float32)


def load(path: Path) -> Cases:
    """Read and check an .npz of training maps."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable .npz", "See the head of this tool") from error
    missing = [name for name in ("maps", "masks", "scene", "split") if name not in arrays]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}", "See the head of this tool")
    if str(arrays["split"]) != "train":
        raise InputError(
            f"{path} is of the split {arrays['split']}", "Tune on training scenes only"
        )
    maps, masks, scene = arrays["maps"], arrays["masks"].astype(bool), arrays["scene"]
    context = arrays.get("context")
    if maps.ndim != 3 or masks.ndim != 3 or not len(maps) == len(masks) == len(scene):
        raise InputError("maps, masks and scene do not fit together", "See the head of this tool")
    if context is not None and context.shape != maps.shape:
        raise InputError("context and maps differ in shape", "Give one mean map for each map")
    usable = np.isfinite(maps).all(axis=(1, 2))
    usable &= masks.any(axis=(1, 2)) & ~masks.all(axis=(1, 2))
    return Cases(
        normalise(maps),
        masks,
        scene.astype(np.int64),
        None if context is None else np.clip(context, 0, 1).astype(np.float32),
        arrays.get("token_ids"),
        int(arrays["n_steps"]) if "n_steps" in arrays else None,
    ).take(usable)


def synthetic(count: int, seed: int, side: int = 14, size: int = 140) -> Cases:
    """Make maps with the faults of real ones: patchy objects, stray peaks, a shared ghost."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((count, side, side))
    masks = np.zeros((count, size, size), bool)
    y, x = np.mgrid[:size, :size]
    ghost = np.zeros((count, side, side))
    for i in range(count):
        radius = rng.uniform(0.08, 0.2) * size
        centre = rng.uniform(radius, size - radius, 2)
        masks[i] = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        soft = cv2.resize(masks[i].astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        patchy = soft * rng.gamma(0.7, 1.0, (side, side))
        ghost[i] = rng.gamma(0.5, 0.2, (side, side)) * (rng.random((side, side)) < 0.2)
        noise = rng.gamma(0.6, 0.12, (side, side))
        maps[i] = patchy + ghost[i] + noise
    context = normalise(ghost + rng.gamma(0.6, 0.05, ghost.shape))
    return Cases(normalise(maps), masks, np.arange(count) // 2, context, None, 16)


def measure(refined: npt.NDArray[np.float32], cases: Cases) -> npt.NDArray[np.float64]:
    """Mean Obj-IoU, Contrast, Concentration, F3 of these three means, and pointing game."""
    rows = np.empty((len(refined), 4))
    for row, map_, mask in zip(rows, refined, cases.masks, strict=True):
        values = loc.fit_to(map_, mask.shape)
        # One almost empty background must not decide a mean: F3 is full from this contrast on.
        contrast = min(loc.contrast(values, mask), loc.CONTRAST_FULL_SCORE)
        row[:3] = loc.obj_iou(values, mask), contrast, loc.concentration(values, mask)
        row[3] = loc.pointing_game(values, mask)
    obj, contrast, concentration, pointing = rows.mean(axis=0)
    f3 = loc.f3(obj, contrast, concentration)
    return np.array([obj, contrast, concentration, f3, pointing])


def refine(cases: Cases, pipeline: Pipeline) -> npt.NDArray[np.float32]:
    """Apply a pipeline to all cases."""
    height, width = cases.masks.shape[1:]
    context = None if cases.context is None else cases.context[:, None]
    if cases.token_ids is None or "sicd" not in {stage.kind for stage in pipeline.stages}:
        return refinement.apply(
            cases.maps,
            pipeline,
            n_steps=cases.n_steps,
            image_size=(width, height),
            context_maps=context,
        )
    return np.stack(
        [
            refinement.apply(
                map_,
                pipeline,
                token_ids=ids.tolist(),
                n_steps=cases.n_steps,
                image_size=(width, height),
            )
            for map_, ids in zip(cases.maps, cases.token_ids, strict=True)
        ]
    )


def baselines(cases: Cases) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the raw maps and the two presets to beat."""
    found = {"raw": measure(cases.maps, cases)}
    for name in ("released", "paper"):
        found[name] = measure(refine(cases, PRESETS[name]), cases)
    return found


def objective(scores: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> float:
    """Mean logarithmic gain, less a penalty for the measure that gains least."""
    floor = 1e-6
    ours, theirs = scores[:JUDGED], reference[:JUDGED]
    gains = np.log(np.maximum(ours, floor) / np.maximum(theirs, floor))
    return float(gains.mean() + PENALTY * min(0.0, float(gains.min()) - REQUIRED_GAIN))


def on_grid(stage: str, parameter: str, value: float) -> float:
    """Round to the step of the parameter and keep it inside the searched range."""
    low, high = SPACE[stage, parameter]
    step = next(
        info.step for info in PRESETS["studio"][stage].info.parameters if info.name == parameter
    )
    assert step is not None
    return round(min(max(round(value / step) * step, low), high), 6)


def build(order: int, values: dict[tuple[str, str], float]) -> Pipeline:
    """Make the pipeline of one point of the search."""
    pipeline = PRESETS["studio"].with_order(ORDERS[order])
    for (stage, parameter), value in values.items():
        pipeline = pipeline.with_parameters(stage, **{parameter: value})
    return pipeline


def tune(cases: Cases, trials: int, seed: int, rounds: int = 3) -> tuple[Pipeline, float]:
    """Search for the best constants on these cases.

    Returns
    -------
    Pipeline and its objective
    """
    rng = np.random.default_rng(seed)
    scored = baselines(cases)
    reference = np.maximum(scored["released"], scored["paper"])
    known: dict[tuple[float, ...], float] = {}

    def score(order: int, values: dict[tuple[str, str], float]) -> float:
        key = (order, *values.values())
        if key not in known:
            known[key] = objective(measure(refine(cases, build(order, values)), cases), reference)
        return known[key]

    studio = PRESETS["studio"]
    values = {(s, p): float(getattr(studio[s].module, p)) for s, p in SPACE}
    # The preset as it stands is the first point: the result is never worse than it.
    order = next(
        (i for i, names in enumerate(ORDERS) if names == tuple(s.name for s in studio.stages)), 0
    )
    best = (score(order, values), order, values)
    for _ in range(trials):
        order = int(rng.integers(len(ORDERS)))
        values = {key: on_grid(*key, rng.uniform(*limits)) for key, limits in SPACE.items()}
        best = max(best, (score(order, values), order, values), key=lambda point: point[0])
    for round_ in range(rounds):
        reach = 0.25 / 2**round_
        for key, (low, high) in SPACE.items():
            for direction in (-1, -0.5, 0.5, 1):
                shifted = best[2][key] + direction * reach * (high - low)
                values = {**best[2], key: on_grid(*key, shifted)}
                best = max(
                    best, (score(best[1], values), best[1], values), key=lambda point: point[0]
                )
        for order in range(len(ORDERS)):
            best = max(best, (score(order, best[2]), order, best[2]), key=lambda point: point[0])
    return build(best[1], best[2]), best[0]


def as_code(pipeline: Pipeline) -> str:
    """Return the stages as the lines of presets.py."""
    lines = []
    for stage in pipeline.stages:
        values = ", ".join(f"{k}={v!r}" for k, v in stage.module.to_dict().items())
        lines.append(f'        Stage("{stage.name}", {type(stage.module).__name__}({values})),')
    return "\n".join(lines)


def table(title: str, cases: Cases, tuned: Pipeline) -> str:
    """Return the four measures of every candidate as text."""
    rows = {
        **baselines(cases),
        "studio, before": measure(refine(cases, PRESETS["studio"]), cases),
        "studio, tuned": measure(refine(cases, tuned), cases),
    }
    lines = [f"{title}: {len(cases.maps)} maps of {len(np.unique(cases.scene))} scenes"]
    lines.append(f"{'':16}" + "".join(f"{name:>15}" for name in NAMES))
    lines += [f"{name:16}" + "".join(f"{v:15.3f}" for v in row) for name, row in rows.items()]
    return "\n".join(lines)


def main() -> int:
    """Run the tool; 0 when constants were found, 2 when the input cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("npz", type=Path, nargs="?", help="cached maps of training scenes")
    source.add_argument("--synthetic", type=int, metavar="N", help="N made-up maps instead")
    parser.add_argument("-o", "--out", type=Path, help="write the pipeline as JSON")
    parser.add_argument("--trials", type=int, default=150, help="random points (default 150)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        cases = (
            synthetic(arguments.synthetic, arguments.seed)
            if arguments.npz is None
            else load(arguments.npz)
        )
        scenes = np.random.default_rng(arguments.seed).permutation(np.unique(cases.scene))
        if len(scenes) < 2:
            raise InputError("There are fewer than two scenes", "Give maps of more scenes")
        searched = np.isin(cases.scene, scenes[: len(scenes) // 2])
        tuned, value = tune(cases.take(searched), arguments.trials, arguments.seed)
    except DiffcamError as error:
        print(error, file=sys.stderr)
        return 2
    print(table("searched half", cases.take(searched), tuned), end="\n\n")
    print(table("other half of the training scenes", cases.take(~searched), tuned), end="\n\n")
    print(f"objective {value:.4f}; for diffcam_core/refinement/presets.py:\n{as_code(tuned)}")
    if arguments.out:
        arguments.out.write_text(tuned.to_json() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
