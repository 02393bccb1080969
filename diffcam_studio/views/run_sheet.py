# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""The run sheet: image, prompt, what to explain, how to generate, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from diffcam_studio.plain_text import tooltip
from diffcam_studio.theme import Theme
from diffcam_studio.views.controls import (
    BorrowedFocus,
    IconButton,
    Label,
    Segments,
    TextButton,
    ThemedWidget,
    inset_text,
    primary_button,
    spread_theme,
)
from diffcam_studio.views.painting import SEMIBOLD, draw_icon, draw_text, rounded, text_font
from diffcam_studio.views.pictures import draw_picture, to_pixmap
from diffcam_studio.views.run_wish import (
    RunWish,
    SheetFacts,
    check_generation,
    forecast,
    parse_layers,
    parse_words,
)

PROMPTS = (
    "Describe the image.",
    "How many objects are there?",
    "What is the ground?",
    "What is left of the cat?",
    "What is right of the cat?",
    "What is above the cat?",
    "What is below the cat?",
)
WORDS_HELP = (
    "Words and positions, separated by commas; empty explains the whole answer. Positions count "
    "from 0. Whether the answer has a word shows only once it is written: a word that it lacks "
    "stops the run, which then names the words that there are."
)
LAYERS_HELP = (
    "Layer numbers such as 0, 2–4, or all. They are checked once the model is loaded; a run that "
    "is started before then is refused if the model lacks one of them."
)
SCHEDULES = ("shift", "uniform", "cosine", "logit_normal")
REMASKING = ("low_confidence", "entropy", "margin", "random")
_WIDTH = 560


class _Picture(ThemedWidget):
    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self.pixmap: QPixmap | None = None
        self.setFixedSize(128, 128)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        p = QPainter(self)
        draw_picture(p, QRectF(self.rect()), self.pixmap, self.theme, 6)
        if self.pixmap is None:
            draw_icon(p, self.theme, "open-image", "text_3", 56, 46)
            box = QRectF(0, 66, 128, 20)
            middle = Qt.AlignmentFlag.AlignCenter
            draw_text(p, box, "No image yet", text_font(11), self.theme.color("text_3"), middle)
        p.end()


