# SPDX-License-Identifier: GPL-2.0-or-later
"""Events in, commands out: what the sensors and the offload edge tell the policy, and what
the policy wants done. Times are in seconds of the monotonic clock, as everywhere.
"""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.arms.detector import Evidence
from flowguard.core.arms.draw import Births, Draw, Outcomes
from flowguard.core.model import (
    Boots,
    Decision,
    Device,
    Fault,
    Host,
    Level,
    PolicySettings,
    ShutEye,
    Verdict,
)
from flowguard.core.records import frozen
from flowguard.core.requests import Request

# --- events: what the sensors and the offload edge report -------------------------------


@frozen
class Started:
    """The daemon starts: what is configured and what is remembered.

    `armed` are the devices of an intent of this same boot, and `evidence` is what the daemon
    before had found in it. `held_until` and `suspended` are what people asked for
    (core/requests.py). `held` are the levels that the daemon before has left in the kernel,
    and `seed` is what its rules draw the arms by, or else the one to begin with. `shut_eye`
    may be of another kernel than this one.
    """

    time: float
    wanted: Level
    settings: PolicySettings = PolicySettings()
    verdicts: tuple[Verdict, ...] = ()
    boots: Boots = Boots()
    armed: tuple[Device, ...] = ()
    held_until: float = 0
    suspended: bool = False
    evidence: Evidence | None = None
    held: tuple[tuple[str, Level], ...] = ()
    shut_eye: ShutEye | None = None
    seed: int = 0


@frozen
class BootSeen:
    """The first start in a new boot.

    `unplanned`: the boot before ended with hardware on and without a planned end; `devices`
    were on hardware then. `faults` are what the kernel left behind about its end, and
    `crash` is the headline of a crash, "" when there is no trace of one. `watchdog`: the
    hardware watchdog is known to have ended it. `looking`: the first look at the engine's
    table was under way.
    """

    time: float
    boot_count: int
    unplanned: bool
    faults: tuple[Fault, ...]
    devices: tuple[Device, ...]
    kernel: str
    flowguard: str
    crash: str = ""
    judged: tuple[str, ...] = ()
    watchdog: bool = False
    looking: bool = False


@frozen
class LedgerFailed:
    """The state cannot be kept: a reboot caused by hardware would go unnoticed.

    `lost`: what was remembered cannot be read, and so is not known in this boot.
    """

    time: float
    error: str
    lost: bool = False


@frozen
class LedgerKept:
    """The state was saved, after it could not be."""

    time: float


@frozen
class Configured:
    """The configuration was read again."""

    time: float
    wanted: Level
    settings: PolicySettings


@frozen
class KernelKnown:
    """What is known of the running kernel: why nothing may be on the software level, or ""."""

    time: float
    software_drops: str


@frozen
class DevicesChanged:
    """The full list of usable devices, after any of them appeared, vanished or changed."""

    time: float
    devices: tuple[Device, ...]


@frozen
class HostsSeen:
    """Hosts that are new, or behind another port of a bridge than before, and those that went."""

    time: float
    seen: tuple[Host, ...]
    gone: tuple[str, ...] = ()


@frozen
class FaultSeen:
    time: float
    fault: Fault


@frozen
class DrainProgress:
    """Hardware flows and engine entries that are still to go; None where they cannot be seen.

    `held` are the levels of the devices meanwhile, as seen when the drain began.
    """

    time: float
    flows: int | None
    engine_entries: int | None
    tuples: tuple[str, ...] = ()
    held: tuple[tuple[str, Level], ...] | None = None


@frozen
class Converged:
    """The kernel's tables are proven to be as the last `Converge` asked.

    `held` are the levels that the tables were seen to give to devices, one that is not named
    being on none; None: those that were asked for. `parked` devices could not be drained
    within the limit: their driver stays bound, and no flow is given to it.
    """

    time: float
    held: tuple[tuple[str, Level], ...] | None = None
    parked: tuple[str, ...] = ()


@frozen
class ConvergeFailed:
    """The kernel refused; what was there before is still there.

    `device` is named when the refusal concerns one device alone. `held` is as in `Converged`,
    None when the kernel did not say.
    """

    time: float
    error: str
    device: str | None = None
    held: tuple[tuple[str, Level], ...] | None = None


