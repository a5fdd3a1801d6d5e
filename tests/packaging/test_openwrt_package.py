# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import flowguard
from flowguard.api import PUBLIC

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "openwrt-package" / "flowguard" / "Makefile").read_text()


def test_all_say_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packaged = re.search(r"^PKG_VERSION:=(.*)$", MAKEFILE, re.MULTILINE)
    assert packaged
    assert packaged[1] == project["version"] == flowguard.__version__


def test_what_it_installs_from_the_tree_exists() -> None:
    named = re.findall(r"\$\(FLOWGUARD_SOURCE\)/([\w./]+)", MAKEFILE)
    copied = re.search(r"addprefix \$\(FLOWGUARD_SOURCE\)/,([^)]*)", MAKEFILE)
    assert copied
    files = [*named, *copied[1].split()]
    assert len(files) >= 6
    # The README comes with the rest of the project.
    assert [f for f in files if f != "README.md" and not (ROOT / f).exists()] == []


def test_recipes_are_indented_with_tabs_and_defines_are_closed() -> None:
    assert not re.search(r"^ +\$\(INSTALL", MAKEFILE, re.MULTILINE)
    defines = re.findall(r"^(define|endef)\b", MAKEFILE, re.MULTILINE)
    assert defines == ["define", "endef"] * (len(defines) // 2)


def test_the_version_placeholder_of_the_init_script_is_filled_in() -> None:
    assert "@VERSION@" in (ROOT / "init.d" / "flowguard").read_text()
    assert "s/@VERSION@/$(PKG_VERSION)-r$(PKG_RELEASE)/" in MAKEFILE


def test_access_lists_name_only_methods_that_exist_and_changes_need_write_access() -> None:
    files = ROOT / "openwrt-package" / "flowguard" / "files"
    system = json.loads((files / "acl.json").read_text())
    rpcd = json.loads((files / "rpcd-acl.json").read_text())["flowguard"]
    read, write = (set(rpcd[kind]["ubus"]["flowguard"]) for kind in ("read", "write"))
    # A check has the kernel try the drivers, so it is not for those who may only read.
    assert read == {"status", "flows", "decisions"}
    assert read | write == set(PUBLIC)
    assert not read & write
    assert set(system["access"]["flowguard"]["methods"]) == read
    assert all(f"./files/{file.name} " in MAKEFILE for file in files.iterdir())
