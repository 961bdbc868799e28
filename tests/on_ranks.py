"""Run as `mpiexec -n N python -m mpi4py tests/on_ranks.py CASE [KEY=VALUE ...]`: one case on ranks.

Every rank builds the case; rank 0 prints what was found as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stochbess.cylinders import Job, found_together
from stochbess.engine.risk import Risk
from stochbess.models.two_stage import two_stage
from tests.small_case import everything, plain, small
from tests.test_mpisppy_reference import YIELD_T_ACRE, farmer, fractional


def job_of(case: str) -> Job:
    if case == "farmer":
        yields = np.outer([1.2, 1.0, 0.8], YIELD_T_ACRE)
        return Job(farmer, {"yields": yields}, np.full(3, 1 / 3), 1e-3, 60.0)
    name, _, count = case.partition("-")
    data = {"plain": plain(), "everything": everything(), "fractional": fractional(plain())}[name]
    drawn = small(data, int(count or 3), seed=102)
    build = partial(two_stage, data)
    return Job(build, drawn.series, drawn.probability, 1e-2, 60.0)


def main() -> None:
    job = job_of(sys.argv[1])
    for item in sys.argv[2:]:
        key, _, value = item.partition("=")
        if key == "cvar":
            weight, level, known = map(float, value.split(","))
            job = replace(job, risk=Risk(weight, level), known_cost_eur=known)
        else:
            kind = type(getattr(job, key))
            job = replace(job, **{key: kind(value)})
    found = found_together(MPI.COMM_WORLD, job)
    if MPI.COMM_WORLD.Get_rank() == 0:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
