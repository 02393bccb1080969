"""One job: a request in, events out, a run file on the disk.

A job goes through these phases:

prepare
    The image and the prompt become one packed sequence, every option is checked, one forward pass
    is timed, the run file is laid out under its unfinished name, and the `Plan` is sent.
generate
    The answer is written step by step; each step goes to the file and out as a `CanvasStep`.
    At the end the tokens to explain are looked up in the answer, and the `Answer` is sent.
explain
    Denoising steps in ascending order: probe, turn into maps, store, send as a `MapStep`.
write
    The file gets its final name; `Done` is sent.

Whatever ends a job early (cancel, error, full disk, Ctrl-C, kill -9) leaves the unfinished file
(``run.dcam.part``) with every finished step, and ``resume=True`` completes it to the same maps.
The same request with the same seed on the same device gives the same maps, bit for bit.
"""

from diffcam_core.engine.entry import Cancel, explain, method_titles, resume
from diffcam_core.request import Request, Steps

__all__ = ["Cancel", "Request", "Steps", "explain", "method_titles", "resume"]
