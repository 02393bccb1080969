"""Every action once: menus, shortcuts, the palette, the shortcut list and tests read this table.

An action is data plus one callback. Whether it can run now is a function of
:class:`Context`, a small frozen value; the reason for a "no" becomes its tooltip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget


@dataclass(frozen=True)
class Context:
    """What conditions may ask about."""

    page: str = "welcome"
    has_run: bool = False
    has_steps: bool = False
    has_maps: bool = False
    job_running: bool = False
    can_undo: bool = False
    can_redo: bool = False
    panels: int = 1
    has_file: bool = False


Condition = Callable[[Context], str]


def always(_: Context) -> str:
    """Possible at any time."""
    return ""


def with_run(context: Context) -> str:
    """Possible while a run is shown."""
    return "" if context.has_run and context.page == "workspace" else "Open a run first"


def with_steps(context: Context) -> str:
    """Possible once the steps of the run are known."""
    return with_run(context) or ("" if context.has_steps else "There is no step yet")


def with_maps(context: Context) -> str:
    """Possible when there is a map."""
    return with_run(context) or ("" if context.has_maps else "There is no map yet")


def with_file(context: Context) -> str:
    """Possible when the run is a finished file."""
    return with_run(context) or ("" if context.has_file else "The job still writes this run")


def while_job(context: Context) -> str:
    """Possible while a job runs."""
    return "" if context.job_running else "No job runs"


def with_two(context: Context) -> str:
    """Possible with at least two panels."""
    return with_run(context) or ("" if context.panels > 1 else "Add a second panel first")


@dataclass(frozen=True)
class Spec:
    """One action.

    ``keys`` are portable key texts; the first is shown. ``plain`` marks keys
    without Ctrl, which act only while canvas, timeline or token strip have the
    focus. ``hold`` marks actions that last while the key is down.
    """

    id: str
    title: str
    menu: str
    keys: tuple[str, ...] = ()
    icon: str = ""
    enabled: Condition = always
    checkable: bool = False
    hold: bool = False
    help: str = ""
    group: int = 0

    @property
    def plain(self) -> bool:
        """Whether the shortcut must not act while text is typed."""
        return any(is_plain(key) for key in self.keys)


def is_plain(key: str) -> bool:
    """Whether a key text lacks Ctrl, Alt and function keys, so that it may be typed as text."""
    parts = key.split("+")
    function_key = parts[-1].startswith("F") and parts[-1][1:].isdigit()
    return not function_key and not {"Ctrl", "Alt", "Meta"} & set(parts[:-1])


_R, _M, _F = with_run, with_maps, with_file
SPECS: tuple[Spec, ...] = (
    # File
    Spec("file.open", "Open…", "File", ("Ctrl+O",), "folder", group=0),
    Spec("file.open_image", "Open image…", "File", (), "open-image", group=0),
    Spec("file.open_run", "Open run…", "File", (), "open-run", group=0),
    Spec("file.paste", "Paste image", "File", ("Ctrl+V",), "copy", group=0),
    Spec("file.save", "Save", "File", ("Ctrl+S",), "save", _F, group=1),
    Spec("file.save_as", "Save a copy…", "File", ("Ctrl+Shift+S",), "save", _F, group=1),
    Spec("file.close_run", "Close run", "File", ("Ctrl+W",), "close", _R, group=1),
    Spec("file.welcome", "Welcome page", "File", (), "compass", group=2),
    Spec("file.quit", "Quit", "File", ("Ctrl+Q",), group=3),
    # Edit
    Spec(
        "edit.undo", "Undo", "Edit", ("Ctrl+Z",), "undo",
        lambda c: "" if c.can_undo else "Nothing to undo", group=0,
    ),
    Spec(
        "edit.redo", "Redo", "Edit", ("Ctrl+Shift+Z", "Ctrl+Y"), "redo",
        lambda c: "" if c.can_redo else "Nothing to do again", group=0,
    ),
    Spec("edit.copy_panel", "Copy panel as image", "Edit", ("Ctrl+Shift+C",), "copy", _M, group=1),
    Spec("edit.copy_code", "Copy code", "Edit", ("Ctrl+Alt+C",), "code", _R, group=1),
    Spec("edit.swap", "Swap A and B", "Edit", ("X",), "swap", with_two, group=2),
    Spec("edit.palette", "Search commands", "Edit", ("Ctrl+K", "Ctrl+Shift+P"), "search", group=3),
    # View
    Spec("view.single", "Single", "View", ("Ctrl+1",), "single", _R, True, group=0),
    Spec("view.tile", "Tile", "View", ("Ctrl+2",), "tile", _R, True, group=0),
    Spec("view.wipe", "Wipe", "View", ("Ctrl+3",), "wipe", _R, True, group=0),
    Spec("view.blink", "Blink", "View", ("Ctrl+4",), "blink", _R, True, group=0),
    Spec("view.difference", "Difference", "View", ("Ctrl+5",), "difference", _R, True, group=0),
    Spec("view.split", "Split panel", "View", ("Ctrl+\\",), "split", _R, group=1),
    Spec("view.close_panel", "Close panel", "View", ("Ctrl+Shift+\\",), "close", with_two, group=1),
    Spec("view.pin", "Pin panel here", "View", ("P",), "pin", _R, group=1),
    Spec("view.link", "Link panel", "View", ("Shift+L",), "link", _R, group=1),
    Spec("view.split_stage", "Split by refinement stage", "View", (), "tile", _M, group=1),
    Spec("view.split_layer", "Split by layer", "View", (), "layers", _M, group=1),
    Spec("view.split_step", "Split by step", "View", (), "film", _M, group=1),
    Spec("view.split_token", "Split by word", "View", (), "tile", _M, group=1),
    Spec("view.split_refinement", "Split by preset", "View", (), "tile", _M, group=1),
    Spec("view.fit", "Fit image", "View", ("F",), "fit", _R, group=2),
    Spec("view.zoom_selection", "Zoom to region", "View", ("Z",), "search", _R, group=2),
    Spec("view.opacity_less", "Less opacity", "View", ("-",), "minus", _R, group=3),
    Spec("view.opacity_more", "More opacity", "View", ("=",), "plus", _R, group=3),
    Spec("view.range_less", "Narrower colour range", "View", ("Shift+-", "_"), "minus", _R,
         group=3),
    Spec("view.range_more", "Wider colour range", "View", ("Shift+=", "+"), "plus", _R, group=3),
    Spec("view.scope", "Next normalisation", "View", ("N",), "sliders", _R, group=3),
    Spec("view.colour_bar", "Colour bar", "View", ("C",), "curve", _R, True, group=3),
    Spec("view.contour", "Threshold contour", "View", (), "contour", _R, True, group=3),
    Spec("view.region", "Region outline", "View", (), "region-outline", _R, True, group=3),
    Spec("view.grey", "Grey image", "View", (), "eye", _R, True, group=3),
    Spec("view.raw", "Raw map", "View", ("0",), "open-image", _R, True, group=4),
    Spec("view.stage_1", "Refinement stage 1", "View", ("1",), "sliders", _R, True, group=4),
    Spec("view.stage_2", "Refinement stage 2", "View", ("2",), "sliders", _R, True, group=4),
    Spec("view.stage_3", "Refinement stage 3", "View", ("3",), "sliders", _R, True, group=4),
    Spec("view.stage_4", "Refinement stage 4", "View", ("4",), "sliders", _R, True, group=4),
    Spec("view.stage_5", "Refinement stage 5", "View", ("5",), "sliders", _R, True, group=4),
    Spec("hold.blink", "Blink while held", "View", ("B",), "blink", _R, hold=True, group=5),
    Spec(
        "hold.difference", "Difference while held", "View", ("D",), "difference", _R,
        hold=True, group=5,
    ),
    Spec("hold.image", "Image only while held", "View", ("V",), "eye-off", _R, hold=True, group=5),
    Spec("view.left", "Left dock", "View", ("Ctrl+B",), "split", _R, True, group=6),
    Spec("view.right", "Right dock", "View", ("Ctrl+Alt+B",), "split", _R, True, group=6),
    Spec("view.log", "Log", "View", ("Ctrl+J",), "log", always, True, group=6),
    Spec("view.thin", "Thin timeline", "View", (), "chevron-down", _R, True, group=6),
    Spec("view.next_pane", "Next pane", "View", ("F6",), "up", _R, group=6),
    Spec("view.dark", "Dark theme", "View", (), "moon", always, True, group=7),
    Spec("view.light", "Light theme", "View", (), "sun", always, True, group=7),
    Spec("view.system", "Theme of the system", "View", (), "device", always, True, group=7),
    # Run
    Spec("run.sheet", "New run…", "Run", ("Ctrl+R",), "play", group=0),
    Spec(
        "run.cancel", "Cancel job", "Run", ("Ctrl+.",), "stop", while_job, group=0,
    ),
    Spec("run.play", "Play or pause", "Run", ("Space",), "play", _R, group=1),
    Spec("run.step_back", "Step back", "Run", ("Left",), "step-back", _R, group=1),
    Spec("run.step_forward", "Step forward", "Run", ("Right",), "step-forward", _R, group=1),
    Spec("run.previous_computed", "Previous computed step", "Run", ("Shift+Left",), "step-back",
         _M, group=2),
    Spec("run.next_computed", "Next computed step", "Run", ("Shift+Right",), "step-forward",
         _M, group=2),
    Spec("run.previous_commit", "Go to previous commit", "Run", ("Ctrl+Left",), "skip-back",
         _R, group=2),
    Spec("run.next_commit", "Go to next commit", "Run", ("Ctrl+Right",), "skip-forward",
         _R, group=2),
    Spec("run.first", "First valid step", "Run", ("Home",), "skip-back", _R, group=2),
    Spec("run.last", "Last valid step", "Run", ("End",), "skip-forward", _R, group=2),
    Spec("run.word_step", "Go to the step that wrote the word", "Run", ("W",), "flag",
         _R, group=2),
    Spec("run.shuttle_back", "Play backwards", "Run", ("J",), "step-back", _R, group=3),
    Spec("run.shuttle_stop", "Stop playing", "Run", ("K",), "pause", _R, group=3),
    Spec("run.shuttle_forward", "Play forwards", "Run", ("L",), "step-forward",
         _R, group=3),
    Spec("run.loop", "Loop", "Run", (), "loop", _R, True, group=3),
    Spec("run.loop_in", "Loop begins here", "Run", ("I",), "loop", _R, group=3),
    Spec("run.loop_out", "Loop ends here", "Run", ("O",), "loop", _R, group=3),
    Spec("run.marker", "Marker at this step", "Run", ("M",), "flag", _R, group=3),
    Spec("run.go_to", "Go to step…", "Run", ("G",), "search", with_steps, group=3),
    Spec("run.follow", "Follow job", "Run", (), "play", while_job, True, group=3),
    Spec("run.layer_less", "Previous layer", "Run", ("Up",), "chevron-up", _R, group=4),
    Spec("run.layer_more", "Next layer", "Run", ("Down",), "chevron-down", _R, group=4),
    Spec("run.previous_word", "Previous word in the answer", "Run", ("[",), "step-back",
         _R, group=4),
    Spec("run.next_word", "Next word in the answer", "Run", ("]",), "step-forward",
         _R, group=4),
    Spec("run.previous_noun", "Previous noun", "Run", ("Shift+[", "{"), "step-back", _R, group=4),
    Spec("run.next_noun", "Next noun", "Run", ("Shift+]", "}"), "step-forward", _R, group=4),
    # Figure
    Spec("figure.export", "Export this view…", "Figure", ("Ctrl+E",), "export", _M, group=0),
    Spec("figure.export_data", "Export data…", "Figure", (), "save", _M, group=0),
    Spec("figure.screenshot", "Save a picture of the window…", "Figure", (), "open-image", group=1),
    # Help
    Spec("help.keys", "Keyboard", "Help", ("F1",), "keyboard", group=0),
    Spec("help.guide", "Guide", "Help", (), "book", group=0),
    Spec("help.about", "About Diffusion-CAM Studio", "Help", (), "info", group=1),
)  # fmt: skip

# Groups of a menu that open beside it: a window of 720 px has room for about 24 rows.
SUBMENUS = {
    ("View", 1): "Panels",
    ("View", 3): "Colours",
    ("View", 4): "Refinement",
    ("View", 7): "Theme",
    ("Run", 3): "Playing",
}
MENUS = ("File", "Edit", "View", "Run", "Figure", "Help")


class Registry(QObject):
    """Makes one QAction of each :class:`Spec` and keeps their state in step with the context.

    Plain keys are not Qt shortcuts: the window hands key presses to
    :meth:`find_key`, so that typing in a field never moves the timeline.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._specs = {spec.id: spec for spec in SPECS}
        self._actions: dict[str, QAction] = {}
        self._callbacks: dict[str, Callable[[], object]] = {}
        self._context = Context()
        self._ask: Callable[[], Context] | None = None
        self._by_key: dict[str, str] = {}
        for spec in SPECS:
            action = QAction(self)
            action.setObjectName(spec.id)
            action.setCheckable(spec.checkable)
            action.setShortcutVisibleInContextMenu(True)
            # Held keys and plain keys reach the window as key events, the rest as shortcuts.
            firm = [k for k in spec.keys if not is_plain(k) and not spec.hold]
            if firm:
                action.setShortcuts([QKeySequence(k) for k in firm])
            for key in spec.keys:
                if is_plain(key) or spec.hold:
                    self._by_key[_normal(key)] = spec.id
            action.triggered.connect(lambda _=False, i=spec.id: self.trigger(i))
            window.addAction(action)
            self._actions[spec.id] = action
            self.set_title(spec.id, spec.title)
        self.refresh(self._context)

    def bind(self, callbacks: dict[str, Callable[[], object]]) -> None:
        """Say what actions do; each id must exist."""
        unknown = set(callbacks) - set(self._specs)
        if unknown:
            raise KeyError(f"No such action: {', '.join(sorted(unknown))}")
        self._callbacks.update(callbacks)

    def unbound(self) -> tuple[str, ...]:
        """Ids of actions that nothing is bound to (there must be none)."""
        return tuple(i for i, s in self._specs.items() if i not in self._callbacks and not s.hold)

    def specs(self) -> Iterable[Spec]:
        """All actions in menu order."""
        return self._specs.values()

    def spec(self, action_id: str) -> Spec:
        """One action's table row."""
        return self._specs[action_id]

    def action(self, action_id: str) -> QAction:
        """The QAction of an id."""
        return self._actions[action_id]

    def set_title(self, action_id: str, title: str) -> None:
        """Name an action; menus show its plain key, too, which is no shortcut of Qt."""
        spec = self._specs[action_id]
        key = spec.keys[0] if spec.plain else ""
        self._actions[action_id].setText(f"{title}\t{key}" if key else title)

    def title(self, action_id: str) -> str:
        """Return the name of an action, without its key."""
        return self._actions[action_id].text().partition("\t")[0]

    def reason(self, action_id: str) -> str:
        """Why an action cannot run now; "" if it can."""
        return self._specs[action_id].enabled(self._context)

    def ask_context(self, ask: Callable[[], Context]) -> None:
        """Say where the present context comes from; triggers are never judged by an old one."""
        self._ask = ask

    def trigger(self, action_id: str) -> bool:
        """Run an action if its condition allows; says whether it ran."""
        if self._ask is not None:
            self._context = self._ask()
        if self.reason(action_id) or action_id not in self._callbacks:
            return False
        self._callbacks[action_id]()
        return True

    def refresh(self, context: Context) -> None:
        """Enable what is possible now; the reason for the rest is its tooltip."""
        self._context = context
        for action_id, action in self._actions.items():
            reason = self.reason(action_id)
            action.setEnabled(not reason)
            action.setToolTip(reason or self._specs[action_id].title)

    def check(self, states: dict[str, bool]) -> None:
        """Show which checkable actions are on; triggers nothing."""
        for action_id, on in states.items():
            self._actions[action_id].setChecked(on)

    def find_key(self, key: int, modifiers: Qt.KeyboardModifier) -> str:
        """Id of the plain-key action for a key press, or "" if there is none."""
        held = [
            name
            for flag, name in (
                (Qt.KeyboardModifier.ControlModifier, "Ctrl"),
                (Qt.KeyboardModifier.AltModifier, "Alt"),
                (Qt.KeyboardModifier.ShiftModifier, "Shift"),
            )
            if modifiers & flag
        ]
        text = QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText)
        found = self._by_key.get("+".join([*held, text]))
        if found is None and held == ["Shift"]:
            # Layouts differ in what Shift makes of a key: "{" may come as such.
            found = self._by_key.get(text)
        return found or ""


def key_text(spec: Spec) -> str:
    """First shortcut as the style guide writes it: "Ctrl Right"."""
    return spec.keys[0].replace("+", " ") if spec.keys else ""


def _normal(key: str) -> str:
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText) or key
