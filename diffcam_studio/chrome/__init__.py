"""The frame around the views: top bar, status bar, messages and the session list."""

from diffcam_studio.chrome.messages import Message, MessageStack
from diffcam_studio.chrome.session_list import SessionList, SessionRow
from diffcam_studio.chrome.status import StatusBar, StatusLine, StatusProps
from diffcam_studio.chrome.top_bar import TopBar, rounded_menu

__all__ = [
    "Message",
    "MessageStack",
    "SessionList",
    "SessionRow",
    "StatusBar",
    "StatusLine",
    "StatusProps",
    "TopBar",
    "rounded_menu",
]
