"""What all generators say of their draws: the gate as a rule, and names after past days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from stochbess.errors import ScenarioError
from stochbess.timegrid import Horizon


def gate_rule(instant: datetime, horizon: Horizon) -> str:
    """``D-1 08:00`` for an instant, relative to the first delivery day in local time.

    The inverse of `stochbess.timegrid.gate_utc`.

    Raises
    ------
    ScenarioError : the instant is after the first delivery day
    """
    local = instant.astimezone(ZoneInfo(horizon.timezone))
    back = (horizon.first_day - local.date()).days
    if back < 0:
        raise ScenarioError(
            f"{local:%Y-%m-%d %H:%M} local is after the delivery day {horizon.first_day}; give an "
            "instant before the decision"
        )
    return f"D-{back} {local:%H:%M}" if back else f"D {local:%H:%M}"


def day_names(prefix: str, days: Sequence[date]) -> tuple[str, ...]:
    """``prefix-YYYY-MM-DD`` by past day; a day drawn again gets ``#2``, ``#3``, ..."""
    names, seen = [], dict.fromkeys(days, 0)
    for day in days:
        seen[day] += 1
        names.append(f"{prefix}-{day}" + (f"#{seen[day]}" if seen[day] > 1 else ""))
    return tuple(names)
