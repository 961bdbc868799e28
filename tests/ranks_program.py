"""Run as `mpiexec -n N python tests/ranks_program.py WHAT LIMIT`: a small program on ranks."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stochbess.errors import DataError, InfeasibleError
from stochbess.ranks import agree, lead, on_all


def work(world: Any, what: str) -> int:
    """The sum of all ranks; rank 1 does not get there."""
    if world.Get_rank() == 1:
        if what == "raise":
            raise InfeasibleError("scenario 7 has no feasible decision")
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith("stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
    if what == "agree":
        return sum(agree(world, lambda: share(world.Get_rank())))
    if world.Get_rank() == 0 and what == "raise on rank 0":
        raise DataError("nothing to read")
    if what == "stopped deaf":
        return int(world.allreduce(world.Get_rank()))  # holds the interpreter while it waits
    return sum(world.allgather(world.Get_rank()))


def share(rank: int) -> int:
    if rank == 1:
        raise DataError("rank 1 has no share")
    return rank


def program() -> None:
    what, limit_s = sys.argv[1], float(sys.argv[2])
    if what == "fail before":
        raise DataError("nothing to read")
    for _ in range(2):
        sys.stdout.write(f"sum {on_all(work, what, limit_s)}\n")
    if what == "idle":
        time.sleep(1.0)
        sys.stdout.write(f"processor {sum(on_all(processor, None, limit_s)):.2f}\n")
    if what == "exit":
        sys.exit(3)


def processor(world: Any, _: None) -> list[float]:
    """Processor seconds of the ranks that had nothing to do."""
    return list(world.allgather(time.process_time()))[1:]


def main() -> None:
    try:
        lead(program)
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
