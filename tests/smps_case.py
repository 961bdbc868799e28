"""Published stochastic programmes as SMPS texts, written out here, with their known optima."""

from __future__ import annotations

from itertools import product

FARMER_OPTIMUM = -108390.0
# Birge & Louveaux 2011 (doi 10.1007/978-1-4614-0237-4), section 1.1, in tons and acres.
FARMER_CORE = """\
NAME FARMER
ROWS
 N COST
 L LAND
 G WHEAT
 G CORN
 L BEETS
COLUMNS
 ACREW COST 150 LAND 1
 ACREW WHEAT 2.5
 ACREC COST 230 LAND 1
 ACREC CORN 3
 ACREB COST 260 LAND 1
 ACREB BEETS -20
 BUYW COST 238 WHEAT 1
 BUYC COST 210 CORN 1
 SELLW COST -170 WHEAT -1
 SELLC COST -150 CORN -1
 SELLB COST -36 BEETS 1
 CHEAPB COST -10 BEETS 1
RHS
 RHS LAND 500 WHEAT 200
 RHS CORN 240
BOUNDS
 UP BND SELLB 6000
ENDATA
"""
FARMER_TIME = """\
TIME FARMER
PERIODS LP
 ACREW LAND PLANT
 BUYW WHEAT HARVEST
ENDATA
"""
FARMER_SCENARIOS = """\
STOCH FARMER
SCENARIOS DISCRETE
 SC GOOD ROOT 0.3333333333333333 HARVEST
 ACREW WHEAT 3.0
 ACREC CORN 3.6
 ACREB BEETS -24
 SC FAIR ROOT 0.3333333333333333 HARVEST
 SC POOR GOOD 0.3333333333333334 HARVEST
 ACREW WHEAT 2.0
 ACREC CORN 2.4
 ACREB BEETS -16
ENDATA
"""

LANDS_OPTIMUM = 381.8533
# Louveaux & Smeers 1988; data as in Linderoth, Shapiro & Wright 2006
# (doi 10.1007/s10479-006-6169-8), with the three demands of the original.
_BUILD = (10, 7, 16, 6)
_RUN = ((40, 24, 4), (45, 27, 4.5), (32, 19.2, 3.2), (55, 33, 5.5))


def lands_core() -> str:
    rows = [" N COST", " G TOTAL", " L BUDGET"]
    rows += [f" L CAP{i}" for i in range(1, 5)] + [f" G DEM{j}" for j in range(1, 4)]
    columns = []
    for i, build in enumerate(_BUILD, 1):
        columns += [f" X{i} COST {build} TOTAL 1", f" X{i} BUDGET {build} CAP{i} -1"]
    for i, costs in enumerate(_RUN, 1):
        for j, cost in enumerate(costs, 1):
            columns += [f" Y{i}{j} COST {cost} CAP{i} 1", f" Y{i}{j} DEM{j} 1"]
    rhs = [" RHS TOTAL 12 BUDGET 120", " RHS DEM1 5 DEM2 3", " RHS DEM3 2"]
    parts = ["NAME LandS", "ROWS", *rows, "COLUMNS", *columns, "RHS", *rhs, "ENDATA"]
    return "\n".join(parts) + "\n"


LANDS_TIME = """\
* periods in implicit order
TIME LandS
PERIODS IMPLICIT
    X1      COST    STAGE1
    Y11     CAP1    STAGE2
ENDATA
"""
LANDS_INDEPENDENT = """\
STOCH LandS
INDEP DISCRETE
    RHS     DEM1    3.0     STAGE2  0.3
    RHS     DEM1    5.0     STAGE2  0.4
    RHS     DEM1    7.0     STAGE2  0.3
ENDATA
"""

APL1P_OPTIMUM = 24642.32
# Infanger 1992, "Monte Carlo (importance) sampling within a Benders decomposition algorithm for
# stochastic linear programs", with costs times ten, as they are mostly used: 1280 scenarios.
_OPERATE = ((4.3, 2.0, 0.5), (8.7, 4.0, 1.0))
_AVAILABLE = (((1.0, 0.2), (0.9, 0.3), (0.5, 0.4), (0.1, 0.1)),
              ((1.0, 0.1), (0.9, 0.2), (0.7, 0.5), (0.1, 0.1), (0.0, 0.1)))  # fmt: skip
_DEMAND = ((900, 0.15), (1000, 0.45), (1100, 0.25), (1200, 0.15))


def apl1p_core() -> str:
    rows = [" N COST", " G MIN1", " G MIN2", " G OP1", " G OP2"]
    rows += [f" G DEM{j}" for j in range(1, 4)]
    columns = []
    for i, build in ((1, 4.0), (2, 2.5)):
        columns += [f" X{i} COST {build} MIN{i} 1", f" X{i} OP{i} 1"]
    for i, j in product((1, 2), (1, 2, 3)):
        columns += [f" Y{i}{j} COST {_OPERATE[i - 1][j - 1]} OP{i} -1", f" Y{i}{j} DEM{j} 1"]
    columns += [f" U{j} COST 10 DEM{j} 1" for j in range(1, 4)]
    rhs = [" RHS MIN1 1000 MIN2 1000", " RHS DEM1 1000 DEM2 1000", " RHS DEM3 1000"]
    # Not in the original, and far off: the decomposition needs a bounded first stage to begin.
    rhs += ["BOUNDS", " UP BND X1 20000", " UP BND X2 20000"]
    parts = ["NAME APL1P", "ROWS", *rows, "COLUMNS", *columns, "RHS", *rhs, "ENDATA"]
    return "\n".join(parts) + "\n"


APL1P_TIME = "TIME APL1P\nPERIODS\n X1 MIN1 ONE\n Y11 OP1 TWO\nENDATA\n"


def apl1p_independent() -> str:
    lines = ["STOCH APL1P", "INDEP DISCRETE"]
    for i, outcomes in enumerate(_AVAILABLE, 1):
        lines += [f" X{i} OP{i} {value} TWO {p}" for value, p in outcomes]
    for j in range(1, 4):
        lines += [f" RHS DEM{j} {value} TWO {p}" for value, p in _DEMAND]
    return "\n".join([*lines, "ENDATA"]) + "\n"
