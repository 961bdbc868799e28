"""The one error tree of the toolkit.

Every expected error says what was found, where, what was expected and what to do, and carries the
exit code of the command line. Anything else that escapes is a defect of stochbess.
"""

from __future__ import annotations


class StochbessError(Exception):
    """Base of every expected error; `exit_code` is what the command line ends with."""

    exit_code = 1


class ConfigError(StochbessError):
    """The configuration file or an override is not usable."""

    exit_code = 2


class DataError(StochbessError):
    """Market data or scenarios are missing, malformed or implausible."""

    exit_code = 3


class NotEnoughHistoryError(DataError):
    """The data known at the gate do not reach far enough back for the scenario generator."""


class ScenarioError(DataError):
    """A scenario file or set breaks the documented form."""


class InfeasibleError(StochbessError):
    """No decision satisfies the constraints; the message names the inputs that conflict."""

    exit_code = 4


class SolverError(StochbessError):
    """The solver is missing, failed, or returned something that its certificate rejects."""

    exit_code = 5


class StoreError(StochbessError):
    """The store of runs cannot be read or written."""

    exit_code = 6


class SafetyError(StochbessError):
    """A safety limit was reached."""

    exit_code = 7


class ReportError(StochbessError):
    """A report could not be produced in full."""

    exit_code = 8
