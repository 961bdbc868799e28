"""Which problems can be decided, by name: one place for the command line, runs and reports.

How each is solved is in `stochbess.formulate`, which has a function for every name here. Nothing
heavy is imported, so that help answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Formulation:
    """A problem by name.

    Attributes
    ----------
    promise : what it maximises, and so what its own profit and bound speak of
    short : the same for a narrow column
    reading : how its result must be read, one sentence
    """

    name: str
    promise: str
    short: str
    reading: str


_CLAIRVOYANT = (
    "The recourse of a two-stage model sees the whole day at once: after the auctions it knows "
    "every later price and call. The profit is therefore optimistic; operation that learns them "
    "one by one earns less."
)
# In the order in which a comparison shows them.
FORMULATIONS: dict[str, Formulation] = {
    f.name: f
    for f in (
        Formulation(
            "deterministic",
            "profit of one future, the mean scenario or the realised one",
            "one future",
            "A deterministic decision knows one future, here the mean scenario, and its profit "
            "counts on it. `stochbess compare` prices such a decision on all scenarios.",
        ),
        Formulation(
            "two-stage",
            "expected profit; with risk.cvar_weight above zero, its mix with CVaR",
            "expected",
            _CLAIRVOYANT,
        ),
        Formulation(
            "mean-cvar",
            "mix of expected profit and CVaR, by risk.cvar_weight",
            "mean-CVaR",
            _CLAIRVOYANT,
        ),
        Formulation(
            "robust",
            "profit under the worst activation within a budget of high calls",
            "worst calls",
            "The worst case is that of the set of called shares, no more: prices are not part of "
            "it, and its recourse, too, sees the whole course of calls before it acts.",
        ),
        Formulation(
            "wasserstein",
            "expected profit under the worst probabilities within a Wasserstein ball",
            "worst ball",
            "The ball moves probability between the scenarios at hand: nothing worse than the "
            "worst of them can happen in it. " + _CLAIRVOYANT,
        ),
        Formulation(
            "multi-stage",
            "expected profit on a tree of the gates; with risk.cvar_weight above zero, its mix "
            "with CVaR",
            "tree",
            "Decisions of a tree know what is revealed up to their node: the gates one by one, and "
            "the delivery in windows, whose calls are known as a whole when the unit is run. "
            "Profits of different trees are not comparable; `stochbess value` lives the bids step "
            "by step.",
        ),
    )
}
DEFAULT = "two-stage"
# Weight of CVaR that `mean-cvar` takes where the configuration has none.
CVAR_WEIGHT = 0.5
