"""Make the pictures of the user guide from the real window: ``python tools/make_screenshots.py``.

Drives the Studio offscreen through its own actions and state: a demo scene is run on the
embedded model, and the window is taken while it runs, explored, compared and at rest. To be
run again after a change of the model's weights or of the window's looks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_API", "pyside6")
os.environ.setdefault("QT_SCALE_FACTOR", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from PySide6.QtWidgets import QApplication

from diffcam_core.datasets.scenes import HELD_OUT_SEEDS, make_scene
from diffcam_core.errors import DiffcamError
from diffcam_core.shipped import resource_path
from diffcam_studio.actions import SPECS
from diffcam_studio.app import build
from diffcam_studio.jobs import share_of
from diffcam_studio.main_window import MainWindow
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.settings import Places
from diffcam_studio.state.source import RunFacts
from diffcam_studio.theme import apply_theme, clear_icon_cache, load_theme
from diffcam_studio.views.welcome import DemoCard

# A held-out scene (never trained on), chosen by looking: three objects, one of them a cat.
SEED, WORD = 4164, "cat"
PROMPT = "Describe the image."
SIZE = (1440, 900)
LARGEST = 500_000
# Seconds for one thing to happen: an idle computer needs a tenth of it, a busy one much of it.
PATIENCE = 400
# Where the running picture is taken: a bit before the middle of the job.
TAKE_AT = 0.45
# How many held-out scenes are looked through for some with the word.
CANDIDATES = 2000
KEYS_BEGIN, KEYS_END = "<!-- keys: begin -->", "<!-- keys: end -->"


def pause(milliseconds: int) -> None:
    """Let the window live for a while.

    Not QTest.qWait, which holds the interpreter's lock, so that the engine's thread hardly runs.
    """
    end = time.monotonic() + milliseconds / 1000
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class TooLateError(Exception):
    """Something in the window did not happen in time."""


def wait(what: str, ready: Callable[[], bool], seconds: float) -> None:
    """Let the window work until ``ready()``; raises :class:`TooLateError` after ``seconds``."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TooLateError(f"{what} took more than {seconds:.0f} s")
        pause(20)


class Photographer:
    """The window, and a folder for pictures of it."""

    def __init__(self, window: MainWindow, folder: Path) -> None:
        self.window = window
        self.folder = folder
        self.taken: list[Path] = []

    def settle(self) -> None:
        """Wait until everything that the view asked for is there and painted."""
        controller = self.window.controller
        wait("The view", controller.is_settled, PATIENCE)
        pause(400)
        wait("The view", controller.is_settled, PATIENCE)

    def take(self, name: str) -> None:
        """Take one picture of the window."""
        path = self.folder / f"{name}.png"
        QApplication.processEvents()
        if not self.window.save_screenshot(str(path)):
            raise TooLateError(f"Cannot write {path}")
        # Packed at the end: while the job runs, the processor is its.
        self.taken.append(path)

    def trigger(self, action: str) -> None:
        """Run an action as its key would."""
        if not self.window.registry.trigger(action):
            raise TooLateError(
                f"{action}: {self.window.registry.reason(action) or 'nothing happened'}"
            )


