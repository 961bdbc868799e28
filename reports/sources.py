"""Literature that reports cite, by key."""

from __future__ import annotations

SOURCES = {
    "birge1982": (
        "J. R. Birge (1982). The value of the stochastic solution in stochastic linear programs "
        "with fixed recourse. Mathematical Programming 24, 314–325. doi 10.1007/BF01585113"
    ),
    "birge2011": (
        "J. R. Birge and F. Louveaux (2011). Introduction to Stochastic Programming, 2nd edition, "
        "chapter 4. Springer. doi 10.1007/978-1-4614-0237-4"
    ),
    "rockafellar2000": (
        "R. T. Rockafellar and S. Uryasev (2000). Optimization of conditional value-at-risk. "
        "Journal of Risk 2 (3), 21–41. doi 10.21314/JOR.2000.038"
    ),
}
