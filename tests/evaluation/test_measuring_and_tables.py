"""One-pass measures equal the published functions; tables are what a reader would write by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from evaluation_cases import make_plan, make_rows

from diffcam_core.errors import InputError
from diffcam_core.evaluation.measuring import FAST, MaskMeasures, unit_image
from diffcam_core.evaluation.outcome import ItemFailure, ItemOutcome
from diffcam_core.evaluation.outputs import write_outputs
from diffcam_core.evaluation.refinements import named_refinements
from diffcam_core.evaluation.sensitivity import MEASURES, sweep, values_around
from diffcam_core.evaluation.store import open_store
from diffcam_core.evaluation.stored_maps import MapKey, StoredMaps
from diffcam_core.evaluation.summary import summarise
from diffcam_core.evaluation.tables import to_latex, to_markdown
from diffcam_core.metrics import localization
from diffcam_core.metrics.cells import Cells
from diffcam_core.refinement import PRESETS, apply, module_info

FACTS = "By hand."


@pytest.mark.parametrize("seed", range(8))
def test_one_pass_measures_are_the_published_functions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), np.bool_)
    y, x = rng.integers(0, 25, 2)
    mask[y : y + 12, x : x + 15] = True
    image = rng.random((40, 50), dtype=np.float32) ** rng.integers(1, 6)
    if seed == 6:
        image[~mask] = 0  # nothing outside
    if seed == 7:
        image[mask] = 0
    image /= image.max()
    labels = mask.astype(np.int32)
    labels[:3] = 2
    names = (*FAST, "obj_iou_any_class")
    found = MaskMeasures(mask, names, labels)(image)
    assert list(found) == list(names)
    for name in FAST:
        compute = localization.METRICS[name].compute
        assert found[name] == pytest.approx(compute(image, mask), rel=1e-5, abs=1e-9), name
    assert found["obj_iou_any_class"] == localization.obj_iou_any_class(image, labels)


def test_a_mask_without_an_outside_has_no_contrast() -> None:
    image = np.random.default_rng(0).random((6, 6), dtype=np.float32)
    found = MaskMeasures(np.ones((6, 6), np.bool_), FAST)(image)
    assert "contrast" not in found and "f3" not in found and found["concentration"] == 1


def test_a_constant_map_shows_nothing() -> None:
    cells = Cells.regular((3, 3), (9, 9))
    image = unit_image(cells, np.full((3, 3), 0.4, np.float32))
    assert not image.any()
    mask = np.zeros((9, 9), np.bool_)
    mask[:3, :3] = True
    found = MaskMeasures(mask, FAST)(image)
    assert found["obj_iou"] == found["contrast"] == found["concentration"] == 0
    assert found["pointing_game"] == pytest.approx(1 / 9)  # a blind guess


def hand_made():
    """Six items: alpha always 0.3, beta 0.1 higher in Obj-IoU and everything else equal."""
    plan = make_plan(
        items=tuple(f"scene-{n:07d}" for n in range(6)),
        presets=tuple(named_refinements(["raw", "ablation"]).items()),
        layers=(0,),
        metrics=("obj_iou", "contrast", "concentration", "f3"),
    )
    rows = []
    for n, item in enumerate(plan.items):
        for method in plan.methods:
            for preset, _ in plan.presets:
                obj = 0.301 + (0.1 + n / 1000 if method == "beta" else 0.0)
                rows.append(
                    {
                        "item": item,
                        "word": "cat",
                        "label": "cat",
                        "position": 1,
                        "method": method,
                        "preset": preset,
                        "layer": 0,
                        "step": 2,
                        "obj_iou": obj,
                        "contrast": 2.58,
                        "concentration": 0.514,
                        "f3": localization.f3(obj, 2.58, 0.514),
                    }
                )
    return plan, rows


GOLDEN = """# Evaluation

By hand.

## Methods and refinements

Best of each column in bold. ▲ better and ▼ worse than alpha/raw on the items that both have: \
Wilcoxon signed-rank on the items' means, Holm over the table, p < 0.05.

