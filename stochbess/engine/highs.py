"""HiGHS fed with arrays. Nothing else in the toolkit names a solver.

Traps met with highspy 1.15: a method that is not built in is replaced by another without a word, so
the method that really ran is read back from the iteration counts; a MIP that stops at a time limit
still reports success, so the status is read from the model status alone; the task scheduler belongs
to a thread and keeps its first number of workers, so a solve with several threads gets a thread of
its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np

from stochbess.clock import monotonic_s
from stochbess.engine.certificate import certify
from stochbess.engine.diagnosis import in_short, scale, warn_of_scale
from stochbess.engine.matrix import Problem
from stochbess.engine.outcome import Floats, SolveOutcome, Status
from stochbess.errors import InfeasibleError, SolverError

try:
    import highspy
except ImportError as error:
    raise SolverError(f"the solver HiGHS is missing ({error}). Run: pip install highspy") from error

Method = Literal["choose", "simplex", "ipx", "hipo"]
_TOLERANCE = 1e-7
# Entries of a dual ray, scaled to one, that are rounding.
_RAY_NOISE = 1e-9
# A solver looks at the clock between its steps, and one step of a large problem takes long: what it
# may take beyond its time limit, and after it was told to end [s].
GRACE_S = 60.0
CANCEL_S = 10.0
_IRREDUCIBLE = 4  # HiGHS's bit for an irreducible infeasible subsystem of the LP

_STATUS = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
    highspy.HighsModelStatus.kTimeLimit: Status.TIME_LIMIT_NO_SOLUTION,
    highspy.HighsModelStatus.kInterrupt: Status.TIME_LIMIT_NO_SOLUTION,
    highspy.HighsModelStatus.kSolutionLimit: Status.TIME_LIMIT_NO_SOLUTION,
}


@dataclass(frozen=True)
class SolveOptions:
    """How to solve: relative gap, wall-clock limit [s], threads, LP method, progress callback.

    `progress` receives (elapsed seconds, best objective, bound) of a MIP, both to be minimised;
    `stop` ends a MIP or a large LP that another thread runs.
    """

    gap_frac: float = 1e-2
    time_limit_s: float = float("inf")
    threads: int = 1
    method: Method = "choose"
    seed: int = 0
    progress: Callable[[float, float, float], None] | None = None
    stop: threading.Event | None = None


def version() -> str:
    """Version of HiGHS."""
    return str(highspy.Highs().version())


def load(problem: Problem, options: SolveOptions) -> Any:
    """A HiGHS instance holding `problem`, not yet run."""
    h = highspy.Highs()
    h.setOptionValue("output_flag", False)
    h.setOptionValue("threads", options.threads)
    h.setOptionValue("random_seed", options.seed)
    h.setOptionValue("primal_feasibility_tolerance", _TOLERANCE)
    h.setOptionValue("dual_feasibility_tolerance", _TOLERANCE)
    h.setOptionValue("mip_feasibility_tolerance", _TOLERANCE)
    h.setOptionValue("mip_rel_gap", options.gap_frac)
    h.setOptionValue("mip_abs_gap", 1e-6)
    if np.isfinite(options.time_limit_s):
        h.setOptionValue("time_limit", max(0.0, options.time_limit_s))
    if options.method != "choose" and not problem.integer.any():
        h.setOptionValue("solver", options.method)
        h.setOptionValue("run_crossover", "off")
    matrix = problem.matrix
    status = h.passModel(
        problem.n_columns,
        problem.n_rows,
        matrix.nnz,
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMinimize),
        problem.offset,
        problem.cost,
        problem.lower,
        problem.upper,
        problem.row_lower,
        problem.row_upper,
        matrix.indptr.astype(np.int32),
        matrix.indices.astype(np.int32),
        matrix.data,
        problem.integer.astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise SolverError(
            f"HiGHS refused a matrix of {problem.n_rows} rows and {problem.n_columns} columns; "
            "look for infinite or NaN coefficients in prices and limits"
        )
    return h


def run_interruptible(
    h: Any, stop: threading.Event | None = None, time_limit_s: float = float("inf")
) -> None:
    """Run HiGHS so that an exception in this thread, or `stop`, ends it at its next check.

    A solver that goes on for `GRACE_S` after its time limit [s] is asked to end like one that is
    interrupted, and is left behind in its thread if it does not: nobody waits without end.

    Raises
    ------
    SolverError : `stop` was set, or the solver was left behind
    """
    h.HandleUserInterrupt = True
    # Waiting for an event, not for the thread: a signal during `join(timeout)` makes Python 3.11
    # take a running thread for finished.
    ended = threading.Event()

    def work() -> None:
        try:
            h.run()
        finally:
            ended.set()

    worker = threading.Thread(target=work, daemon=True)
    deadline_s = monotonic_s() + time_limit_s + GRACE_S
    worker.start()
    try:
        while not ended.wait(0.1):
            if stop is not None and stop.is_set():
                raise SolverError("the solve was stopped from outside")
            if monotonic_s() > deadline_s:
                break
    except BaseException:
        h.cancelSolve()
        ended.wait(CANCEL_S)
        raise
    if not ended.is_set():
        h.cancelSolve()
        if not ended.wait(CANCEL_S):
            raise SolverError(
                f"HiGHS goes on {GRACE_S + CANCEL_S:g} s after its time limit of {time_limit_s:g} "
                "s, although it was told to end; it was left behind. Start the program anew, with "
                "fewer scenarios (--n-scenarios) or days (--days), or report the case"
            )
    worker.join()


def solve_problem(problem: Problem, options: SolveOptions) -> SolveOutcome:
    """Minimise `problem`; the outcome's values have passed the certificate.

    Raises
    ------
    SolverError : the solution fails its certificate (row, bound, integrality or objective)
    """
    is_mip = bool(problem.integer.any())
    warn_of_scale(problem)
    h = load(problem, options)
    started = monotonic_s()
    if is_mip and options.progress is not None:
        _subscribe(h, options.progress, started)
    if is_mip or options.threads != 1 or problem.n_columns > 20_000:
        run_interruptible(h, options.stop, options.time_limit_s)
    else:
        h.run()
    return replace(_read(h, problem, options, is_mip), wall_s=monotonic_s() - started)


def _subscribe(h: Any, report: Callable[[float, float, float], None], started: float) -> None:
    def on_log(event: Any) -> None:
        out = event.data_out
        report(monotonic_s() - started, float(out.mip_primal_bound), float(out.mip_dual_bound))

    h.cbMipLogging += on_log


def _read(h: Any, problem: Problem, options: SolveOptions, is_mip: bool) -> SolveOutcome:
    info, model_status = h.getInfo(), h.getModelStatus()
    status = _STATUS.get(model_status, Status.NUMERICAL)
    if model_status == highspy.HighsModelStatus.kUnboundedOrInfeasible:  # presolve stops here
        status = Status.INFEASIBLE if _ray(problem) is None else Status.UNBOUNDED
    timed_out = status is Status.TIME_LIMIT_NO_SOLUTION
    inf = float("inf")
    outcome = SolveOutcome(
        status=status,
        objective=inf,
        bound=-inf,
        values=None,
        solver="HiGHS",
        version=version(),
        options={"gap_frac": options.gap_frac, "threads": options.threads, "seed": options.seed},
        iterations=int(info.simplex_iteration_count + max(0, info.ipm_iteration_count)),
        nodes=int(info.mip_node_count) if is_mip else 0,
        hit_time_limit=timed_out,
        message=str(h.modelStatusToString(model_status)),
    )
    swapped = info.simplex_iteration_count > 0 and info.ipm_iteration_count <= 0
    if options.method in ("ipx", "hipo") and not is_mip and swapped:
        raise SolverError(
            f"asked for the interior-point method {options.method}, but HiGHS ran another one; "
            'hipo needs the extra package: pip install "highspy[extras]"'
        )
    if status is Status.INFEASIBLE:
        return replace(outcome, message=explain_infeasibility(problem))
    if status is Status.UNBOUNDED:
        return replace(outcome, message=explain_unboundedness(problem))
    feasible = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    bound = float(info.mip_dual_bound) if is_mip else -inf
    if not feasible:
        return replace(outcome, bound=bound, message=f"{outcome.message}; {scale(problem)}")
    solution = h.getSolution()
    values = np.array(solution.col_value)
    objective = float(info.objective_function_value)
    certificate = certify(problem, values, objective)
    if not certificate.accepted:
        raise SolverError(
            f"HiGHS returned a solution that its certificate rejects: {certificate}; "
            "expected every violation below the tolerance. Rescale the inputs or report the case; "
            f"{scale(problem)}"
        )
    if not is_mip and status is Status.OPTIMAL:
        bound = objective
    if status is Status.OPTIMAL and is_mip and (objective - bound) > 1e-6 * max(1, abs(objective)):
        status = Status.FEASIBLE_GAP
    if timed_out:
        status = Status.FEASIBLE_GAP
    return replace(
        outcome,
        status=status,
        objective=objective,
        bound=min(bound, objective),
        values=values,
        row_dual=None if is_mip else np.array(solution.row_dual),
        certificate=certificate,
    )


def explain_infeasibility(problem: Problem) -> str:
    """Names of the rows and columns of an irreducible infeasible subsystem (LP relaxation)."""
    h = load(problem.relaxed(), SolveOptions())
    h.setOptionValue("iis_strategy", _IRREDUCIBLE)
    _, iis = h.getIis()
    rows, columns = list(iis.row_index_), list(iis.col_index_)
    if not rows and not columns:
        return "no integer solution exists; the continuous relaxation is feasible"
    row_names = [problem.rows[i] if problem.rows else f"row {i}" for i in rows]
    bounded = [problem.columns[j] if problem.columns else f"column {j}" for j in columns]
    text = f"these constraints exclude each other: {in_short(row_names)}"
    return text + (f"; with the bounds of {in_short(bounded)}" if bounded else "")


def explain_unboundedness(problem: Problem) -> str:
    """Names of the columns that grow together without end, at a gain (LP relaxation)."""
    ray = _ray(problem)
    if ray is None:
        return "nothing limits the profit; the solver names no variable"
    growing = np.flatnonzero(np.abs(ray) > 1e-6 * np.abs(ray).max())
    named = [problem.columns[j] if problem.columns else f"column {j}" for j in growing]
    return (
        f"nothing limits the profit: these grow together without end: {in_short(named)}. Expected "
        "that whatever one of them earns costs another as much: check prices, fees and spreads"
    )


def _ray(problem: Problem) -> Floats | None:
    """A direction in which the cost of the LP relaxation falls without end; None if it has none."""
    h = load(problem.relaxed(), SolveOptions(method="simplex"))
    h.setOptionValue("presolve", "off")
    h.run()
    _, has_ray, ray = h.getPrimalRay()
    return np.asarray(ray, np.float64) if has_ray else None


@dataclass(frozen=True)
class FeasibilityCut:
    """`intercept + gradient . x <= 0` for every first stage x that has a recourse."""

    gradient: Floats
    intercept: float


class NoRecourseError(InfeasibleError):
    """A first stage has no recourse in a scenario; `cut` excludes it, where one could be proven.

    Which constraints conflict is looked for when the text is wanted: the search often is not.
    """

    def __init__(self, explain: Callable[[], str], cut: FeasibilityCut | None) -> None:
        super().__init__()
        self._explain, self.cut = explain, cut

    def __str__(self) -> str:
        return f"a scenario has no feasible recourse: {self._explain()}"


class RecourseLP:
    """Recourse of one scenario for any first stage, kept in HiGHS and hot-started.

    The right-hand side is `row bounds - coupling @ x`; the row duals give the subgradient.
    """

    def __init__(self, problem: Problem, coupling: Any) -> None:
        self._problem = problem.relaxed()
        self._h = load(self._problem, SolveOptions(method="simplex"))
        self._coupled = np.flatnonzero(np.diff(coupling.indptr)).astype(np.int32)
        self._coupling = coupling[self._coupled]
        self._lower = problem.row_lower[self._coupled]
        self._upper = problem.row_upper[self._coupled]

    def solve(self, x: Floats) -> tuple[float, Floats]:
        """Optimal recourse cost at first stage x, and a subgradient with respect to x.

        Raises
        ------
        NoRecourseError : x admits no recourse; names the constraints that conflict
        """
        h = self._h
        shift = self._coupling @ x
        h.changeRowsBounds(len(shift), self._coupled, self._lower - shift, self._upper - shift)
        h.run()
        if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            h.clearSolver()
            h.run()
        if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self._fail(x, shift)
        dual = np.array(h.getSolution().row_dual)[self._coupled]
        cost = float(h.getInfo().objective_function_value)
        if not (np.isfinite(cost) and np.isfinite(dual).all()):
            raise SolverError("a recourse problem came back with values that are no numbers")
        return cost, -(self._coupling.T @ dual)

    def _fail(self, x: Floats, shift: Floats) -> NoReturn:
        status = self._h.getModelStatus()
        if status == highspy.HighsModelStatus.kUnbounded:
            raise SolverError(f"recourse is unbounded: {explain_unboundedness(self._problem)}")
        if status != highspy.HighsModelStatus.kInfeasible:
            raise SolverError(f"recourse ended {self._h.modelStatusToString(status)!r}")
        lower, upper = self._problem.row_lower.copy(), self._problem.row_upper.copy()
        lower[self._coupled] -= shift
        upper[self._coupled] -= shift
        at_x = replace(self._problem, row_lower=lower, row_upper=upper)
        raise NoRecourseError(lambda: explain_infeasibility(at_x), self._feasibility_cut(x))

    def _feasibility_cut(self, x: Floats) -> FeasibilityCut | None:
        """The cut of the dual ray (docs/math.md (129)); None unless it excludes x by its numbers.

        Either sign of the ray is tried, so that nothing rests on the convention of the solver.
        """
        _, has_ray, found = self._h.getDualRay()
        ray, problem = np.asarray(found, np.float64), self._problem
        if not has_ray or len(ray) != problem.n_rows or not np.abs(ray).max() > 0:
            return None
        for multipliers in (ray / np.abs(ray).max(), -ray / np.abs(ray).max()):
            multipliers = np.where(np.abs(multipliers) > _RAY_NOISE, multipliers, 0.0)
            reduced = problem.matrix.T @ multipliers
            reduced = np.where(np.abs(reduced) > _RAY_NOISE, reduced, 0.0)
            needed = _sum_at(multipliers, problem.row_lower, problem.row_upper)
            most = _sum_at(reduced, problem.upper, problem.lower)
            gradient = -(self._coupling.T @ multipliers[self._coupled])
            intercept = needed - most
            if np.isfinite(intercept) and intercept + gradient @ x > _RAY_NOISE * max(1, abs(most)):
                return FeasibilityCut(gradient, float(intercept))
        return None

    def values(self) -> Floats:
        """Recourse columns of the last solve."""
        return np.array(self._h.getSolution().col_value)


def _sum_at(factor: Floats, where_positive: Floats, where_negative: Floats) -> float:
    """Sum of factors times their bounds; infinite where a bound that counts is."""
    used = np.flatnonzero(factor)
    bounds = np.where(factor > 0, where_positive, where_negative)
    return float(factor[used] @ bounds[used])


class MasterLP:
    """A small LP whose rows grow by cuts and whose bounds follow a search tree."""

    def __init__(self, problem: Problem) -> None:
        self._h = load(problem, SolveOptions(method="simplex"))
        self.n_columns = problem.n_columns

    @property
    def n_rows(self) -> int:
        return int(self._h.getNumRow())

    def add_rows(self, lower: Floats, coefficients: Floats) -> None:
        """Append dense rows `coefficients @ x >= lower`."""
        count, width = coefficients.shape
        starts = np.arange(count, dtype=np.int32) * width
        index = np.tile(np.arange(width, dtype=np.int32), count)
        self._h.addRows(
            count, lower, np.full(count, np.inf), count * width, starts, index, coefficients.ravel()
        )

    def delete_rows(self, which: Any) -> None:
        self._h.deleteRows(len(which), np.asarray(which, np.int32))

    def set_bounds(self, columns: Any, lower: Floats, upper: Floats) -> None:
        self._h.changeColsBounds(len(columns), np.asarray(columns, np.int32), lower, upper)

    def solve(self) -> tuple[float, Floats, Floats] | None:
        """(objective, column values, row values), or None when infeasible."""
        h = self._h
        h.run()
        status = h.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            h.clearSolver()
            h.run()
            status = h.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolverError(f"master problem ended {h.modelStatusToString(status)!r}")
        solution = h.getSolution()
        values, rows = np.array(solution.col_value), np.array(solution.row_value)
        objective = float(h.getInfo().objective_function_value)
        if not (np.isfinite(objective) and np.isfinite(values).all() and np.isfinite(rows).all()):
            raise SolverError("the master problem came back with values that are no numbers")
        return objective, values, rows
