# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that get in the way, in an OpenWrt root built for the test, with a stub for `uci`."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.checks import counters, firewall_rules
from flowguard.checks.finding import Finding, Grade
from flowguard.checks.known_programs import NEIGHBOURS, Neighbour
from flowguard.checks.neighbours import check_firewall, check_neighbours
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.plan import Exclusion
from flowguard.platform.configuration import loading
from flowguard.platform.openwrt import effective

FIREWALL = "config defaults\n\toption input 'REJECT'\n{}\nconfig zone\n\toption name 'lan'\n"


class Root:
    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("bin", "etc/config", "etc/rc.d", "staged", "sys/module", "var/run/uci"):
            (path / folder).mkdir(parents=True)
        program = path / "bin/uci"
        program.write_text(f'#!/bin/sh\nexec cat "{path}/staged/$3"\n')
        program.chmod(0o755)

    def configure(self, package: str, text: str, folder: str = "etc/config") -> None:
        (self.path / folder / package).write_text(text)

    def enable(self, program: str) -> None:
        (self.path / "etc/rc.d" / f"S50{program}").symlink_to(f"../init.d/{program}")

    def firewall(self, options: str) -> list[Finding]:
        self.configure("firewall", FIREWALL.format(options))
        return list(check_firewall())

    def found(self) -> list[Finding]:
        return list(check_neighbours(str(self.path)))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    places = (f"{tmp_path}/var/run/uci", f"{tmp_path}/etc/config")
    monkeypatch.setattr(effective, "DIRECTORIES", places)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    return Root(tmp_path)


@pytest.mark.parametrize("value", ["1", "true", "on", "yes"])
def test_the_firewalls_own_offloading_is_a_conflict(root: Root, value: str) -> None:
    (finding,) = root.firewall(f"\toption flow_offloading '{value}'")
    assert (finding.grade, finding.code) == (Grade.ERROR, "fw4-offload")
    assert finding.remedy


@pytest.mark.parametrize(
    "options",
    [
        "",
        "\toption flow_offloading '0'",
        # What fw4 makes of these was seen with the real one: nothing.
        "\toption flow_offloading 'enabled'",
        "\toption flow_offloading_hw '1'",
    ],
)
def test_without_it_there_is_none(root: Root, options: str) -> None:
    (finding,) = root.firewall(options)
    assert finding.grade is Grade.FINE


def test_no_fw4_no_finding(root: Root) -> None:
    assert list(check_firewall()) == []


def test_a_broken_firewall_file_is_a_warning_with_its_line(root: Root) -> None:
    (finding,) = root.firewall("\toption flow_offloading 'open end")
    path = f"{root.path}/etc/config/firewall"
    assert (finding.code, finding.grade) == ("firewall", Grade.WARNING)
    assert finding.sentence.startswith(f"{path}:3: ") and path in finding.remedy


@pytest.mark.parametrize("folder", ["staged", "var/run/uci"])
def test_the_firewall_counts_as_it_is_staged_or_overridden(root: Root, folder: str) -> None:
    switched_on = FIREWALL.format("\toption flow_offloading '1'")
    root.configure("firewall", switched_on, folder)
    (finding,) = root.firewall("")
    assert finding.grade is Grade.ERROR
    root.configure("firewall", FIREWALL.format(""), folder)
    (finding,) = root.firewall("\toption flow_offloading '1'")
    assert finding.grade is Grade.FINE


def test_a_router_without_them_has_nothing_to_say(root: Root) -> None:
    assert root.found() == []


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=lambda n: n.program)
def test_a_neighbour_is_named_when_it_is_enabled_and_switched_on(
    root: Root, neighbour: Neighbour
) -> None:
    for switch in neighbour.switches[-1:]:
        text = f"config {switch.section}\n\toption {switch.option} '1'\n"
        root.configure(neighbour.program, text)
    assert root.found() == []
    root.enable(neighbour.program)
    (finding,) = root.found()
    assert (finding.code, finding.grade) == (neighbour.program, neighbour.grade)
    assert finding.remedy


def exclusions(section: str, path: Path) -> tuple[Exclusion, ...]:
    """What flowguard makes of the section, which has to be without a mistake."""
    file = path / "flowguard"
    file.write_text(f"config flowguard 'globals'\n{section}")
    loaded = loading.load(str(file))
    assert loaded.problems == ()
    return tuple(replace(e, section="") for e in loaded.configuration.exclusions)


MWAN = """
config globals
	option mmx_mask '{mask}'
config interface 'wan'
	option enabled '1'
config interface 'wanb'
	option enabled '0'
config interface 'lte'
	option enabled '1'
"""


@pytest.mark.parametrize(
    ("program", "text", "wanted"),
    [
        (
            "sqm",
            "config queue\n\toption enabled '1'\n\toption interface 'eth0.2'\n",
            [Exclusion(device="eth0.2")],
        ),
        (
            "qosmate",
            "config global\n\toption enabled 1\nconfig settings\n\toption WAN pppoe-wan\n",
            [Exclusion(device="pppoe-wan")],
        ),
        ("opennds", "config opennds\n\toption enabled 1\n", [Exclusion(device="br-lan")]),
        ("dscpclassify", "", [Exclusion(device="wan")]),
        ("zapret", "", [Exclusion(destination_ports=(p, p)) for p in (80, 443)]),
        (
            "mwan3",
            MWAN.format(mask="0xff00"),
            [Exclusion(mark=(n << 8, 0xFF00)) for n in (1, 2, 3)],
        ),
        (
            "mwan3",
            MWAN.format(mask="0x00050003"),
            [Exclusion(mark=(m, 0x50003)) for m in (1, 2, 3)],
        ),
        ("mwan4", MWAN.format(mask="?"), [Exclusion(mark=(n << 8, 0xFF00)) for n in (1, 2, 3)]),
    ],
)
def test_the_section_that_keeps_a_programs_flows_right_is_ready(
    root: Root, program: str, text: str, wanted: list[Exclusion]
) -> None:
    root.configure(program, text)
    root.enable(program)
    (finding,) = root.found()
    assert list(exclusions(finding.section, root.path)) == wanted