@frozen
class TablesLost:
    """Somebody else deleted or changed our tables; `held` are the levels that are left."""

    time: float
    held: tuple[tuple[str, Level], ...] | None = None


@frozen
class FlowsSeen:
    """Offloaded flows per place, and those the driver silently refused."""

    time: float
    hardware: int
    software: int
    refused: int


@frozen
class FlowsJudged:
    """Observed flows that came of age since the last look; `observed` are being watched."""

    time: float
    outcomes: tuple[Outcomes, ...]
    births: tuple[Births, ...] = ()
    observed: int = 0


@frozen
class CrossoverSeen:
    """What became of the flows that were stalled when their devices stepped down.

    `revived` are answered again, `trying` still send in vain; the rest is silent. `ended`:
    this is the last look.
    """

    time: float
    stalled: int
    revived: int
    trying: int
    ended: bool = False


@frozen
class EngineSeen:
    """Where the packet engine's table contradicts connection tracking.

    Orphans are forwarded by the engine although their connection is gone. Half-bound flows
    go on in the one direction that is in the engine and are silent in the other. Some of
    both are shown as people write them.
    """

    time: float
    orphans: tuple[str, ...]
    orphan_count: int
    half_bound: tuple[str, ...]
    half_bound_count: int


@frozen
class LookBegun:
    """The engine's table is about to be read for the first time since the daemon's start."""

    time: float


@frozen
class LookEnded:
    """The kernel has survived that."""

    time: float


@frozen
class StandbyChanged:
    """Why no device may be used, because of the firewall; "" when nothing is in the way."""

    time: float
    reason: str


@frozen
class SensorLost:
    """A sensor sees nothing any more, or never could: `error` says why."""

    time: float
    sensor: str
    error: str


@frozen
class SensorBack:
    """A sensor that was lost sees again."""

    time: float
    sensor: str


@frozen
class Tick:
    """The deadline asked for by the state has come."""

    time: float


Event = (
    Started
    | BootSeen
    | LedgerFailed
    | LedgerKept
    | Configured
    | KernelKnown
    | DevicesChanged
    | HostsSeen
    | FaultSeen
    | Request
    | DrainProgress
    | Converged
    | ConvergeFailed
    | TablesLost
    | FlowsSeen
    | FlowsJudged
    | CrossoverSeen
    | EngineSeen
    | LookBegun
    | LookEnded
    | StandbyChanged
    | SensorLost
    | SensorBack
    | Tick
)


# --- commands: what the policy wants done -----------------------------------------------


@frozen
class Converge:
    """Bring the kernel to these levels, draining hardware wherever one goes down.

    New flows are drawn as `draw` says; `epoch` names the time from this change to the next.
    """

    levels: tuple[tuple[str, Level], ...]
    draw: Draw = Draw()
    epoch: int = 0


@frozen
class FollowHosts:
    """Bring the tables to where hosts are now, by the levels that they have.

    Then pull the flows of the addresses that have `moved`, or are gone, out of the flowtables, on
    this `level` or above: there they are bound to the port that their host has left.
    """

    moved: tuple[str, ...] = ()
    level: Level = Level.HARDWARE


@frozen
class Try:
    """Ask the drivers of `state.untried` whether they take flows; answered by `DevicesChanged`."""


@frozen
class Rescue:
    """Pull the stalled flows out of hardware and watch for `seconds` whether they revive."""

    seconds: float


@frozen
class Save:
    """A verdict changed: the state must reach flash."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@frozen
class Notify:
    severity: Severity
    message: str


@frozen
class Decided:
    """A decision was taken; for the log."""

    decision: Decision


@frozen
class PowerCycleNeeded:
    """The device's engine or MAC is dead: no level and no waiting brings it back."""

    device: str
    evidence: str


@frozen
class Moved:
    """The kernel was seen to hold another level of a device than before, by this decision."""

    decision: Decision


Command = Converge | FollowHosts | Try | Rescue | Save | Notify | Decided | PowerCycleNeeded | Moved
