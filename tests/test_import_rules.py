"""Who may import whom, and what no source may contain: read from the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "stochbess": ROOT / "stochbess",
    "stochbess.models": ROOT / "models",
    "stochbess.scenario_gen": ROOT / "scenario_gen",
    "stochbess.reports": ROOT / "reports",
}
SCRIPTS = ("benchmarks", "paper", "tests")
FILES = {"io", "os", "pathlib", "shutil", "sqlite3", "subprocess", "tempfile", "urllib", "socket"}


class Rule(NamedTuple):
    """What the modules of one stage may import, besides the standard library and themselves."""

    modules: frozenset[str]  # ours: names of modules or of packages with all that is below
    ours: frozenset[str]
    others: frozenset[str]
    no_files: bool = False  # nor may they touch files, processes or the network


def rule(modules: str, ours: str, others: str, no_files: bool = False) -> Rule:
    def full(names: str) -> frozenset[str]:
        return frozenset(f"stochbess.{name}" for name in names.split())

    return Rule(full(modules), full(modules) | full(ours), frozenset(others.split()), no_files)


BASE = "errors rng clock timegrid config strict_yaml"
EVERYTHING = (
    "models scenario_gen market battery engine evaluate reports store store_backtest run_record "
    "ranks"
)
WIRING = (
    "aging_* assemble backtest backtest_* certify certify_* cli cli_* comparison conflict "
    "conversion cylinders decide doctor formulate formulations frontier lifetime lifetime_* "
    "multi_stage multi_stage_* offers report robust rolling rolling_* run scenario_days "
    "scenario_figure stability tables tables_* valuation"
)
RULES = {
    "base": rule(BASE, "", "numpy pandas pydantic pydantic_core ruamel"),
    "models": rule("models", BASE, "numpy scipy pyomo", no_files=True),
    "scenario_gen": rule(
        "scenario_gen",
        f"{BASE} market",
        "numpy scipy pandas pyarrow sklearn statsmodels threadpoolctl",
    ),
    "market": rule("market", BASE, "numpy scipy pandas pyarrow pydantic holidays"),
    "battery": rule("battery", BASE, "numpy scipy"),
    "engine": rule("engine", BASE, "numpy scipy pyomo highspy mpisppy", no_files=True),
    "evaluate": rule("evaluate", f"{BASE} market battery", "numpy scipy pandas"),
    "reports": rule(
        "reports", BASE, "numpy pandas jinja2 markupsafe weasyprint matplotlib ziamath"
    ),
    "store": rule("store store_* run_record frame_bytes", BASE, "pandas pyarrow"),
    "ranks": rule("ranks", BASE, "mpi4py"),
    # The places that put the stages together; they know everybody, but no solver.
    "wiring": rule(WIRING, f"{BASE} {EVERYTHING}", "numpy scipy pandas typer rich click"),
}
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "pd.eval", "pd.read_pickle"} | {
    "os.system",
    "os.popen",
    "yaml.load",
}
BANNED_KEYWORDS = {"shell", "allow_pickle"}


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its dotted name."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [*package.split("."), *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(part for part in parts if part != "__init__"), path


def scripts() -> Iterator[tuple[str, Path]]:
    for folder in SCRIPTS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            elif node.module == "stochbess":
                for alias in node.names:
                    yield node.lineno, f"stochbess.{alias.name}"
            elif node.module:
                yield node.lineno, node.module


def is_below(name: str, tops: frozenset[str]) -> bool:
    """Whether a module is one of `tops` or in one of them; `cli_*` stands for all that begin so."""
    return any(
        name == top or name.startswith(f"{top}.") or (top[-1] == "*" and name.startswith(top[:-1]))
        for top in tops
    )


def rule_of(module: str) -> Rule | None:
    found = [rule for rule in RULES.values() if is_below(module, rule.modules)]
    return found[0] if len(found) == 1 else None


def import_faults(module: str, text: str) -> list[str]:
    """Imports of a module of the package that its stage does not allow."""
    stage = rule_of(module)
    if stage is None:
        return [f"{module}: belongs to no stage of tests/test_import_rules.py; put it in one"]
    faults = []
    for line, name in imports(ast.parse(text)):
        top = name.split(".")[0]
        if top == "stochbess":
            allowed = is_below(name, stage.ours) or name == "stochbess.__version__"
        elif top in sys.stdlib_module_names:
            allowed = not (stage.no_files and top in FILES)
        else:
            allowed = top in stage.others
        if not allowed:
            faults.append(f"{module}:{line}: imports {name}")
    return faults


def construct_faults(name: str, text: str, *, may_print: bool) -> list[str]:
    """Things that run what they read, or speak where a library is silent."""
    faults = []
    tree = ast.parse(text)
    for line, imported in imports(tree):
        if imported.split(".")[0] in NEVER_IMPORTED:
            faults.append(f"{name}:{line}: imports {imported}, which runs what it reads")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in BANNED_CALLS:
            faults.append(f"{name}:{node.lineno}: calls {called}()")
        if called == "print" and not may_print:
            faults.append(f"{name}:{node.lineno}: prints")
        for keyword in node.keywords:
            is_off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
            if keyword.arg in BANNED_KEYWORDS and not is_off:
                faults.append(f"{name}:{node.lineno}: passes {keyword.arg}=")
    return faults


# ---------------------------------------------------------------------- the sources


def test_every_module_imports_only_what_its_stage_may_know() -> None:
    faults = [
        fault
        for module, path in sources()
        if module != "stochbess"  # the package itself offers run and config lazily
        for fault in import_faults(module, path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


def test_no_source_runs_what_it_reads_and_only_the_command_line_prints() -> None:
    faults = [
        fault
        for module, path in sources()
        for fault in construct_faults(
            module, path.read_text(encoding="utf-8"), may_print=module == "stochbess.cli"
        )
    ]
    faults += [
        fault
        for name, path in scripts()
        if not name.startswith("tests")  # they offer such files, to see them refused
        for fault in construct_faults(name, path.read_text(encoding="utf-8"), may_print=True)
    ]
    assert not faults, "\n".join(faults)


def test_scripts_import_the_stages_as_parts_of_the_package() -> None:
    """`import models` from the root of the repository makes a second copy of every module."""
    for name, path in scripts():
        tops = {top.split(".")[0] for _, top in imports(ast.parse(path.read_text("utf-8")))}
        assert not tops & {"models", "scenario_gen", "reports"}, name


def test_only_the_engine_names_a_solver() -> None:
    solvers = {"highspy", "mpisppy", "gurobipy", "cplex", "pyscipopt"}
    for module, path in sources():
        if not module.startswith("stochbess.engine"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {name.split(".")[0] for _, name in imports(tree)}
            words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not names & solvers and "SolverFactory" not in words, module


def test_every_stage_of_the_table_exists() -> None:
    known = {module for module, _ in sources()}
    for stage in RULES.values():
        for module in stage.modules:
            assert any(is_below(name, frozenset({module})) for name in known), module


def test_the_light_modules_start_without_the_heavy_libraries() -> None:
    """`stochbess --help` answers at once; the libraries below take seconds to import."""
    light = "cli config errors rng clock timegrid"
    heavy = "pandas pyomo scipy sklearn statsmodels weasyprint matplotlib highspy mpisppy pyarrow"
    script = f"""
