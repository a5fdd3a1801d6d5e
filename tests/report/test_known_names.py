# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of this machine: where they stand, and that one odd file hides no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.kernel.files import LinuxFiles
from flowguard.platform.openwrt import uci
from flowguard.report import known_names as module
from flowguard.report.known_names import names_of
from flowguard.report.masking import Masking
from tests.report.household import Household


def nothing(name: str) -> uci.Package:
    raise FileNotFoundError(2, "No such file or directory", name)


def broken(name: str) -> uci.Package:
    return uci.parse(b"config 'x\n", name)


def test_a_name_that_is_no_utf8_is_masked_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = tmp_path / "leases"
    leases.write_bytes(
        b"1 02:00:5e:10:20:30 192.168.7.9 J\xfcrgens-TV *\n"
        b"1 02:00:5e:10:20:31 192.168.7.8 Annas-iPhone *\n"
    )
    monkeypatch.setattr(module, "LEASES", (str(leases),))
    masking = Masking(names_of(LinuxFiles(), nothing).known)
    # As printk writes the first, as /dev/kmsg is read, and as a status has it.
    text = "J\\xfcrgens-TV and J\xfcrgens-TV and J\udcfcrgens-TV and Annas-iPhone"
    assert masking.mask(text) == "host-1 and host-1 and host-1 and host-2"


def test_a_configuration_that_is_no_uci_hides_no_file() -> None:
    house = Household()
    house.files["/etc/ethers"] = "02:00:5e:10:20:31 annas-printer # of Anna\n"
    found = names_of(house.parts.files, broken)
    names = {name.text for name in found.known}
    assert "annas-printer" in names and "Anna" not in names
    assert [line for line in found.unread if line.startswith("configuration wireless: line 1: ")]


def test_a_source_that_cannot_be_read_is_named_in_the_report() -> None:
    house = Household()
    house.parts.files.broken = True
    text = house.report()
    assert "/etc/ethers: Input/output error" in house.unread
    assert "**Not masked are names of /etc/ethers: Input/output error.**" in text


def test_what_is_not_there_is_no_gap() -> None:
    house = Household()
    house.report()
    assert house.unread == ()


def test_a_lease_file_that_is_configured_is_read() -> None:
    house = Household()
    house.packages["dhcp"] = "config dnsmasq\n option leasefile '/mnt/leases'\n"
    house.files["/mnt/leases"] = "1 02:00:5e:10:20:31 192.168.7.8 Annas-iPhone *\n"
    names = {name.text for name in names_of(house.parts.files, house.load).known}
    assert "Annas-iPhone" in names


def test_a_full_name_is_known_by_its_parts_too() -> None:
    house = Household()
    house.files["/etc/hosts"] = "192.168.7.2 nas.annas-house.example # the nas\n"
    names = {name.text for name in names_of(house.parts.files, nothing).known}
    assert {"nas.annas-house.example", "nas", "annas-house.example"} <= names
    assert "the" not in names
