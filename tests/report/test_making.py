# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: what a maintainer finds in it, and that no secret of the owner is in it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowguard.checks import Finding, Grade
from flowguard.core.tables.topology import Kind, Link
from flowguard.report.document import LONGEST
from flowguard.report.masking import NOBODYS_NAMES
from flowguard.service.frozen_moments import lines_of, path_of
from tests.report.household import OOPS, Household, a_status
from tests.service.composed import PATHS

STATUS = functools.cache(a_status)
PEM_LIKE = "uPdTQKcXRoOmYVlQmQkgXKcCZqzXAbF3tLkGk4BsZ1Q="

# Each secret, and how the machine knows it: a file, or a UCI package.
FILES = {
    "annas-router": ("/proc/sys/kernel/hostname", "annas-router\n"),
    "Annas-iPhone": ("/tmp/dhcp.leases", "1 02:00:5e:10:20:30 192.168.7.9 Annas-iPhone 01:02\n"),
    "Bobs-Tablet": (
        "/tmp/hosts/odhcpd",
        "# br-lan 000100012a 1 Bobs-Tablet 1700000000 1f 128 2001:db8:7::1f/128\n",
    ),
    "printer-of-bob": ("/etc/ethers", "02:00:5e:10:20:31 printer-of-bob\n"),
    "nas.bobshouse": ("/etc/hosts", "192.168.7.2 nas.bobshouse\n"),
    "customer.provider-x": ("/tmp/resolv.conf.d/resolv.conf.auto", "search customer.provider-x\n"),
    "pppsecret7": ("/etc/ppp/chap-secrets", '"anna@dsl" * "pppsecret7" *\n'),
    "hostapdpass": ("/etc/hostapd/hostapd.conf", "ssid=Annas Flat\nwpa_passphrase=hostapdpass\n"),
    "Annas Flat": ("/etc/hostapd/hostapd.conf", "ssid=Annas Flat\nwpa_passphrase=hostapdpass\n"),
    "annab": ("/etc/passwd", "annab:x:1000:1000:Anna Bee,,,:/home/annab:/bin/sh\n"),
    "Anna Bee": ("/etc/passwd", "annab:x:1000:1000:Anna Bee,,,:/home/annab:/bin/sh\n"),
}
PACKAGES = {
    "Chez 'Anna' é": ("wireless", "config wifi-iface\n option ssid \"Chez 'Anna' é\"\n"),
    "correct horse battery": (
        "wireless",
        "config wifi-iface\n option key 'correct horse battery'\n",
    ),
    "dsl-user-4711": ("network", "config interface 'wan'\n option username 'dsl-user-4711'\n"),
    "dsl$secret": ("network", "config interface 'wan'\n option password 'dsl$secret'\n"),
    PEM_LIKE: ("network", f"config interface 'wg0'\n option private_key '{PEM_LIKE}'\n"),
    "Bobs telephone": (
        "network",
        "config wireguard_wg0\n option description 'Bobs telephone'\n",
    ),
    "annas.dyndns-x": ("ddns", "config service\n option lookup_host 'annas.dyndns-x'\n"),
    "Bedtime of Carl": ("firewall", "config rule\n option name 'Bedtime of Carl'\n"),
    "telly_of_carl": (
        "flowguard",
        "config flowguard 'globals'\nconfig exclude 'telly_of_carl'\n option comment 'x'\n",
    ),
    "my own note": (
        "flowguard",
        "config flowguard 'globals'\nconfig exclude\n option comment 'my own note'\n",
    ),
}
PATTERNS = (
    "192.168.7.9",
    "203.0.113.77",
    "2001:db8:7::9",
    "fe80::5eff:fe10:2030",
    "02:00:5e:10:20:30",
    "anna.bee@example.org",
    "host7.provider.net",
)


def planted() -> Iterator[tuple[str, Household]]:
    for running in (True, False):
        for secret, (path, text) in FILES.items():
            house = Household(STATUS() if running else None)
            house.files[path] = text
            yield secret, house
        for secret, (package, text) in PACKAGES.items():
            house = Household(STATUS() if running else None)
            house.packages[package] = text
            yield secret, house
        for secret in PATTERNS:
            yield secret, Household(STATUS() if running else None)