class RunSheet(QFrame):
    """A card over the window; nothing is modal, Escape closes it."""

    run_requested = Signal(object)  # RunWish
    choose_image = Signal()
    closed = Signal()

    def __init__(self, theme: Theme, window: QWidget) -> None:
        super().__init__(window)
        self.theme = theme
        self.setObjectName("RunSheet")
        self.setAccessibleName("New run")
        self._focus = BorrowedFocus(self)
        self._facts = SheetFacts()
        self._has_image = False
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 8, 16, 16)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(Label(theme, "New run", pixels=13, weight=SEMIBOLD, token="text_1"))
        head.addStretch(1)
        cross = IconButton(theme, "close", "Close", "Esc")
        cross.clicked.connect(self.close_sheet)
        head.addWidget(cross)
        column.addLayout(head)
        column.addLayout(self._image_row())
        column.addLayout(self._form())
        self._warning = Label(theme, "", pixels=11, token="warning_text", elide=True)
        self._warning.hide()
        column.addWidget(self._warning)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self._forecast = Label(theme, "", pixels=12, token="text_3", elide=True)
        foot.addWidget(self._forecast, 1)
        cancel = TextButton(theme, "Close", kind="quiet")
        cancel.clicked.connect(self.close_sheet)
        foot.addWidget(cancel)
        self.run_button = primary_button("Run")
        self.run_button.setObjectName("SheetRun")
        self.run_button.clicked.connect(self._run)
        foot.addWidget(self.run_button)
        column.addLayout(foot)
        self.setFixedWidth(_WIDTH)
        self.set_theme(theme)
        self.hide()

    # --- outside ----------------------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        self.theme = theme
        spread_theme(self, theme)
        self.update()

    def set_facts(self, facts: SheetFacts) -> None:
        """Tell what model this is and how fast it was."""
        self._facts = facts
        self._model.set_text(f"{facts.model}, {facts.device}" if facts.device else facts.model)
        current = self.method.currentData()
        self.method.clear()
        for name, title in facts.methods:
            self.method.addItem(title, name)
        index = max(0, self.method.findData(current))
        self.method.setCurrentIndex(index)
        if not self._touched:
            self._fill_generation(facts.generation)
            self._touched = False
        self._update()

    def _fill_generation(self, defaults: Mapping[str, Any]) -> None:
        """Show how the model is run when nobody says otherwise."""
        for name, number in (
            ("max_new_tokens", self.length),
            ("steps", self.steps),
            ("block_length", self.block),
            ("shift", self.shift),
            ("temperature", self.temperature),
        ):
            value = defaults.get(name)
            if isinstance(value, int | float):
                number.setValue(value)
        for name, choice in (("schedule", self.schedule), ("remasking", self.remasking)):
            index = choice.findText(str(defaults.get(name, "")))
            if index >= 0:
                choice.setCurrentIndex(index)

    def set_image(self, pixels: npt.NDArray[np.uint8] | None, name: str, warning: str = "") -> None:
        """Show the image that the run will be made on."""
        self._has_image = pixels is not None
        self._picture.pixmap = to_pixmap(pixels, 128, 128) if pixels is not None else None
        self._picture.update()
        self._name.set_text(name or "No image yet")
        self._warning.set_text(warning)
        self._warning.setVisible(bool(warning))
        self._update()

    def set_prompt(self, prompt: str) -> None:
        """Fill in the prompt."""
        self.prompt.setCurrentText(prompt)

    def open(self) -> None:
        """Show the sheet over the middle of the window."""
        self.adjustSize()
        host = self.parentWidget()
        self.move((host.width() - self.width()) // 2, max(52, (host.height() - self.height()) // 3))
        self.raise_()
        self.show()
        self._focus.take(self.prompt)

    def close_sheet(self) -> None:
        """Hide; nothing is lost."""
        self._leave()
        self.closed.emit()

    def _leave(self) -> None:
        self.hide()
        self._focus.give_back()

    def wish(self) -> RunWish | None:
        """What is filled in, or None while a field is wrong."""
        return None if self._errors() else self._read()

    def _read(self) -> RunWish:
        return RunWish(
            self.prompt.currentText().strip(),
            parse_layers(self.layers.text(), self._facts.layers),
            self.scope.current or "all",
            parse_words(self.words.text(), self.length.value()),
            str(self.method.currentData() or "diffusion-cam"),
            str(self.contrast.currentData()),
            self._generation(),
            self.seed.value(),
        )

    def _generation(self) -> dict[str, Any]:
        return {
            "max_new_tokens": self.length.value(),
            "steps": self.steps.value() or None,
            "block_length": self.block.value() or None,
            "schedule": self.schedule.currentText(),
            "shift": self.shift.value(),
            "remasking": self.remasking.currentText(),
            "temperature": self.temperature.value(),
            "prefix_cache": {"Model": None, "On": True, "Off": False}[self.cache.currentText()],
        }

    def _errors(self) -> dict[str, str]:
        """What is wrong, by the field that it shows under; all that is knowable before a run."""
        checks: dict[str, Callable[[], object]] = {
            "words": lambda: parse_words(self.words.text(), self.length.value()),
            "layers": lambda: parse_layers(self.layers.text(), self._facts.layers),
            "generation": lambda: check_generation(self._generation()),
        }
        found = {}
        for name, check in checks.items():
            try:
                check()
            except ValueError as problem:
                found[name] = str(problem)
        if not self.prompt.currentText().strip():
            found["prompt"] = "Type a prompt"
        return found

    # --- parts ------------------------------------------------------------------------------------

    def _image_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(16)
        self._picture = _Picture(self.theme)
        row.addWidget(self._picture)
        side = QVBoxLayout()
        side.setSpacing(8)
        self._name = Label(self.theme, "No image yet", pixels=13, token="text_1", elide=True)
        side.addWidget(self._name)
        choose = TextButton(self.theme, "Choose image", icon="open-image")
        choose.clicked.connect(self.choose_image)
        side.addWidget(choose, 0, Qt.AlignmentFlag.AlignLeft)
        self._model = Label(self.theme, "", pixels=12, token="text_3", elide=True)
        side.addWidget(self._model)
        side.addStretch(1)
        row.addLayout(side, 1)
        return row

    def _form(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(8)
        grid.setColumnMinimumWidth(0, 84)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self._touched = False
        self.prompt = QComboBox()
        self.prompt.setEditable(True)
        self.prompt.setObjectName("Prompt")
        self.prompt.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.prompt.addItems(list(PROMPTS))
        self.words = QLineEdit()
        self.words.setPlaceholderText("Whole answer, or words: cat, truck")
        self.words.setToolTip(tooltip(WORDS_HELP))
        self.layers = QLineEdit("all")
        self.layers.setToolTip(tooltip(LAYERS_HELP))
        self._error_lines = {
            name: Label(self.theme, "", pixels=11, token="failed_text", wrap=True)
            for name in ("words", "layers", "generation")
        }
        self.scope = Segments(
            self.theme, "Steps", [("all", "All steps"), ("commit", "Commit steps")], "all",
            expand=True,
        )  # fmt: skip
        self.method = QComboBox()
        self.method.addItem("Diffusion-CAM", "diffusion-cam")
        self.contrast = QComboBox()
        for key, title in (
            ("none", "Logit"),
            ("runner_up", "Logit less runner-up"),
            ("log_probability", "Log-probability"),
        ):
            self.contrast.addItem(title, key)
        self.length = _number(1, 1024, 32)
        self.steps = _number(0, 1024, 0, "half the tokens")
        self.block = _number(0, 1024, 0, "one block")
        self.seed = _number(0, 2**31 - 1, 0)
        self.schedule = _choice(SCHEDULES)
        self.remasking = _choice(REMASKING)
        self.cache = _choice(("Model", "On", "Off"))
        self.shift = _real(0.1, 100.0, 3.0, 0.1)
        self.temperature = _real(0.0, 10.0, 0.0, 0.1)
        rows: list[tuple[str, QWidget, str, QWidget | None]] = [
            ("Prompt", self.prompt, "", None),
            ("Words", self.words, "", None),
            ("Layers", self.layers, "Explain", self.scope),
            ("Method", self.method, "Target", self.contrast),
            ("Tokens", self.length, "Steps", self.steps),
            ("Block", self.block, "Seed", self.seed),
            ("Schedule", self.schedule, "Shift", self.shift),
            ("Remasking", self.remasking, "Temperature", self.temperature),
            ("Prefix cache", self.cache, "", None),
        ]
        below = {"Words": "words", "Layers": "layers", "Block": "generation"}
        line = 0
        for left, first, right, second in rows:
            grid.addWidget(Label(self.theme, left, pixels=12, token="text_2"), line, 0)
            first.setAccessibleName(left)
            grid.addWidget(first, line, 1, 1, 1 if second is not None or left[:3] == "Pre" else 3)
            if second is not None:
                grid.addWidget(Label(self.theme, right, pixels=12, token="text_2"), line, 2)
                second.setAccessibleName(right)
                grid.addWidget(second, line, 3)
            line += 1
            if left in below:
                error_line = self._error_lines[below[left]]
                error_line.hide()
                grid.addWidget(error_line, line, 1, 1, 3)
                line += 1
        self.layers.textChanged.connect(self._update)
        self.words.textChanged.connect(self._update)
        self.prompt.editTextChanged.connect(self._update)
        self.scope.chosen.connect(self._update)
        for number in (self.length, self.steps, self.block, self.shift, self.temperature):
            number.valueChanged.connect(self._generation_changed)
        for choice in (self.schedule, self.remasking):
            choice.currentIndexChanged.connect(self._generation_changed)
        return grid

    def _generation_changed(self) -> None:
        self._touched = True
        self._update()

    def _update(self, *_: object) -> None:
        errors = self._errors()
        fields: dict[str, tuple[QWidget, ...]] = {
            "words": (self.words,),
            "layers": (self.layers,),
            "generation": (self.length, self.steps, self.block),
        }
        for name, widgets in fields.items():
            error = errors.get(name, "")
            line = self._error_lines[name]
            line.set_text(error)
            line.setVisible(bool(error))
            for widget in widgets:
                _mark(widget, "error" if error else "")
        if self.isVisible():
            self.adjustSize()
        self.run_button.setEnabled(not errors and self._has_image)
        reason = next(iter(errors.values()), "") if self._has_image else "Choose an image first"
        self.run_button.setToolTip(tooltip(reason))
        self._forecast.set_text("" if errors else forecast(self._facts, self._read()))

    def _run(self) -> None:
        wish = self.wish()
        if wish is not None and self._has_image:
            self._leave()
            self.run_requested.emit(wish)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close_sheet()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._run()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        p = QPainter(self)
        t = self.theme
        rounded(p, QRectF(self.rect()), 8, t.color("overlay"), t.color("border"))
        p.end()


def _mark(widget: QWidget, state: str) -> None:
    """Give a field the look of a state; the style sheet knows it by the property."""
    if widget.property("state") != state:
        widget.setProperty("state", state)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def _number(low: int, high: int, value: int, zero: str = "") -> QSpinBox:
    box = QSpinBox()
    inset_text(box)
    box.setRange(low, high)
    if zero:
        box.setSpecialValueText(zero)
    box.setValue(value)
    return box


def _real(low: float, high: float, value: float, step: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    inset_text(box)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setValue(value)
    return box


def _choice(names: Sequence[str]) -> QComboBox:
    box = QComboBox()
    box.addItems(list(names))
    return box
