"""The command line: ``diffcam explain | evaluate | figure | info | models | scenes | demo``.

Everything heavy is imported inside the commands, so that ``diffcam --help`` starts at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from diffcam_core.cli.output import OutputError, forget_output, told_output
from diffcam_core.errors import DiffcamError

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class ReportedError(Exception):
    """A `DiffcamError` (its ``__cause__``) whose JSON report has been written already."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 if the work was done; 2 after an error that the user can mend (one line on standard
        error); 130 after Ctrl-C and 143 after SIGTERM, finished steps being kept. A fault of
        the program itself raises; the process then prints one line, or with ``--debug`` the
        traceback, and ends with 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _take_debug(arguments)
    if argv is None and not debug:
        sys.excepthook = _one_line_excepthook
    from diffcam_core.cli.app import build_command, usage_error_type

    wants_json = "--json" in arguments
    usage_error = usage_error_type()
    try:
        with told_output():
            code = build_command().main(
                args=arguments or ["--help"], prog_name="diffcam", standalone_mode=False
            )
            sys.stdout.flush()
    except usage_error as error:
        text = f"{_usage_text(error)} See diffcam --help."
        if wants_json:
            _write_failure("UsageError", text)
        return _complain(text)
    except ReportedError as error:
        if debug:
            raise
        return _complain(str(error.__cause__))
    except OutputError as error:
        if debug:
            raise
        forget_output()
        return _complain(str(error))
    except DiffcamError as error:
        if debug:
            raise
        if wants_json:
            _write_failure(type(error).__name__, str(error))
        return _complain(str(error))
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_has_gone()
    except SystemExit as stop:
        # click has its own idea of a broken pipe and leaves with 1.
        if isinstance(stop.__context__, BrokenPipeError):
            return _reader_has_gone()
        raise
    return code if isinstance(code, int) else EXIT_DONE


def _write_failure(kind: str, message: str) -> None:
    from diffcam_core.cli.reporting import write_json_line

    write_json_line({"event": "failure", "kind": kind, "message": message})


def _reader_has_gone() -> int:
    """Whoever read our output (head, less) has gone, which is their right."""
    forget_output()
    return EXIT_DONE


def _take_debug(arguments: list[str]) -> bool:
    """Remove ``--debug`` wherever it stands before ``--``, so that it fits every command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    found = len(kept) < end
    arguments[:end] = kept
    return found


def _usage_text(error: Exception) -> str:
    # click's exceptions word themselves better than str() does, but typer hides their type.
    text = getattr(error, "format_message", error.__str__)()
    return f"{str(text).strip().rstrip('.')}."


def _complain(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"diffcam: {line}\n")
    return EXIT_USER_ERROR


def _one_line_excepthook(
    kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    cause = " ".join(str(error).split())[:300]
    sys.stderr.write(
        f"diffcam: internal fault ({kind.__name__}: {cause}). "
        "Run it again with --debug and report what it prints.\n"
    )
