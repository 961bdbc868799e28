"""What modelling costs beside solving: the block engine, Pyomo's and mpi-sppy's extensive form.

Every measurement runs in a process of its own and reports CPU seconds and peak memory; all of them
see the same two-stage linear relaxation on the embedded reference market.

    python benchmarks/modelling_overhead.py [--scenarios 50 200] [--solve-limit 600]

Overhead = compile + replicate + load + map back. It is compared with the fastest solve of the same
matrix by HiGHS (simplex, IPX, HiPO), and with the L-shaped decomposition, which needs no such
matrix.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = "block engine"
PYOMO = "Pyomo extensive form, highs"
MPI_SPPY = "mpi-sppy extensive form, highs"
SOLVES = ("simplex", "ipx", "hipo")


def case_of(n_scenarios: int) -> Any:
    from stochbess.assemble import build_case
    from stochbess.config import load_config

    wanted = [f"scenarios.n={n_scenarios}", "scenarios.neighbours=400"]
    return build_case(load_config(None, wanted))


class Stopwatch:
    """CPU seconds by step, children threads included."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        self.steps[name] = time.process_time() - started
        return result


def measure_ours(case: Any, watch: Stopwatch) -> dict[str, Any]:
    from stochbess.decide import Problem, by_component
    from stochbess.engine.highs import SolveOptions, load
    from stochbess.engine.matrix import blocks, extensive_form

    template = watch("declare and compile", lambda: Problem(case.data, "two-stage").relaxed)
    _, (problem, columns) = watch(
        "replicate",
        lambda: (
            (b := blocks(template, case.series, case.probability)),
            extensive_form(b),
        ),
    )
    h = watch("load", lambda: load(problem.relaxed(), SolveOptions()))
    import numpy as np

    values = np.zeros(problem.n_columns)
    watch("map back", lambda: by_component(template, values[columns.positions()]))
    return {"columns": h.getNumCol(), "rows": h.getNumRow(), "nonzeros": h.getNumNz()}


def scenario_model(case: Any, s: int) -> Any:
    from stochbess.models.scenario_data import set_scenario
    from stochbess.models.two_stage import two_stage

    model = two_stage(case.data)
    set_scenario(model, {name: values[s] for name, values in case.series.items()})
    return model


def measure_pyomo(case: Any, watch: Stopwatch) -> dict[str, Any]:
    import pyomo.environ as pyo
    from pyomo.contrib.solver.solvers.highs import Highs

    def build() -> Any:
        whole = pyo.ConcreteModel()
        n = len(case.probability)
        whole.scenario = pyo.Block(
            range(n), rule=lambda b, s: b.transfer_attributes_from(scenario_model(case, s))
        )
        whole.same = pyo.ConstraintList()
        first = [whole.scenario[s].first_stage for s in range(n)]
        for s in range(1, n):
            for here, there in zip(first[0], first[s], strict=True):
                whole.same.add(here == there)
        for s in range(n):
            whole.scenario[s].cost.deactivate()
        whole.cost = pyo.Objective(
            expr=sum(float(p) * whole.scenario[s].cost.expr for s, p in enumerate(case.probability))
        )
        pyo.TransformationFactory("core.relax_integer_vars").apply_to(whole)
        return whole

    model = watch("declare", build)
    solver = Highs()
    watch("translate and load", lambda: solver.set_instance(model))
    return {}


def measure_mpi_sppy(case: Any, watch: Stopwatch) -> dict[str, Any]:
    import pyomo.environ as pyo
    from mpisppy.utils import sputils
    from pyomo.contrib.solver.solvers.highs import Highs

    def creator(name: str) -> Any:
        s = int(name.removeprefix("scenario"))
        model = scenario_model(case, s)
        sputils.attach_root_node(model, 0.0, model.first_stage)
        model._mpisppy_probability = float(case.probability[s])
        return model

    names = [f"scenario{s}" for s in range(len(case.probability))]
    model = watch("declare", lambda: sputils.create_EF(names, creator, suppress_warnings=True))
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(model)
    solver = Highs()
    watch("translate and load", lambda: solver.set_instance(model))
    return {}


