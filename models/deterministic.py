"""The deterministic problem: one scenario that is taken to be true.

With a forecast it is the expected-value problem, with realised data perfect foresight, with one
scenario of a set the wait-and-see problem of that scenario.
"""

from __future__ import annotations

import pyomo.environ as pyo

from stochbess.models.data import ModelData
from stochbess.models.two_stage import two_stage


def deterministic(data: ModelData) -> pyo.ConcreteModel:
    """Build the deterministic problem of docs/math.md (21): `two_stage` with nothing to hedge.

    The constraints and the profit are those of the one scenario; no variable has to be common to
    anything, so `m.first_stage` is empty.
    """
    m = two_stage(data)
    m.name = "deterministic"
    m.first_stage = []
    return m
