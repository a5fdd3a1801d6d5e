# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import flowguard
from flowguard.platform.openwrt.installation import NAME
from flowguard.service.api import PUBLIC
from tests.packaging.build import RECIPE, ROOT, FeedPackage, build, compiled, modes, pythons

MAKEFILE = (RECIPE / "Makefile").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> FeedPackage:
    return build(tmp_path_factory.mktemp("package"))


def installed_program(folder: Path, python: str) -> dict[str, str]:
    """An environment with `flowguard` on PATH, as the package installs it."""
    site = compiled(folder, python)
    program = folder / "bin" / "flowguard"
    program.parent.mkdir()
    program.write_text(
        f"#!{python}\nimport sys\nfrom flowguard.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def run(*command: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_what_it_installs_and_for_whom(package: FeedPackage) -> None:
    assert modes(package.root) == {
        "/etc/config/flowguard": 0o600,
        "/etc/flowguard.user": 0o600,
        "/etc/init.d/flowguard": 0o755,
        "/etc/uci-defaults/90-flowguard": 0o755,
        "/lib/upgrade/keep.d/flowguard": 0o644,
        "/usr/bin/flowguard": 0o755,
        "/usr/lib/lua/prometheus-collectors/flowguard.lua": 0o644,
        "/usr/share/flowguard/capabilities.json": 0o644,
        "/usr/share/rpcd/acl.d/flowguard.json": 0o644,
        "/usr/share/ucode/node-exporter/lib/flowguard.uc": 0o644,
    }


def test_what_the_user_wrote_and_what_is_remembered_survives_upgrades(
    package: FeedPackage,
) -> None:
    assert package.conffiles == ("/etc/config/flowguard", "/etc/flowguard.user")
    kept = (package.root / "lib/upgrade/keep.d/flowguard").read_text().split()
    assert kept == [
        "/etc/flowguard/state.json",
        "/etc/flowguard/adopted.json",
        "/etc/flowguard/rules.toml",
        "/etc/capabilities/flowguard.json",
    ]
    assert not any(f"/etc/flowguard/{NAME}".startswith(name) for name in kept)


def test_the_feed_builds_from_a_release_and_names_who_is_responsible() -> None:
    values = dict(re.findall(r"^(PKG_\w+):=(.*)$", MAKEFILE, re.MULTILINE))
    # Until the first release there is no digest; the feed's own checks refuse `skip`.
    assert re.fullmatch("[0-9a-f]{64}|skip", values["PKG_HASH"])
    assert values["PKG_SOURCE"] == "flowguard-$(PKG_VERSION).tar.gz"
    assert values["PKG_SOURCE_URL"].startswith("https://")
    assert re.fullmatch("[^<>]+ <[^@ ]+@[^@ ]+>", values["PKG_MAINTAINER"])
    assert "$(CURDIR)/.." not in MAKEFILE


def test_the_version_of_the_package_is_part_of_the_service(package: FeedPackage) -> None:
    script = (package.root / "etc/init.d/flowguard").read_text()
    # procd does not see a change of the last three characters.
    assert f"FLOWGUARD_VERSION='{flowguard.__version__}-r1...'" in script


@pytest.mark.parametrize(
    ("environment", "before", "after"),
    [
        ({}, [], ["flowguard release"]),
        # The next daemon takes over: procd would drain what it ends by itself.
        ({"PKG_UPGRADE": "1"}, ["flowguard stop"], []),
        ({"IPKG_INSTROOT": "/image"}, [], []),
        ({"IPKG_INSTROOT": "/image", "PKG_UPGRADE": "1"}, [], []),
    ],
)
def test_a_removal_releases_everything_and_an_upgrade_hands_it_over(
    package: FeedPackage, environment: dict[str, str], before: list[str], after: list[str]
) -> None:
    for script, asked in ((package.preinst, before), (package.prerm, after)):
        done = run("sh", "-c", script.replace("/etc/init.d/", "echo "), env=environment)
        assert (done.returncode, done.stdout.splitlines()) == (0, asked)


@pytest.mark.parametrize(
    ("adopt", "fails", "asked"),
    [
        ("0", 0, []),
        ("1", 0, ["uci -q commit firewall", "flowguard adopt"]),
        ("1", 1, ["uci -q commit firewall", "flowguard adopt"]),
    ],
)
def test_the_firewall_is_adopted_at_the_first_boot_only_where_the_user_says_so(
    package: FeedPackage, adopt: str, fails: int, asked: list[str]
) -> None:
    script = (package.root / "etc/uci-defaults/90-flowguard").read_text()
    functions = f"""
        config_load() {{ :; }}
        config_get_bool() {{ eval $1={adopt}; }}
        uci() {{ echo uci "$@"; }}
        flowguard() {{ echo flowguard "$@"; return {fails}; }}
    """
    script = script.replace(". /lib/functions.sh", functions)
    done = run("sh", "-c", script, env={})
    # One that fails is kept by OpenWrt, and runs again at the next boot.
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (fails, asked, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="the program asks for root")
@pytest.mark.parametrize("python", pythons())
def test_the_feeds_own_test_passes_without_any_source(tmp_path: Path, python: str) -> None:
    environment = installed_program(tmp_path, python)
    script = (RECIPE / "test.sh").read_text()
    disabled = ROOT / "config" / "flowguard"
    test = tmp_path / "test.sh"
    test.write_text(script.replace("/etc/config/flowguard", str(disabled)))
    done = run("sh", test, "flowguard", flowguard.__version__, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert run("sh", test, "flowguard", "0.0.9", env=environment).returncode == 1
    assert run("sh", test, "flowguard-src", "0.0.9", env=environment).returncode == 0


def test_access_lists_name_only_methods_that_exist_and_changes_need_write_access() -> None:
    rpcd = json.loads((RECIPE / "files" / "rpcd-acl.json").read_text())["flowguard"]
    read, write = (set(rpcd[kind]["ubus"]["flowguard"]) for kind in ("read", "write"))
    # A check has the kernel try the drivers, so it is not for those who may only read.
    assert read == {"status", "flows", "decisions"}
    assert read | write == set(PUBLIC)
    assert not read & write


def test_who_may_change_the_service_over_rpcd_may_change_its_configuration_too() -> None:
    rpcd = json.loads((RECIPE / "files" / "rpcd-acl.json").read_text())["flowguard"]
    # rpcd's `uci` object grants nothing of a package that is not named here.
    assert [rpcd[kind]["uci"] for kind in ("read", "write")] == [["flowguard"], ["flowguard"]]


def test_the_jail_leaves_what_the_unit_for_systemd_leaves() -> None:
    capabilities = json.loads((RECIPE / "files" / "capabilities.json").read_text())
    unit = (ROOT / "init.d" / "flowguard.service").read_text()
    (bounding,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    sets = ["ambient", "bounding", "effective", "inheritable", "permitted"]
    assert capabilities == dict.fromkeys(sets, bounding.split())
