# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic generator tells each fate apart; on this machine's kernel, without an engine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.lab.hosts import Router, add_veth_ports
from tests.lab.impair import loss, outage, silent_ends
from tests.lab.kernel import LabError
from tests.lab.namespace import Namespace
from tests.lab.traffic import (
    Datagrams,
    Downloads,
    Ending,
    Fate,
    KeepAlives,
    Pattern,
    PortScan,
    Requests,
    Uploads,
)
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

PREFIX = f"fgtest{os.getpid()}-"
LIMIT = 3.0


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    namespace = Namespace(f"{PREFIX}router")
    try:
        namespace.create()
    except LabError as error:
        pytest.skip(f"needs network namespaces, so root: {error}")
    try:
        add_veth_ports(namespace)
        with Router(namespace, PREFIX) as built:
            yield built
    finally:
        namespace.delete()


@pytest.fixture(scope="module")
def traffic(router: Router) -> Iterator[Traffic]:
    with Traffic(router) as started:
        yield started


@contextmanager
def fault(router: Router, rule: str) -> Iterator[None]:
    """One nft rule ahead of the firewall."""
    router.namespace.run(
        "nft",
        "add table inet fault;"
        "add chain inet fault forward { type filter hook forward priority filter - 1; };"
        f"add rule inet fault forward {rule}",
    )
    try:
        yield
    finally:
        router.namespace.run("nft", "delete table inet fault")


def fates(batch: Batch, limit: float = 20.0) -> set[Fate]:
    """Once none is alive any more."""
    wait_for(
        lambda: len(batch.report().results) >= batch.wanted and not batch.report().alive,
        "an end of all",
        limit,
        state=batch.report,
    )
    return {r.fate for r in batch.stop(prove=False).results}


HOSTS = ("lan1", "lan2", "wan")


@pytest.mark.parametrize("family", [4, 6])
def test_sound_path_loses_nothing(traffic: Traffic, family: int) -> None:
    batch = traffic.start(*(p for host in HOSTS for p in every_pattern(host, family)))
    batch.wait_until_flowing(20)
    wait_for(lambda: len(batch.report().completed) == 21, "21 completed", state=batch.report)
    report = batch.stop()
    assert not report.lost and not report.unreachable, report
    assert len(report.alive) == 24
    assert report.lost_datagrams == 0
    finished = [r for r in report.completed if r.kind != "Requests"]
    assert {max(r.sent, r.received) for r in finished} == {1_000_000}
    assert all(r.sent and r.received for r in report.alive if r.kind == "Datagrams")


def every_pattern(host: str, family: int) -> list[Pattern]:
    """Seven connections that complete and eight that do not."""
    return [
        Downloads(host=host, family=family, count=3),
        Uploads(host=host, family=family, count=3),
        Downloads(host=host, family=family, size=1_000_000, rate=0),
        Uploads(host=host, family=family, size=1_000_000, rate=0),
        KeepAlives(host=host, family=family, interval=0.2),
        Datagrams(host=host, family=family, per_second=20.0),
        Requests(host=host, family=family, count=5, per_second=20.0),
    ]


LIVE: list[Pattern] = [
    Downloads(stall_limit=LIMIT),
    Uploads(stall_limit=LIMIT),
    KeepAlives(stall_limit=LIMIT, interval=0.2),
    Datagrams(stall_limit=LIMIT),
    Uploads(stall_limit=LIMIT, family=6, host="lan2"),
    Downloads(stall_limit=LIMIT, host="wan"),
]