def test_no_secret_of_any_kind_is_left_from_any_place() -> None:
    leaked = []
    for secret, house in planted():
        house.plant(secret)
        text = house.report()
        assert len(text) > 2000
        assert "mtk_foe_entry_commit+0x1f8/0x3a0" in text
        escaped = json.dumps(secret)[1:-1]
        if secret.lower() in text.lower() or escaped.lower() in text.lower():
            leaked.append(secret)
    assert leaked == []


@pytest.mark.parametrize("place", ["log", "ruleset", "moment", "dump", "state", "events"])
def test_each_place_is_really_in_the_report(place: str) -> None:
    """Or the test before this one would find nothing in a report that reads nothing."""
    house = Household(None)
    house.plant("a-public-word")
    text = house.report()
    assert text.count("a-public-word") > 10
    section = {
        "log": "## Faults in the kernel's log",
        "ruleset": "## Tables",
        "moment": "## Moments of faults",
        "dump": "## Crash dumps",
        "state": "## Service",
        "events": "## Events",
    }[place]
    assert "a-public-word" in text.split(section)[1].split("\n## ")[0]


SECRETS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="'\"\\"),
    min_size=7,
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SECRETS, st.sampled_from(["ssid", "key"]))
def test_random_names_and_keys_do_not_leak(secret: str, option: str) -> None:
    plain = Household(STATUS())
    plain.plant("x")
    assume(secret.lower() not in plain.report().lower())
    assume(secret.lower() not in NOBODYS_NAMES)  # It says nothing of anybody.
    house = Household(STATUS())
    house.packages["wireless"] = f"config wifi-iface\n option {option} '{secret}'\n"
    house.plant(secret)
    text = house.report()
    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.ip_addresses().filter(lambda a: a.is_global and not a.is_multicast).map(str))
def test_random_addresses_do_not_leak(address: str) -> None:
    house = Household(STATUS())
    house.plant(address)
    assert address not in house.report()


def test_the_comments_of_the_configuration_and_of_rules_are_left_out() -> None:
    house = Household(STATUS())
    house.packages["flowguard"] = (
        "# the telly of Dora\nconfig flowguard 'globals' # Dora\n\toption hold_off '5m'\n"
    )
    house.plant("x")
    text = house.report()
    assert "option hold_off '5m'" in text
    assert "Dora" not in text and "Annas TV" not in text


def test_what_a_maintainer_asks_for_is_in_it() -> None:
    house = Household(STATUS())
    house.files |= {
        "/tmp/sysinfo/model": "Example AX1\n",
        "/proc/device-tree/compatible": "example,ax1\0mediatek,mt7986a\0",
        "/etc/openwrt_release": "DISTRIB_DESCRIPTION='OpenWrt 25.12.1'\nDISTRIB_TARGET='a/b'\n",
        "/proc/version": "Linux version 6.12.40 (builder@buildhost) (gcc 14) #0 SMP\n",
        "/proc/net/dev": "Inter-| Receive\n face |bytes\n wan: 1 2 3\n",
    }
    house.findings = [
        Finding(Grade.FINE, "kmsg", "/dev/kmsg is readable"),
        Finding(Grade.ERROR, "kernel-mtk-gmac0", "Linux 6.12.40: crashes", "update"),
    ]
    house.parts.kernel_log.write(*OOPS.split("\n"))
    text = house.report()
    for expected in (
        "- model: Example AX1",
        "- SoC: example,ax1 mediatek,mt7986a",
        "OpenWrt 25.12.1, a/b",
        "Linux version 6.12.40 (account-1) (gcc 14) #0 SMP",
        "- error: kernel-mtk-gmac0: Linux 6.12.40: crashes (update)\n- fine: kmsg:",
        "lan1: port; below br-lan; driver mtk_soc_eth (15100000.ethernet)",
        "firmware 1.2.3.4",
        "br-lan: bridge; above lan1",
        "- taking part: lan1, wan",
        "wanted hardware",
        "Workqueue: nf_ft_offload_add flow_offload_work_handler",
        "- kmsg: ok",
        "wan: 1 2 3",
    ):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("6.12.40", "- taking part: lan1, pppoe-wan"),
        ("7.3.4", "- left out: pppoe-wan: PPP of a program"),
    ],
)
def test_without_a_daemon_it_says_what_would_take_part_on_this_kernel(
    release: str, said: str
) -> None:
    house = Household(None, release)
    house.parts.network.add(Link("pppoe-wan", Kind.PPP))
    house.parts.network.forwarding = ("br-lan", "pppoe-wan")
    assert said in house.report()


