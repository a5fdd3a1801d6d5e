# SPDX-License-Identifier: GPL-2.0-or-later
"""What people ask of flowguard while it runs; times are those of the monotonic clock."""

from __future__ import annotations

from flowguard.core.model import Level
from flowguard.core.records import frozen


@frozen
class WantedChanged:
    """Set the highest level wanted."""

    time: float
    level: Level


@frozen
class RetryAsked:
    """End every wait now: devices that are held off try the next level up, carefully."""

    time: float


@frozen
class HoldAsked:
    """Keep everything from hardware for so many seconds; 0 ends that.

    `at_least`: a longer time that was asked for before stays.
    """

    time: float
    seconds: float
    reason: str = "as somebody asked"
    at_least: bool = False


@frozen
class SuspendAsked:
    """Offload nothing at all (True), until it is resumed (False) or the router reboots."""

    time: float
    suspended: bool


@frozen
class ForgetAsked:
    """Drop what is remembered against a device, or against all and the reboots (None)."""

    time: float
    device: str | None = None


@frozen
class PlannedEnd:
    """The router is about to go down, or hardware was left, because somebody wants it so."""

    time: float


@frozen
class EndAsked:
    """The daemon is about to end and leaves everything at `leave` or below.

    From here on nothing that happens brings anything up again.
    """

    time: float
    leave: Level


@frozen
class EndAbandoned:
    """The kernel would not let go of something: what is in hardware is in use again.

    `goes_on`: it does not end after all, and is allowed what it was before.
    """

    time: float
    goes_on: bool = True


Request = (
    WantedChanged
    | RetryAsked
    | HoldAsked
    | SuspendAsked
    | ForgetAsked
    | PlannedEnd
    | EndAsked
    | EndAbandoned
)
