# SPDX-License-Identifier: GPL-2.0-or-later
"""What the policy remembers between events, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

from flowguard.core.arms.detector import Detector, Evidence, Mute
from flowguard.core.arms.draw import Draw, OutcomeKind
from flowguard.core.arms.passing import Passing
from flowguard.core.events import FlowsSeen
from flowguard.core.model import (
    Boots,
    Decision,
    Device,
    Fault,
    Host,
    Level,
    Mover,
    PolicySettings,
    ShutEye,
    Verdict,
)
from flowguard.core.records import frozen, replace

DECISIONS_KEPT = 50
# How long the stalled flows of a step are watched; TCP tries again within two minutes
# (TCP_RTO_MAX, include/net/tcp.h). After the limit nobody answers for them any more.
TRIAL_SECONDS = 120.0
TRIAL_LIMIT = 240.0
# How often a medium that refused is written to again.
LEDGER_RETRY = 600.0
# Where next to nothing can be counted (no counters, no traffic), time alone must do in a
# canary: so many soak times.
CANARY_PATIENCE = 24
POWER_CYCLE = "its engine is dead: the router needs a power cycle"
# A host that changes its port more often than this, with no more than so many seconds between,
# counts as behind no port until it has stayed for as long: each time that it comes behind a port
# in hardware, the software table is made anew for its flows.
MOVES_MOST = 3
SETTLED_SECONDS = 60.0
# Hardware is never without these: the kernel log, what is in hardware, and how flows fare.
GUARDS = ("kmsg", "flows", "observation")


class Phase(StrEnum):
    """The `state` of the status."""

    STEADY = "steady"
    DRAINING = "draining"
    HELD_OFF = "held_off"
    CANARY = "canary"
    STOPPED = "stopped"


@frozen
class Drain:
    """A drain under way; counts are None until the first look."""

    since: float
    flows: int | None = None
    engine_entries: int | None = None
    tuples: tuple[str, ...] = ()
    overdue: bool = False


@frozen
class Failure:
    """The kernel refused the tables; `retry_at` is None while they are tried again."""

    error: str
    attempts: int
    retry_at: float | None


@frozen
class Trial:
    """A step down because connections were dropped, until it is known whether that helped.

    `former` are the verdicts that its devices had before, to be put back if it did not.
    """

    since: float
    devices: tuple[str, ...]
    former: tuple[Verdict, ...]
    evidence: str
    stalled: int | None = None
    revived: int = 0
    trying: int = 0


@frozen
class Ledger:
    """Why nothing can be remembered (`error`), and when that is tried again.

    `lost`: what was remembered before cannot be read.
    """

    error: str = ""
    lost: bool = False
    retry_at: float | None = None


@frozen
class Blind:
    """A sensor that sees nothing, since when, and why.

    `back` is since when it sees again. One that is lost again soon was not really back.
    """

    sensor: str
    since: float
    error: str
    back: float | None = None

    def is_long(self, time: float, grace: float) -> bool:
        """Whether it was blind for so long, and has not seen for as long since."""
        end = time if self.back is None else self.back
        return end >= self.since + grace and not self.is_over(time, grace)

    def is_over(self, time: float, grace: float) -> bool:
        return self.back is not None and time >= self.back + grace


@frozen
class WeakFault:
    time: float
    device: str


@frozen
class State:
    """Immutable; `policy.decide` returns the next one.

    `hosts` are those known to be behind ports of bridges, by address, and `movers` those of them
    that have moved lately. `levels` is where each
    device is to stand: what the last `Converge` asked for. `reached` is what the kernel was
    last seen to hold; a device that is not named there is on none. `parked` are devices that
    could not be drained; that is tried again at `parked_retry`. `epoch` is the number of that
    request; only flows born since `compared_since` can be compared, and `compared` are the
    levels that `detector` has compared so far. `thinned` is when the share of observed flows
    last changed. `unproven` is the last trial that ended without proof either way.
    `canary_tests` count flows born since `canary_epoch`. `unjudged` are faults that came before
    any device was known.

    `armed` are the devices that the intent names. `disturbed` is when anything last changed
    or failed. `retried`: somebody ended the waits of this boot. `suspended` and `held_until`
    are what people asked for. `standby` says why the firewall keeps everything on none, and
    `leave` is the highest level that an end of the daemon leaves behind. `software_drops`
    says why this kernel must not use the software level. `looking`: the first look at the
    engine's table is under way.
    """

    time: float = 0
    wanted: Level = Level.NONE
    settings: PolicySettings = PolicySettings()
    devices: tuple[Device, ...] = ()
    hosts: tuple[Host, ...] = ()
    movers: tuple[Mover, ...] = ()
    levels: tuple[tuple[str, Level], ...] = ()
    reached: tuple[tuple[str, Level], ...] = ()
    parked: tuple[str, ...] = ()
    parked_retry: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    converged: bool = False
    drain: Drain | None = None
    failure: Failure | None = None
    weak_faults: tuple[WeakFault, ...] = ()
    unjudged: tuple[Fault, ...] = ()
    rebuilds: tuple[float, ...] = ()
    rebuild_held_until: float = 0
    flows: FlowsSeen | None = None
    draw: Draw = Draw()
    thinned: float = -math.inf
    epoch: int = 0
    compared_since: int = 0
    compared: tuple[tuple[str, Level], ...] = ()
    detector: Detector = Detector()
    trial: Trial | None = None
    unproven: Trial | None = None
    mute: Mute = Mute()
    observed: int = 0
    decisions: tuple[Decision, ...] = ()
    boots: Boots = Boots()
    armed: tuple[Device, ...] = ()
    ledger: Ledger = Ledger()
    disturbed: float = -math.inf
    retried: bool = False
    suspended: bool = False
    held_until: float = 0
    standby: str = ""
    leave: Level | None = None
    blind: tuple[Blind, ...] = ()
    software_drops: str = ""
    looking: bool = False
    shut_eye: ShutEye | None = None
    canary_epoch: int = 0
    canary_tests: tuple[tuple[OutcomeKind, Passing], ...] = ()

    @property
    def restless(self) -> set[str]:
        """The addresses of hosts that move too often."""
        since = self.time - SETTLED_SECONDS
        return {m.address for m in self.movers if m.moves > MOVES_MOST and m.moved > since}

    @property
    def settled_hosts(self) -> tuple[Host, ...]:
        """The hosts that are behind their port for good, as far as anybody knows."""
        restless = self.restless
        return tuple(h for h in self.hosts if h.address not in restless) if restless else self.hosts

    def level_of(self, device: str) -> Level:
        return dict(self.levels).get(device, Level.NONE)

    def reached_by(self, device: str) -> Level:
        return dict(self.reached).get(device, Level.NONE)

    def verdict_on(self, device: str) -> Verdict | None:
        return next((v for v in self.verdicts if v.device == device), None)

    def holds(self, verdict: Verdict) -> bool:
        """Whether the verdict still keeps its device down."""
        if self.settings.detect_only:
            return False
        return verdict.highest is not Level.HARDWARE and not self.is_over(verdict)

    def is_over(self, verdict: Verdict) -> bool:
        """Whether the hold-off has ended: never before the drain and the trial it began with."""
        waits = verdict.until_reboot or self.drain is not None or self.trial is not None
        return not waits and self.time >= verdict.held_until

    def strikes_left(self, verdict: Verdict) -> int:
        """The strikes that healthy time on full hardware has not made good yet."""
        forgiven = int(verdict.healthy_until(self.time) / self.settings.forgive_after)
        return max(0, verdict.strikes - forgiven)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.compared, self.detector, self.mute)

    @property
    def untried(self) -> tuple[Device, ...]:
        """The devices that only the want of a trial keeps from hardware."""
        return tuple(
            device
            for device in self.devices
            if device.hardware_capable is None
            and allowed(self, replace(device, hardware_capable=True))[0] is Level.HARDWARE
        )

    @property
    def in_use(self) -> tuple[Device, ...]:
        """The devices whose hardware offload is in use; a trial is a use of it."""
        on_hardware = (
            d
            for d in self.devices
            if Level.HARDWARE in (self.level_of(d.name), self.reached_by(d.name))
        )
        return (*on_hardware, *self.untried)

    @property
    def boot_delay(self) -> float:
        """The uptime before which hardware is not used, longer on probation."""
        if self.retried:
            return 0
        on_probation = self.boots.count in self.boots.unknown
        return self.settings.boot_delay * (self.settings.probation if on_probation else 1)

    @property
    def keeps_rebooting(self) -> bool:
        """Whether this boot stays off all offloading: the ones before it were too short."""
        return self.boots.looping and not self.retried

    @property
    def quiet_at(self) -> float:
        """When the router has been quiet for long enough.

        Only the first use in a boot waits for it, and not where no delay is wanted at all.
        """
        waits = self.settings.boot_delay and not self.retried and not self.armed
        return self.disturbed + self.settings.quiet if waits else 0

    @property
    def target(self) -> Level:
        """The highest level that any device is to stand on."""
        return max((level for _, level in self.levels), key=lambda x: x.rank, default=Level.NONE)

    @property
    def level(self) -> Level:
        """The highest level that the kernel was seen to hold of any device."""
        return max((level for _, level in self.reached), key=lambda x: x.rank, default=Level.NONE)

    @property
    def blinded(self) -> Blind | None:
        """The guard that has seen nothing for too long, if there is one."""
        if self.settings.detect_only:
            return None
        grace = self.settings.blind_grace
        return next((b for b in self.blind if b.is_long(self.time, grace)), None)

    @property
    def blind_now(self) -> Blind | None:
        """A guard that sees nothing, if only since a moment: nothing goes up without it."""
        if self.settings.detect_only:
            return None
        grace = self.settings.blind_grace
        return next((b for b in self.blind if not b.is_over(self.time, grace)), None)

    @property
    def phase(self) -> Phase:
        if self.drain:
            return Phase.DRAINING
        if (
            self.failure
            or self.time < self.rebuild_held_until
            or any(self.holds(v) and v.highest.rank < self.wanted.rank for v in self.verdicts)
        ):
            return Phase.HELD_OFF
        if self.draw.canary:
            return Phase.CANARY
        return Phase.STEADY

    def next_deadline(self) -> float | None:
        """When a `Tick` is due, if nothing happens before; None when nothing is pending."""
        return min((t for t in self._deadlines() if t > self.time), default=None)

    def _deadlines(self) -> Iterator[float]:
        yield self.rebuild_held_until
        yield self.held_until
        if self.wanted is Level.HARDWARE:
            yield self.boot_delay
            yield self.quiet_at
        if self.boots.early:
            yield self.settings.boot_settle
        if self.ledger.retry_at is not None:
            yield self.ledger.retry_at
        yield from (v.held_until for v in self.verdicts if self.holds(v) and not v.until_reboot)
        if self.drain and not self.drain.overdue:
            yield self.drain.since + self.settings.drain_limit
        if self.parked_retry is not None:
            yield self.parked_retry
        if self.failure and self.failure.retry_at is not None:
            yield self.failure.retry_at
        if self.trial:
            yield self.trial.since + TRIAL_LIMIT
        for blind in self.blind:
            since = blind.since if blind.back is None else blind.back
            yield since + self.settings.blind_grace
        yield from (m.moved + SETTLED_SECONDS for m in self.movers if m.moves > MOVES_MOST)
        soak = self.settings.canary_soak
        for verdict in self.verdicts:
            if verdict.canary and verdict.raised is not None:
                yield from (verdict.raised + soak, verdict.raised + soak * CANARY_PATIENCE)


def allowed(state: State, device: Device) -> tuple[Level, str]:
    """The highest level the device may stand on now, and what limits it, in words."""
    limits = [(state.wanted, f"wanted level is {state.wanted}"), *_limits(state)]
    if device.hardware_capable is False:
        limits.append((Level.SOFTWARE, f"no hardware offload: {device.reason}"))
    verdict = state.verdict_on(device.name)
    if verdict and state.holds(verdict):
        cure = f"; {POWER_CYCLE}" if verdict.power_cycle else ""
        limits.append((verdict.highest, f"held off: {verdict.reason}{cure}"))
    blind = state.blind_now
    if blind and state.reached_by(device.name) is not Level.HARDWARE:
        reason = f"nothing would guard it: sensor {blind.sensor}: {blind.error}"
        limits.append((Level.SOFTWARE, reason))
    if device.hardware_capable is None:
        limits.append((Level.SOFTWARE, "whether it can offload in hardware is not known yet"))
    level, why = min(limits, key=lambda limit: limit[0].rank)
    if level is Level.SOFTWARE and state.software_drops:
        return Level.NONE, f"{why}; nothing is put into software: {state.software_drops}"
    return level, why


def _limits(state: State) -> Iterator[tuple[Level, str]]:
    """What limits all devices alike."""
    if state.leave is not None:
        yield state.leave, "flowguard ends"
    if state.standby:
        yield Level.NONE, state.standby
    if state.suspended:
        yield Level.NONE, "suspended until `flowguard resume`"
    if state.time < state.rebuild_held_until:
        yield Level.NONE, "another program keeps removing our tables"
    if state.keeps_rebooting:
        yield Level.NONE, "the router keeps rebooting: nothing is offloaded in this boot"
    if state.time < state.held_until:
        yield Level.SOFTWARE, "no hardware for now; `flowguard hold 0` ends that"
    if state.parked:
        yield Level.SOFTWARE, f"{', '.join(state.parked)} could not be drained yet"
    if blind := state.blinded:
        yield Level.SOFTWARE, f"nothing guards hardware: sensor {blind.sensor}: {blind.error}"
    if state.ledger.error:
        yield Level.SOFTWARE, f"a crash would not be remembered: {state.ledger.error}"
    if state.ledger.lost and not state.retried:
        yield Level.SOFTWARE, "what was remembered is lost: no hardware in this boot"
    if state.time < state.boot_delay:
        yield Level.SOFTWARE, f"waiting for {state.boot_delay:g} s of uptime"
    if state.time < state.quiet_at:
        yield Level.SOFTWARE, f"waiting until nothing has changed for {state.settings.quiet:g} s"
