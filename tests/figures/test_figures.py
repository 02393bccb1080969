"""Figures against the run, the colour tables and the formats' own readers."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from diffcam_core import figures
from diffcam_core.errors import DiffcamError, InputError, TargetError
from diffcam_core.figures import MapNumbers, Panel, Scale, Span, ViewFigure
from diffcam_core.figures.sheet import lay_out, sheet_of
from diffcam_core.session import Run

POINTS = 72 / 25.4


def media_box(data: bytes) -> tuple[float, float]:
    """Page size in points, from the PDF itself."""
    found = re.search(rb"/MediaBox \[ ([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) \]", data)
    assert found is not None
    left, bottom, right, top = (float(v) for v in found.groups())
    return right - left, top - bottom


def pdf_images(data: bytes) -> list[np.ndarray]:
    """Pictures in a PDF, undone by hand: Flate, PNG predictors, palettes."""
    images = []
    for start in re.finditer(rb"/Subtype /Image ", data):
        head, rest = data[start.start() :].split(b"stream\n", 1)
        body = rest.split(b"\nendstream", 1)[0]
        width = int(re.search(rb"/Width (\d+)", head)[1])
        height = int(re.search(rb"/Height (\d+)", head)[1])
        if b"/Indexed" in head or b"DeviceGray" in head:
            continue
        raw = np.frombuffer(zlib.decompress(body), np.uint8)
        if raw.size == height * width * 3:
            images.append(raw.reshape(height, width, 3))
            continue
        coded = raw.reshape(height, 1 + 3 * width)
        # Let Pillow undo the predictors: the rows are those of a PNG file.
        chunks = []
        head_bytes = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
        for name, content in (
            (b"IHDR", head_bytes),
            (b"IDAT", zlib.compress(coded.tobytes())),
            (b"IEND", b""),
        ):
            crc = zlib.crc32(name + content).to_bytes(4, "big")
            chunks.append(len(content).to_bytes(4, "big") + name + content + crc)
        png = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
        images.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")))
    return images


def stepped_view(**changes: object) -> ViewFigure:
    """A map of four flat quarters with known values over a picture of one colour."""
    values = np.zeros((64, 64), np.float32)
    values[:32, 32:], values[32:, :32], values[32:, 32:] = 0.25, 0.5, 1.0
    image = np.full((64, 64, 3), (40, 160, 220), np.uint8)
    panel = Panel(image, values, Scale("inferno", 0.0, 1.0), 0.35, title="cat")
    options: dict[str, object] = {"panels": (panel,), "caption": "Where the cat is.", "dpi": 200}
    return ViewFigure(**{**options, **changes})


def mixed(
    value: float, colour: tuple[int, ...], opacity: float, name: str = "bids:inferno"
) -> np.ndarray:
    """What a value must look like, worked out from the colour library alone."""
    import cmap

    table = np.asarray(cmap.Colormap(name).lut(256))[:, :3] * 255
    return np.rint(table[round(value * 255)]) * opacity + np.array(colour) * (1 - opacity)


@pytest.mark.parametrize(
    ("style", "width", "millimetres"),
    [
        ("acl", "column", 77.0),
        ("acl", "full", 160.0),
        ("neurips", "full", 139.7),
        ("nature", "column", 89.0),
        ("slide", "column", 150.0),
        ("acl", 123.4, 123.4),
    ],
)
def test_pdf_has_the_exact_width_and_no_type_3_font(
    run: Run, tmp_path: Path, style: str, width: float | str, millimetres: float
) -> None:
    path = figures.token_figure(run, "ghost", tmp_path / "f.pdf", style=style, width=width)
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    assert media_box(data)[0] == pytest.approx(millimetres * POINTS, abs=0.01)
    assert b"/Type3" not in data
    assert b"/FontFile2" in data
    assert b"CreationDate" not in data
    wanted = b"Inter" if style in ("nature", "slide") else b"STIX"
    fonts = re.findall(rb"/FontName /[A-Z]{6}\+([\w-]+)", data)
    assert fonts
    assert all(wanted in name for name in fonts)


def test_pdf_holds_the_blended_picture_without_loss(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    panel = Panel(image, rng.random((48, 64), dtype=np.float32), opacity=0.6)
    path = figures.export_view(ViewFigure((panel,)), tmp_path / "f.pdf")
    wanted = panel.compose()
    assert wanted.shape == image.shape
    # Matplotlib stores rows from the bottom up and turns the picture when it places it.
    assert any(
        found.shape == wanted.shape and np.array_equal(found[::-1], wanted)
        for found in pdf_images(path.read_bytes())
    )


def test_svg_parses_and_carries_the_words(run: Run, tmp_path: Path) -> None:
    path = figures.token_figure(run, "grass", tmp_path / "f.svg")
    root = ElementTree.fromstring(path.read_bytes())
    name = "{http://www.w3.org/2000/svg}"
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{name}text"))
    for word in ("large", "grass", "Word", "layer", "studio", "embedded", "1.00", "Share"):
        assert word in words
    bold = [t for t in root.iter(f"{name}text") if "font-weight: 700" in t.get("style", "")]
    assert "".join("".join(t.itertext()) for t in bold) == "grassgrass"
    assert root.get("width") == "77.0000mm"
    assert root.get("viewBox") is not None
    fonts = "".join(s.text or "" for s in root.iter(f"{name}style"))
    assert fonts.count("@font-face") == 3
    assert "base64" in fonts


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "npz", "csv", "json"])
def test_same_view_gives_the_same_bytes(run: Run, tmp_path: Path, suffix: str) -> None:
    grid = run.map("cat").grid
    numbers = MapNumbers(run.map("cat").values, grid.rectangles)
    view = stepped_view(panels=(Panel(None, run.map("cat").on_image(), numbers=numbers),))
    write = figures.export_view if suffix in ("png", "svg", "pdf") else figures.export_data
    first = write(view, tmp_path / f"a.{suffix}").read_bytes()
    assert write(view, tmp_path / f"b.{suffix}").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_png_shows_each_value_in_its_colour_at_the_stated_opacity(tmp_path: Path) -> None:
    view = stepped_view()
    path = figures.export_view(view, tmp_path / "f.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    assert pixels.shape[1] == round(77 * 200 / 25.4)
    (picture, bar) = lay_out(sheet_of(view)).pictures
    scale = 200 / 25.4
    box = picture.box
    for x, y, value in ((0.2, 0.2, 0.0), (0.8, 0.2, 0.25), (0.2, 0.8, 0.5), (0.8, 0.8, 1.0)):
        found = pixels[int((box.y + y * box.height) * scale), int((box.x + x * box.width) * scale)]
        wanted = mixed(value, (40, 160, 220), 0.35)
        np.testing.assert_allclose(found, wanted, atol=0.51)
    # The bar shows the table itself, strongest at the top.
    middle = int((bar.box.x + bar.box.width / 2) * scale)
    top, low = bar.box.y, bar.box.y + bar.box.height
    np.testing.assert_allclose(pixels[int(top * scale) + 1, middle], mixed(1, (0,) * 3, 1), atol=4)
    np.testing.assert_allclose(pixels[int(low * scale) - 2, middle], mixed(0, (0,) * 3, 1), atol=4)
    assert bar.box.height == box.height


def test_png_of_a_raw_map_has_the_colours_of_the_run(run: Run, tmp_path: Path) -> None:
    heat = run.map("ghost", layer=2)
    path = figures.token_figure(
        run, "ghost", tmp_path / "f.png", layer=2, preset="raw", opacity=1.0, caption=False
    )
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    share = np.clip(heat.on_image() / run.raw_range("ghost", 2)[1], 0, 1)
    y, x = np.unravel_index(int(share.argmax()), share.shape)
    side = 0
    while pixels[pixels.shape[0] // 2, side].sum() < 765 and side < pixels.shape[1] - 1:
        side += 1
    zoom = side / share.shape[1]
    top = round(0.5 * 300 / 25.4)
    found = pixels[top + int((y + 0.5) * zoom), int((x + 0.5) * zoom)]
    np.testing.assert_allclose(found, mixed(float(share[y, x]), (0,) * 3, 1), atol=6)


def test_bar_labels_equal_the_range_and_the_scope_is_printed() -> None:
    panel = stepped_view().panels[0]
    scale = Scale("viridis", 0.1, 0.9, "Share of maximum, over the run", decimals=3)
    texts = texts_of(stepped_view(panels=(Panel(panel.image, panel.values, scale),)))
    assert {"0.100", "0.300", "0.500", "0.700", "0.900"} <= set(texts)
    assert "Share of maximum, over the run" in " ".join(texts)


def texts_of(view: ViewFigure) -> list[str]:
    """Every text on the page."""
    return [piece.text for piece, *_ in lay_out(sheet_of(view)).texts]


def test_difference_is_second_minus_first_on_a_symmetric_scale(tmp_path: Path) -> None:
    first = stepped_view().panels[0]
    second = Panel(first.image, np.full_like(first.values, 0.5), first.scale, opacity=1.0)
    view = stepped_view(panels=(first, second), mode="difference")
    (panel,) = (p for row in sheet_of(view).rows for p in row)
    assert panel is not None
    np.testing.assert_array_equal(panel.values, second.values - first.values)
    assert (panel.scale.low, panel.scale.high) == (-0.5, 0.5)
    texts = texts_of(view)
    assert "+0.50" in texts
    assert "\u22120.50" in texts
    assert "0" in texts
    figures.export_view(view, tmp_path / "f.png")


def test_a_difference_says_what_it_subtracts() -> None:
    first, second = (
        replace(stepped_view().panels[0], title=title, letter=letter)
        for title, letter in (("cat, step 3", "A"), ("cat, step 9", "F"))
    )
    view = stepped_view(panels=(first, second), mode="difference")
    said = " ".join(texts_of(view))
    assert "Difference, F \u2212 A" in said
    assert "A: cat, step 3" in said
    assert "F: cat, step 9" in said
    assert lay_out(sheet_of(view)).outside() == []
    wipe = " ".join(texts_of(stepped_view(panels=(first, second), mode="wipe")))
    assert "A: cat, step 3" in wipe
    assert "F: cat, step 9" in wipe


def test_wipe_takes_the_left_from_the_first_and_the_right_from_the_second() -> None:
    first = stepped_view().panels[0]
    second = Panel(np.full_like(first.image, 255), None, title="plain")
    view = stepped_view(panels=(first, second), mode="wipe", wipe=0.25)
    pixels = lay_out(sheet_of(view)).pictures[0].compose(0, 0)
    np.testing.assert_array_equal(pixels[:, :16], first.compose()[:, :16])
    assert (pixels[:, 16:] == 255).all()


def test_panels_of_other_scales_have_a_bar_each() -> None:
    first = stepped_view().panels[0]
    second = Panel(first.image, first.values, Scale("viridis", 0.0, 2.0, "Sum over layers"))
    page = lay_out(sheet_of(stepped_view(panels=(first, second), mode="tile")))
    assert len(page.pictures) == 4
    assert "2.00" in [piece.text for piece, *_ in page.texts]


@pytest.mark.parametrize("style", list(figures.STYLES))
@pytest.mark.parametrize("width", ["column", "full"])
def test_no_text_leaves_the_page_and_none_is_below_six_points(style: str, width: str) -> None:
    base = stepped_view().panels[0]
    title = (Span("an extraordinarily", bold=True), Span(" long title, step 19, layer 5"))
    panels = tuple(Panel(base.image, base.values, base.scale, title=title) for _ in range(3))
    long = "incomprehensibilities " * 20 + "x" * 300 + " 猫 café"
    view = stepped_view(panels=panels, mode="tile", style=style, width=width, caption=long)
    page = lay_out(sheet_of(view))
    assert page.outside() == []
    assert page.smallest_type() >= 6.0


def test_data_files_hold_the_map_and_where_it_comes_from(run: Run, tmp_path: Path) -> None:
    heat = run.map("cat", layer=3)
    shown = heat.normalised()
    numbers = MapNumbers(shown, heat.grid.rectangles, heat.values, {"step": heat.step, "layer": 3})
    pixels = heat.on_image()
    view = ViewFigure((Panel(run.image, pixels, title="cat", numbers=numbers),))
    with np.load(figures.export_data(view, tmp_path / "d.npz"), allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["panel0_native"], shown)
        np.testing.assert_array_equal(stored["panel0_raw"], heat.values)
        np.testing.assert_array_equal(stored["panel0_rectangles"], heat.grid.rectangles)
        np.testing.assert_array_equal(stored["panel0_pixels"], pixels)
        facts = json.loads(str(stored["metadata"]))
    assert facts["panels"][0]["step"] == heat.step
    assert facts["panels"][0]["layer"] == 3
    assert facts["app_version"]
    document = json.loads(figures.export_data(view, tmp_path / "d.json").read_text("utf-8"))
    np.testing.assert_array_equal(np.array(document["panel0_raw"], np.float32), heat.values)
    np.testing.assert_array_equal(np.array(document["panel0_pixels"], np.float32), pixels)
    head, *rows = figures.export_data(view, tmp_path / "d.csv").read_text("utf-8").splitlines()
    assert json.loads(head.removeprefix("# ")) == facts
    table = list(csv.DictReader(rows))
    raw = np.array([row["raw"] for row in table], np.float32).reshape(heat.values.shape)
    np.testing.assert_array_equal(raw, heat.values)
    edges = np.array([[row[k] for k in ("x0", "y0", "x1", "y1")] for row in table], np.float32)
    np.testing.assert_array_equal(edges.reshape(heat.grid.rectangles.shape), heat.grid.rectangles)


def test_a_word_of_several_tokens_is_their_mean_and_is_bold_as_a_whole(run: Run) -> None:
    from diffcam_core.figures.selection import Selection, answer_spans

    chosen = Selection(run, "grass", 4)
    assert chosen.text == "grass"
    a, b = chosen.positions
    step = int(run.commit_step[a])
    wanted = (run.map(a, step, 4).values + run.map(b, step, 4).values) / 2
    np.testing.assert_allclose(chosen.raw("commit").values, wanted, rtol=1e-6)
    spans = answer_spans(run, [chosen])
    assert "".join(s.text for s in spans if s.bold) == "grass"
    assert "".join(s.text for s in spans) == f"\u201c{run.answer}\u201d"


def test_multi_panel_figures_show_what_they_promise(run: Run, tmp_path: Path) -> None:
    made = [
        figures.trajectory_figure(run, "cat", tmp_path / "steps.pdf"),
        figures.trajectory_figure(run, ["cat", "ghost"], tmp_path / "words.svg", steps=[0, 4, 11]),
        figures.layer_figure(run, "cat", tmp_path / "layers.pdf"),
        figures.ladder_figure(run, "cat", tmp_path / "ladder.svg"),
    ]
    for path in made:
        assert path.stat().st_size > 5000
    ladder = "".join(ElementTree.fromstring(made[3].read_bytes()).itertext())
    for stage in ("Raw", "AKD", "DACG", "CBA", "SICD"):
        assert stage in ladder
    words = made[1].read_text("utf-8").lower()
    # Of both words the commit step is among the steps: two golden frames (circles are thinner).
    assert words.count("stroke: #d9982b; stroke-linejoin: miter") == 2
    assert media_box(made[0].read_bytes())[0] == pytest.approx(160 * POINTS, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "path", "kind", "says"),
    [
        ({"token": "dragon"}, "f.pdf", TargetError, "ghost"),
        ({"layer": 77}, "f.pdf", TargetError, "layers 0, 1"),
        ({"step": 99}, "f.pdf", TargetError, "0 to 11"),
        ({"preset": "best"}, "f.pdf", InputError, "studio"),
        ({"style": "comic"}, "f.pdf", InputError, "acl"),
        ({"colour_map": "rainbow"}, "f.pdf", InputError, "inferno"),
        ({"normalisation": "row"}, "f.pdf", InputError, "trajectory"),
        ({"width": 3.0}, "f.pdf", InputError, "30 to 1000"),
        ({"opacity": 7.0}, "f.pdf", InputError, "0 to 1"),
        ({"dpi": 100000}, "f.png", InputError, "30 to 2400"),
        ({}, "f.gif", InputError, ".pdf, .svg, .png"),
        ({}, "nowhere/f.pdf", InputError, "nowhere"),
        ({}, ".", DiffcamError, "ends with"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(
    run: Run, tmp_path: Path, changes: dict[str, object], path: str, kind: type, says: str
) -> None:
    options: dict[str, object] = {"token": "cat", **changes}
    with pytest.raises(kind, match=re.escape(says)) as caught:
        figures.token_figure(run, path=tmp_path / path, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.svg"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiffcamError, match="the disk is full"):
        figures.export_view(stepped_view(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.svg"]


def test_settings_of_the_caller_neither_matter_nor_change(tmp_path: Path) -> None:
    first = figures.export_view(stepped_view(), tmp_path / "a.svg").read_bytes()
    changes = {
        "font.size": 30.0,
        "axes.linewidth": 9.0,
        "svg.fonttype": "path",
        "text.color": "red",
    }
    with matplotlib.rc_context(changes):
        second = figures.export_view(stepped_view(), tmp_path / "b.svg").read_bytes()
        assert matplotlib.rcParams["font.size"] == 30.0
        assert matplotlib.rcParams["svg.fonttype"] == "path"
    assert first == second


def test_colours_and_mixing_are_those_of_the_window() -> None:
    screen = pytest.importorskip("diffcam_studio.views.colormaps")
    props = pytest.importorskip("diffcam_studio.views.props")
    from diffcam_core.figures import colours

    assert set(screen.COLORMAPS) == set(colours.COLOUR_MAPS)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    values = (rng.random((30, 40), dtype=np.float32) * 2 - 0.5).astype(np.float32)
    values[0, 0] = np.nan
    for name in colours.COLOUR_MAPS:
        np.testing.assert_array_equal(
            colours.blend(image, values, Scale(name), 0.6),
            screen.blend_overlay(image, values, props.ColourScale(name), 0.6),
        )


def test_drawing_imports_neither_torch_nor_pyplot(run: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from diffcam_core import figures\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from diffcam_core.session import open_run\n"
        f"figures.token_figure(open_run({str(run.path)!r}), 'cat', {str(tmp_path / 'f.pdf')!r})\n"
        "assert not {'torch', 'matplotlib.pyplot', 'PySide6'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
