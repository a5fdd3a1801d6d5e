# SPDX-License-Identifier: GPL-2.0-or-later
"""What the package says to LuCI's menu, to rpcd and to translators."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flowguard.service.api import PUBLIC
from packages.description import PROGRAM, SERVICE_OF_OPENWRT
from tests.luci.rpcd import ACCESS, APP, ROOT, SETTINGS, STATUS
from tests.luci.site import MENU
from tests.luci.texts import TEMPLATE, found, template

SCRIPTS = sorted((APP / "htdocs").rglob("*.js"))
RESOURCES = APP / "htdocs/luci-static/resources"
LINTER = ROOT / ".cache/eslint/node_modules/.bin/eslint"
MENU_KEYS = {"title", "order", "action", "depends"}
GRANTS = {"ubus", "uci", "file"}

access = json.loads(ACCESS.read_text())
menu = json.loads(MENU.read_text())


def test_every_entry_of_the_menu_leads_to_a_page_that_needs_a_right() -> None:
    for path, entry in menu.items():
        assert set(entry) == MENU_KEYS and isinstance(entry["order"], int), path
        assert path.startswith("admin/network/flowguard")
        assert set(entry["depends"].get("acl", [])) <= set(access), path
        action = entry["action"]
        if action["type"] == "view":
            assert (RESOURCES / "view" / f"{action['path']}.js").is_file(), path
        else:
            assert action == {"type": "firstchild"}
    # Without its configuration there is no flowguard.
    assert menu["admin/network/flowguard"]["depends"]["uci"] == {"flowguard": True}


def test_every_page_is_in_the_menu() -> None:
    pages = {f"flowguard/{path.stem}" for path in (RESOURCES / "view/flowguard").iterdir()}
    assert pages == {entry["action"].get("path") for entry in menu.values()} - {None}


def test_rights_are_of_rpcds_kinds_and_name_what_there_is() -> None:
    assert set(access) == {STATUS, SETTINGS}
    installed = {file.target for file in (*PROGRAM, *SERVICE_OF_OPENWRT)}
    for group in access.values():
        assert set(group) == {"description", "read", "write"}
        for kind in ("read", "write"):
            assert set(group[kind]) <= GRANTS
            assert set(group[kind].get("ubus", {}).get("flowguard", ())) <= set(PUBLIC)
            for command in group[kind].get("file", {}):
                assert command.split()[0] in installed


def test_looking_changes_nothing() -> None:
    for group in access.values():
        read = group["read"]
        assert set(read["ubus"]["flowguard"]) <= {"status", "flows", "decisions"}
        assert "file" not in read
    assert access[STATUS]["write"].get("uci") is None


def test_the_commands_that_may_be_run_are_those_that_the_pages_run() -> None:
    script = (RESOURCES / "flowguard/daemon.js").read_text()
    commands = re.findall(r"service\('([^']+)'\)", script)
    allowed = {f"/etc/init.d/flowguard {command}" for command in commands}
    assert allowed == set(access[STATUS]["write"]["file"])


def test_the_template_for_translators_is_up_to_date() -> None:
    # python -m tests.luci.texts
    assert TEMPLATE.read_text() == template()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_as_luci_wants_it(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// SPDX-License-Identifier: GPL-2.0-or-later\n'use strict';\n'require ")
    assert not re.search(r"^ ", text, re.MULTILINE), "LuCI indents with tabs"
    assert "#" not in re.sub(r"'[^']*'", "", text), "colours are the theme's"
    # LuCI takes a lone string for HTML.
    assert not re.search(r"E\('\w+', (?:\{[^}]*\}, )?(?:_\(|text|\w+\.\w+\))", text)


@pytest.mark.skipif(
    not (shutil.which("node") and LINTER.exists()), reason="ESLint is not installed: tests/setup.sh"
)
def test_the_scripts_pass_lucis_linter() -> None:
    configuration = Path(__file__).parent / "eslint.config.mjs"
    command = [
        str(LINTER),
        "--config",
        str(configuration),
        "--max-warnings",
        "0",
        *map(str, SCRIPTS),
    ]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "path", sorted(TEMPLATE.parents[1].glob("*/*.po")), ids=lambda p: p.parent.name
)
def test_a_translation_is_of_texts_that_there_are_and_keeps_their_places(path: Path) -> None:
    texts = {text for text, _, _ in found()}
    pairs = re.findall(r'^msgid (".+")\nmsgstr (".*")$', path.read_text(), re.MULTILINE)
    assert pairs
    for original, translated in (map(json.loads, pair) for pair in pairs):
        assert original in texts
        # A place without its value would be an error in the browser.
        assert not translated or places(translated) == places(original), original


def places(text: str) -> list[str]:
    return re.findall(r"%[%a-z]", text)
