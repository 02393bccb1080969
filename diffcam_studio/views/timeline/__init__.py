"""The timeline: transport, ruler, playhead and the lanes that say what exists at which step."""

from diffcam_studio.views.timeline.geometry import LANES, Lane
from diffcam_studio.views.timeline.timeline import Timeline

__all__ = ["LANES", "Lane", "Timeline"]