def shrink(path: Path) -> None:
    """Pack a PNG as tightly as it goes, with fewer colours only if it is still too large."""
    image = Image.open(path).convert("RGB")
    image.save(path, optimize=True)
    for colours in (256, 192, 128, 64):
        if path.stat().st_size <= LARGEST:
            break
        image.quantize(colours, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


def start_run(window: MainWindow, seed: int, title: str, prompt: str) -> None:
    """Click a demo scene, one that is not among the six of the page if need be."""
    key = f"demo-{seed}"
    window.new_runs.demos.setdefault(key, DemoCard(key, title, prompt))
    window.new_runs.demo_paths.setdefault(key, f"scene:{seed}")
    window.run_demo(key)


def shown_file(window: MainWindow) -> RunFacts | None:
    """The shown run once it is a finished file."""
    controller = window.controller
    facts = controller.facts
    done = controller.job is None and facts is not None and not facts.key.startswith("live:")
    return facts if done else None


def select(window: MainWindow, text: str) -> None:
    """Select a word, or the first noun where the answer lacks it, at the step that wrote it."""
    controller = window.controller
    facts = controller.facts
    if facts is None:
        return
    known = [w for w in facts.words if set(w.positions) <= set(facts.targets)]
    found = [w for w in known if w.text.strip().lower() == text] or [w for w in known if w.is_noun]
    if found:
        controller.select_positions(found[0].positions)
        window.registry.trigger("run.word_step")


def take_all(window: MainWindow, folder: Path, seed: int) -> None:
    """Run the scene and take every picture."""
    shots = Photographer(window, folder)
    controller = window.controller
    kinds = [thing.kind for thing in make_scene(seed).objects]
    title = f"{', '.join(kinds[:-1])} and {kinds[-1]}".capitalize()

    wait("Loading the model", lambda: controller.model is not None, PATIENCE)
    start_run(window, seed, title, PROMPT)
    wait("Starting", lambda: controller.job is not None, PATIENCE)

    def midway() -> bool:
        job = controller.shown_job
        over = controller.job is None and shown_file(window) is not None
        facts = controller.facts
        if over or job is None or facts is None or not facts.answer:
            return over
        return share_of(job) >= TAKE_AT and bool(facts.computed.any())

    wait("The first half of the run", midway, PATIENCE)
    select_live(window)
    # The job goes on, so the view may never be quite at rest: then it is taken as it is.
    end = time.monotonic() + 15.0
    while not controller.is_settled() and time.monotonic() < end:
        pause(20)
    pause(100)
    shots.take("studio-running-dark")

    wait("The run", lambda: shown_file(window) is not None, PATIENCE)
    shots.settle()
    window.messages.clear()
    select_layer(window)
    select(window, WORD)
    shots.settle()
    shots.take("studio-explore-dark")
    take_figure(window, folder / f"fig-{WORD}.png")

    shots.trigger("view.left")
    shots.trigger("view.split_stage")
    shots.settle()
    window.messages.clear()
    shots.take("studio-compare-dark")
    shots.trigger("view.left")

    shots.trigger("view.single")
    controller.apply(replace(controller.state, panels=(vs.Panel("A"),), active_panel=0))
    shots.trigger("view.light")
    shots.settle()
    window.messages.clear()
    shots.take("studio-explore-light")

    shots.trigger("view.dark")
    shots.trigger("file.welcome")
    shots.settle()
    window.welcome_messages.clear()
    shots.take("studio-welcome-dark")
    for path in shots.taken:
        shrink(path)


def select_live(window: MainWindow) -> None:
    """Look at the word while the job goes on; the cursor keeps following it."""
    controller = window.controller
    facts = controller.facts
    select_layer(window)
    for word in facts.words if facts is not None else ():
        if word.text.strip().lower() == WORD:
            controller.select_positions(word.positions)
            return


def select_layer(window: MainWindow) -> None:
    """Look at the layer that the model's own configuration states, if it states one."""
    controller = window.controller
    config = json.loads((resource_path("embedded-model") / "config.json").read_text("utf-8"))
    layer = config.get("default_layer")
    if isinstance(layer, int) and controller.facts is not None:
        controller.apply(vs.select_layer(controller.state, layer, controller.facts.layers))


def take_figure(window: MainWindow, path: Path) -> None:
    """Export the view as Ctrl+E does, without the file dialog."""
    written: list[str] = []
    controller = window.controller
    controller.written.connect(written.append)
    controller.export_view(str(path))
    wait("The figure", lambda: bool(written), PATIENCE)
    controller.written.disconnect(written.append)
    shrink(path)
    window.messages.clear()


def choose_seed(count: int, scratch: Path) -> int:
    """Find a scene for the pictures among the first held-out ones with the word in them.

    The answer must equal the caption; of those the first is the one whose map, at the step
    that wrote the word and in the default layer, covers the object best. Each is printed.
    """
    import diffcam_core as dc

    candidates = [
        scene
        for scene in map(make_scene, HELD_OUT_SEEDS[:CANDIDATES])
        if len(scene.objects) == 3 and [t.kind for t in scene.objects].count(WORD) == 1
    ][:count]
    model = dc.load_model("embedded")
    best, best_score = SEED, -1.0
    for scene in candidates:
        index = [thing.kind for thing in scene.objects].index(WORD)
        mask = scene.masks(384)[index]
        image = Image.fromarray(scene.render(384))
        path = scratch / f"{scene.seed}.dcam"
        try:
            run = dc.explain(model, image, PROMPT, out=path, steps="commit", tokens=[WORD])
        except DiffcamError as error:
            print(f"seed {scene.seed}: {error}", flush=True)
            continue
        with run:
            right = run.answer.strip() == scene.caption
            heat = run.map(token=WORD).refine("studio").on_image()
        hot = heat > 0.5 * heat.max()
        overlap = float((hot & mask).sum() / max(1, (hot | mask).sum()))
        score = overlap if right else 0.0
        print(f"seed {scene.seed}: {'right' if right else 'wrong'}, {score:.2f}", flush=True)
        if score > best_score:
            best, best_score = scene.seed, score
    return best


def key_table() -> str:
    """Every action that has a key, menu by menu, as a table."""
    lines = ["| menu | action | keys |", "| --- | --- | --- |"]
    for spec in SPECS:
        if spec.keys:
            keys = " or ".join(f"`{key}`" for key in spec.keys)
            lines.append(f"| {spec.menu} | {spec.title.rstrip('…')} | {keys} |")
    return "\n".join(lines)


def write_keys(guide: Path) -> None:
    """Put the table of keys between its marks in the guide."""
    text = guide.read_text(encoding="utf-8")
    before, _, rest = text.partition(KEYS_BEGIN)
    _, _, after = rest.partition(KEYS_END)
    table = f"{KEYS_BEGIN}\n\n{key_table()}\n\n{KEYS_END}"
    guide.write_text(f"{before}{table}{after}", encoding="utf-8")


def main() -> int:
    """Return 0 if every picture was made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--seed", type=int, default=SEED, help="which sticker scene")
    parser.add_argument(
        "--choose", type=int, metavar="N", help="try N scenes first and take the best read one"
    )
    parser.add_argument("--keys", action="store_true", help="only rewrite the table of keys")
    options = parser.parse_args()
    if options.keys:
        write_keys(ROOT / "docs" / "user-guide.md")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("Diffusion-CAM Studio")
    apply_theme(app, load_theme("dark"))
    # The engine and the window share the interpreter; without this the window paints too rarely.
    sys.setswitchinterval(0.001)
    status = 0
    with tempfile.TemporaryDirectory(prefix="diffcam-shots-") as scratch:
        home = Path(scratch)
        seed = choose_seed(options.choose, home) if options.choose else options.seed
        window = build(places=Places(home / "config", home / "data"))
        window.controller.apply(replace(window.controller.state, theme="dark"))
        window.resize(*SIZE)
        window.show()
        window.controller.warm_up()
        try:
            take_all(window, options.out, seed)
        except TooLateError as error:
            print(f"make_screenshots: {error}", file=sys.stderr)
            status = 1
        finally:
            window.controller.cancel_job()
            window.close_now()
            window.deleteLater()
            QApplication.processEvents()
            clear_icon_cache()
    return status


if __name__ == "__main__":
    sys.exit(main())
