"""Errors that a user can act on: each message is one line that names the cause and the mend."""

from __future__ import annotations


class DiffcamError(Exception):
    """Base of every error raised on purpose by this package.

    Parameters
    ----------
    cause : str
        What is wrong, without a trailing full stop.
    mend : str, optional
        What the user can do about it.
    """

    def __init__(self, cause: str, mend: str = "") -> None:
        self.cause = " ".join(cause.split())
        self.mend = " ".join(mend.split())
        super().__init__(f"{self.cause}. {self.mend}" if self.mend else self.cause)


class InputError(DiffcamError):
    """The image, prompt or option given by the user cannot be used."""


class CheckpointError(DiffcamError):
    """A model folder is incomplete, unsafe, of another family or inconsistent."""


class TargetError(DiffcamError):
    """A token, step, layer or word that was asked for does not exist in the run."""


class RunFileError(DiffcamError):
    """A .dcam file is damaged, foreign, of a newer version or cannot be written."""


class ResourceError(DiffcamError):
    """Memory or disk space ran out."""


class MissingMapsError(DiffcamError):
    """Maps that were asked for are not finite numbers."""


class CancelledError(DiffcamError):
    """The job was cancelled; everything computed before is kept."""


class DatasetError(DiffcamError):
    """A dataset folder is incomplete, damaged or of another layout than was said."""