def measure_solve(case: Any, watch: Stopwatch, method: str) -> dict[str, Any]:
    from stochbess.decide import Problem
    from stochbess.engine.highs import SolveOptions, solve_problem
    from stochbess.engine.matrix import blocks, extensive_form

    block = blocks(Problem(case.data, "two-stage").relaxed, case.series, case.probability)
    problem, _ = extensive_form(block)
    options = SolveOptions(method=method, threads=2)  # type: ignore[arg-type]
    outcome = watch("solve", lambda: solve_problem(problem.relaxed(), options))
    return {"objective": -outcome.objective, "wall_s": outcome.wall_s}


def measure_decomposition(case: Any, watch: Stopwatch) -> dict[str, Any]:
    from stochbess.decide import Problem
    from stochbess.engine.matrix import blocks
    from stochbess.engine.two_stage import solve_two_stage

    block = blocks(Problem(case.data, "two-stage").relaxed, case.series, case.probability)
    outcome = watch(
        "solve",
        lambda: solve_two_stage(
            block, gap_frac=1e-4, time_limit_s=600, threads=2, engine="decomposition", relax=True
        ),
    )
    return {"objective": -outcome.cost, "bound": -outcome.bound, "wall_s": outcome.wall_s}


def child(task: str, n_scenarios: int) -> None:
    case, watch = case_of(n_scenarios), Stopwatch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if task == OURS:
        extra = measure_ours(case, watch)
    elif task == PYOMO:
        extra = measure_pyomo(case, watch)
    elif task == MPI_SPPY:
        extra = measure_mpi_sppy(case, watch)
    elif task == "decomposition":
        extra = measure_decomposition(case, watch)
    else:
        extra = measure_solve(case, watch, task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {"cpu_s": watch.steps, "peak_mb": peak / 1024, "before_mb": before / 1024, **extra}
        )
    )


def run_child(task: str, n_scenarios: int, limit_s: float) -> dict[str, Any] | None:
    command = [sys.executable, str(Path(__file__)), "--child", task, "--scenarios"]
    try:
        done = subprocess.run(
            [*command, str(n_scenarios)], capture_output=True, text=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(f"{task} at S={n_scenarios} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(n_scenarios: int, limit_s: float) -> None:
    print(f"\n## S = {n_scenarios}\n")
    overheads = {}
    print("| modelling | CPU s | by step | peak MB | over start MB |")
    print("|---|---|---|---|---|")
    for task in (OURS, PYOMO, MPI_SPPY):
        result = run_child(task, n_scenarios, limit_s)
        if result is None:
            print(f"| {task} | > {limit_s:.0f} | | | |")
            continue
        overheads[task] = sum(result["cpu_s"].values())
        steps = ", ".join(f"{name} {s:.2f}" for name, s in result["cpu_s"].items())
        grown = result["peak_mb"] - result["before_mb"]
        print(
            f"| {task} | {overheads[task]:.2f} | {steps} | {result['peak_mb']:.0f} | {grown:.0f} |"
        )
        if "nonzeros" in result:
            size = f"{result['rows']:,} rows, {result['columns']:,} columns"
            matrix = f"{size}, {result['nonzeros']:,} nonzeros"
    print(f"\nMatrix: {matrix}.\n")
    print("| solve of the LP relaxation | CPU s | wall s | profit EUR | modelling share |")
    print("|---|---|---|---|---|")
    for task in (*SOLVES, "decomposition"):
        result = run_child(task, n_scenarios, limit_s)
        if result is None:
            print(f"| {task} | > {limit_s:.0f} | | | |")
            continue
        cpu = result["cpu_s"]["solve"]
        share = overheads[OURS] / cpu
        print(
            f"| {task} | {cpu:.1f} | {result['wall_s']:.1f} | {result['objective']:.4f} "
            f"| {share:.1%} |"
        )
    for task in (PYOMO, MPI_SPPY):
        if task in overheads:
            print(f"\n{task}: {overheads[task] / overheads[OURS]:.1f} times the block engine.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--solve-limit", type=float, default=600.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.scenarios[0])
        return
    for n_scenarios in arguments.scenarios:
        report(n_scenarios, arguments.solve_limit)


if __name__ == "__main__":
    main()
