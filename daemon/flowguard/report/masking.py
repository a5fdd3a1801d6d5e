# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes out of a text whatever tells whose router it is, the same one always the same way.

Masked is what looks like an address, an account, a key or a name in the DNS, and every name that
is known from this machine. What an address was (private, public) stays readable. Numbers of
kernels, times, PCI ids, instructions' addresses and interfaces' names stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from flowguard.core.records import frozen
from flowguard.report.address_kinds import (
    ipv4_in,
    ipv4_kind,
    ipv6_in,
    ipv6_kind,
    is_everybodys_mac,
    macs_in,
)

SHORTEST = 3
"""Characters; a shorter name is part of everything, and tells nothing."""
SHORTEST_NUMBER = 6
"""Digits; a shorter number may mean anything, and is no name."""
SHORTEST_INSIDE = 6
"""A secret of so many characters is found inside of words as well."""
NOBODYS_NAMES = frozenset(
    {"openwrt", "lede", "debian", "localhost", "flowguard", "linux", "kernel", "ipv4", "ipv6"}
    | {"hardware", "software", "none", "true", "false", "auto", "root", "unknown", "network"}
    | {"lan", "wan", "wan6", "home", "local", "internal"}
)
"""What a host may be called and still tells nobody's name."""


class NameKind(StrEnum):
    HOST = "host"
    DOMAIN = "domain"
    SSID = "ssid"
    ACCOUNT = "account"
    SECRET = "secret"
    NAME = "name"


@frozen
class KnownName:
    """Something that is to be masked wherever it occurs."""

    kind: NameKind
    text: str


# A word's edges. JSON writes a line's end as two characters, and the second looks like a letter.
_LEFT = r"(?:(?<![^\W_])|(?<=\\[nrtbf]))"
_RIGHT = r"(?![^\W_])"
_HEX = "[0-9A-Fa-f]"
_TLDS = (
    "com|net|org|info|io|me|co|app|dev|cloud|eu|de|at|ch|fr|it|nl|be|uk|us|ca|au|nz|pl|cz|es|pt|se|fi|dk|br|jp|cn|ru"
    "|lan|home|local|internal|box|arpa|example|test|invalid"
)
# Names in messages of kernels and in this report.
_PUBLIC_DOMAINS = (
    r"(?:(?:www|git|bugs|bugzilla|lore|nvd|docs)\.)?(?:kernel|openwrt|debian|github|nist)"
)
_PATTERNS = {
    "mac": rf"(?<!{_HEX}){_HEX}{{2}}"
    rf"(?:(?::{_HEX}{{2}}){{5,}}|(?:-{_HEX}{{2}}){{5,}})(?!{_HEX})",
    "device_mac": rf"(?<=\b[ew][nlw]x){_HEX}{{12}}(?!{_HEX})",
    "ipv6": rf"(?<!{_HEX})(?:{_HEX}{{0,4}}:){{2,9}}"
    rf"(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}|{_HEX}{{0,4}})(?!{_HEX})",
    # Drivers and firmware have versions of four numbers as well.
    "ipv4": r"(?<!\d)(?<!\w\.)(?<!\bv)(?<!\bV)(?<!ersion )(?<!ersion: )(?<!irmware )"
    r"\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)",
    # `ethernet@15100000` is a place in the device tree.
    "account": rf"[\w.+-]+(?::[^\s:@/]+)?@(?!{_HEX}[0-9A-Fa-f,]*(?![\w.-]))\w[\w.-]*",
    "key": rf"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{{43}}=|{_HEX}{{64}})(?![A-Za-z0-9+/=])",
    "said_ssid": r"(?i:(?<=ssid[=:])|(?<=ssid[=:] )|(?<=ssid ))(?:\"[^\"\n]*\"|'[^'\n]*')"
    r"|(?i:(?<=ssid[=:]))[^\s,;\"']+",
    "said_secret": r"(?i:(?:(?<=password)|(?<=passwd)|(?<=passphrase)|(?<=psk)|(?<=secret)"
    r"|(?<=token)|(?<=private_key)|(?<=preshared_key)|(?<=serialnumber)))"
    r"[\"']? ?[:=] ?(?:\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|[^\s,;\"']+)",
    "domain": rf"(?<![\w.-])(?!(?i:{_PUBLIC_DOMAINS})\.(?:org|com|gov)\b)"
    rf"(?i:(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_TLDS}))(?![\w-]|\.\w)",
}


# Packets and memory as the kernel prints them (lib/hexdump.c, mm/slub.c): addresses, and what
# people said. Instructions (`Code:`) and KASAN's shadow have another form.
_DUMPED = re.compile(
    r"((?<![0-9A-Fa-f])[0-9a-f]{8}: +|(?:Object|Bytes b4|Redzone|Padding) +[0-9a-f]{8,16}: +)"
    r"(?:[0-9a-f]{2} ){3,}[0-9a-f]{2}.*?(?=\\n|\n|$)"
)
LEFT_OUT = "[octets left out]"
# What is known and has other letters than these is looked for before anything else: patterns
# would take a part of it.
_SIMPLE = re.compile(r"[\w.-]*")

_OTHERS_WITHIN = re.compile("|".join(f"(?P<{n}>{_PATTERNS[n]})" for n in ("mac", "ipv4")))
_HAS_MAC = re.compile(rf"[ew][nlw]x{_HEX}{{12}}$")


