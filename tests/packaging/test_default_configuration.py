# SPDX-License-Identifier: GPL-2.0-or-later
"""The default file is documentation too: what it says must be true."""

from __future__ import annotations

import re
from pathlib import Path

from flowguard.platform.configuration.exclusions import SETTINGS as EXCLUSION_SETTINGS
from flowguard.platform.configuration.loading import SETTINGS, Configuration, load
from flowguard.platform.openwrt import uci

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config" / "flowguard"


def uncommented(what: str) -> str:
    return re.sub(rf"(?m)^(\s*)#({what}) ", r"\1\2 ", FILE.read_text())


def test_it_is_shipped_disabled_and_says_the_defaults() -> None:
    loaded = load(str(FILE))
    assert loaded.problems == ()
    assert loaded.configuration == Configuration()
    assert not loaded.configuration.enabled


def test_the_values_behind_comments_are_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "flowguard"
    text, _ = uncommented("option").split("#config exclude")
    file.write_text(text)
    loaded = load(str(file))
    assert loaded.problems == ()
    assert loaded.configuration == Configuration()


def test_it_names_every_option_and_no_other(tmp_path: Path) -> None:
    text = uncommented("option|list|config")
    file = tmp_path / "flowguard"
    file.write_text(text)
    loaded = load(str(file))
    assert loaded.problems == ()
    assert len(loaded.configuration.exclusions) == 1
    written = [{o.name: o.is_list for o in s.options} for s in uci.load(str(file)).sections]
    assert (
        written
        == [
            {setting.name: setting.is_list for setting in SETTINGS},
            {setting.name: setting.is_list for setting in EXCLUSION_SETTINGS},
        ]
        or sorted(map(sorted, written)) == []
    )


def test_every_option_has_its_comment() -> None:
    paragraphs = re.split(r"\n\s*\n", FILE.read_text())
    for paragraph in paragraphs:
        lines = [line.strip() for line in paragraph.splitlines()]
        if any(re.match(r"#?(option|list) ", line) for line in lines):
            assert any(line.startswith("# ") for line in lines), paragraph
