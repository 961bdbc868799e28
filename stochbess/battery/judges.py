"""What several laws of aging say of the same schedule: the judges that a decision did not ask.

A law has states that grow by a power law, and no two have the same. They are made comparable by
repetition: the schedule is repeated until the mechanisms of a group, calendar aging or cycling,
have together lost what is assumed to be lost already; what one repetition more adds is the loss of
the schedule (docs/math.md (113)). For one mechanism with a square-root law this is the linearised
price dQ = dW / 2Q of the decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import AgingModel, members
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
_BISECTIONS = 200


@dataclass(frozen=True)
class Opinion:
    """What one law says of a schedule: losses over nominal capacity."""

    law: str
    calendar_frac: float
    cycle_frac: float

    @property
    def loss_frac(self) -> float:
        return self.calendar_frac + self.cycle_frac


def opinions(
    model: AgingModel, growth: FloatArray, calendar_loss_frac: float, cycle_loss_frac: float
) -> tuple[Opinion, ...]:
    """Loss of capacity by a schedule, by law.

    Parameters
    ----------
    growth : (M,) of the states of `model` by one schedule; a negative one, of a half cycle that
        goes on at a lower C-rate, counts as none
    calendar_loss_frac, cycle_loss_frac : capacity lost already to the mechanisms of each group
    """
    found, first = [], 0
    for law in members(model):
        own = growth[first : first + len(law.mechanisms)].tolist()
        first += len(law.mechanisms)
        groups: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for mechanism, grown in zip(law.mechanisms, own, strict=True):
            if mechanism.effect == "capacity":
                groups[mechanism.name == "calendar"].append((grown, mechanism.power))
        calendar = next_loss_frac(groups[True], calendar_loss_frac)
        found.append(Opinion(law.name, calendar, next_loss_frac(groups[False], cycle_loss_frac)))
    return tuple(found)


def next_loss_frac(mechanisms: Sequence[tuple[float, float]], lost_frac: float) -> float:
    """Loss by one more schedule after so many that `lost_frac` is lost: (growth, power) each.

    Raises
    ------
    ConfigError : `lost_frac` is not between 0 and 1
    """
    if not 0.0 < lost_frac < 1.0:
        raise ConfigError(f"loss so far = {lost_frac}: expected a fraction between 0 and 1.")
    growing = [(grown, power) for grown, power in mechanisms if grown > 0]
    if not growing:
        return 0.0
    # each mechanism alone would need more repetitions than all of them together
    high = max(math.pow(lost_frac, 1.0 / power) / grown for grown, power in growing)
    low = 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if sum(math.pow(middle * grown, power) for grown, power in growing) < lost_frac:
            low = middle
        else:
            high = middle
    return sum(power * math.pow(high * grown, power) for grown, power in growing) / high
