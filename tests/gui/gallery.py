"""Draws every view with made-up data to PNG files, to be looked at beside the mockups.

Run ``python -m tests.gui.gallery FOLDER`` or ``python tests/gui/gallery.py FOLDER``.
The maps, metrics and words are illustrations and come from no model.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QApplication, QWidget

from diffcam_studio.theme import THEME_NAMES, Theme, apply_theme, load_theme
from diffcam_studio.views import outlines
from diffcam_studio.views.canvas import Canvas
from diffcam_studio.views.colour_bar import ColourBar
from diffcam_studio.views.inspector import Inspector
from diffcam_studio.views.layer_list import LayersSection
from diffcam_studio.views.props import (
    AppearanceProps,
    Camera,
    CanvasProps,
    Chip,
    ColourScale,
    Commit,
    Curve,
    FloatArray,
    LadderProps,
    LadderRow,
    LayerListProps,
    LayerRow,
    MetricProps,
    MetricsProps,
    PanelMessage,
    PanelProps,
    ParameterProps,
    PatchGrid,
    ProvenanceProps,
    SplitChoice,
    TimelineProps,
    TokenStripProps,
)
from diffcam_studio.views.timeline import Timeline
from diffcam_studio.views.token_strip import TokenStrip

WIDTH, HEIGHT = 640, 480
SCALE = ColourScale("inferno", 0.0, 0.92, "Share of maximum, over trajectory")
ROWS, COLS = 18, 24


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 (480, 640, 3) and the mask of its main object."""
    rng = np.random.default_rng(7)
    noise = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH), np.float32), (0, 0), 9)
    noise = (noise - noise.min()) / np.ptp(noise)
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel, (low, high) in enumerate(((70, 120), (120, 170), (40, 80))):
        picture[..., channel] = low + noise * (high - low)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (180, 350), (85, 62), 0, 0, 360, 1, -1)
    cv2.circle(mask, (115, 300), 42, 1, -1)
    for x in (120, 150, 210, 240):
        cv2.rectangle(mask, (x, 360), (x + 18, 425), 1, -1)
    picture[mask > 0] = (244, 148, 60)
    cv2.circle(picture, (300, 80), 38, (220, 50, 70), -1, cv2.LINE_AA)
    cv2.circle(picture, (545, 110), 34, (235, 70, 80), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (390, 310), (450, 400), (90, 140, 230), -1)
    cv2.rectangle(picture, (450, 280), (560, 400), (205, 170, 120), -1)
    for x in (430, 525):
        cv2.circle(picture, (x, 400), 24, (60, 40, 90), -1, cv2.LINE_AA)
    return picture, mask.astype(bool)