class Masking:
    """Masks by patterns and by `known` names, but for those that interfaces have as well."""

    def __init__(self, known: Iterable[KnownName] = (), interfaces: Sequence[str] = ()) -> None:
        self._numbers: dict[tuple[str, object], int] = {}
        self._counts: dict[str, int] = {}
        self._known: dict[str, KnownName] = {}
        spared = NOBODYS_NAMES | {name.lower() for name in interfaces}
        self._interfaces = frozenset(n for n in interfaces if not _HAS_MAC.match(n))
        inside: list[str] = []
        phrases: list[str] = []
        words: list[str] = []
        for name in known:
            if name.text.lower() in spared or not _is_telling(name.text):
                continue
            for spelling in _spellings(name.text):
                self._known.setdefault(spelling.lower(), name)
                is_inside = name.kind is NameKind.SECRET and len(spelling) >= SHORTEST_INSIDE
                others = words if _SIMPLE.fullmatch(spelling) else phrases
                (inside if is_inside else others).append(spelling)
        self._first = _names_only(inside, phrases)
        self._then = _compiled([*words, *self._interfaces])

    def mask(self, text: str) -> str:
        """The text without any of them."""
        text = _DUMPED.sub(rf"\1{LEFT_OUT}", text)
        parts, end = [], 0
        for found in self._first.finditer(text) if self._first else ():
            parts += [self._then.sub(self._masked, text[end : found.start()]), self._masked(found)]
            end = found.end()
        return "".join([*parts, self._then.sub(self._masked, text[end:])])

    def _masked(self, found: re.Match[str]) -> str:
        text = found[0]
        match found.lastgroup:
            case "mac":
                return text[2].join(map(self._mac, macs_in(text)))
            case "device_mac":
                return self._numbered("mac", text.lower())
            case "ipv6":
                return self._ipv6(text)
            case "ipv4":
                return self._ipv4(text)
            case "account" | "domain" | "key" as kind:
                return self._numbered(kind, text.lower() if kind == "domain" else text)
            case "said_ssid":
                return self._numbered(NameKind.SSID, text.strip("\"'"))
            case "said_secret":
                return self._said(text)
        if text in self._interfaces:
            return text
        known = self._known.get(text.lower())
        if not known:
            # Letters that are alike in another case only.
            return self._numbered(NameKind.NAME, text.lower())
        own = known.text if known.kind is NameKind.SECRET else known.text.lower()
        return self._numbered(known.kind, own)

    def _said(self, text: str) -> str:
        """The value behind `password=` and the like."""
        edge = re.match(r"[\"']? ?[:=] ?", text)
        assert edge
        return edge[0] + self._numbered(NameKind.SECRET, text[edge.end() :].strip("\"'"))

    def _mac(self, text: str) -> str:
        octets = re.sub("[:-]", "", text).lower()
        if len(octets) < 12 or is_everybodys_mac(text):
            return text
        return self._numbered("mac", octets)

    def _ipv4(self, text: str) -> str:
        address = ipv4_in(text)
        kind = ipv4_kind(address) if address else ""
        return self._numbered(f"ipv4-{kind}", address) if kind else text

    def _ipv6(self, text: str) -> str:
        found = ipv6_in(text)
        if not found:
            # A MAC behind a word that could be a number: `iface:02:00:5e:10:20:30`.
            return _OTHERS_WITHIN.sub(self._masked, text)
        start, end, address = found
        kind = ipv6_kind(address)
        masked = self._numbered(f"ipv6-{kind}", address) if kind else text[start:end]
        return text[:start] + masked + text[end:]

    def _numbered(self, kind: str, what: object) -> str:
        number = self._numbers.get((kind, what))
        if number is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            self._numbers[kind, what] = number
        return f"{kind}-{number}"


def _is_telling(name: str) -> bool:
    return len(name) >= (SHORTEST_NUMBER if name.isdigit() else SHORTEST)


def _names_only(inside: Iterable[str], phrases: Iterable[str]) -> re.Pattern[str] | None:
    """Secrets, also as a part of words, and names that are more than a word."""
    parts = []
    if secrets := "|".join(map(re.escape, _longest_first(inside))):
        parts.append(secrets)
    if names := _any_whole(phrases):
        parts.append(f"(?i:{names})")
    return re.compile("|".join(parts)) if parts else None


def _compiled(words: Iterable[str]) -> re.Pattern[str]:
    """Names last: an address is not to be torn by a name that is part of it."""
    parts = [f"(?P<{name}>{pattern})" for name, pattern in _PATTERNS.items()]
    if names := _any_whole(words):
        parts.append(f"(?P<word>(?i:{names}))")
    return re.compile("|".join(parts))


def _any_whole(names: Iterable[str]) -> str:
    """One of these, but not as a part of another word."""
    ordered = _longest_first(names)
    # A word's edge is looked for once, and not for each of them.
    words = "|".join(_up_to_its_end(name) for name in ordered if name[0].isalnum())
    others = "|".join(_up_to_its_end(name) for name in ordered if not name[0].isalnum())
    return "|".join(filter(None, (words and f"{_LEFT}(?:{words})", others)))


def _up_to_its_end(name: str) -> str:
    return re.escape(name) + (_RIGHT if name[-1].isalnum() else "")


def _longest_first(texts: Iterable[str]) -> list[str]:
    """One may begin another."""
    return sorted(set(texts), key=lambda text: (-len(text), text))


def _spellings(text: str) -> Iterator[str]:
    """As it is, and as JSON, UCI, the kernel's log and a Markdown table write it."""
    data = text.encode("utf-8", "surrogateescape")
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield text.replace("'", "'\\''")
    yield text.replace("|", "\\|")
    yield text.encode("ascii", "backslashreplace").decode()
    yield re.sub("[\u200b\ufeff]", "", text)  # Readers of logs leave these out.
    # printk escapes what is no ASCII, byte by byte.
    yield data.decode("latin-1")
    yield "".join(
        chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in data
    )
