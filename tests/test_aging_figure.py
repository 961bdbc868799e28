"""The figure of the aging page: it is drawn, and it is not drawn when a cut lies above the cost."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from stochbess.battery.cut_cycle import CycleCost

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "figures" / "make_aging.py"


def test_the_page_shows_the_figure_that_the_script_draws() -> None:
    drawn = runpy.run_path(str(SCRIPT))["picture"]()
    assert drawn.startswith(b"<?xml") and b"</svg>" in drawn
    assert "figures/aging_cuts.svg" in (ROOT / "docs" / "aging.md").read_text(encoding="utf-8")


def test_a_cut_above_the_cost_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    true = CycleCost.minorants

    def too_steep(self: CycleCost, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cost, gradient = true(self, path)
        return cost, 1.2 * gradient

    monkeypatch.setattr(CycleCost, "minorants", too_steep)
    with pytest.raises(SystemExit, match="above the cost"):
        runpy.run_path(str(SCRIPT))["picture"]()
