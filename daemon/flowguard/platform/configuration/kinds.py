# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of values that options can have: how a text becomes a value, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeVar

from flowguard.core.records import frozen
from flowguard.core.tables.description import Network

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

ALL_BITS = 0xFFFFFFFF

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WORDS = {86400: "day", 3600: "hour", 60: "minute", 1: "second"}
TRUE_WORDS = ("1", "on", "true", "yes", "enabled")
FIREWALL_TRUE_WORDS = ("1", "on", "true", "yes")
"""What fw4 takes for yes (fw4.uc, parse_bool)."""
_BOOLEANS = {
    **dict.fromkeys(TRUE_WORDS, True),
    **dict.fromkeys(("0", "off", "false", "no", "disabled"), False),
}


@frozen
class Kind(Generic[T]):
    """`parse` raises ValueError for a text that is not `allowed` (said in words).

    `show` is its reverse. `uci` is how OpenWrt's validate_data(8) is told what is allowed
    (libubox, the types of ucidata_validate), which does not know all that `parse` refuses.
    """

    allowed: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    uci: str = "string"


def boolean() -> Kind[bool]:
    return Kind("0 or 1", lambda text: _look_up(_BOOLEANS, text), lambda on: str(int(on)), "bool")


def one_of(values: type[E], *chosen: E) -> Kind[E]:
    names = {value.value: value for value in chosen or values}
    quoted = ", ".join(f'"{name}"' for name in names)
    return Kind(", ".join(names), lambda text: _look_up(names, text), uci=f"or({quoted})")


def integer(low: int, high: int) -> Kind[int]:
    return Kind(
        f"{low} to {high}",
        lambda text: _within(_number(text), low, high),
        uci=f"range({low}, {high})",
    )


def duration(low: int, high: int) -> Kind[int]:
    """Seconds from low to high; s, m, h or d may follow the number."""

    def parse(text: str) -> int:
        found = re.fullmatch("([0-9]{1,9})([smhd]?)", text)
        if not found:
            raise ValueError(text)
        return _within(int(found[1]) * _UNITS[found[2]], low, high)

    limits = f"{_duration_in_words(low)} to {_duration_in_words(high)}"
    return Kind(f"{limits}, as in 90 or 90s, 15m, 2h, 1d", parse, _shortest_duration)


def share() -> Kind[int]:
    """One in so many; 0 for none at all. One in one would leave nothing to compare with."""
    return Kind(
        "0 (none) or 2 to 1024",
        lambda text: 0 if text == "0" else _within(_number(text), 2, 1024),
        uci="or(0, range(2, 1024))",
    )


def mark() -> Kind[tuple[int, int]]:
    """Value and mask; without a mask all bits count."""

    def parse(text: str) -> tuple[int, int]:
        number, slash, bits = text.partition("/")
        value = _within(_number(number), 0, ALL_BITS)
        mask = _within(_number(bits), 1, ALL_BITS) if slash else ALL_BITS
        if value & ~mask:
            raise ValueError(text)
        return value, mask

    return Kind("a value, or value/mask with no bit outside of the mask, as in 0x100/0xff00", parse)


def device_name() -> Kind[str]:
    """As the kernel checks them (dev_valid_name in net/core/dev.c), and text.

    The kernel takes any bytes. But a name that is no UTF-8 could be told in no log, and what
    stands in a file like that is the file's damage (UnicodeEncodeError is a ValueError).
    """

    def parse(text: str) -> str:
        if not 1 <= len(text.encode()) <= 15 or text in (".", "..") or re.search(r"[/:\s]", text):
            raise ValueError(text)
        return text

    return Kind("the name of a network device, as in eth0", parse)


def network() -> Kind[Network]:
    def parse(text: str) -> Network:
        from ipaddress import ip_network

        if "%" in text:
            raise ValueError(text)
        return ip_network(text, strict=False)

    return Kind("an IPv4 or IPv6 address or network, as in 192.168.1.0/24", parse)


def ports() -> Kind[tuple[int, int]]:
    """First and last port, both included."""

    def parse(text: str) -> tuple[int, int]:
        first, dash, last = text.partition("-")
        low = _within(_number(first), 0, 65535)
        return low, _within(_number(last), low, 65535) if dash else low

    return Kind("a port 0 to 65535 or a range of them, as in 5060-5061", parse)


def dscp() -> Kind[int]:
    """A number or a name of RFC 2474 (CS), 2597 (AF), 3246 (EF)."""
    names = {"be": 0, "ef": 46}
    names |= {f"cs{precedence}": precedence << 3 for precedence in range(8)}
    names |= {
        f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)
    }

    def parse(text: str) -> int:
        name = text.lower()
        return names[name] if name in names else _within(_number(text), 0, 63)

    return Kind("0 to 63, be, cs0 to cs7, af11 to af43 or ef", parse)


def absolute_path() -> Kind[str]:
    def parse(text: str) -> str:
        if not text.startswith("/"):
            raise ValueError(text)
        return text

    return Kind("an absolute path", parse)


def any_text() -> Kind[str]:
    return Kind("any text", str)


def _number(text: str) -> int:
    """Decimal or 0x hexadecimal; int() alone would also take signs, blanks and underscores."""
    if not re.fullmatch("0[xX][0-9a-fA-F]{1,16}|[0-9]{1,16}", text):
        raise ValueError(text)
    return int(text, 16 if text[:2] in ("0x", "0X") else 10)


def _shortest_duration(seconds: int) -> str:
    for letter in "dhm":
        if seconds and seconds % _UNITS[letter] == 0:
            return f"{seconds // _UNITS[letter]}{letter}"
    return str(seconds)


def _duration_in_words(seconds: int) -> str:
    size = next(size for size in _WORDS if seconds % size == 0 and (seconds or size == 1))
    count = seconds // size
    return f"{count} {_WORDS[size]}{'' if count == 1 else 's'}"


def _within(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _look_up(names: dict[str, T], text: str) -> T:
    if text not in names:
        raise ValueError(text)
    return names[text]
