"""The shadow account: what one policy earned over another on the same days, line by line.

Statistics of paired daily differences only. Days follow each other, so that intervals come from
blocks of days (`evaluate.paired`); the account reconciles every day to the cent, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError
from stochbess.evaluate.paired import PairedMean, paired_mean

Floats = npt.NDArray[np.float64]
Verdict = Literal["superior", "equivalent", "worse", "not resolved"]
# Two policies whose mean profits differ by less than this share are the same for any purpose.
EQUIVALENT_FRAC = 0.005
# Half width of a two-sided 95 % interval, and of that plus a power of 80 %, in standard errors.
_INTERVAL, _DETECTED = 1.959964, 1.959964 + 0.841621
_CENT_EUR = 0.005
_BOOKED = {
    "aging": "aging_eur",
    "aging floor": "aging_floor_eur",
    "stored energy": "stored_value_eur",
    "tax": "profit_tax_eur",
}
_SIGN = {"aging": -1.0, "aging floor": -1.0, "stored energy": 1.0, "tax": -1.0}


@dataclass(frozen=True, eq=False)
class Uplift:
    """A policy against a counterfactual on the same days.

    Attributes
    ----------
    mean : profit per day over that of the counterfactual, with its interval [EUR]
    against_eur : mean profit per day of the counterfactual
    detectable_eur : smallest mean difference that a sample like this one would find with a
        probability of 80 %
    even, odd : the same on even and on odd ISO weeks; None where there are fewer than two days
    lines : mean of every line of the account, policy, counterfactual, difference [EUR per day]
    losing : days on which the counterfactual earned more, worst first: day, difference_eur
    reconciled : whether the lines of every day add up to its difference, to the cent
    """

    policy: str
    against: str
    mean: PairedMean
    against_eur: float
    detectable_eur: float
    even: PairedMean | None
    odd: PairedMean | None
    lines: pd.DataFrame
    losing: pd.DataFrame
    reconciled: bool

    @property
    def uplift_frac(self) -> float:
        """Difference over the size of the counterfactual's profit."""
        return self.mean.mean / max(1.0, abs(self.against_eur))

    @property
    def verdict(self) -> Verdict:
        """Equivalence is asked first: a difference below the margin is no superiority."""
        margin = EQUIVALENT_FRAC * abs(self.against_eur)
        if -margin <= self.mean.low and self.mean.high <= margin:
            return "equivalent"
        if self.mean.sign > 0:
            return "superior"
        return "worse" if self.mean.sign < 0 else "not resolved"


def account(days: pd.DataFrame) -> pd.DataFrame:
    """Lines of the profit of every row of `days`, in order; rows sum to `profit_eur`.

    Parameters
    ----------
    days : columns `cash_*` [EUR] and aging_eur, aging_floor_eur, stored_value_eur, profit_tax_eur
    """
    cash = (str(name) for name in days if str(name).startswith("cash_") and name != "cash_eur")
    lines = {name[len("cash_") :]: days[name] for name in cash}
    lines |= {line: _SIGN[line] * days[column] for line, column in _BOOKED.items()}
    return pd.DataFrame(lines)


def uplift(days: pd.DataFrame, policy: str, against: str, seed: int, block: int = 7) -> Uplift:
    """Set `policy` against a counterfactual.

    Parameters
    ----------
    days : one row per policy and day, as `stochbess.backtest.day_table` makes them
    block : days per block of the bootstrap; a quarter of the days at most, since fewer blocks have
        no spread to show

    Raises
    ------
    DataError : a policy is missing, the two did not live the same days, or fewer than two
    """
    ours, theirs = _of(days, policy), _of(days, against)
    if list(ours["day"]) != list(theirs["day"]):
        raise DataError(
            f"{policy} lived {len(ours)} days, {against} {len(theirs)}, and not the same ones. "
            "Backtest both over the same days."
        )
    difference = ours["profit_eur"].to_numpy() - theirs["profit_eur"].to_numpy()
    own, other = account(ours), account(theirs)
    gap = (own - other).sum(axis=1).to_numpy() - difference
    mean = _paired(difference, seed, block)
    if mean is None:
        raise DataError(f"{len(difference)} day(s): a paired comparison needs at least two.")
    week = pd.to_datetime(ours["day"]).dt.isocalendar().week.to_numpy(np.int64)
    standard_error = (mean.high - mean.low) / 2 / _INTERVAL
    lines = pd.DataFrame({"policy": own.mean(), "against": other.mean()})
    lines["difference"] = lines["policy"] - lines["against"]
    table = pd.DataFrame({"day": ours["day"], "difference_eur": difference})
    losing = table[table["difference_eur"] < 0].sort_values("difference_eur", kind="stable")
    return Uplift(
        policy=policy,
        against=against,
        mean=mean,
        against_eur=float(theirs["profit_eur"].mean()),
        detectable_eur=_DETECTED * standard_error,
        even=_paired(difference[week % 2 == 0], seed, block),
        odd=_paired(difference[week % 2 == 1], seed, block),
        lines=lines.rename_axis("line").reset_index(),
        losing=losing.reset_index(drop=True),
        reconciled=bool((np.abs(gap) < _CENT_EUR).all()),
    )


def _of(days: pd.DataFrame, policy: str) -> pd.DataFrame:
    rows = days[days["policy"] == policy].reset_index(drop=True)
    if rows.empty:
        names = ", ".join(dict.fromkeys(days["policy"])) or "none"
        raise DataError(f"no day of {policy!r} in the backtest. It has: {names}.")
    return rows


def _paired(difference: Floats, seed: int, block: int) -> PairedMean | None:
    if len(difference) < 2:
        return None
    return paired_mean(difference, seed, block=max(1, min(block, len(difference) // 4)))


def cumulative(days: pd.DataFrame) -> dict[str, tuple[list[date], Floats]]:
    """Policy -> days and profit earned by the end of each [EUR]."""
    found = {}
    for policy in dict.fromkeys(days["policy"]):
        rows = _of(days, policy)
        found[policy] = (
            [date.fromisoformat(day) for day in rows["day"]],
            np.cumsum(rows["profit_eur"].to_numpy()),
        )
    return found