| Method | Refinement | Layer | Items | Words | Obj-IoU ↑ | Contrast ↑ | Concentration ↑ | F3 ↑ |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| Alpha \\| A | raw | 0 | 6 | 6 | 30.10 [30.10, 30.10] | **2.58** [2.58, 2.58] | \
**51.40** [51.40, 51.40] | 23.04 [23.04, 23.04] |
| beta | raw | 0 | 6 | 6 | **40.35** [40.22, 40.48] | **2.58** [2.58, 2.58] | \
**51.40** [51.40, 51.40] | **24.64** [24.62, 24.66] |

## Ablation of the four modules: Alpha | A

Layer 0; each module alone on the base map, then all four (= paper).

| Modules | Obj-IoU ↑ | Contrast ↑ | Concentration ↑ | F3 ↑ |
| --- | ---: | ---: | ---: | ---: |
"""


def test_markdown_by_hand() -> None:
    plan, rows = hand_made()
    summary = summarise(plan, rows, ("alpha", "raw"))
    text = to_markdown(plan, summary, FACTS, {"alpha": "Alpha | A"})
    assert text.startswith(GOLDEN)
    lines = text[len(GOLDEN) :].splitlines()
    names = ["Base map", "+ AKD", "+ DACG", "+ CBA", "+ SICD", "All four"]
    assert [line.split(" | ")[0] for line in lines] == [f"| {name}" for name in names]
    assert "**30.10** [30.10, 30.10]" in lines[0]


def test_marks_need_more_than_six_items_and_holm() -> None:
    """Six items can reach p = 0.03 at best, which Holm over 52 tests does not let pass."""
    plan, rows = hand_made()
    summary = summarise(plan, rows, ("alpha", "raw"))
    beta = next(r for r in summary.table() if (r.method, r.preset) == ("beta", "raw"))
    assert beta.tests["obj_iou"].p_wilcoxon == pytest.approx(2 / 2**6)
    assert beta.tests["obj_iou"].p_holm == 1
    many = [row | {"item": f"{row['item']}-{copy}"} for row in rows for copy in range(5)]
    text = to_markdown(plan, summarise(plan, many, ("alpha", "raw")), FACTS)
    assert "**40.35**▲" in text and "▼" not in text.split("\n\n", 6)[-1]
    against_beta = to_markdown(plan, summarise(plan, many, ("beta", "raw")), FACTS)
    assert "30.10▼" in against_beta


def test_latex_by_hand() -> None:
    plan, rows = hand_made()
    text = to_latex(plan, summarise(plan, rows, None), FACTS, {"beta": "B_1 & 50%"})
    assert text.startswith("% By hand.\n\\begin{table}\n\\centering\n\\begin{tabular}{llrrrrrrr}")
    assert (
        r"Method & Refinement & Layer & Items & Words & Obj-IoU $\uparrow$ & "
        r"Contrast $\uparrow$ & Concentration $\uparrow$ & F3 $\uparrow$ \\"
    ) in text
    assert r"alpha & raw & 0 & 6 & 6 & 30.10 & \textbf{2.58} & \textbf{51.40} & 23.04 \\" in text
    assert r"B\_1 \& 50\% & raw & 0 & 6 & 6 & \textbf{40.35}" in text
    assert r"+ AKD & \textbf{30.10}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2


def test_files_agree_with_each_other(tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    plan = make_plan()
    store = open_store(tmp_path / "r", plan, resume=False)
    # Written in another order than the plan's.
    for item in reversed(plan.items[1:]):
        failures = (ItemFailure(item, "beta", "ValueError", "why, so?"),)
        rows = make_rows(item, plan)
        store.write(ItemOutcome(item, "a, b", ("w0",), ("w0",), rows, failures))
    made = write_outputs(store, baseline=("alpha", "raw"))
    assert "5 of 6 items" in made.facts and "5 failures" in made.facts
    expected = [row for item in plan.items[1:] for row in make_rows(item, plan)]
    assert parquet.read_table(tmp_path / "r" / "rows.parquet").to_pylist() == expected
    columns = json.loads((tmp_path / "r" / "rows.json").read_text())
    assert [
        dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)
    ] == expected
    with (tmp_path / "r" / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in expected] == lines
    with (tmp_path / "r" / "failures.csv").open(newline="") as file:
        failed = list(csv.DictReader(file))
    assert [f["item"] for f in failed] == list(plan.items[1:]) and failed[0][
        "message"
    ] == "why, so?"
    with (tmp_path / "r" / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(made.summary.rows)
    assert float(table[0]["f3"]) == pytest.approx(made.summary.rows[0].estimates["f3"].value)
    plots = {f.name for f in (tmp_path / "r" / "plots").iterdir()}
    assert {"distribution-obj_iou.png", "layers-f3-raw.png"} <= plots
    assert all(file.exists() for file in made.files)


def test_a_missing_pyarrow_is_said_and_the_rest_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    plan = make_plan()
    store = open_store(tmp_path / "r", plan, resume=False)
    store.write(ItemOutcome(plan.items[0], rows=make_rows(plan.items[0], plan)))
    made = write_outputs(store, plots=False)
    assert "pyarrow" in made.notices[0][0] and "[eval]" in made.notices[0][1]
    assert not (tmp_path / "r" / "rows.parquet").exists()
    assert (tmp_path / "r" / "tables.md").exists()


def test_values_around_are_lawful() -> None:
    for kind in ("akd", "dacg", "cba", "sicd"):
        for info in module_info(kind).parameters:
            values = values_around(info, info.default)
            assert info.default in values and len(set(values)) == len(values)
            if info.kind != "choice":
                assert list(values) == sorted(values)
                assert all(info.minimum <= v <= info.maximum for v in values)


def test_a_sweep_is_refining_again_with_one_constant_changed() -> None:
    rng = np.random.default_rng(5)
    cells = Cells.regular((12, 12), (48, 48))
    boxes = np.empty((12, 12, 4), np.float32)
    edges = np.linspace(0, 48, 13, dtype=np.float32)
    boxes[..., 0], boxes[..., 2] = edges[:-1], edges[1:]
    boxes[..., 1], boxes[..., 3] = edges[:-1, None], edges[1:, None]
    mask = np.zeros((48, 48), np.bool_)
    mask[8:30, 10:28] = True
    stored = {}
    for item in ("a", "b", "c"):
        maps = rng.random((2, 12, 12), dtype=np.float32) ** 2
        stored[item] = StoredMaps(
            keys=tuple(MapKey("alpha", 0, "cat", p, 1) for p in (3, 4)),
            maps=maps,
            others=np.zeros_like(maps),
            masks={"cat": mask},
            rectangles=boxes,
            image_size=(48, 48),
            token_ids=(5, 6, 5),
            special_ids=(0,),
            words=("a", "cat", "a"),
            n_steps=8,
        )
    paper = PRESETS["paper"]
    found = sweep(lambda: stored.items(), "alpha", 0, "paper", paper)
    assert {p.stage for p in found.points} == {"akd", "dacg", "cba", "sicd"}
    for parameter in {(p.stage, p.parameter) for p in found.points}:
        assert sum(p.is_own for p in found.points if (p.stage, p.parameter) == parameter) == 1
    point = next(
        p for p in found.points if (p.stage, p.parameter) == ("akd", "base") and not p.is_own
    )
    varied = paper.with_parameters("akd", base=point.value)
    best = []
    for maps in stored.values():
        options = {
            "token_ids": maps.token_ids,
            "n_steps": 8,
            "image_size": (48, 48),
            "special_ids": (0,),
            "words": maps.words,
        }
        refined = [apply(plane, varied, **options) for plane in maps.maps]
        images = [unit_image(cells, plane) for plane in refined]
        best.append(max(localization.obj_iou(image, mask) for image in images))
    assert point.estimates["obj_iou"].value == pytest.approx(np.mean(best), abs=1e-9)
    assert set(point.estimates) == {"f3", *MEASURES}
    with pytest.raises(InputError, match="no maps of beta"):
        sweep(lambda: stored.items(), "beta", 0, "paper", paper)
