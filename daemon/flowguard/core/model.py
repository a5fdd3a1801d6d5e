# SPDX-License-Identifier: GPL-2.0-or-later
"""The vocabulary of flowguard: levels, devices, faults, events and commands.

Every time is in seconds of the kernel's monotonic clock since boot, because routers
boot in 1970 and jump when NTP answers.
"""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.records import frozen


class Level(StrEnum):
    """Where forwarded packets are handled; `rank` orders the ladder."""

    HARDWARE = "hardware"
    SOFTWARE = "software"
    NONE = "none"

    @property
    def rank(self) -> int:
        return _LADDER.index(self)

    @property
    def below(self) -> Level:
        """The next level down; NONE is its own floor."""
        return _LADDER[max(0, self.rank - 1)]


_LADDER = (Level.NONE, Level.SOFTWARE, Level.HARDWARE)


class Family(StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


class Mode(StrEnum):
    """Whether decisions are carried out, or only taken and reported."""

    PROTECT = "protect"
    DETECT_ONLY = "detect-only"


class Attribution(StrEnum):
    """What a fault implicates, and so how strongly it counts."""

    OFFLOAD = "offload"
    DRIVER = "driver"
    WEAK = "weak"
    NONE = "none"


class FaultClass(StrEnum):
    KERNEL_OOPS = "kernel_oops"
    KERNEL_WARNING = "kernel_warning"
    LOCKUP_OR_STALL = "lockup_or_stall"
    TX_TIMEOUT = "tx_timeout"
    DMA_OR_MEMORY = "dma_or_memory"
    DRIVER_ERROR = "driver_error"


@frozen
class Fault:
    """One fault report of the kernel, assembled from all its lines and attributed.

    `because` is the place in the kernel that decided the attribution of a dump. `power_cycle`:
    what it tells of is cured by nothing else. `by_look`: it happened while somebody read the
    engine's table, and would not have happened otherwise.
    """

    rule: str
    fault_class: FaultClass
    attribution: Attribution
    device: str | None
    driver: str | None
    line: str
    because: str = ""
    power_cycle: bool = False
    by_look: bool = False


@frozen
class Device:
    """A network device that takes part in offloading.

    `lower` are the devices it sends through (a DSA conduit); a fault there is a fault
    here. `forward_names` are the names under which the forward hook sees its packets:
    its own and those of the bridges and VLANs above it. `bridges` are those of them that are a
    bridge or built on one: in software they take part themselves, with all that is behind them.
    `bridge_ports` are the names by which it is a port of bridges, its own or that of a VLAN on it,
    and `beside` the other ports of those bridges. `by_port`: the kernel takes flows by their ports
    alone, so in software it takes part instead of its bridges. `bus_name` is how the driver's own
    messages call the hardware, when they do not name a device (dev_err). `port` tells the
    devices of one piece of hardware apart, whatever their names are. `code` are the versions
    of driver and firmware, as far as they are known.
    `hardware_capable` is None as long as only a trial, which binds the driver, could tell;
    `reason` says why not, in words, when it is False.
    """

    name: str
    ifindex: int
    driver: str | None = None
    bus_name: str | None = None
    lower: tuple[str, ...] = ()
    forward_names: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    bridge_ports: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    by_port: bool = False
    port: str = ""
    code: str = ""
    hardware_capable: bool | None = None
    reason: str = ""

    @property
    def identity(self) -> str:
        """What stays when the device is renamed: its place on the bus; "" for what has none."""
        return "/".join(filter(None, (self.bus_name, self.port)))


@frozen
class Host:
    """An address in the LAN, and the port of a bridge that it was last seen behind."""

    address: str
    port: str


@frozen
class KnownHosts:
    """What a daemon leaves to the next one of where hosts are."""

    hosts: tuple[Host, ...] = ()


@frozen
class Mover:
    """A host that has changed its port lately: how often in a row, and when last."""

    address: str
    moves: int
    moved: float


@frozen
class FlowTuple:
    """One direction of a flow, as people write it: addresses and ports."""

    protocol: str
    source: str
    destination: str
    source_port: int
    destination_port: int

    @property
    def family(self) -> Family:
        return Family.IPV6 if ":" in self.source else Family.IPV4

    def __str__(self) -> str:
        return (
            f"{self.protocol} {_endpoint(self.source, self.source_port)}"
            f" -> {_endpoint(self.destination, self.destination_port)}"
        )


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- verdicts and decisions: what is remembered -----------------------------------------


@frozen
class PolicySettings:
    """The policy's numbers; all times in seconds.

    `boot_delay` is the uptime before which hardware is not used. `hold_off` is the first
    hold-off; each further strike doubles it up to `hold_off_limit`. Faults within `settle`
    of a step belong to the incident that caused it. `weak_count` weak faults within
    `weak_window` count as one driver fault. A drain is reported after `drain_limit`. More
    than `rebuild_count` rebuilds within `rebuild_window` are a fight with another program.
    One in `control_share` new flows goes one level lower for comparison, none when it is 0.
    `detect_only`: evidence is judged and reported, and no device is moved by it.

    After one unexplained reboot with hardware on, hardware waits `probation` times
    `boot_delay`: a power cut looks the same, and five minutes of software cost nobody much.
    The second within `blame_boots` boots is a strike; people whose power fails twice in a
    row pay with one hold-off. `boot_loop` boots in a row that did not live for
    `boot_settle` (the loops seen in the field crash within a minute, or a few after traffic
    comes) end in level none. Hardware is first used when nothing has changed for `quiet`.

    After a hold-off only a share of the flows (core/canary.py) goes to hardware, for at
    least `canary_soak` a stage. One strike is forgiven for each `forgive_after` on full
    hardware.

    Hardware is left when a sensor that guards it has been blind for `blind_grace`, and used
    again when it has seen for as long.
    """

    boot_delay: float = 30
    hold_off: float = 600
    hold_off_limit: float = 86400
    settle: float = 30
    weak_count: int = 3
    weak_window: float = 600
    drain_limit: float = 60
    rebuild_count: int = 5
    rebuild_window: float = 60
    control_share: int = 16
    detect_only: bool = False
    probation: float = 10
    blame_boots: int = 5
    boot_settle: float = 300
    boot_loop: int = 3
    quiet: float = 10
    canary_soak: float = 3600
    forgive_after: float = 7 * 86400
    blind_grace: float = 30


@frozen
class Verdict:
    """Why a device may not rise above `highest` before `held_until`.

    `strikes` counts convictions and stays after the hold-off ends, so that the next one
    is held longer. `hold` is the length of the hold-off in seconds. `until_reboot`: the
    kernel itself is damaged (an oops leaves locks held), so no waiting helps before the next
    boot. `power_cycle`: the engine or the MAC is dead, and only that brings it back. While
    `canary` is not 0, one in so many flows tries hardware. `raised` is since when this stage,
    or full hardware, has been going well; None while the device is not on hardware, whoever
    keeps it off. `healthy` are the seconds on full hardware before that.

    `device` is the name that the device has now; `identity` and `code` are what the verdict
    was passed on (see `Device`): another name keeps it, other code does not.
    """

    device: str
    highest: Level
    strikes: int
    stepped: float
    hold: float
    held_until: float
    reason: str
    rule: str = ""
    evidence: str = ""
    until_reboot: bool = False
    canary: int = 0
    raised: float | None = None
    identity: str = ""
    code: str = ""
    healthy: float = 0
    power_cycle: bool = False

    def healthy_until(self, time: float) -> float:
        """Seconds on full hardware up to this moment."""
        if self.raised is None or self.canary:
            return self.healthy
        return self.healthy + time - self.raised


@frozen
class Decision:
    """One change of a device's level, or a decision not to change it, with its evidence.

    `reached` is when the kernel was seen to hold the new level; None: not yet, or never.
    """

    time: float
    device: str
    before: Level
    after: Level
    reason: str
    evidence: str = ""
    reached: float | None = None

    def __str__(self) -> str:
        change = self.after.rank - self.before.rank
        verb = "step up" if change > 0 else "step down" if change < 0 else "stay"
        text = f"{verb}: {self.device} {self.before} -> {self.after}: {self.reason}"
        return f"{text}: {self.evidence}" if self.evidence else text


# --- boots: what is remembered across them -----------------------------------------------


@frozen
class Boots:
    """What is remembered about boots.

    `count` are the boots seen. `early` are the boots in a row up to this one that are not
    known to have lived long or to have ended as planned. `unknown` are the counts of the
    boots that followed an unexplained reboot with hardware on. `looping`: this boot keeps
    to level none. `unplanned` and `evidence` tell how this boot came about. `judged` names
    the saved traces that were looked at, since they stay where they are.
    """

    count: int = 0
    early: int = 0
    unknown: tuple[int, ...] = ()
    looping: bool = False
    unplanned: bool = False
    evidence: str = ""
    kernel: str = ""
    flowguard: str = ""
    judged: tuple[str, ...] = ()


@frozen
class ShutEye:
    """The engine's table is not read on this kernel any more: reading it has crashed it."""

    kernel: str
    evidence: str


@frozen
class Intent:
    """Hardware may be in use on these devices, until a planned end says otherwise.

    Written to flash before the kernel is asked for hardware, so that it is found after a
    reboot nobody planned.
    """

    boot_id: str
    boot_count: int
    level: Level
    devices: tuple[Device, ...]
    kernel: str
    flowguard: str
