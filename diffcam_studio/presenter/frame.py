"""What the frame around the views says: status bar, session list, checked actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from diffcam_core import __version__
from diffcam_studio.chrome import SessionRow, StatusProps
from diffcam_studio.jobs import JobState, share_of
from diffcam_studio.presenter.jobs import job_position, time_left
from diffcam_studio.presenter.naming import device_text, method_title, model_title
from diffcam_studio.state import view_state as vs
from diffcam_studio.state.source import RunFacts
from diffcam_studio.state.view_state import ViewState
from diffcam_studio.views.job_panel import ESTIMATING, clock
from diffcam_studio.views.props import Readout
from diffcam_studio.worker.engine_thread import ModelFacts
from diffcam_studio.worker.queries import StageFrame


def welcome_status(model: ModelFacts | None, error: str) -> StatusProps:
    """The status bar under the welcome page: is the model there?"""
    ready = model is not None
    text = (
        "Embedded model ready" if ready
        else "The model could not be loaded" if error
        else "Loading the embedded model"
    )  # fmt: skip
    return StatusProps(
        icon="check" if ready else "warning" if error else "",
        saved=text,
        device=device_text(model.device if model is not None else "cpu"),
        version=f"Version {__version__}",
    )


def workspace_status(
    facts: RunFacts | None, readout: Readout | None, *, device: str, memory: str, saved_at: str
) -> StatusProps:
    """The status bar under a run, while no job runs."""
    props = StatusProps(
        device=device,
        memory=memory,
        model=_model_text(facts),
        document=_document(facts),
        saved=f"Saved {saved_at}" if saved_at else "",
        icon="check" if saved_at else "",
    )
    if readout is None:
        return props
    return replace(
        props,
        cursor=f"x {readout.x:.0f}, y {readout.y:.0f}",
        patch="" if readout.row is None else f"patch {readout.row}, {readout.col}",
    )


def with_job(
    props: StatusProps, job: JobState, facts: RunFacts | None, waiting: int, seconds_per_map: float
) -> StatusProps:
    """Put the job that runs into a status bar."""
    left = time_left(job, facts, seconds_per_map)
    return replace(
        props,
        job=f"{job.request.title}, {job_position(job, facts)[0].lower()}",
        share=share_of(job),
        left=ESTIMATING if left is None else f"{clock(left)} left",
        waiting=f"{waiting} waiting" if waiting else "",
    )


def _document(facts: RunFacts | None) -> str:
    if facts is None:
        return ""
    # A run without a file yet has a key that says nothing to anyone.
    return facts.title if facts.key.startswith("live:") else Path(facts.key).name


def _model_text(facts: RunFacts | None) -> str:
    if facts is None or not facts.layers:
        return ""
    name = model_title(facts.model)
    if "layers" in name:
        return name
    count = len(facts.layers)
    return f"{name}, {count} layer{'' if count == 1 else 's'}"


def session_rows(
    runs: Mapping[str, RunFacts], jobs: Mapping[str, JobState], current: JobState | None, shown: str
) -> list[SessionRow]:
    """The list of open runs.

    Parameters
    ----------
    runs
        Open runs by key.
    jobs
        The jobs of this session, by the key of their live run.
    current
        The job that runs now.
    shown
        Key of the run that is shown.
    """
    rows = []
    for key, facts in runs.items():
        job = jobs.get(key)
        meta, share, icon = f"{facts.n_steps} steps", None, "check-circle"
        if job is not None and job.live.done is None and job.live.failure is None:
            if job is current:
                share = share_of(job)
                meta = f"{round(share * 100)}\u00a0%"
            else:
                meta, icon = "Queued", "clock"
        elif job is not None and job.live.failure is not None:
            meta, icon = "failed", "error"
        elif not facts.complete:
            kept = int(facts.computed.any(axis=1).sum())
            meta, icon = f"{kept} steps kept", "warning"
        method = facts.methods[0] if facts.methods else "diffusion-cam"
        rows.append(
            SessionRow(
                key,
                facts.title,
                facts.metadata.get("method_title") or method_title(method),
                meta,
                icon,
                share,
                facts.image,
                key == shown,
            )
        )
    return rows


def checked_actions(state: ViewState, stages: tuple[StageFrame, ...]) -> dict[str, bool]:
    """Which checkable actions are on."""
    look, docks = state.appearance, state.docks
    checks = {f"view.{mode}": state.mode == mode for mode in vs.MODES}
    checks |= {f"view.{name}": state.theme == name for name in ("dark", "light", "system")}
    checks |= {
        "view.colour_bar": look.colour_bar,
        "view.contour": look.contour,
        "view.region": look.region,
        "view.grey": look.grey_image,
        "view.raw": vs.active_refinement(state).raw,
        "view.left": docks.left,
        "view.right": docks.right,
        "view.log": docks.log,
        "view.thin": docks.thin_timeline,
        "run.loop": state.playback.loop,
        "run.follow": state.playback.follow_job,
    }
    for number in range(1, vs.MAX_STAGES + 1):
        on = number <= len(stages) and vs.is_stage_on(state, stages[number - 1].stage)
        checks[f"view.stage_{number}"] = on
    return checks
