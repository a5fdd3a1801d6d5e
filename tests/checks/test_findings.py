# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole check, beside a service and without one, on a machine in memory."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from flowguard.checks import Finding, Grade, findings
from flowguard.core.faults import FaultRules
from flowguard.core.model import Device, Level
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.nftables.changes import (
    Change,
    CreateTable,
    NftablesError,
    Refusal,
    TryFlowtable,
)
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.configuration.options import Configuration
from flowguard.platform.openwrt.netifd import Interfaces
from tests import virtual_time
from tests.sensors.machine import Parts

NEIGHBOUR = Finding(Grade.WARNING, "sqm", "sqm is active", "switch it off")
KNOWN = (Device("wan", 1, hardware_capable=False, reason="the driver refuses"),)


class Around:
    """The rest of the system; `compiled` are the files of rules that were asked for."""

    def __init__(self, configuration: Configuration) -> None:
        self.compiled: list[tuple[str, ...]] = []
        self.names: tuple[str, ...] = ("wan",)
        self._configuration = configuration

    async def load(self) -> Loaded:
        return Loaded(self._configuration, ())

    async def load_rules(self, files: Sequence[str]) -> FaultRules:
        self.compiled.append(tuple(files))
        rules = FaultRules.compile([])
        rules.left_out = ("rules: /own.toml: is no TOML",)
        return rules

    async def interfaces(self) -> Interfaces | None:
        return Interfaces(self.names, {})

    async def neighbours(self) -> list[Finding]:
        return [NEIGHBOUR]


@pytest.fixture
def parts() -> Parts:
    """A machine with one device."""
    found = Parts()
    found.network.add(Link("wan", Kind.PORT))
    return found


def check(
    parts: Parts,
    around: Around,
    known: Sequence[Device] | None = None,
    left_out: Sequence[str] | None = None,
) -> list[Finding]:
    return virtual_time.run(findings(parts.machine, around, "/etc/flowguard", known, left_out))


def test_without_a_service_each_device_is_tried(parts: Parts) -> None:
    found = check(parts, Around(Configuration(enabled=True, device=("wan",))))
    assert TryFlowtable("wan", hardware=True) in parts.tables.tried
    assert "wan accepts hardware offload; proof comes with traffic" in [f.sentence for f in found]
    assert NEIGHBOUR in found


@pytest.mark.parametrize(
    ("way_out", "told"),
    [
        (Link("wwan0", Kind.OTHER), True),
        (Link("phy1-sta0", Kind.WIFI), False),
        (Link("eth1", Kind.PORT), False),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_router_whose_only_way_out_cannot_take_part_is_told_in_one_sentence(
    parts: Parts, way_out: Link, told: bool
) -> None:
    parts.network.add(way_out)
    around = Around(Configuration(enabled=True))
    around.names = ("wan", way_out.name)
    found = [f.sentence for f in check(parts, around, ()) if f.code == "no-path"]
    assert len(found) == told
    assert all("only wan can take part" in s and f"({way_out.name}: " in s for s in found)


def test_beside_a_service_no_driver_is_touched(parts: Parts) -> None:
    found = check(parts, Around(Configuration(enabled=True)), KNOWN)
    assert not [change for change in parts.tables.tried if isinstance(change, TryFlowtable)]
    assert "wan: software only: the driver refuses" in [f.sentence for f in found]


def test_what_a_service_left_out_of_the_rules_is_not_compiled_again(parts: Parts) -> None:
    around = Around(Configuration(rules=("/own.toml",)))
    found = check(parts, around, KNOWN, ["rules: /own.toml: cannot be read"])
    assert around.compiled == []
    assert [f.sentence for f in found if f.code == "rules"] == ["rules: /own.toml: cannot be read"]
    found = check(parts, around, KNOWN)
    assert around.compiled == [("/own.toml",)]
    assert [f.sentence for f in found if f.code == "rules"] == ["rules: /own.toml: is no TOML"]


def test_tables_that_the_kernel_refuses_are_an_error(parts: Parts) -> None:
    def refuse(change: Change) -> None:
        if isinstance(change, CreateTable):
            raise NftablesError([Refusal(change, errno.EOPNOTSUPP)])

    parts.tables.refuse = refuse
    found = check(parts, Around(Configuration(level=Level.HARDWARE)), KNOWN)
    (tables,) = (f for f in found if f.code == "tables")
    assert tables.grade is Grade.ERROR and "kmod-nft-offload" in tables.remedy


def test_a_machine_whose_tables_cannot_be_read_is_told(parts: Parts) -> None:
    parts.tables.unreadable = OSError(errno.EPERM, "Operation not permitted")
    found = check(parts, Around(Configuration()), KNOWN)
    assert found[-1].sentence.endswith("cannot be examined: Operation not permitted")
    assert found[-1].grade is Grade.ERROR
