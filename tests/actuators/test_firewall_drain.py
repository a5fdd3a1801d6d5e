# SPDX-License-Identifier: GPL-2.0-or-later
"""The firewall's own hardware flows leave before its flowtable does, on a router in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from flowguard.actuators.firewall_drain import LIMIT_SECONDS, drain_firewall
from flowguard.core.model import FlowTuple
from flowguard.core.records import replace
from flowguard.kernel.conntrack import HW_OFFLOAD
from flowguard.kernel.machine import Ended
from flowguard.kernel.nftables.ruleset import ForeignFlowtable
from tests import virtual_time
from tests.actuators.router import Router
from tests.virtual_time import now

RULES = b"""table inet fw4 { # handle 7
	chain forward { # handle 12
		type filter hook forward priority filter; policy drop;
		meta l4proto { tcp, udp } flow add @ft # handle 41
		ct state vmap { established : accept } comment "flow add @ft" # handle 42
	}
	chain later { # handle 13
		meta l4proto tcp flow offload @ft counter packets 3 bytes 180 # handle 44
	}
}
"""
HARDWARE = ForeignFlowtable("fw4", True, ("lan1", "wan"))


class Nft:
    """`nft` as far as it is asked; what it was asked to delete are `deleted`."""

    def __init__(self, status: int = 0) -> None:
        self.deleted: list[str] = []
        self._status = status

    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        if "delete" in words:
            self.deleted.append(" ".join(words))
        return Ended(self._status, RULES)


def drained(router: Router, nft: Nft) -> tuple[FlowTuple, ...]:
    machine = replace(router.machine, programs=nft)
    return virtual_time.run(drain_firewall(machine, "/run"))


@pytest.fixture
def router() -> Router:
    router = Router()
    router.ruleset.foreign = (HARDWARE,)
    return router


def test_its_flows_leave_while_the_driver_is_bound(router: Router) -> None:
    nft = Nft()
    before = router.timeouts.flow_timeouts
    router.flows.offload(5)
    assert drained(router, nft) == ()
    assert nft.deleted == [
        "nft delete rule inet fw4 forward handle 41",
        "nft delete rule inet fw4 later handle 44",
    ]
    assert not any(entry.status & HW_OFFLOAD for entry in router.flows.entries)
    assert router.timeouts.flow_timeouts == before


@pytest.mark.parametrize("foreign", [(), (replace(HARDWARE, hardware=False),)])
def test_without_hardware_of_its_own_nothing_is_touched(
    router: Router, foreign: tuple[ForeignFlowtable, ...]
) -> None:
    router.ruleset.foreign = foreign
    nft = Nft()
    assert drained(router, nft) == ()
    assert nft.deleted == []


def test_what_does_not_leave_in_time_is_named_and_the_timeouts_are_put_back(
    router: Router,
) -> None:
    before = router.timeouts.flow_timeouts
    router.flows.leave_after = None
    router.flows.offload(2)
    ended: list[float] = []

    async def story() -> tuple[FlowTuple, ...]:
        left = await drain_firewall(replace(router.machine, programs=Nft()), "/run")
        ended.append(now())
        return left

    left = virtual_time.run(story())
    assert [flow.source_port for flow in left] == [1001, 1002]
    assert ended[0] == pytest.approx(LIMIT_SECONDS, abs=2)
    assert router.timeouts.flow_timeouts == before


def test_rules_that_cannot_be_deleted_leave_the_timeouts_alone(router: Router) -> None:
    before = router.timeouts.flow_timeouts
    with pytest.raises(OSError, match="nft"):
        drained(router, Nft(status=1))
    assert router.timeouts.flow_timeouts == before
