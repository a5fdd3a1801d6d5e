# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that get in the way, in an OpenWrt root built for the test, with a stub for `uci`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowguard.checks.finding import Finding, Grade
from flowguard.checks.neighbours import (
    NEIGHBOURS,
    Neighbour,
    check_firewall,
    check_neighbours,
)
from flowguard.platform.configuration.kinds import mark
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
    for section, option in neighbour.switches[-1:]:
        root.configure(neighbour.program, f"config {section}\n\toption {option} '1'\n")
    assert root.found() == []
    root.enable(neighbour.program)
    (finding,) = root.found()
    assert (finding.code, finding.grade) == (neighbour.program, neighbour.grade)
    assert finding.remedy


def test_the_marks_in_a_remedy_can_be_used() -> None:
    remedies = {neighbour.program: neighbour.remedy for neighbour in NEIGHBOURS}
    marks = [mark().parse(text) for text in re.findall("'(0x[^']*)'", remedies["mwan3"])]
    assert marks == [(0x100, 0x3F00), (0x200, 0x3F00)]


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