import sys
import stochbess
for name in {light.split()!r}:
    __import__("stochbess." + name)
    loaded = [top for top in {heavy.split()!r} if top in sys.modules]
    if loaded:
        sys.exit(f"stochbess.{{name}} loads {{', '.join(loaded)}}")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- the alarm must ring


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("stochbess.models.battery", "import pandas as pd"),
        ("stochbess.models.battery", "from stochbess.market.data import MarketData"),
        ("stochbess.models.battery", "from pathlib import Path"),
        ("stochbess.models.battery", "def f():\n    import highspy"),
        ("stochbess.scenario_gen.analog", "from pyomo.environ import Var"),
        ("stochbess.scenario_gen.analog", "from stochbess import models"),
        ("stochbess.market.data", "import pyomo.environ as pyo"),
        ("stochbess.battery.rainflow", "import pandas"),
        ("stochbess.engine.highs", "from stochbess.models.data import Piece"),
        ("stochbess.evaluate.worth", "import pyomo"),
        ("stochbess.evaluate.worth", "from stochbess.engine.highs import solve"),
        ("stochbess.reports.facts", "from stochbess.battery import rainflow"),
        ("stochbess.errors", "from stochbess.store import Store"),
        ("stochbess.store", "from stochbess.run import solve"),
        ("stochbess.run", "import highspy"),
        ("stochbess.run", "from models import battery"),
        ("stochbess.market.data", "from .schema import SERIES"),
        ("stochbess.market.data", "import requests"),
        ("stochbess.somewhere_new", "import math"),
    ],
)
def test_an_import_that_breaks_the_rules_is_found(module: str, line: str) -> None:
    assert import_faults(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("stochbess.models.battery", "import pyomo.environ as pyo"),
        ("stochbess.scenario_gen.analog", "from stochbess.market.data import MarketData"),
        ("stochbess.run", "from stochbess.models.two_stage import build"),
        ("stochbess.cli", "from stochbess import __version__"),
    ],
)
def test_an_import_within_the_rules_is_let_pass(module: str, line: str) -> None:
    assert import_faults(module, line) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "x = eval(text)",
        "exec(text)",
        "data = yaml.load(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "os.system(command)",
        "print('hello')",
    ],
)
def test_a_construct_that_runs_what_it_reads_is_found(line: str) -> None:
    assert construct_faults("planted", line, may_print=False)


def test_a_harmless_construct_is_let_pass() -> None:
    text = "subprocess.run(command, shell=False)\nframe.eval\nprint('from the command line')"
    assert construct_faults("harmless", text, may_print=True) == []
