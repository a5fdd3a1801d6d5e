# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario looks at and pulls: the engine, connection tracking, log and ruleset."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import connection_hash
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.conntrack.numbers import CTA_TUPLE_ORIG
from flowguard.kernel.netlink.codec import ATTRIBUTE
from tests.lab.kernel import LabError
from tests.lab.namespace import Namespace, run

DEBUGFS = Path("/sys/kernel/debug")

STRIKES = frozenset({"blackhole_packets", "blackhole_flows"})
"""The faults that drop, where others only say what."""


class Engine:
    """The simulated packet engine's table, counters and faults, by its debugfs files."""

    def __init__(self, root: Path = DEBUGFS) -> None:
        self._table = root / "ppe0"
        self._files = root / "labengine"

    def bound(self) -> list[str]:
        """The entries that the engine forwards by, as the driver prints them."""
        return _read(self._table / "bind").splitlines()

    def entries(self) -> list[str]:
        """All that the engine knows: the bound entries, and those that it only saw."""
        return _read(self._table / "entries").splitlines()

    def counter(self, name: str) -> int:
        """One of `flows`, `hits`, `dropped`, `replace`, `refused`, `destroy`, `stats`, `blocks`."""
        return int(_read(self._files / name))

    def flush(self) -> None:
        """Forget all entries, without the kernel's knowledge."""
        _write(self._files / "flush", "1")

    def printk(self, text: str) -> None:
        """Have the kernel itself print these lines, "<level>" in front if it matters."""
        _write(self._files / "printk", text)

    def set_fault(self, name: str, value: int | str = 1) -> None:
        _write(self._files / "fault" / name, str(value))

    def clear_faults(self) -> None:
        _write(self._files / "fault" / "clear", "1")

    @contextmanager
    def fault(self, **values: int | str) -> Iterator[None]:
        """These faults while the block runs, and none after it."""
        # What they are limited to first, or they strike everything for a moment.
        for name in sorted(values, key=STRIKES.__contains__):
            self.set_fault(name, values[name])
        try:
            yield
        finally:
            self.clear_faults()


@dataclass(frozen=True, slots=True)
class TrackedConnection:
    """An entry of connection tracking; `state` is TCP's, empty for other protocols.

    `packets` are those of both directions.
    """

    original: FlowTuple
    reply: FlowTuple
    state: str
    mark: int
    flags: frozenset[str]
    packets: int = 0

    @property
    def in_hardware(self) -> bool:
        return "HW_OFFLOAD" in self.flags

    @property
    def in_software(self) -> bool:
        """In a flowtable, but not taken by the driver."""
        return "OFFLOAD" in self.flags and not self.in_hardware


def tracked_connections(namespace: Namespace | None = None) -> list[TrackedConnection]:
    """The TCP and UDP connections of both families that the router tracks."""
    router = namespace or Namespace()
    listings = (router.run("conntrack", "-L", "-f", family) for family in ("ipv4", "ipv6"))
    lines = [line for listing in listings for line in listing.splitlines()]
    return [parse_connection(line) for line in lines if line.startswith(("tcp", "udp"))]


@dataclass(frozen=True, slots=True)
class DrawingRule:
    """The rule for IPv4 that keeps the control arm from its level, as `nft` shows it.

    `hash` is its expression, for rules of a scenario; the buckets below `limit` are control.
    """

    hash: str
    modulus: int
    seed: int
    limit: int

    def is_control(self, connection: TrackedConnection) -> bool:
        key = encode_tuple(CTA_TUPLE_ORIG, connection.original)[1][ATTRIBUTE.size :]
        return connection_hash(key, self.seed) * self.modulus >> 32 < self.limit


def drawing_rule(table: str = "flowguard", namespace: Namespace | None = None) -> DrawingRule:
    rules = (namespace or Namespace()).run("nft", "list", "table", "inet", table)
    shown = re.search(r"(jhash.* ip saddr.* mod (\d+) seed (\w+)) < (\d+)", rules)
    if not shown:
        raise LabError(f"no rule draws the arms: {rules}")
    numbers = (int(number, 0) for number in shown.groups()[1:])
    return DrawingRule(shown[1], *numbers)


def control_arm(connections: list[TrackedConnection]) -> list[TrackedConnection]:
    """Those of them that our rules keep from hardware."""
    rule = drawing_rule()
    return [connection for connection in connections if rule.is_control(connection)]


def hardware_flows() -> int:
    """Tracked connections that the driver has taken."""
    return sum(connection.in_hardware for connection in tracked_connections())


def software_flows() -> int:
    """Tracked connections in a flowtable that the driver has not taken."""
    return sum(connection.in_software for connection in tracked_connections())


def parse_connection(line: str) -> TrackedConnection:
    """One line of `conntrack -L`."""
    protocol = line.split(maxsplit=1)[0]
    fields = re.findall(r"(\w+)=(\S+)", line)
    ends = [value for key, value in fields if key in ("src", "dst", "sport", "dport")]
    tuples = [
        FlowTuple(protocol, source, destination, int(source_port), int(destination_port))
        for source, destination, source_port, destination_port in (ends[:4], ends[4:8])
    ]
    state = re.match(r"tcp\s+\d+\s+(?:\d+\s+)?([A-Z_]+[0-9]?)\s", line)
    return TrackedConnection(
        original=tuples[0],
        reply=tuples[1],
        state=state[1] if state else "",
        mark=int(dict(fields).get("mark", "0")),
        flags=frozenset(re.findall(r"\[(\w+)\]", line)),
        packets=sum(int(value) for key, value in fields if key == "packets"),
    )


class KernelLog:
    """The kernel's own messages from now on."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)
        self._lines: list[str] = []

    def close(self) -> None:
        os.close(self._file)

    def lines(self) -> list[str]:
        """Every message so far, without its prefix."""
        with suppress(BlockingIOError):
            while True:
                # Overwritten before it was read: what is left still tells most.
                with suppress(BrokenPipeError):
                    self._keep(os.read(self._file, 8192).decode(errors="replace"))
        return list(self._lines)

    def text(self) -> str:
        return "\n".join(self.lines())

    def _keep(self, record: str) -> None:
        prefix, _, rest = record.partition(";")
        priority, _, time = prefix.split(",")[:3]
        # Facility 0 is the kernel; anybody may write the others.
        if int(priority) < 8:
            self._lines.append(f"[{int(time) / 1e6:12.6f}] {rest.splitlines()[0]}")


def ruleset(namespace: Namespace | None = None) -> str:
    return (namespace or Namespace()).run("nft", "list", "ruleset")


def flowtable(
    devices: tuple[str, ...] = ("lan1", "lan2", "wan"), hardware: bool = True, name: str = "labft"
) -> str:
    """The ruleset of a plain flowtable, for scenarios without flowguard; feed it to `nft -f -`."""
    flags = "flags offload; " if hardware else ""
    return f"""
table inet {name} {{
    flowtable ft {{
        hook ingress priority 0; devices = {{ {", ".join(devices)} }}; {flags}counter
    }}
    chain forward {{
        type filter hook forward priority filter + 10
        meta l4proto {{ tcp, udp }} flow add @ft
    }}
}}
"""


def load_ruleset(text: str) -> None:
    run("nft", "-f", "-", stdin=text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise LabError(f"{path} is missing: is the engine loaded, debugfs mounted?") from error


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(f"{value}\n")
    except FileNotFoundError as error:
        raise LabError(f"{path} is missing: is the engine loaded, debugfs mounted?") from error
    except OSError as error:
        raise LabError(f"{path} refuses {value!r}: {error.strerror}") from error
