# SPDX-License-Identifier: GPL-2.0-or-later
"""Which devices take part, configured or found, and which of them are tried."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from flowguard.core.events import DevicesChanged, Event, SensorBack, SensorLost
from flowguard.core.model import Device
from flowguard.core.records import replace
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.nftables.changes import Change, TryFlowtable
from flowguard.kernel.nftables.ruleset import TablesState, TableState
from flowguard.kernel.nftables.transactions import NftablesError, Refusal
from flowguard.platform.openwrt.netifd import Interfaces
from flowguard.sensors.devices import Devices, Found, LinksSensor, Routed, find
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Net, Parts
from tests.virtual_time import now

CARRIERS = {"pppoe-wan": "eth1"}
ROUTED = Routed(("br-lan", "eth1", "pppoe-wan"), CARRIERS)


@pytest.fixture
def parts() -> Parts:
    """A router with a LAN port and an access point in a bridge, and PPPoE on the WAN port."""
    made = Parts()
    for link in (
        Link("lan1", Kind.PORT),
        Link("eth1", Kind.PORT),
        Link("phy0-ap0", Kind.WIFI),
        Link("br-lan", Kind.BRIDGE, lower=("lan1", "phy0-ap0")),
        Link("pppoe-wan", Kind.PPP, lower=("eth1",)),
    ):
        made.network.add(link)
    return made


@pytest.fixture
def net(parts: Parts) -> Net:
    return parts.network


def look(parts: Parts, *configured: str, known: Routed = ROUTED, kept: str = "") -> Found:
    return asyncio.run(find(parts.machine, configured, known, kept.split()))


def names(found: Found | DevicesChanged) -> list[str]:
    return [device.name for device in found.devices]


def test_what_is_below_the_interfaces_takes_part(parts: Parts, net: Net) -> None:
    found = look(parts)
    assert names(found) == ["eth1", "lan1"]
    assert [left.name for left in found.left_out] == ["phy0-ap0"]
    # Who knows whose session goes through which device is told to whoever looks.
    assert net.carriers == [CARRIERS, CARRIERS]


def test_names_are_taken_at_their_word(parts: Parts) -> None:
    found = look(parts, "phy0-ap0", "gone")
    assert names(found) == ["phy0-ap0"]
    assert (found.missing, found.left_out) == (("gone",), ())


def test_a_device_stays_while_its_interface_is_away(parts: Parts, net: Net) -> None:
    net.remove("pppoe-wan")
    assert names(look(parts, known=Routed(("br-lan",)))) == ["lan1"]
    assert names(look(parts, known=Routed(("br-lan",)), kept="eth1 lan1")) == ["eth1", "lan1"]


def test_a_device_that_is_gone_or_can_no_longer_take_part_does_not_stay(
    parts: Parts, net: Net
) -> None:
    net.add(Link("eth2", Kind.PORT, up=False))
    kept = "eth2 pppoe-wan phy0-ap0 lan9 lan1"
    # What PPPoE is built on is kept by its own name alone.
    assert names(look(parts, known=Routed(), kept=kept)) == ["lan1"]


def test_a_tunnel_and_a_bridge_of_access_points_are_in_software_alone(
    parts: Parts, net: Net
) -> None:
    net.add(Link("wg0", Kind.TUNNEL))
    net.add(Link("br-guest", Kind.BRIDGE, lower=("phy0-ap0",)))
    for found in (
        look(parts, known=Routed(("wg0", "br-guest", "eth1"))),
        look(parts, "br-guest", "eth1", "wg0"),
    ):
        assert {d.name: d.hardware_capable for d in found.devices} == {
            "br-guest": False,
            "eth1": None,
            "wg0": False,
        }
        assert all(d.reason for d in found.devices if d.name != "eth1")


def test_where_a_bridge_cannot_be_in_a_flowtable_its_ports_are(parts: Parts, net: Net) -> None:
    net.devices["lan1"] = Device(
        "lan1", 1, None, forward_names=("br-lan",), bridges=("br-lan",), beside=("phy0-ap0",)
    )
    (device,) = look(parts, "lan1").devices
    assert not device.by_port
    newer = replace(parts.machine, release="7.3.4")
    (device,) = asyncio.run(find(newer, ["lan1"], ROUTED)).devices
    assert device.by_port
    assert (device.bridges, device.beside) == (("br-lan",), ("phy0-ap0",))


# --- asking netifd and the drivers -------------------------------------------------------------


@dataclass
class Router:
    """A router whose netifd answers as the test says; None: there is no netifd."""

    parts: Parts
    answer: Interfaces | OSError | None = None
    may_try: bool = True
    delays: list[float] = field(default_factory=list)
    told: list[DevicesChanged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.net, self.tables = self.parts.network, self.parts.tables
        self.devices = Devices(self.parts.machine, self._take, self._ask, self._may)

    async def _may(self, device: Device) -> bool:
        return self.may_try

    def look(self, *configured: str) -> tuple[Device, ...]:
        asyncio.run(self.devices.rescan(configured))
        return self.told[-1].devices

    @property
    def tried(self) -> list[str]:
        """The devices whose drivers were bound for a trial."""
        return [c.device for c in self.tables.tried if isinstance(c, TryFlowtable) and c.hardware]

    def hold(self, *devices: str) -> None:
        """The kernel has our hardware table on these devices."""
        self.tables.state = TablesState(TableState(0, True, devices, (), ()), None)

    async def _ask(self) -> Interfaces | None:
        await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer

    def _take(self, event: Event) -> None:
        assert isinstance(event, DevicesChanged)
        self.told.append(event)


@pytest.fixture
def router(parts: Parts) -> Router:
    return Router(parts, Interfaces(("br-lan", "pppoe-wan"), CARRIERS))


def refuse(number: int, *, software: bool = False) -> Callable[[Change], None]:
    def refuses(change: Change) -> None:
        if isinstance(change, TryFlowtable) and (change.hardware or software):
            raise NftablesError([Refusal(None, number)])

    return refuses


def capabilities(devices: tuple[Device, ...]) -> dict[str, bool | None]:
    return {device.name: device.hardware_capable for device in devices}


def test_devices_below_netifds_interfaces_are_tried_and_told(router: Router) -> None:
    router.net.codes = {"lan1": "mtk 6.12 fw 1.2"}
    devices = router.look()
    assert capabilities(devices) == {"eth1": True, "lan1": True}
    assert [device.code for device in devices] == ["", "mtk 6.12 fw 1.2"]
    assert router.tried == ["eth1", "lan1"]
    assert [left.name for left in router.devices.found.left_out] == ["phy0-ap0"]


def test_without_netifd_the_kernel_is_asked(router: Router) -> None:
    router.answer = None
    router.net.forwarding = ("br-lan",)
    assert [device.name for device in router.look()] == ["lan1"]


def test_what_netifd_said_holds_while_it_is_away_and_what_the_kernel_said_does_not(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.look()
    router.devices.forget()
    router.answer = None
    assert [device.name for device in router.look()] == ["eth1", "lan1"]
    router.devices.forget()
    router.answer = OSError("nobody answers")
    assert [device.name for device in router.look()] == ["eth1", "lan1"]
    assert "nobody answers" in caplog.text


def test_the_kernels_word_changes_with_the_kernel(router: Router) -> None:
    router.answer = None
    router.net.forwarding = ("br-lan",)
    router.look()
    router.devices.forget()
    router.net.forwarding = ("eth1",)
    assert [device.name for device in router.look()] == ["eth1"]


def test_as_long_as_nobody_has_ever_answered_the_kernel_is_asked(router: Router) -> None:
    router.answer = OSError("nobody answers")
    router.net.forwarding = ("eth1",)
    assert [device.name for device in router.look()] == ["eth1"]
    router.devices.forget()
    router.answer = Interfaces(("br-lan",), {})
    assert [device.name for device in router.look()] == ["lan1"]


def test_without_any_answer_no_device_takes_part_and_that_is_told(router: Router) -> None:
    router.answer = OSError("nobody answers")
    router.net.forwarding = OSError(errno.EPERM, "Operation not permitted")
    assert router.look() == ()


def test_what_may_not_be_tried_is_told_without_a_trial(router: Router) -> None:
    router.may_try = False
    assert capabilities(router.look("lan1")) == {"lan1": None}
    assert router.tables.tried == []
    router.may_try = True
    assert capabilities(router.look("lan1")) == {"lan1": True}
    assert router.tried == ["lan1"]


def test_what_has_no_hardware_offload_needs_no_trial(router: Router) -> None:
    router.net.features["lan1"] = False
    (device,) = router.look("lan1")
    assert device.hardware_capable is False and "hw-tc-offload" in device.reason
    assert router.tables.tried == []


def test_what_can_be_in_software_only_is_never_tried(router: Router) -> None:
    router.net.add(Link("wg0", Kind.TUNNEL))
    assert capabilities(router.look("wg0")) == {"wg0": False}
    assert router.tables.tried == []


def test_what_is_bound_already_needs_no_trial_and_is_not_tried_later(router: Router) -> None:
    router.hold("lan1")
    assert capabilities(router.look("lan1")) == {"lan1": True}
    router.tables.state = TablesState(None, None)
    assert capabilities(router.look("lan1")) == {"lan1": True}
    assert router.tables.tried == []


def test_a_device_is_tried_once_until_it_is_another_or_all_are_forgotten(router: Router) -> None:
    router.look("lan1")
    router.look("lan1")
    assert router.tried == ["lan1"]
    router.net.devices["lan1"] = Device("lan1", 99)
    router.look("lan1")
    assert router.tried == ["lan1"] * 2
    router.devices.forget()
    router.look("lan1")
    assert router.tried == ["lan1"] * 3


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EOPNOTSUPP, "not supported"), (errno.EBUSY, "busy")]
)
def test_a_driver_that_refuses_is_not_capable(router: Router, number: int, words: str) -> None:
    router.tables.refuse = refuse(number)
    (device,) = router.look("lan1")
    assert device.hardware_capable is False
    assert "the driver refuses" in device.reason and words in device.reason


def test_a_kernel_without_flowtables_leaves_nothing_to_find_out_again(router: Router) -> None:
    router.tables.refuse = refuse(errno.EOPNOTSUPP, software=True)
    for _ in range(2):
        (device,) = router.look("lan1")
        assert device.hardware_capable is False
        assert "the kernel offers no flowtable" in device.reason
    assert router.tried == ["lan1"]


def test_tables_that_cannot_be_read_leave_the_capability_open(router: Router) -> None:
    router.tables.unreadable = OSError(errno.EPERM, "Operation not permitted")
    (device,) = router.look("lan1")
    assert (device.hardware_capable, device.reason) == (None, "Operation not permitted")
    assert router.tables.tried == []


def test_an_older_list_never_overtakes_a_newer_one(router: Router) -> None:
    async def main() -> None:
        await asyncio.gather(*(router.devices.rescan([name]) for name in ("lan1", "eth1")))

    router.delays = [10, 0]  # The answer to the older question takes longer.
    virtual_time.run(main())
    assert [names(told) for told in router.told] == [["lan1"], ["eth1"]]


# --- links that come and go --------------------------------------------------------------------


def test_changes_of_links_are_heard_and_missed_ones_are_made_up_for(parts: Parts) -> None:
    looked: list[float] = []
    events: list[Event] = []

    async def main() -> None:
        supervision = Supervision(now, events.append)
        supervision.start(LinksSensor(parts.network, lambda: looked.append(now())))
        await asyncio.sleep(5)
        assert looked == []  # Whoever starts it looks for himself.
        parts.network.happens()
        assert looked == [5]
        parts.network.break_down("No buffer space available")
        await asyncio.sleep(0.5)
        assert supervision.health == {"links": "not available: No buffer space available"}
        assert parts.network.listening == []
        await asyncio.sleep(5)
        assert supervision.health == {"links": "ok"}
        await supervision.close()

    virtual_time.run(main())
    assert looked == [5, 6]
    assert [type(event) for event in events] == [SensorLost, SensorBack]
    assert parts.network.listening == []
