# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that the tests run on, through the boundary."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from flowguard.core.model import FlowTuple
from flowguard.kernel import clock, engines, linux, pstore
from flowguard.kernel.conntrack import Flow, chunks
from flowguard.kernel.machine import Machine, Network
from flowguard.kernel.nftables import transactions
from flowguard.kernel.nftables.changes import DeleteTable
from flowguard.kernel.pstore import Dump, Dumps
from flowguard.kernel.sysctls import LinuxSysctls

FLOW = FlowTuple("tcp", "192.0.2.1", "192.0.2.2", 1, 2)
STRANGE = "\udcff"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with linux.opened() as made:
        yield made


def test_the_clock(machine: Machine) -> None:
    assert machine.clock.boot_id == clock.boot_id()
    assert abs(machine.clock.now() - time.monotonic()) < 10
    assert machine.clock.wall_clock(time.monotonic()).startswith(("19", "20"))
    assert machine.release == os.uname().release


def test_the_network(machine: Machine) -> None:
    asyncio.run(look_around(machine.network))


async def look_around(network: Network) -> None:
    assert network.exists("lo") and not network.exists(STRANGE)
    assert network.device_of("127.0.0.1") == "lo"
    with pytest.raises(OSError, match="address"):
        network.device_of("no address")
    present = {path.name for path in Path("/sys/class/net").iterdir() if path.is_dir()}
    assert {link.name for link in await network.links({})} == present
    assert (await network.scan([STRANGE], {})).missing == (STRANGE,)
    assert isinstance(await network.forwarding_interfaces(), tuple)


@pytest.mark.parametrize("name", ["flowguard-none", STRANGE])
def test_a_device_that_is_not_there_is_an_error_whatever_its_name(
    machine: Machine, name: str
) -> None:
    for asked in (machine.network.code_of(name), machine.network.has_feature(name, "x")):
        with pytest.raises(OSError, match="No such device"):
            asyncio.run(asked)


def test_numbers_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "number").write_text("3\n")
    sysctls = LinuxSysctls(str(tmp_path))
    assert (sysctls.get("net/number"), sysctls.get("net/none")) == (3, None)
    sysctls.set("net/number", 5)
    assert (tmp_path / "net" / "number").read_text() == "5\n"


def test_the_machine_has_numbers(machine: Machine) -> None:
    assert machine.sysctls.get("kernel/tainted") is not None
    assert machine.sysctls.get("kernel/nothing_of_the_kind") is None


def test_a_kernel_without_netfilter_is_a_machine_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(transactions, "_open_socket", refuse)
    monkeypatch.setattr(chunks, "open_socket", refuse)

    async def run(machine: Machine) -> None:
        flows = [Flow(FLOW, FLOW)]
        calls: list[Awaitable[object]] = [
            machine.tables.read(),
            machine.tables.foreign_flowtables(),
            machine.tables.commit([DeleteTable("flowguard")]),
            machine.tables.dry_run([DeleteTable("flowguard")]),
            machine.connections.find(flows),
            machine.connections.delete(flows),
        ]
        for call in calls:
            with pytest.raises(OSError, match=os.strerror(errno.EPROTONOSUPPORT)):
                await call
        with pytest.raises(OSError, match=os.strerror(errno.EPROTONOSUPPORT)):
            machine.tables.watch(lambda: None, lambda why: None)

    with linux.opened() as machine:
        asyncio.run(run(machine))
        assert machine.network.exists("lo")


def test_the_rest_answers_whatever_this_machine_has(machine: Machine) -> None:
    dumps, told = machine.last_boot.dumps()
    assert isinstance(dumps, Dumps) and told
    assert machine.last_boot.watchdog_reset() in (None, True, False)
    assert machine.engines.are_readable() is engines.is_readable()
    assert machine.kernel_log.netdev_of("nonsense") is None


@pytest.mark.parametrize(
    ("dumps", "told"),
    [
        (Dumps((), ("a: no", "b: neither")), "a: no; b: neither"),
        (Dumps((), ()), "not available: the kernel has no pstore"),
        (Dumps((Dump("d", "Panic", "", ()),), ()), "ok, 1 crash dumps"),
    ],
)
def test_how_the_crash_dumps_are(dumps: Dumps, told: str) -> None:
    assert pstore.told(dumps, "/nonexistent") == told


def test_the_boundary_costs_whoever_has_another_machine_nothing_of_this_one() -> None:
    script = (
        "import sys; import flowguard.kernel.machine, flowguard.kernel.nftables.ruleset;"
        "print(*(n for n in sys.modules if 'pyroute2' in n or n.endswith('kernel.linux')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == []
