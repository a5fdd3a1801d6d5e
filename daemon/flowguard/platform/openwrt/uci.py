# SPDX-License-Identifier: GPL-2.0-or-later
"""The UCI file format, in the strict mode of OpenWrt's `uci`.

Accepts, rejects and exports exactly as `uci export` does (uci 66127cd), oddities
included, and keeps the line of every section and value for messages to people. Files
are bytes; text that is not UTF-8 passes through as surrogate escapes.
"""

from __future__ import annotations

import os
import sys

from flowguard.core.records import frozen, mutable
from flowguard.platform.openwrt.uci_scanner import Scanner, UciError

__all__ = ["Option", "Package", "Section", "UciError", "Value", "export", "load", "parse"]


@frozen
class Value:
    text: str
    line: int


@frozen
class Option:
    """An `option` (one value) or a `list` (one value or more)."""

    name: str
    values: tuple[Value, ...]
    is_list: bool

    @property
    def line(self) -> int:
        return self.values[0].line


@frozen
class Section:
    """A `config` section; an anonymous one has the name that `uci` makes up for it."""

    type: str
    name: str
    anonymous: bool
    line: int
    options: tuple[Option, ...]


@frozen
class Package:
    name: str
    sections: tuple[Section, ...]


def load(path: str) -> Package:
    """Read a file; the package is named after it, without `.conf`.

    Raises OSError when it cannot be read and UciError when it is not valid.
    """
    with open(path, "rb") as file:
        text = file.read()
    return parse(text, os.path.basename(path).removesuffix(".conf"))


def parse(text: bytes, name: str) -> Package:
    """Parse the bytes of a file into the package `name`; raises UciError."""
    return _Parser(text).package(name)


def export(package: Package) -> bytes:
    """The package in the form that `uci export` prints."""
    lines = [f"package {_escape(package.name)}"]
    for section in package.sections:
        title = "" if section.anonymous else f" '{_escape(section.name)}'"
        lines += ["", f"config {_escape(section.type)}{title}"]
        for option in section.options:
            keyword = "list" if option.is_list else "option"
            lines += (f"\t{keyword} {option.name} '{_escape(v.text)}'" for v in option.values)
    return "\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _escape(text: str) -> str:
    return text.replace("'", "'\\''")


@mutable
class _OpenOption:
    is_list: bool
    values: list[Value]


@mutable
class _OpenSection:
    type: str
    name: str
    anonymous: bool
    line: int
    options: dict[str, _OpenOption]

    def close(self) -> Section:
        options = (Option(n, tuple(o.values), o.is_list) for n, o in self.options.items())
        return Section(self.type, self.name, self.anonymous, self.line, tuple(options))


class _Parser:
    """Builds the package from the commands."""

    def __init__(self, text: bytes) -> None:
        self._scanner = Scanner(text)
        self._sections: list[_OpenSection] = []
        self._by_name: dict[str, _OpenSection] = {}
        self._current: _OpenSection | None = None

    def package(self, name: str) -> Package:
        while self._scanner.next_line():
            while keyword := self._scanner.next_command():
                self._command(keyword)
        return Package(name, tuple(section.close() for section in self._sections))

    def _command(self, keyword: bytes) -> None:
        match keyword:
            case b"p" | b"package":
                # The name of the file counts, not this one.
                self._scanner.enter_command("package")
                self._scanner.package_name()
                self._scanner.end_of_command()
            case b"c" | b"config":
                self._config()
            case b"o" | b"option":
                self._option(is_list=False)
            case b"l" | b"list":
                self._option(is_list=True)
            case _:
                raise self._scanner.error("invalid command")

    def _config(self) -> None:
        self._scanner.enter_command("config")
        line = self._scanner.line
        section_type = self._scanner.section_type()
        name = self._scanner.section_name()
        self._scanner.end_of_command()
        known = self._by_name.get(name) if name else None
        if known and known.type != section_type:
            raise self._scanner.error(
                "section of different type overwrites prior section with same name"
            )
        self._current = known or self._open_section(section_type, name, line)

    def _open_section(self, section_type: str, name: str, line: int) -> _OpenSection:
        made_up = _anonymous_name(len(self._sections) + 1, section_type)
        section = _OpenSection(section_type, name or made_up, not name, line, {})
        self._sections.append(section)
        self._by_name.setdefault(section.name, section)
        return section

    def _option(self, is_list: bool) -> None:
        if not self._current:
            raise self._scanner.error("option/list command found before the first section")
        self._scanner.enter_command("option")
        line = self._scanner.line
        name = self._scanner.option_name()
        value = Value(self._scanner.value(), line)
        self._scanner.end_of_command()
        options = self._current.options
        if is_list:
            option = options.setdefault(name, _OpenOption(True, []))
            option.is_list = True
            option.values.append(value)
        elif value.text:
            # An empty value neither sets an option nor clears an earlier one.
            options[name] = _OpenOption(False, [value])


def _anonymous_name(position: int, section_type: str) -> str:
    """The name `uci` gives a section without one: its position and a hash of its type."""
    digest = 5381
    for character in section_type.encode():
        digest = (digest * 33 + character) & 0xFFFFFFFF
    return f"cfg{position:02x}{digest & 0xFFFF:04x}"


def _main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m flowguard.platform.openwrt.uci FILE", file=sys.stderr)
        return 2
    try:
        package = load(arguments[0])
    except OSError as error:
        print(f"uci: {arguments[0]}: {error.strerror}", file=sys.stderr)
        return 1
    except UciError as error:
        print(f"uci: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(export(package))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