def native_map(strength: float, second: float, seed: int, noise: float = 0.25) -> FloatArray:
    """A native-grid map with a main and a second spot over weak noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:ROWS, 0:COLS].astype(np.float32)
    speckle = cv2.GaussianBlur(rng.random((ROWS, COLS)).astype(np.float32), (0, 0), 1.2)
    speckle = (speckle - speckle.min()) / np.ptp(speckle)
    main = np.exp(-((x - 6.5) ** 2 + (y - 12.8) ** 2) / 9.0)
    other = np.exp(-((x - 18) ** 2 + (y - 13.5) ** 2) / 6.0)
    values = strength * main + second * other + noise * speckle
    return np.clip(values, 0, 1).astype(np.float32)


def on_image(values: FloatArray) -> FloatArray:
    """A native map enlarged to the picture."""
    fine = cv2.resize(values, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine, np.float32)


def patch_grid() -> PatchGrid:
    """Equal cells over the picture."""
    x = np.linspace(0, WIDTH, COLS + 1)
    y = np.linspace(0, HEIGHT, ROWS + 1)
    boxes = np.zeros((ROWS, COLS, 4), np.float32)
    boxes[..., 0], boxes[..., 2] = x[None, :-1], x[None, 1:]
    boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
    return PatchGrid(ROWS, COLS, boxes)


def panel(**changes: object) -> PanelProps:
    """The main panel of the explore picture."""
    picture, mask = scene()
    values = on_image(native_map(0.85, 0.25, 3))
    base = PanelProps(
        key="A",
        badge="A",
        title="cat",
        subtitle="Step 19, layer 5",
        tag="Studio",
        metric="F3 0.379",
        image=picture,
        values=values,
        scale=SCALE,
        opacity=0.56,
        patches=patch_grid(),
        regions=outlines.outline_of(mask),
        contour=outlines.contours_of(values, 0.45, (WIDTH, HEIGHT)),
    )
    return replace(base, **changes)


def chips() -> tuple[Chip, ...]:
    """The answer of the explore picture at step 19."""
    words = [
        Chip(0, "a", confidence=0.9, commit_step=3),
        Chip(1, "cat", confidence=0.93, commit_step=9, selected=True),
        Chip(2, "to", confidence=0.7),
        Chip(3, "the", confidence=0.9),
        Chip(4, "left", confidence=0.8),
        Chip(5, "of", confidence=0.8),
        Chip(6, "a", confidence=0.9),
        Chip(7, "truck", confidence=0.97),
        Chip(8, ",", confidence=0.6),
        Chip(9, "a", "guess", 0.4),
        Chip(10, "balloon", confidence=0.6, now=True, commit_step=19),
        Chip(11, "above", "guess", 0.4),
        Chip(12, "the", "guess", 0.5),
        Chip(13, "cat", "guess", 0.5),
        *(Chip(position, "", "masked") for position in range(14, 20)),
        Chip(20, ",", "guess", 0.3),
        Chip(21, "on", confidence=0.95),
        Chip(22, "the", confidence=0.9),
        Chip(23, "grass", confidence=0.5),
        Chip(24, ".", confidence=0.8),
        Chip(25, "", "end", count=38),
    ]
    return tuple(words)


def states() -> tuple[Chip, ...]:
    """Every state of a chip once."""
    return (
        Chip(0, "", "masked"),
        Chip(1, "above", "guess", 0.4),
        Chip(2, "left", confidence=0.41),
        Chip(3, "truck", confidence=0.97),
        Chip(4, "balloon", confidence=0.7, now=True),
        Chip(5, "cat", confidence=0.9, selected=True),
        Chip(6, "cat", confidence=0.9, selected=True, now=True),
        Chip(7, "cat", confidence=0.8, same=True),
        Chip(8, "grass", confidence=0.8),
        Chip(9, "the", "masked_again"),
        Chip(10, "", "end", count=38),
    )


def timeline(step: int = 19, running: bool = False) -> TimelineProps:
    """A finished run, or one at work, of 32 steps."""
    steps = 32
    words: dict[int, tuple[str, int]] = {
        0: (".", 6),
        3: ("a", 3),
        5: (",", 2),
        7: ("the", 2),
        9: ("cat", 2),
        10: ("on", 1),
        12: ("of", 1),
        13: ("grass", 0),
        14: ("truck", 0),
        15: ("the", 0),
        16: ("left", 0),
        17: ("a", 0),
        19: ("balloon", 0),
        20: ("a", 0),
        21: ("above", 0),
        22: ("the", 0),
        23: ("cat", 0),
        24: ("and", 0),
        26: ("mushroom", 0),
        27: ("a", 0),
        28: ("above", 0),
        29: ("the", 0),
        30: ("truck", 0),
        31: (",", 0),
    }
    only_ends = {1: 5, 2: 5, 4: 4, 6: 3, 8: 2, 11: 2, 18: 1, 25: 1}
    commits = []
    last = step if running else steps - 1
    for s in range(steps):
        here: list[Commit] = []
        if s <= last:
            if s in words:
                word, ends = words[s]
                here.append(Commit(s, word, selected=s == 9))
            else:
                ends = only_ends.get(s, 0)
            here += [Commit(100 + i, "", end=True) for i in range(ends)]
        commits.append(tuple(here))
    valid = np.ones(steps, bool)
    cells = ["computed"] * steps
    shares = [1.0] * steps
    maps: list[FloatArray | None] = []
    for s in range(steps):
        grow = min(1.0, s / 14)
        maps.append(native_map(0.1 + 0.8 * grow, 0.35 * grow, 3, 0.45 - 0.25 * grow))
    if running:
        for s in range(step, steps):
            cells[s], shares[s] = "not_computed", 0.0
            if s > step:
                maps[s] = None
        cells[step], shares[step] = "computing", 0.6
        cells[step + 1] = "queued"
    else:
        valid[28:] = False
        for s in range(21, 28):
            cells[s], shares[s] = "partly", 0.5
        cells[25] = "failed"
        maps[25] = None
        for s in range(28, 32):
            cells[s], shares[s], maps[s] = "not_computed", 0.0, None
    t = np.arange(steps)
    curve = (0.12 + 0.26 / (1 + np.exp(-(t - 9) / 1.8)) + 0.02 * np.sin(t)).astype(np.float32)
    second = (0.02 + 0.95 / (1 + np.exp(-(t - 8) / 1.5))).astype(np.float32)
    curve[28 if not running else step + 1 :] = np.nan
    second[28 if not running else step + 1 :] = np.nan
    return TimelineProps(
        n_steps=steps,
        step=step,
        valid=valid,
        cells=tuple(cells),
        shares=tuple(shares),
        maps=tuple(maps),
        maps_title="Maps, layer 5",
        scale=SCALE,
        commits=tuple(commits),
        curve=Curve("Mass in region", curve),
        second_curve=Curve("Probability", second),
        masked_share=0.19,
        following=True if running else None,
        markers=(4,),
    )


def layers(count: int = 8, selected: int = 5) -> LayerListProps:
    """Layers with values that rise and fall."""
    values = [0.04, 0.12, 0.11, 0.16, 0.30, 0.38, 0.36, 0.24]
    rows = []
    for layer in range(count):
        value = values[layer * len(values) // count]
        maps = native_map(value * 2, value * 0.7, layer, 0.6 - value)
        rows.append(LayerRow(layer, f"Layer {layer}", maps, value, value / 0.45))
    return LayerListProps(
        tuple(rows), selected, replace(SCALE, high=0.9), "F3", ("F3", "Mass"), 4 / 3
    )


def ladder() -> LadderProps:
    """Four stages, one changed, with parameters."""
    picture, _ = scene()
    rows = (
        LadderRow(
            "akd",
            "AKD",
            "Kernel 5, 32 steps",
            values=native_map(0.85, 0.5, 3, 0.4),
            delta=0.005,
            parameters=(ParameterProps("kernel", "Kernel", 5, 3, 11, 2, 5, decimals=0),),
        ),
        LadderRow(
            "dacg",
            "DACG",
            "Gate at percentile 83, changed",
            changed=True,
            values=native_map(0.85, 0.5, 3, 0.3),
            delta=0.026,
            parameters=(
                ParameterProps("percentile", "Percentile", 83, 50, 99, 1, 80, decimals=0),
                ParameterProps("spread", "Spread", 0.30, 0.1, 1, 0.05, 0.3),
            ),
        ),
        LadderRow(
            "cba",
            "CBA",
            "Halve below 0.18",
            enabled=False,
            values=native_map(0.85, 0.45, 3, 0.1),
            delta=0.0,
            parameters=(ParameterProps("floor", "Floor", 0.5, 0, 1, 0.05, 0.5),),
        ),
        LadderRow(
            "sicd",
            "SICD",
            "2 repeated words",
            values=native_map(0.85, 0.2, 3, 0.1),
            delta=-0.012,
            parameters=(ParameterProps("alpha", "Strength", 0.5, 0, 1, 0.05, 0.5),),
        ),
    )
    return LadderProps(
        rows,
        "studio",
        (("released", "Released"), ("paper", "Paper"), ("studio", "Studio")),
        "F3",
        native_map(0.85, 0.5, 3, 0.5),
        f"Native grid {ROWS} \u00d7 {COLS}",
        0.193,
        picture,
        SCALE,
    )


def inspector(theme: Theme) -> Inspector:
    """The right dock of the explore picture."""
    view = Inspector(theme)
    rng = np.random.default_rng(1)
    counts = (4000 * np.exp(-np.arange(48) / 9) + rng.integers(60, 140, 48)).astype(np.int64)
    view.set_props(
        AppearanceProps("Panel A", SCALE, opacity=0.56, histogram=counts),
        ladder(),
        MetricsProps(
            (
                MetricProps("obj_iou", "Obj-IoU", 0.624, 0.277, help="Overlap with the region."),
                MetricProps("contrast", "Contrast", 6.63, 3.61, 2),
                MetricProps("concentration", "Concentration", 0.303, 0.138),
                MetricProps("f3", "F3", 0.379, -0.186),
            ),
            "cat region",
        ),
        ProvenanceProps(
            (("Run", "cat-truck-balloon.dcam"), ("Method", "Diffusion-CAM"), ("Seed", "0")),
            'run = dc.open_run("cat-truck-balloon.dcam")\n'
            'm = run.map(token=1, step=19, layer=5).refine("studio")\n',
        ),
    )
    view.ladder.stages["dacg"].set_open(True)
    return view


def tiles(mode: str = "tile") -> CanvasProps:
    """Five stages and their difference."""
    panels = []
    for i, (name, second, noise) in enumerate(
        (("Raw", 0.7, 0.5), ("AKD", 0.7, 0.4), ("DACG", 0.7, 0.3), ("CBA", 0.7, 0.1))
    ):
        values = on_image(native_map(0.85, second, 3, noise))
        panels.append(
            panel(
                key=name,
                badge="ABCDEF"[i],
                title=name,
                subtitle="",
                tag="",
                metric=f"F3 0.{193 + 20 * i}",
                values=values,
                contour=(),
            )
        )
    last = on_image(native_map(0.85, 0.15, 3, 0.1))
    panels.append(replace(panels[0], key="SICD", badge="E", title="SICD", values=last))
    difference = np.subtract(last, panels[0].values)
    panels.append(
        replace(
            panels[0],
            key="F",
            badge="F",
            title="Difference",
            subtitle="E \u2212 A",
            metric="",
            values=difference,
            scale=ColourScale("berlin", -0.6, 0.6, "Difference E \u2212 A", True),
        )
    )
    return CanvasProps(
        tuple(panels),
        mode,
        active=4,
        pair=(0, 4),
        splits=(SplitChoice("stage", "Refinement stage"),),
        split="stage",
    )


def save(widget: QWidget, size: tuple[int, int], path: Path) -> None:
    """Draw a widget at a size to a file."""
    widget.resize(*size)
    widget.show()
    QApplication.processEvents()
    QApplication.processEvents()
    widget.grab().save(str(path))
    widget.close()
    widget.deleteLater()


def draw(theme: Theme, folder: Path) -> None:
    """Draw everything in one theme."""
    name = theme.name
    canvas = Canvas(theme)
    canvas.set_props(CanvasProps((panel(),)))
    canvas.resize(872, 528)
    canvas.show()
    canvas.panels[0].view.hovered.emit(QPointF(0.35, 0.65))
    save(canvas, (872, 528), folder / f"canvas-{name}.png")
    for mode in ("tile", "wipe", "difference"):
        canvas = Canvas(theme)
        canvas.set_props(tiles(mode))
        canvas.resize(1136, 610)
        canvas.show()
        canvas.panels[0].view.hovered.emit(QPointF(0.7, 0.7))
        save(canvas, (1136, 610), folder / f"canvas-{mode}-{name}.png")
    canvas = Canvas(theme)
    one = panel()
    waiting = replace(one, key="B", badge="B", subtitle="Step 20", state="loading", progress=0.64)
    failed = replace(
        one,
        key="C",
        badge="C",
        subtitle="Step 25",
        state="error",
        message=PanelMessage(
            "error", "Step 25 failed", "Out of memory with 8 layers.", "Compute again", "retry"
        ),
    )
    beyond = replace(
        one,
        key="D",
        badge="D",
        subtitle="Step 29",
        state="no_path",
        message=PanelMessage(
            "info", "No map at step 29", "No gradient path to the image.", "Go to step 27",
            "step-back", "step:27",
        ),
    )  # fmt: skip
    empty = PanelProps("A", badge="A", title="Empty", state="empty")
    canvas.set_props(CanvasProps((empty, waiting, failed, beyond), "tile", columns=2))
    canvas.panels[1].header.set_stale(True)
    save(canvas, (560, 440), folder / f"canvas-states-{name}.png")
    canvas = Canvas(theme)
    live = panel(live=True, progress=0.6, subtitle="Step 13, layer 5", pins=("Layer 5",))
    canvas.set_props(CanvasProps((live,)))
    canvas.set_camera(Camera(2.5, 0.3, 0.7))
    save(canvas, (872, 528), folder / f"canvas-live-{name}.png")
    for title, props, size in (
        ("timeline", timeline(), 1440),
        ("timeline-running", timeline(13, running=True), 1440),
        ("timeline-narrow", timeline(), 700),
    ):
        view = Timeline(theme)
        view.set_props(props)
        save(view, (size, view.height()), folder / f"{title}-{name}.png")
    view = Timeline(theme)
    view.set_props(timeline())
    view.set_thin(True)
    save(view, (1440, 44), folder / f"timeline-thin-{name}.png")
    strip = TokenStrip(theme)
    strip.set_props(TokenStripProps(chips(), written=52, total=64, step=19))
    save(strip, (872, 84), folder / f"tokens-{name}.png")
    strip = TokenStrip(theme)
    strip.set_props(TokenStripProps(states(), written=52, total=64, step=19))
    save(strip, (560, 84), folder / f"token-states-{name}.png")
    section = LayersSection(theme)
    section.set_props(layers())
    save(section, (263, 300), folder / f"layers-{name}.png")
    section = LayersSection(theme)
    section.set_props(layers(32, 20))
    save(section, (263, 680), folder / f"layers-many-{name}.png")
    save(inspector(theme), (303, 700), folder / f"inspector-{name}.png")
    bar = ColourBar(theme, SCALE, vertical=False)
    save(bar, (432, 60), folder / f"bar-{name}.png")


def main(folder: Path) -> None:
    """Draw both themes."""
    folder.mkdir(parents=True, exist_ok=True)
    app = QApplication.instance() or QApplication([])
    for name in THEME_NAMES:
        theme = load_theme(name)
        apply_theme(app, theme)
        draw(theme, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "gallery"))
