"""stochbess: what a grid-scale battery should offer in the electricity markets, under uncertainty.

The folders of the repository are the stages of the computation: market data become scenarios
(`stochbess.market`, `stochbess.scenario_gen`), scenarios become a model (`stochbess.models`), the
model is solved (`stochbess.engine`), the decision is valued by someone who does not know the model
(`stochbess.evaluate`, `stochbess.market.settlement`), and a run is stored (`stochbess.store`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# models/, scenario_gen/ and reports/ lie at the top of the repository and are installed as
# sub-packages; in an uninstalled checkout the repository root completes the search path.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "pyproject.toml").is_file() and str(_ROOT) not in __path__:
    __path__.append(str(_ROOT))

if TYPE_CHECKING:
    from stochbess.comparison import compare as compare
    from stochbess.config import Config as Config
    from stochbess.config import load_config as load_config
    from stochbess.run import Run as Run
    from stochbess.run import solve as solve

# Loaded on first use: pandas and Pyomo take seconds to import, `stochbess --help` must not.
_LAZY = {
    "Config": "stochbess.config",
    "load_config": "stochbess.config",
    "Run": "stochbess.run",
    "compare": "stochbess.comparison",
    "solve": "stochbess.run",
}
__all__ = ["Config", "Run", "__version__", "compare", "load_config", "solve"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'stochbess' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
