"""What every command shares: options from dataclasses, exit codes, signals, progress.

A command function raises; here its exception becomes a line on standard error and an exit code.
Standard output belongs to results alone.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self, TypeVar, get_type_hints

import typer

from stochbess.clock import monotonic_s
from stochbess.errors import ConfigError, ReportError, StochbessError

EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE, EXIT_TERMINATED = 1, 130, 141, 143
# A line of progress at most this often [s] where standard error is no terminal.
PROGRESS_EVERY_S = 5.0

F = TypeVar("F", bound=Callable[..., None])
_DEBUG = Annotated[
    bool,
    typer.Option("--debug", metavar="", help="Show the traceback of an error.", show_default=False),
]


class Terminated(KeyboardInterrupt):
    """SIGTERM: takes the way of Ctrl-C, so that solver and store are left whole."""


def command(group: typer.Typer, name: str) -> Callable[[F], F]:
    """Register a function as a command of `group`.

    A parameter whose type is a dataclass becomes one option per field; `--debug` is added. The
    docstring is the help text.
    """

    def register(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        groups = {n: hints[n] for n in inspect.signature(function).parameters}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            hint = groups[parameter.name]
            if is_dataclass(hint):
                kinds = get_type_hints(hint, include_extras=True)
                parameters += [_keyword(f.name, kinds[f.name], f.default) for f in fields(hint)]
            else:
                parameters.append(_keyword(parameter.name, hint, parameter.default))
        parameters.append(_keyword("debug", _DEBUG, False))

        def run(**given: Any) -> None:
            debug = given.pop("debug")
            arguments = {
                n: hint(**{f.name: given[f.name] for f in fields(hint)})
                if is_dataclass(hint) and isinstance(hint, type)
                else given[n]
                for n, hint in groups.items()
            }
            _guarded(function, arguments, debug)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        group.command(name)(run)
        return function

    return register


def _keyword(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


# ------------------------------------------------------------------------------------ exit codes


def _guarded(function: Callable[..., None], arguments: dict[str, Any], debug: bool) -> None:
    try:
        function(**arguments)
    except typer.Exit:
        raise
    except BrokenPipeError:
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except Terminated as error:
        _leave("terminated", EXIT_TERMINATED, error, debug)
    except KeyboardInterrupt as error:
        _leave("interrupted", EXIT_INTERRUPTED, error, debug)
    except StochbessError as error:
        _leave(str(error), error.exit_code, error, debug)
    except MemoryError as error:
        advice = "not enough memory. Fewer scenarios (--n-scenarios) or days (--days) need less."
        _leave(advice, EXIT_DEFECT, error, debug)
    except Exception as error:
        text = f"{type(error).__name__}: {error}\nThis is a defect of stochbess. Please report it"
        text += "." if debug else " with the traceback that --debug shows."
        _leave(text, EXIT_DEFECT, error, debug)


def _leave(text: str, code: int, error: BaseException, debug: bool) -> NoReturn:
    """Say why on standard error, and end with `code`."""
    if debug:
        traceback.print_exception(error)
    say_error(text)
    raise typer.Exit(code) from None


def write_out(text: str) -> None:
    """Text on standard output.

    Raises
    ------
    BrokenPipeError : whoever read it has left
    ReportError : it cannot be written, for example because a disk is full
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered has nowhere to go; Python would try once more at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror or str(error)
        raise ReportError(f"standard output cannot be written: {reason}. Free it.") from error


def to_json(document: Any) -> str:
    """Strict JSON, indented; numbers that JSON does not have become null."""
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    write_out(to_json(document) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def say_error(text: str) -> None:
    """`error: ...` on standard error; several lines are counted and indented."""
    lines = [_printable(line) for line in text.splitlines()] or ["no reason given"]
    label = "error:"
    if _is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
        label = f"\x1b[1;31m{label}\x1b[0m"
    if len(lines) > 1 and all(": found " in line for line in lines):
        lines.insert(0, f"{len(lines)} faults in the configuration")
    write_error(f"{label} " + "\n  ".join(lines))


def write_error(text: str) -> None:
    """A line on standard error; nobody hears it if that is closed."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _printable(text: str) -> str:
    """Text from files and data must not steer the terminal."""
    return "".join(
        c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text
    )


def _is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def require_folder(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Refuse an output file that cannot be made, before long work goes into it.

    `suffixes` are those of the formats that are written; none means any.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{path}: found the ending {path.suffix or 'of no format'!r}; expected "
            f"{' or '.join(suffixes)}, as is written. Name it {path.stem}{suffixes[0]}."
        )
    if not path.parent.is_dir():
        raise ReportError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if path.is_dir():
        raise ReportError(f"{path} is a folder. Name a file.")


# --------------------------------------------------------------------------------------- signals


def install_signals() -> None:
    """SIGTERM raises `Terminated`, so that a run is marked as interrupted before the end."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)


# -------------------------------------------------------------------------------------- progress


class Progress:
    """Tells on standard error how far the work is; a context manager that is called with news.

    On a terminal one line that changes and vanishes at the end; elsewhere plain lines, one for
    every new stage and otherwise one in `PROGRESS_EVERY_S`; nothing when quiet.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._began_s = monotonic_s()
        self._stage, self._told_s = "", float("-inf")
        self._status: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and _is_terminal(sys.stderr):
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, stage: str, detail: str) -> None:
        if self._quiet:
            return
        now_s = monotonic_s()
        text = f"{now_s - self._began_s:6.1f} s  {stage:<9} {_printable(detail)}"
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text))
        elif stage != self._stage or now_s - self._told_s >= PROGRESS_EVERY_S:
            self._stage, self._told_s = stage, now_s
            write_error(text)
