"""Small controls painted from theme tokens: labels, buttons, switch, slider, segments, sections.

They are drawn by hand, so that they look the same under any style sheet, and
they stay real buttons and sliders, so that keyboard and screen readers work.
"""

from diffcam_studio.views.controls.buttons import IconButton, TextButton, primary_button
from diffcam_studio.views.controls.choice import Choice
from diffcam_studio.views.controls.focus import BorrowedFocus, FocusRing, came_by_keyboard
from diffcam_studio.views.controls.labels import Divider, Label, Tag
from diffcam_studio.views.controls.number_field import NumberField, inset_text
from diffcam_studio.views.controls.progress import ProgressBar, ProgressRing, paint_ring
from diffcam_studio.views.controls.scroll import DockScroll
from diffcam_studio.views.controls.section import Section
from diffcam_studio.views.controls.segments import Segments
from diffcam_studio.views.controls.slider import Slider, draw_knob
from diffcam_studio.views.controls.switch import Switch, set_reduce_motion
from diffcam_studio.views.controls.theming import ThemedWidget, spread_theme

__all__ = [
    "BorrowedFocus",
    "Choice",
    "Divider",
    "DockScroll",
    "FocusRing",
    "IconButton",
    "Label",
    "NumberField",
    "ProgressBar",
    "ProgressRing",
    "Section",
    "Segments",
    "Slider",
    "Switch",
    "Tag",
    "TextButton",
    "ThemedWidget",
    "came_by_keyboard",
    "draw_knob",
    "inset_text",
    "paint_ring",
    "primary_button",
    "set_reduce_motion",
    "spread_theme",
]