def test_without_a_daemon_it_says_so_and_shows_what_it_left_behind() -> None:
    house = Household(None)
    state = {"verdicts": [{"device": "wan", "reason": "driver fault tx-timeout"}]}
    house.files[f"{PATHS.state_directory}/state.json"] = json.dumps(state)
    text = house.report()
    assert "The daemon does not answer: not running; start it with" in text
    assert "verdicts[0].reason: driver fault tx-timeout" in text


def test_what_is_damaged_or_refused_is_said_in_its_place() -> None:
    house = Household(None)
    folder = PATHS.runtime_directory
    house.files[path_of(folder, 1)] = "{"
    house.files[path_of(folder, 2)] = json.dumps({"cause": "x"})
    house.files[f"{PATHS.state_directory}/state.json"] = "["
    house.packages["flowguard"] = "config 'flow\n"
    house.parts.kernel_log.refusal = OSError(1, "Operation not permitted")
    house.parts.tables.unreadable = OSError(1, "Operation not permitted")
    text = house.report()
    assert text.count("cannot be read") >= 5
    assert text.count("Operation not permitted") >= 3
    assert "It is not valid UCI: line 1" in text


def test_it_fits_into_an_issue_however_much_there_is() -> None:
    house = Household(STATUS())
    for number in range(1, 6):
        lines = [f"[{n:12.6f}] {'x' * 150}" for n in range(300)]
        moment: dict[str, Any] = {"cause": f"c{number}", "time": 1, "at": "then", "status": {}}
        house.files[path_of(PATHS.runtime_directory, number)] = json.dumps(
            {**moment, "kernel_log": [*lines, *OOPS.split("\n")]}
        )
    house.files["/proc/net/dev"] = "\n".join(f"eth{n}: 1 2 3" + " 0" * 500 for n in range(64))
    house.parts.kernel_log.write(*OOPS.split("\n"))
    text = house.report()
    assert len(text) < LONGEST + 1000
    assert "## Counters\n\nLeft out" in text
    assert "### c5" in text and "mtk_foe_entry_commit" in text


def test_a_trace_that_was_frozen_and_is_in_the_log_still_is_shown_once() -> None:
    house = Household(None)
    house.parts.kernel_log.write("eth0: up", *OOPS.split("\n"))
    records = [data for _, data in house.parts.kernel_log.records]
    moment = {"cause": "c", "time": 1, "at": "then", "status": {}, "kernel_log": lines_of(records)}
    for number in (1, 2):
        house.files[path_of(PATHS.runtime_directory, number)] = json.dumps(moment)
    text = house.report()
    assert text.count("BUG: kernel NULL pointer") == 1
    assert text.count("kernel-page-fault") == 3
    assert "its lines are above" in text.split("## Faults in the kernel's log")[1]


def test_a_fault_that_comes_again_and_again_is_shown_once_and_counted() -> None:
    house = Household(None)
    for number in range(4):
        house.parts.kernel_log.write(
            f"wan: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 515{number} ms", "and more"
        )
    text = house.report()
    assert text.count("transmit queue 0 timed out") == 1
    assert "timed out 5153 ms" in text
    assert "4 times; this is the last" in text


def test_a_line_of_the_log_ends_no_block() -> None:
    house = Household(None)
    house.parts.kernel_log.write("eth0: ``` and then", *OOPS.split("\n"))
    assert "````\n[" in house.report()
