"""The two ways to begin a job: from a request, or from the file of an unfinished one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from diffcam_core.attribution import METHODS
from diffcam_core.denoising import GenerationConfig
from diffcam_core.engine.job import Job
from diffcam_core.errors import CancelledError, DiffcamError, ResourceError
from diffcam_core.events import Done, Event, EventSink
from diffcam_core.images import ImageSource
from diffcam_core.request import Request, Steps
from diffcam_core.session import Run, open_run
from diffcam_core.session.schema import final_path, part_path

if TYPE_CHECKING:
    from diffcam_core.models.base import DiffusionVLM


Cancel = Callable[[], bool] | threading.Event


def explain(
    model: DiffusionVLM,
    image: ImageSource,
    prompt: str,
    *,
    layers: Sequence[int] | None = None,
    steps: Steps = "all",
    tokens: Sequence[int | str] | None = None,
    method: str = "diffusion-cam",
    contrast: str = "none",
    generation: GenerationConfig | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] = "run.dcam",
    on_event: EventSink | None = None,
    cancel: Cancel | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Let a model answer a question about an image, and map where each word came from.

    Parameters
    ----------
    model : DiffusionVLM
        From `diffcam_core.load_model`.
    image : path, PIL.Image.Image or uint8 array
        See `diffcam_core.images.as_image`.
    prompt : str
        The question.
    layers : sequence of int, optional
        Transformer blocks to look into, 0-based; None: all of them.
    steps : "all", "commit" or sequence of int
        Denoising steps to explain. "commit": each token only at the step that wrote it; its maps
        at other steps are NaN.
    tokens : sequence of int or str, optional
        Positions of the answer, or words of it. None: every position up to and including the
        first end token; the padding behind it is explained only if its positions are given.
    method : str
        Name in `diffcam_core.attribution.METHODS`.
    contrast : str
        What is differentiated: "none", the token's logit; "runner_up", less the logit of the best
        other token at that position and step; "log_probability"; or "word:dog", less the logit of
        the (first token of the) given word.
    generation : GenerationConfig, optional
        None: as the model likes it.
    seed : int
        Seed of the sampler, 0 to 2**63 - 1.
    out : path-like
        The run file. Until the job is complete it is ``out`` + ".part".
    on_event : callable, optional
        Called with every event, on the thread of the caller. If it raises, the job ends.
    cancel : callable or threading.Event, optional
        Asked between units of work (a denoising step, a chunk of gradients).
    resume : bool
        Complete an unfinished run of the same request; start it if there is none.
    overwrite : bool
        Replace an existing file once the new one is complete, and an unfinished one at once.

    Returns
    -------
    Run
        Open. After a cancelled job it is the unfinished one (``run.complete`` is False).

    Raises
    ------
    InputError, TargetError
        If the image or an option cannot be used.
    RunFileError
        If the file cannot be written, its name is taken, or it belongs to another request.
    ResourceError
        If memory or the disk ran out.
    CancelledError
        If the job was cancelled before anything worth keeping existed.

    Notes
    -----
    Before any of the errors above (but not for a fault of the program) the last event is a
    `Failure` that names the file with the finished steps, if there are any.
    """
    job = Job(
        model=model,
        source=image,
        out=Path(os.path.abspath(os.fspath(out))),  # noqa: PTH100 - resolve() would follow links
        emit=on_event if on_event is not None else _ignore,
        is_cancelled=_cancel_check(cancel),
        resume=resume,
        overwrite=overwrite,
    )
    try:
        job.run(
            prompt=prompt,
            layers=layers,
            steps=steps,
            tokens=tokens,
            method=method,
            contrast=contrast,
            generation=generation,
            seed=seed,
        )
    except CancelledError:
        kept = job.keep()
        job.emit(Done(kept, cancelled=True, seconds=job.seconds))
        if not kept:
            raise
        return open_run(kept)
    except DiffcamError as error:
        job.fail(error)
        raise
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            job.keep()
            raise
        problem = _out_of_memory(model)
        job.fail(problem)
        raise problem from error
    except BaseException:
        # Ctrl-C, a fault in a listener or in the program: the finished steps stay.
        job.keep()
        raise
    return open_run(job.out)


def method_titles() -> dict[str, str]:
    """Attribution methods that `explain` knows: name -> title for people."""
    return {name: method.title for name, method in METHODS.items()}


def resume(
    model: DiffusionVLM,
    path: str | os.PathLike[str],
    *,
    on_event: EventSink | None = None,
    cancel: Cancel | None = None,
) -> Run:
    """Complete an unfinished run with nothing but its file.

    Parameters
    ----------
    model : DiffusionVLM
        The same model as before; another one is refused.
    path : path-like
        ``run.dcam`` or ``run.dcam.part``.
    on_event, cancel
        As in `explain`.

    Returns
    -------
    Run
        As `explain` returns it.

    Raises
    ------
    DiffcamError
        As `explain`; `RunFileError` also if there is no such file.
    """
    target = final_path(Path(os.path.abspath(os.fspath(path))))  # noqa: PTH100 - keep links
    source = part_path(target) if part_path(target).exists() else target
    with open_run(source) as old:
        request = Request.from_json(old.request)
        pixels = np.array(old.image)
    return explain(
        model,
        pixels,
        request.prompt,
        layers=request.layers,
        steps=request.steps,
        tokens=request.tokens,
        method=request.method,
        contrast=request.contrast,
        generation=request.generation,
        seed=request.seed,
        out=target,
        on_event=on_event,
        cancel=cancel,
        resume=True,
    )


def _ignore(_event: Event) -> None:
    """Listen to nothing."""


def _cancel_check(cancel: Cancel | None) -> Callable[[], bool]:
    if cancel is None:
        return lambda: False
    if callable(cancel):
        return cancel
    return cancel.is_set


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _out_of_memory(model: DiffusionVLM) -> ResourceError:
    return ResourceError(
        f"memory ran out on {model.device}",
        "Close other programs, ask for fewer layers or tokens, or load the model in bfloat16; "
        "then resume.",
    )
