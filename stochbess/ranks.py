"""One program on several MPI ranks: rank 0 is the program, the others work for it until it ends.

Only rank 0 reads, writes, prints and decides; a rank that fails or falls silent ends all of them.
mpi4py is imported when an MPI launcher has started the process, and not otherwise.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from stochbess.errors import SolverError, StochbessError

# What the launchers of MPICH and its kin, of PMIx and of Open MPI tell a process that they start.
_LAUNCHED = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
_COUNTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
INSTALL = 'pip install "stochbess[mpi]"'
CALL = "mpiexec -n 3 stochbess solve --engine cylinders"
# How often a rank without work looks for some [s]; MPI itself would wait with a busy processor.
_LOOK_EVERY_S = 0.02
_TAG = 127
# How long after its limit a rank that could not even say so is ended [s].
_LAST_RESORT_S = 5.0
_CRASHED = 5

Work = Callable[[Any, Any], Any]  # (communicator, job) -> result


class _State:
    """Of this process: the communicator that it leads, and whether the ranks are at work."""

    world: Any = None
    busy = False


def launched() -> bool:
    """Whether an MPI launcher started this process."""
    return any(name in os.environ for name in _LAUNCHED)


def lead(program: Callable[[], None]) -> None:
    """Run `program` on rank 0 and let the other ranks serve it; without a launcher just run it.

    Returns on every rank when the program has ended. If it ends by an exception while the ranks are
    at work, all of them are ended with its exit code.
    """
    world = _communicator() if launched() else None
    if world is None or world.Get_size() == 1:
        program()
        return
    if world.Get_rank() > 0:
        _serve(world)
        return
    _State.world = world
    try:
        program()
    except BaseException as error:
        if _State.busy:
            if not isinstance(error, SystemExit):  # whoever exits has told why
                _say(f"error: rank 0: {_text_of(error)}")
            _abort(world, _code_of(error))
        raise
    finally:
        _State.world = None
        for rank in range(1, world.Get_size()):
            world.send(None, dest=rank, tag=_TAG)


def require(ranks: int) -> None:
    """Refuse to begin without that many ranks, this one included.

    Raises
    ------
    SolverError : says how to install and to call
    """
    world = _State.world
    if world is None:
        raise SolverError(_why_alone())
    if world.Get_size() < ranks:
        raise SolverError(
            f"{world.Get_size()} MPI ranks; expected at least {ranks}: a hub, a spoke for bounds "
            f"and a spoke for decisions. Start more of them, as in `{CALL}`."
        )


def on_all(work: Work, job: Any, limit_s: float, here: Work | None = None) -> Any:
    """Call `work(communicator, job)` on every rank and return what it returns on rank 0.

    `work` is a function of a module, so that every rank can look it up; rank 0 calls `here` in its
    place if that is given. `limit_s` is the wall-clock time after which all ranks are ended with
    exit code 5, whatever they wait for.

    Raises
    ------
    SolverError : this process leads no other ranks; says how to install and to call
    StochbessError : one that the ranks agreed on (`agree`); any other ends them
    """
    require(1)
    world = _State.world
    for rank in range(1, world.Get_size()):
        world.send((work, job, limit_s), dest=rank, tag=_TAG)
    _State.busy = True
    with _ended_after(world, limit_s):
        result = (here or work)(world, job)
    _State.busy = False
    return result


def agree(world: Any, compute: Callable[[], Any]) -> list[Any]:
    """What `compute` gives on every rank, known to all; the first expected error is raised on all.

    Every rank must call this at the same point: then an error leaves none of them waiting.
    """
    error: StochbessError | None = None
    result = None
    try:
        result = compute()
    except StochbessError as raised:
        error = raised
    together = world.allgather((result, error))
    for _, raised_there in together:
        if raised_there is not None:
            _State.busy = False
            raise raised_there
    return [part for part, _ in together]


def _serve(world: Any) -> None:
    while True:
        while not world.iprobe(source=0, tag=_TAG):
            time.sleep(_LOOK_EVERY_S)
        task = world.recv(source=0, tag=_TAG)
        if task is None:
            return
        work, job, limit_s = task
        _State.busy = True
        try:
            with _ended_after(world, limit_s):
                work(world, job)
        except BaseException as error:
            if isinstance(error, StochbessError) and not _State.busy:
                continue  # agreed on: rank 0 tells it
            _say(f"error: rank {world.Get_rank()}: {_text_of(error)}")
            _abort(world, _code_of(error))


@contextmanager
def _ended_after(world: Any, limit_s: float) -> Iterator[None]:
    """End all ranks if the block takes longer: one that is stuck in MPI hears no exception."""

    def give_up() -> None:
        _say(
            f"error: rank {world.Get_rank()} waited for {limit_s:g} s; expected every rank to be "
            "done by then. One of them has stopped or is short of memory or processors; the store "
            "holds no result. Use fewer ranks than processors, or raise --time-limit."
        )
        _abort(world, _CRASHED)

    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()
    # Some calls of mpi4py keep other threads of Python from running: this one needs none of it.
    faulthandler.dump_traceback_later(limit_s + _LAST_RESORT_S, exit=True)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _communicator() -> Any:
    """MPI's, or None where mpi4py is missing: then the launcher started programs of their own."""
    try:
        from mpi4py import MPI
    except ImportError:
        if _number(_LAUNCHED) > 0:
            sys.exit(0)  # rank 0 says what is missing
        return None
    return MPI.COMM_WORLD


def _number(names: tuple[str, ...]) -> int:
    return int(next((os.environ[name] for name in names if name in os.environ), "0"))


def _why_alone() -> str:
    if not launched():
        return (
            "the engine cylinders works on MPI ranks, and this is a single process. Start it as "
            f"`{CALL}`; {INSTALL} brings mpiexec. On one machine without MPI, the engine "
            "decomposition does the same job."
        )
    try:
        from mpi4py import MPI
    except ImportError as error:
        return f"mpi4py cannot be used ({error}). Run: {INSTALL}"
    started, seen = _number(_COUNTED), MPI.COMM_WORLD.Get_size()
    if started > seen:
        library = MPI.Get_library_version().split("\n")[0].strip("\x00 ")
        return (
            f"mpiexec started {started} processes, but MPI ({library}) sees {seen}: they belong to "
            f"different installations. Use the mpiexec beside {sys.executable}."
        )
    return (
        f"{seen} MPI rank(s) lead nobody; expected at least 3, and the program to run under "
        f"stochbess.ranks.lead. Start it as `{CALL}`."
    )


def _text_of(error: BaseException) -> str:
    return str(error) if isinstance(error, StochbessError) else repr(error)


def _code_of(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return error.exit_code if isinstance(error, StochbessError) else _CRASHED


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _abort(world: Any, code: int) -> NoReturn:
    world.Abort(code)
    os._exit(code)  # where MPI cannot end us any more
