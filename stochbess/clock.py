"""The only place that asks the machine for the time, so that tests can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_utc() -> datetime:
    """Wall-clock time, timezone-aware UTC."""
    return datetime.now(UTC)


def monotonic_s() -> float:
    """Seconds on a clock that never steps back; for durations and deadlines."""
    return time.monotonic()


def cpu_s() -> float:
    """CPU seconds of this process."""
    return time.process_time()
