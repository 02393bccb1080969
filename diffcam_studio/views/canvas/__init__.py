"""The canvas: pictures under their maps in one to eight linked panels."""

from diffcam_studio.views.canvas.canvas import Canvas
from diffcam_studio.views.canvas.map_view import MapView

__all__ = ["Canvas", "MapView"]