TIMED = """
config rule
	option name 'No games at night'
	option src 'lan'
	option src_ip '192.168.1.7 192.168.1.8'
	option start_time '21:00:00'
	option target 'REJECT'
config rule
	option name 'Off'
	option weekdays 'Mon'
	option enabled '0'
config rule
	option src 'lan'
	option target 'ACCEPT'
config rule
	option name 'Weekend'
	option weekdays 'Sat Sun'
"""


def test_rules_with_times_are_named_with_the_hosts_that_they_are_for(root: Root) -> None:
    root.configure("firewall", FIREWALL.format("") + TIMED)
    games, weekend = firewall_rules.look(str(root.path))
    assert "'No games at night' has start_time" in games.sentence
    sources = [str(e.source) for e in exclusions(games.section, root.path)]
    assert sources == ["192.168.1.7/32", "192.168.1.8/32"]
    assert "'Weekend' has weekdays" in weekend.sentence and not weekend.section


def test_rules_that_look_at_every_packet_are_named_with_their_line(root: Root) -> None:
    (root.path / "etc/nftables.d").mkdir()
    file = root.path / "etc/nftables.d/10-own.nft"
    file.write_text(
        "chain own {\n"
        "  type filter hook forward priority 0;\n"
        '  oifname "wan" ip ttl set 65\n'
        "  ip saddr 192.168.1.9 quota over 1 gbytes drop\n"
        "  # meta hour 8 drop\n"
        "}\n"
    )
    hop, quota = firewall_rules.look(str(root.path))
    assert hop.sentence.startswith(f"{file}:3: 'ttl set'")
    assert list(exclusions(hop.section, root.path)) == [Exclusion(device="wan")]
    assert quota.sentence.startswith(f"{file}:4: 'quota'")
    assert [str(e.source) for e in exclusions(quota.section, root.path)] == ["192.168.1.9/32"]


def test_a_file_of_rules_that_is_no_text_is_told(root: Root) -> None:
    (root.path / "etc/nftables.d").mkdir()
    (root.path / "etc/nftables.d/own.nft").write_bytes(b"\xff quota")
    (finding,) = firewall_rules.look(str(root.path))
    assert finding.sentence.endswith("own.nft: is no UTF-8")


def test_a_router_without_a_firewall_has_no_rules(root: Root) -> None:
    assert list(firewall_rules.look(str(root.path))) == []


@pytest.mark.parametrize(
    ("level", "programs"),
    [
        (Level.HARDWARE, ["collectd", "nlbwmon", "vnstat"]),
        (Level.SOFTWARE, ["collectd", "vnstat"]),
        (Level.NONE, []),
    ],
)
def test_whose_counters_are_wrong_depends_on_the_level(
    root: Root, level: Level, programs: list[str]
) -> None:
    for program in ("nlbwmon", "vnstat", "collectd"):
        root.enable(program)
    found = list(counters.look(level, str(root.path)))
    wrong = [f.sentence.partition(":")[0] for f in found if f.grade is Grade.WARNING]
    assert sorted(wrong) == programs
    assert bool(found) == (level is not Level.NONE)


@pytest.mark.parametrize(
    "text", ["config queue\n\toption enabled '0'\n", "config queue\n", "config other\n"]
)
def test_a_neighbour_that_is_switched_off_is_not(root: Root, text: str) -> None:
    root.enable("sqm")
    root.configure("sqm", text)
    assert root.found() == []


@pytest.mark.parametrize("folder", ["staged", "var/run/uci"])
def test_a_neighbour_counts_as_it_is_staged_or_overridden(root: Root, folder: str) -> None:
    root.enable("sqm")
    for file, other in ((0, 1), (1, 0)):
        root.configure("sqm", f"config queue\n\toption enabled '{file}'\n")
        root.configure("sqm", f"config queue\n\toption enabled '{other}'\n", folder)
        assert len(root.found()) == other


def test_the_error_of_an_override_is_named(root: Root) -> None:
    root.enable("sqm")
    root.configure("sqm", "config queue\n\toption enabled '1'\n")
    root.configure("sqm", "bogus\n", "var/run/uci")
    (finding,) = root.found()
    assert finding.sentence.startswith(f"{root.path}/var/run/uci/sqm:1: ")


def test_an_enabled_neighbour_without_a_file_is_not_active(root: Root) -> None:
    root.enable("sqm")
    assert root.found() == []


def test_a_neighbour_with_a_broken_file_may_be_active(root: Root) -> None:
    root.configure("sqm", "config queue\n\toption enabled '1'\n\toption download 85 000\n")
    assert root.found() == []
    root.enable("sqm")
    (finding,) = root.found()
    path = f"{root.path}/etc/config/sqm"
    assert (finding.code, finding.grade) == ("sqm", Grade.WARNING)
    assert finding.sentence.startswith(f"{path}:3: ") and path in finding.remedy


def test_a_neighbour_whose_file_cannot_be_read_may_be_active(root: Root) -> None:
    (root.path / "etc/config/sqm").mkdir()
    root.enable("sqm")
    (finding,) = root.found()
    assert (finding.code, finding.grade) == ("sqm", Grade.WARNING)
