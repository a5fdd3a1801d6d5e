# SPDX-License-Identifier: GPL-2.0-or-later
"""The form offers every option of the configuration, and takes what the daemon would take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.platform.configuration import kinds
from flowguard.platform.configuration.exclusions import Exclude
from flowguard.platform.configuration.options import Configuration
from flowguard.platform.configuration.sections import Setting
from flowguard.platform.configuration.sections import settings as stated
from tests.luci import browser
from tests.luci.browser import NODE, Browser
from tests.luci.rpcd import SETTINGS, Rpcd, Session

pytestmark = pytest.mark.skipif(not NODE, reason="Node.js is not installed")

SECTIONS = {"globals": stated(Configuration), "exclude": stated(Exclude)}
OPTIONS = [(section, setting) for section in SECTIONS for setting in SECTIONS[section]]
WRITTEN = [
    (section, setting)
    for section, setting in OPTIONS
    # The others can only be chosen among what is allowed.
    if setting.is_list or setting.kind.uci == "string" or "range" in setting.kind.uci
]
TEXTS = [
    *("0", "1", "2", "-1", "+1", " 1", "1 ", "1.5", "1e3", "0x10", "0X1f", "0x", "1_000", "٣"),
    *("1023", "1024", "1025", "10000", "10001", "65535", "65536", "99999999999999999"),
    *("0s", "1s", "90s", "300", "301", "5m", "301s", "1h", "3600", "3601", "24h", "1d", "7d"),
    *("8d", "604800", "604801", "30d", "31d", "365d", "366d", "1w", "1M", "1 h", "m", "60", "59"),
    *("eth0", "wan.100", "br-lan", ".", "..", "a/b", "a:b", "a b", "a\tb", "abcdefghijklmno"),
    *("abcdefghijklmnop", "ääääääää", "äääääää", "tcp", "udp", "TCP", "sctp", "ipv4", "ipv6"),
    *("192.168.1.1", "192.168.1.0/24", "192.168.1.7/24", "1.2.3.4/33", "1.2.3.4/", "1.2.3"),
    *("01.2.3.4", "256.1.1.1", "1.2.3.4/255.255.255.0", "1.2.3.4/0.0.0.255", "1.2.3.4/255.0.255.0"),
    *("::", "::1", "fe80::1/64", "fe80::1%eth0", "2001:db8::/32", "1::2::3", "::/129", "::1.2.3.4"),
    *("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7::", "12345::", ":1::2", "::1.2.3.4:5"),
    *("1:2:3:4::5:6:7:8", "1:2:3::5:6:7:8", "::ffff:1.2.3.4/96", "1:2:3:4:5:6:1.2.3.4"),
    *("80", "1024-65535", "80-79", "1-2-3", "0-0", "-80", "80-", "0x50-0x51"),
    *("0x100/0xff00", "0x100/0xff", "1/0", "0xffffffff", "0x100000000", "1/2/3", "0/1"),
    *("be", "EF", "cs0", "cs8", "af11", "af44", "af13", "63", "64", "/etc/rules.toml", "rules"),
]
ODD = st.text(st.sampled_from("0123456789abcdefxX.:/-%smhd tuwn"), min_size=1, max_size=18)


@pytest.fixture(scope="module")
def form() -> Iterator[Browser]:
    with browser.started(Rpcd(None, Session((SETTINGS,)))) as shown:
        asyncio.run(shown.open("view.flowguard.settings"))
        yield shown


def ask(form: Browser, command: str, **what: Any) -> Any:
    return asyncio.run(form.ask(command, **what))


def test_it_has_every_option_once_with_its_default_and_its_meaning(form: Browser) -> None:
    found = ask(form, "options")
    expected = [(s, o.name, o.group, o.default_text, meaning(o)) for s, o in OPTIONS]
    offered = [(o["section"], o["name"], o["tab"], o["initial"], o["help"]) for o in found]
    assert sorted(offered) == sorted(expected)
    assert all(option["title"] for option in found)


def meaning(setting: Setting) -> str:
    """As a sentence."""
    return f"{setting.meaning[0].upper()}{setting.meaning[1:]}."


def test_the_widget_fits_the_kind(form: Browser) -> None:
    widgets = {(o["section"], o["name"]): o["widget"] for o in ask(form, "options")}
    for section, setting in OPTIONS:
        widget = widgets[section, setting.name]
        if setting.is_list:
            assert widget == "DynamicList"
        elif setting.kind.uci == "bool":
            assert widget == "Flag"
        elif setting.kind.uci.startswith('or("'):
            assert widget == "ListValue"
        else:
            assert widget == "Value"


def test_what_can_be_chosen_is_what_is_allowed(form: Browser) -> None:
    for option in ask(form, "options"):
        if option["widget"] == "ListValue":
            setting = next(
                o for s, o in OPTIONS if (s, o.name) == (option["section"], option["name"])
            )
            assert ", ".join(option["values"]) == setting.kind.allowed
            # What has no default may be left open.
            assert option["optional"] is (not setting.default_text)


@pytest.mark.parametrize(("section", "setting"), WRITTEN, ids=lambda x: getattr(x, "name", x))
def test_it_takes_what_the_daemon_takes(form: Browser, section: str, setting: Setting) -> None:
    compare(form, section, setting, TEXTS)


@settings(max_examples=25)
@given(st.lists(ODD, min_size=10, max_size=40))
def test_it_takes_what_the_daemon_takes_of_anything(form: Browser, texts: list[str]) -> None:
    for section, setting in WRITTEN:
        compare(form, section, setting, texts)


def compare(form: Browser, section: str, setting: Setting, texts: list[str]) -> None:
    taken = ask(form, "validate", section=section, name=setting.name, texts=texts)
    assert dict(zip(texts, taken, strict=True)) == {text: takes(setting, text) for text in texts}
    # An empty field leaves the default in place.
    assert ask(form, "validate", section=section, name=setting.name, texts=[""]) == [True]


def takes(setting: Setting, text: str) -> bool:
    try:
        setting.kind.parse(text)
    except ValueError:
        return False
    return True


def test_a_switch_shows_what_its_word_means_for_the_daemon(form: Browser) -> None:
    words = [*kinds.TRUE_WORDS, "0", "off", "false", "no", "disabled"]
    for section, setting in OPTIONS:
        if setting.kind.uci == "bool":
            shown = ask(form, "shown", section=section, name=setting.name, texts=words)
            assert shown == [setting.kind.show(setting.kind.parse(word)) for word in words]