def test_blackhole_is_a_stall(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(*LIVE)
    batch.wait_until_flowing()
    with fault(router, "drop"):
        assert fates(batch) == {Fate.STALLED}
    assert len(batch.report().lost) == len(LIVE)
    for lost in batch.report().lost:
        assert LIMIT < lost.longest_gap < LIMIT + 10
        assert lost.ended is not None
        assert lost.ended - lost.longest_gap_at == pytest.approx(lost.longest_gap, abs=0.01)


def test_short_blackhole_is_a_gap(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(*(replace(pattern, stall_limit=60.0) for pattern in LIVE))
    batch.wait_until_flowing()
    with fault(router, "drop"):
        wait_for(lambda: len(batch.report().silent(LIMIT)) == len(LIVE), "silence of all")
    report = batch.stop()
    assert len(report.alive) == len(LIVE), report
    assert all(r.longest_gap >= LIMIT for r in report.alive)


def test_reset(router: Router, traffic: Traffic) -> None:
    # No download: who sends gets the reset, and that would be the server.
    batch = traffic.start(Uploads(), KeepAlives(interval=0.2), Uploads(family=6))
    batch.wait_until_flowing()
    with fault(router, "meta l4proto tcp reject with tcp reset"):
        assert fates(batch) == {Fate.RESET}


def test_icmp_error_does_not_end_a_datagram_flow(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(Datagrams(per_second=50.0))
    batch.wait_until_flowing()
    with fault(router, "reject with icmpx type port-unreachable"):
        wait_for(lambda: batch.report().results[0].detail != "", "the error to be noted")
    (result,) = batch.stop().results
    assert result.fate is Fate.ALIVE
    assert "refused" in result.detail.lower()


def test_lost_datagrams_are_counted(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(Datagrams(per_second=100.0))
    batch.wait_until_flowing()
    with fault(router, "numgen random mod 2 == 0 drop"):
        wait_for(lambda: batch.report().lost_datagrams > 20, "losses", state=batch.report)
    (result,) = batch.stop().results
    assert result.fate is Fate.ALIVE
    assert 0 < result.received < result.sent


@pytest.mark.parametrize(
    ("side", "patterns"),
    [
        ("iifname wan", (Downloads(), KeepAlives(interval=0.2), Datagrams())),
        ("oifname wan", (Uploads(), KeepAlives(interval=0.2), Datagrams())),
    ],
    ids=["downwards", "upwards"],
)
def test_corrupted_byte(
    router: Router, traffic: Traffic, side: str, patterns: tuple[Pattern, ...]
) -> None:
    batch = traffic.start(*patterns)
    batch.wait_until_flowing()
    # A byte of payload for either protocol.
    with fault(router, f"{side} meta length > 90 @th,280,8 set 0x99"):
        assert fates(batch) == {Fate.CORRUPTED}
    assert len(batch.report().lost) == len(patterns)


def test_unreachable_server(router: Router, traffic: Traffic) -> None:
    with fault(router, "reject with icmpx type admin-prohibited"):
        assert fates(traffic.start(Downloads(count=2))) == {Fate.REFUSED}
    with fault(router, "drop"):
        batch = traffic.start(Downloads(count=2, stall_limit=LIMIT))
        assert fates(batch) == {Fate.TIMED_OUT}
    assert len(batch.report().unreachable) == 2
    assert not batch.report().lost


def test_nothing_of_a_connection_that_stalled_is_left(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(Uploads(count=3), Downloads(count=3, host="wan"))
    batch.wait_until_flowing()
    with fault(router, "drop"):
        wait_for(lambda: len(batch.report().silent(1.0)) == 6, "silence of all")
        traffic.clear()
        for host in router.hosts.values():
            states = {line.split()[0] for line in host.run("ss", "-Htan").splitlines()}
            assert states <= {"LISTEN", "TIME-WAIT"}


def test_waiting_for_traffic_that_does_not_come_says_so(router: Router, traffic: Traffic) -> None:
    with fault(router, "drop"):
        batch = traffic.start(Downloads())
        with pytest.raises(LabError, match=r"1 connections that flow.*1 alive"):
            batch.wait_until_flowing(0.5)
        batch.stop(prove=False)


def test_agent_that_dies_is_reported(router: Router) -> None:
    busy = Traffic(router)
    # The module's agents own the port, so these ones cannot start.
    with pytest.raises(LabError, match=r"agent on .* has ended"), busy:
        pass


def test_router_set_up_twice_and_torn_down_leaves_nothing() -> None:
    namespace = Namespace(f"{PREFIX}again")
    try:
        namespace.create()
    except LabError as error:
        pytest.skip(f"needs network namespaces, so root: {error}")
    try:
        add_veth_ports(namespace)
        built = Router(namespace, f"{PREFIX}again-")
        built.set_up()
        built.set_up()
        assert all(host.exists() for host in built.hosts.values())
        built.tear_down()
        assert not any(host.exists() for host in built.hosts.values())
        assert "lan1-wire" in namespace.links()
        assert namespace.run("nft", "list", "tables") == ""
        assert "inet 192" not in namespace.run("ip", "address")
    finally:
        namespace.delete()


def test_server_that_resets_resets(traffic: Traffic) -> None:
    patterns = [Requests(count=3, family=f, ending=Ending.SERVER_RESETS) for f in (4, 6)]
    assert fates(traffic.start(*patterns)) == {Fate.RESET}


def test_scanned_ports_are_closed(traffic: Traffic) -> None:
    batch = traffic.start(PortScan(count=5, family=6))
    assert fates(batch) == {Fate.REFUSED}
    assert [r.remote_port for r in batch.report().results] == list(range(10_000, 10_005))


def test_outage_stalls_all_and_is_over_when_it_is_over(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(*(replace(pattern, stall_limit=60.0) for pattern in LIVE))
    batch.wait_until_flowing()
    with outage(router.hosts["wan"]):
        wait_for(lambda: len(batch.report().silent(LIMIT)) == len(LIVE), "silence of all")
    assert len(batch.stop().alive) == len(LIVE)


def test_loss_loses_a_share(router: Router, traffic: Traffic) -> None:
    batch = traffic.start(Datagrams(per_second=100.0, count=5))
    batch.wait_until_flowing()
    with loss(router.hosts["wan"], percent=30):
        wait_for(lambda: sum(r.sent for r in batch.report().results) > 500 * 400, "500 sent")
        report = batch.report()
    share = report.lost_datagrams * 400 / report.sent
    # A datagram and its echo both have to come through: 1 - 0.7 * 0.7.
    assert 0.3 < share < 0.7, report
    batch.stop()


def test_vanished_client_leaves_the_server_talking(router: Router, traffic: Traffic) -> None:
    # More than any client's buffer confirms before the client has looked.
    pattern = Requests(count=1, response=100_000_000, ending=Ending.CLIENT_RESETS)
    server = router.hosts["wan"]
    with silent_ends(router.hosts["lan1"]):
        assert fates(traffic.start(pattern)) == {Fate.COMPLETED}
        wait_for(lambda: resends(server), "a resend", 120, state=lambda: established(server))
    # With the resets back, the server learns at its next resend that nobody is there; each
    # one comes twice as late as the one before.
    wait_for(lambda: not resends(server), "the server to give up", 120)


def resends(host: Namespace) -> bool:
    """Sends again what is not confirmed, or asks for room, as a slow client's window is full."""
    return bool(re.search(r"timer:\((on|persist),", established(host)))


def established(host: Namespace) -> str:
    return host.run("ss", "-tno", "state", "established")
