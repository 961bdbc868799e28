"""What a rolling dispatch leaves in a run: its facts and its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from stochbess.reports.facts import Fact

if TYPE_CHECKING:
    from stochbess.rolling import RollingValue


def rolling_facts(value: RollingValue) -> list[Fact]:
    """Profit with and without clairvoyance, and the difference by cause."""
    facts = [
        Fact("clairvoyant", value.clairvoyant_eur, "EUR", 2,
             "expected profit of the decision if its recourse sees the whole day at once"),
        Fact("rolling", value.rolling_eur, "EUR", 2,
             "expected profit of the same decision dispatched step by step, on what is revealed"),
        Fact("optimism", value.optimism_eur, "EUR", 2, "clairvoyant less rolling profit"),
        Fact("optimism_share", 100 * value.optimism_frac, "%", 1,
             "optimism over the size of the clairvoyant profit"),
        Fact("rolling_worst", float(value.days["rolling_eur"].min()), "EUR", 2,
             "profit of the rolling dispatch in its worst scenario"),
        Fact("trade_lead", value.information.lead_min, "min", 0,
             "time from the decision of an intraday trade to its delivery"),
    ]  # fmt: skip
    for cause, eur in value.expected_causes().items():
        key = f"optimism_{str(cause).replace(' ', '_')}"
        facts.append(Fact(key, float(eur), "EUR", 2, f"part of the optimism by {cause}"))
    return facts


def rolling_frames(value: RollingValue) -> dict[str, pd.DataFrame]:
    """`rolling`: one row per true day; `rolling_causes`: expected contribution of each cause."""
    causes = value.expected_causes()
    return {
        "rolling": value.days,
        "rolling_causes": pd.DataFrame(
            {"cause": causes.index.astype(object), "eur": causes.to_numpy()}
        ),
    }
