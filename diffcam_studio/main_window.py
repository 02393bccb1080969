# ruff: noqa: D102 - Qt overrides keep the names and signatures of Qt
"""The window: it joins regions, actions and controller, and answers to keys, drops and sizes."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QByteArray, QEvent, QSize, Qt, QUrl
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QInputDialog,
    QLineEdit,
    QMainWindow,
    QMenu,
    QMessageBox,
    QPlainTextEdit,
    QWidget,
)

from diffcam_core import __version__
from diffcam_studio.actions import Registry
from diffcam_studio.chrome import Message, rounded_menu
from diffcam_studio.commands import cursor, look
from diffcam_studio.commands.bindings import controller_bindings
from diffcam_studio.commands.palette import action_commands, recent_commands, run_commands
from diffcam_studio.controller import Controller
from diffcam_studio.files import Files
from diffcam_studio.incoming import is_usable
from diffcam_studio.new_runs import NewRuns
from diffcam_studio.presenter.citing import code_of
from diffcam_studio.presenter.naming import run_title
from diffcam_studio.regions import FOLD, build_regions
from diffcam_studio.screen import TITLE, Screen
from diffcam_studio.state import view_state as vs
from diffcam_studio.theme import Theme, ThemeName, app_icon, apply_theme, load_theme, system_theme
from diffcam_studio.views.controls import FocusRing, set_reduce_motion, spread_theme
from diffcam_studio.views.log_pane import QtLogHandler
from diffcam_studio.views.palette import KeyList, Palette
from diffcam_studio.views.run_sheet import RunSheet
from diffcam_studio.views.welcome import DemoCard
from diffcam_studio.wiring import connect_views

log = logging.getLogger(__name__)

_LOGGERS = ("diffcam_studio", "diffcam_core")
_TYPING = (QLineEdit, QPlainTextEdit, QAbstractSpinBox)
_HOLDS = {"hold.blink": "blink", "hold.difference": "difference", "hold.image": "image"}


class MainWindow(QMainWindow):
    """All regions of the window. State lives in the controller, looks in the theme."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.theme = load_theme(self._theme_name())
        self.setWindowTitle(TITLE)
        self.setObjectName("MainWindow")
        self.setWindowIcon(app_icon())
        self.setAcceptDrops(True)
        self.resize(1440, 900)
        self.registry = Registry(self)
        regions = self.regions = build_regions(self, self.registry, self.theme)
        self.top_bar, self.status = regions.top_bar, regions.status
        self.welcome, self.canvas, self.strip = regions.welcome, regions.canvas, regions.strip
        self.messages, self.welcome_messages = regions.messages, regions.welcome_messages
        self.inspector, self.right_stack = regions.inspector, regions.right_stack
        self.timeline, self.log_pane = regions.timeline, regions.log_pane
        self.palette_card = Palette(self.theme, self)
        self.run_sheet = RunSheet(self.theme, self)
        self.focus_ring = FocusRing(self, self.theme)
        self._screen = Screen(self, regions, controller, self.registry)
        self.files = Files(self, controller, self.tell, self.confirm)
        self.new_runs = NewRuns(controller, self.run_sheet)
        self.log_handler = QtLogHandler()
        self.log_handler.bridge.logged.connect(self.log_pane.add)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self.log_handler)
            logging.getLogger(name).setLevel(logging.INFO)
        self._quitting = False
        self._key_list: KeyList | None = None
        self._connect()
        self._bind()
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self._system_theme_changed)
        set_reduce_motion(controller.preferences.reduce_motion)
        self._restore_window()
        self._show_state(frozenset({"state", "runs", "recent", "model", "queue", "picture"}))
        self.welcome.setFocus()

    # --- connections ------------------------------------------------------------------------------

    def _connect(self) -> None:
        c, r, trigger = self.controller, self.regions, self.registry.trigger
        connect_views(r, c)
        c.changed.connect(self._show_state)
        c.told.connect(self.tell)
        c.demo_picture.connect(lambda key, loaded: self.welcome.show_picture(key, loaded.pixels))
        c.job_ended.connect(self._on_job_ended)
        c.folder_wanted.connect(lambda f: QDesktopServices.openUrl(QUrl.fromLocalFile(f)))
        r.top_bar.mode_chosen.connect(lambda mode: trigger(f"view.{mode}"))
        r.top_bar.search.connect(partial(trigger, "edit.palette"))
        r.top_bar.run_clicked.connect(partial(trigger, "run.sheet"))
        r.top_bar.run_menu.connect(self._open_run_menu)
        r.welcome.open_image.connect(partial(trigger, "file.open_image"))
        r.welcome.open_run.connect(partial(trigger, "file.open_run"))
        r.welcome.open_path.connect(self.open_path)
        r.welcome.dropped.connect(self.files.open_paths)
        r.welcome.image_dropped.connect(self.files.take_image)
        r.welcome.demo_chosen.connect(self.run_demo)
        r.welcome.show_all.connect(self._open_recent_menu)
        r.welcome.recovery_discard.connect(self._discard)
        r.welcome.link.connect(self._on_link)
        r.session.add_clicked.connect(partial(trigger, "file.open"))
        r.session.search_clicked.connect(self._open_run_palette)
        r.canvas.panel_asked.connect(self._on_panel_asked)
        r.canvas.action_requested.connect(self._on_canvas_action)
        r.canvas.cursor_moved.connect(self._screen.set_readout)
        r.canvas.split_requested.connect(self._split_by)
        r.canvas.grid_requested.connect(lambda _rows, columns: self._screen.set_columns(columns))
        r.canvas.link_toggled.connect(self._screen.set_link)
        r.inspector.provenance.copy_requested.connect(self._copy_text)
        r.job_panel.cancel.connect(partial(trigger, "run.cancel"))
        r.job_panel.add.connect(partial(trigger, "run.sheet"))
        r.status.cancel.connect(partial(trigger, "run.cancel"))
        r.status.log_clicked.connect(partial(trigger, "view.log"))
        r.log_pane.close_clicked.connect(partial(trigger, "view.log"))
        self.palette_card.chosen.connect(self._on_command)
        self.run_sheet.choose_image.connect(partial(trigger, "file.open_image"))

    def _bind(self) -> None:
        bound: dict[str, Callable[[], object]] = {
            **controller_bindings(self.controller),
            "file.open": partial(self.files.ask_open, "any"),
            "file.open_image": partial(self.files.ask_open, "image"),
            "file.open_run": partial(self.files.ask_open, "run"),
            "file.paste": self.files.paste,
            "file.save": self._save,
            "file.save_as": self.files.save_as,
            "file.quit": self.close,
            "edit.copy_panel": self._copy_panel,
            "edit.copy_code": self._copy_code,
            "edit.palette": self.open_palette,
            "view.fit": self.canvas.fit,
            "view.zoom_selection": partial(self.canvas.zoom_by, 2.0),
            "view.next_pane": self._next_pane,
            "run.sheet": self.new_runs.open_sheet,
            "run.go_to": self._ask_step,
            "figure.export": self.files.export_figure,
            "figure.export_data": self.files.export_data,
            "figure.screenshot": self.files.save_screenshot,
            "help.keys": self.show_keys,
            "help.guide": self._open_guide,
            "help.about": self._about,
        }
        for mode in vs.MODES:
            bound[f"view.{mode}"] = partial(self._set_mode, mode)
        for split in vs.SPLITS:
            bound[f"view.split_{split}"] = partial(self._split_by, split)
        for choice in ("dark", "light", "system"):
            bound[f"view.{choice}"] = partial(self.choose_theme, choice)
        self.registry.bind(bound)
        self.registry.ask_context(self._screen.context)

    # --- showing ----------------------------------------------------------------------------------

    def _show_state(self, parts: frozenset[str]) -> None:
        if "state" in parts:
            self._follow_theme()
        self._screen.show(parts)
        if "picture" in parts:
            self.new_runs.take_picture()
        if "model" in parts:
            self.new_runs.take_model()
        if parts & {"state", "job", "runs", "picture", "facts", "canvas"}:
            self._screen.refresh_actions()

    def tell(
        self,
        level: str,
        title: str,
        detail: str = "",
        action: str = "",
        callback: Callable[[], object] | None = None,
    ) -> None:
        """Show a message where the eyes are: over the canvas or the welcome page."""
        message = Message(level, title, detail, action, callback)  # type: ignore[arg-type]
        welcome = self.controller.state.page == "welcome"
        (self.welcome_messages if welcome else self.messages).add(message)

    # --- theme ------------------------------------------------------------------------------------

    def _theme_name(self) -> ThemeName:
        choice = self.controller.state.theme
        return system_theme() if choice == "system" else choice

    def _follow_theme(self) -> None:
        name = self._theme_name()
        if name != self.theme.name:
            self.set_theme(load_theme(name))

    def set_theme(self, theme: Theme) -> None:
        """Give everything other colours, live."""
        self.theme = theme
        app = QApplication.instance()
        assert isinstance(app, QApplication)  # a window cannot exist without it
        apply_theme(app, theme)
        spread_theme(self, theme)
        for widget in (self.palette_card, self.run_sheet, self.focus_ring):
            widget.set_theme(theme)
        if self._key_list is not None:
            self._key_list.set_theme(theme)

    def choose_theme(self, choice: vs.ThemeChoice) -> None:
        """Use one theme, or the one of the system."""
        if choice == "system":
            # Following the system needs the scheme that it asks for, not the one we set.
            QGuiApplication.styleHints().unsetColorScheme()
        self.controller.apply(replace(self.controller.state, theme=choice))
        self._screen.refresh_actions()

    def _system_theme_changed(self) -> None:
        if self.controller.state.theme == "system":
            self._follow_theme()

    # --- files and runs ---------------------------------------------------------------------------

    def open_path(self, path: str) -> None:
        """Open a run, an image or a folder."""
        self.controller.open_path(path)

    def _save(self) -> None:
        # A run is written while it is computed; saving keeps the view with it.
        self.controller.save_session()
        self.controller.saved_at = time.strftime("%H:%M")
        self._screen.show_status()
        self.tell("success", "The view is saved", "The run itself was saved when it was made.")

    def _discard(self, path: str) -> None:
        question = f"Discard {run_title(path)}? Its finished steps are deleted."
        if self.confirm("Discard run", question, "Discard"):
            try:
                Path(path).unlink(missing_ok=True)
            except OSError as error:
                self.tell("error", f"Cannot delete {Path(path).name}: {error.strerror}", "")
            self.controller.look_for_files()

    def confirm(self, title: str, text: str, verb: str) -> bool:
        """Ask before something is lost; the button says what happens."""
        box = QMessageBox(self)
        box.setWindowTitle(title)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(text)
        yes = box.addButton(verb, QMessageBox.ButtonRole.DestructiveRole)
        keep = box.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        # Enter and Esc, pressed without reading, lose nothing.
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        box.exec()
        chosen = box.clickedButton() is yes
        box.deleteLater()
        return chosen

    def set_demos(self, cards: tuple[DemoCard, ...], paths: dict[str, str]) -> None:
        """Offer demo scenes; ``paths`` says where each picture comes from."""
        self.welcome.show_demos(cards)
        self.new_runs.set_demos(cards, paths)

    def run_demo(self, key: str) -> None:
        """Start a run on a demo scene."""
        self.new_runs.run_demo(key)

    def _open_run_menu(self) -> None:
        button = self.top_bar.run_button
        menu = rounded_menu("Run", self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for action_id in ("run.sheet", "run.cancel"):
            menu.addAction(self.registry.action(action_id))
        menu.addSeparator()
        for key, card in self.new_runs.demos.items():
            menu.addAction(card.title, partial(self.run_demo, key))
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _on_job_ended(self, job: str) -> None:
        state = self.controller.jobs.states.get(job)
        if state is not None and state.live.done is not None and not state.live.done.cancelled:
            done = state.live.done
            detail = f"{done.seconds:.0f} s, {Path(done.path).name}"
            self.tell("success", f"{state.request.title} is done", detail)
        if self._quitting and self.controller.job is None:
            self.close()

    # --- view -------------------------------------------------------------------------------------

    def _set_mode(self, mode: vs.Mode) -> None:
        if mode == "tile" and len(self.controller.state.panels) < 2:
            self._screen.forget_columns()
        look.set_mode(self.controller, mode)

    def _split_by(self, split: vs.Split) -> None:
        self._screen.forget_columns()
        look.split_by(self.controller, split)

    def _on_panel_asked(self, key: str, what: str) -> None:
        look.activate_panel(self.controller, key)
        if what == "split":
            self.registry.trigger("view.split")
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for action_id in (
            "edit.copy_panel", "edit.copy_code", "figure.export", "figure.export_data",
            "view.fit", "view.close_panel",
        ):  # fmt: skip
            menu.addAction(self.registry.action(action_id))
        menu.popup(self.cursor().pos())

    def _on_canvas_action(self, _key: str, action: str) -> None:
        if action == "open":
            self.files.ask_open("any")
        elif action.startswith("step:") and action[5:].isdigit():
            self.controller.go_to(int(action[5:]))
        elif action.startswith("layer:") and action[6:].isdigit():
            cursor.select_layer(self.controller, int(action[6:]))
        elif action == "retry":
            self.controller.ask_anew()

    def _next_pane(self) -> None:
        panes: list[QWidget] = [
            self.canvas, self.strip, self.timeline.lanes, self.regions.layer_section.list,
            self.inspector.appearance.header,
        ]  # fmt: skip
        panes = [p for p in panes if p.isVisible()]
        focus = QApplication.focusWidget()
        at = next((i for i, p in enumerate(panes) if focus is p or p.isAncestorOf(focus)), -1)
        if panes:
            panes[(at + 1) % len(panes)].setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _ask_step(self) -> None:
        facts = self.controller.facts
        if facts is None:
            return
        step, ok = QInputDialog.getInt(
            self,
            "Go to step",
            f"Step, 0 to {facts.n_steps - 1}",
            self.controller.state.step,
            0,
            facts.n_steps - 1,
        )
        if ok:
            self.controller.go_to(step)

    # --- copies -----------------------------------------------------------------------------------

    def _copy_text(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.tell("success", "Copied")

    def _copy_code(self) -> None:
        facts = self.controller.facts
        if facts is not None:
            self._copy_text(
                code_of(self.controller.state, facts, self.controller.arrivals.stage_names)
            )

    def _copy_panel(self) -> None:
        panels = self.canvas.panels
        if panels:
            at = min(self.controller.state.active_panel, len(panels) - 1)
            QGuiApplication.clipboard().setPixmap(panels[at].grab())
            self.tell("success", "Copied the panel as image")

    def save_screenshot(self, path: str) -> bool:
        """Write a picture of the window as it is."""
        return self.grab().save(path)

    # --- palette and help -------------------------------------------------------------------------

    def open_palette(self) -> None:
        """Open the palette over the window."""
        actions = action_commands(self.registry)
        found = [c for c in actions if not self.registry.spec(c.id).hold]
        self.palette_card.open([*found, *run_commands(self.controller.runs)])

    def _open_run_palette(self) -> None:
        self.palette_card.open(run_commands(self.controller.runs))

    def _open_recent_menu(self) -> None:
        self.palette_card.open(
            recent_commands(self.controller.recent, self.controller.files.written)
        )

    def _on_command(self, command: str) -> None:
        kind, _, rest = command.partition(":")
        if kind == "show" and rest:
            self.controller.show_run(rest)
        elif kind == "open" and rest:
            self.open_path(rest)
        else:
            self.registry.trigger(command)

    def show_keys(self) -> None:
        """Show every key."""
        if self._key_list is None:
            self._key_list = KeyList(self.theme, action_commands(self.registry))
        self._key_list.show()
        self._key_list.raise_()

    def _open_guide(self) -> None:
        guide = Path(__file__).resolve().parent.parent / "docs" / "user-guide.md"
        if guide.exists():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(guide)))
        else:
            self.tell("info", "The guide is in the folder docs of the source", "")

    def _about(self) -> None:
        self.tell(
            "info",
            f"Diffusion-CAM Studio {__version__}",
            f"Python {platform.python_version()}, Apache License 2.0",
        )

    def _on_link(self, key: str) -> None:
        if key == "keys":
            self.registry.trigger("help.keys")
        elif key == "guide":
            self.registry.trigger("help.guide")
        else:
            self.files.choose_model()

    # --- events of the window ---------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._plain_key(event, down=True):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self._plain_key(event, down=False):
            super().keyReleaseEvent(event)

    def _plain_key(self, event: QKeyEvent, *, down: bool) -> bool:
        """Keys without Ctrl act while a view has the focus, never while text is typed."""
        if isinstance(QApplication.focusWidget(), _TYPING):
            return False
        if not self.controller.preferences.single_keys:
            return False
        action_id = self.registry.find_key(event.key(), event.modifiers())
        if not action_id:
            return False
        if action_id in _HOLDS:
            if not event.isAutoRepeat() and not self.registry.reason(action_id):
                self._peek(_HOLDS[action_id] if down else "none")
            return True
        return not down or self.registry.trigger(action_id)

    def _peek(self, peek: str) -> None:
        look.hold(self.controller, peek)
        # What a lone panel is held against must be there before the canvas compares.
        self._show_state(frozenset({"canvas"}))
        self.canvas.set_peek(peek)  # type: ignore[arg-type]

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self.canvas.set_peek("none")
        super().focusOutEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if is_usable(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        if self.files.take(event.mimeData(), "dropped image"):
            event.acceptProposedAction()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.regions.fit_width(self.width())
        self._screen.fit_height()
        crossed = (event.oldSize().width() < FOLD) != (event.size().width() < FOLD)
        if crossed:
            self._screen.show_frame()
        if self.run_sheet.isVisible():
            self.run_sheet.open()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            # A key released in another window is never told to us.
            self.canvas.set_peek("none")

    def _restore_window(self) -> None:
        kept = self.controller.settings.geometry()
        if kept is not None:
            geometry, docks = kept
            if self.restoreGeometry(geometry):
                self.restoreState(QByteArray(docks))
        if self.width() < 640 or self.height() < 400:
            self.resize(1440, 900)

    def sizeHint(self) -> QSize:
        return QSize(1440, 900)

    def close_now(self) -> None:
        """Close without asking, and wait; a running job keeps what it finished."""
        self._quitting = True
        self.close()
        if not self.controller.close():
            log.warning("A thread did not end in time")

    def closeEvent(self, event: QCloseEvent) -> None:
        c = self.controller
        if c.job is not None and not self._quitting:
            text = "A job runs. Its finished steps are kept and can be resumed."
            if not self.confirm("Close while a job runs", text, "Cancel job and close"):
                event.ignore()
                return
        self._quitting = True
        self._screen.stop()
        c.settings.save_geometry(self.saveGeometry(), self.saveState())
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self.log_handler)
        self.messages.clear()
        self.welcome_messages.clear()
        if self._key_list is not None:
            self._key_list.close()
            self._key_list.deleteLater()
            self._key_list = None
        self.setEnabled(False)
        # An engine may be busy for seconds; whoever made the window waits for it, out of sight.
        c.stop()
        event.accept()
