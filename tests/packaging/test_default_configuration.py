# SPDX-License-Identifier: GPL-2.0-or-later
"""The default file is documentation too: what it says must be true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowguard.platform.configuration.exclusions import Exclude
from flowguard.platform.configuration.loading import load
from flowguard.platform.configuration.options import Configuration
from flowguard.platform.configuration.sections import Setting, settings
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
    assert written == [
        {setting.name: setting.is_list for setting in settings(section)}
        for section in (Configuration, Exclude)
    ]


def paragraphs() -> list[str]:
    """A comment and the options that it is about, each in one line."""
    return [" ".join(text.split()) for text in re.split(r"\n\s*\n", FILE.read_text())]


def comment_of(setting: Setting, part: int) -> str:
    """The paragraph about an option, in the first or the second part of the file."""
    start = next(i for i, text in enumerate(paragraphs()) if "#config exclude" in text)
    within = paragraphs()[start:] if part else paragraphs()[:start]
    (found,) = (t for t in within if re.search(rf"(option|list) {setting.name} ", t))
    return found


STATED = [(s, part) for part, table in enumerate((Configuration, Exclude)) for s in settings(table)]


@pytest.mark.parametrize(("setting", "part"), STATED, ids=[f"{p}-{s.name}" for s, p in STATED])
def test_the_comment_of_an_option_says_what_is_allowed_and_the_default(
    setting: Setting, part: int
) -> None:
    comment = comment_of(setting, part).replace("# ", "").lower()
    limits = re.findall(
        r"\b\d+(?: (?:second|minute|hour|day)s?)?", setting.kind.allowed.split(",")[0]
    )
    for allowed in (*limits, *re.findall('"(.*?)"', setting.kind.uci)):
        assert re.search(rf"\b{allowed}\b", comment), allowed
    if setting.default_text:
        assert re.search(rf"default {re.escape(setting.default_text)}(?![\w-])", comment)
