# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.platform.openwrt import uci
from flowguard.platform.openwrt.uci import Option, Package, Section, UciError, Value

ROOT = Path(__file__).parents[3]
CASES = ROOT.parent / "shared" / "uci-cases"


def exported(text: bytes) -> bytes:
    return uci.export(uci.parse(text, "test"))


def refused(text: bytes) -> UciError:
    with pytest.raises(UciError) as caught:
        uci.parse(text, "test")
    return caught.value


# --- against the real uci ---------------------------------------------------------------


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
def test_agrees_with_the_real_uci_on_the_shared_cases() -> None:
    for file in sorted(CASES.glob("*.conf")):
        expected, error = file.with_suffix(".expected"), file.with_suffix(".error")
        if expected.exists():
            assert uci.export(uci.load(str(file))) == expected.read_bytes(), file.name
        else:
            with pytest.raises(UciError) as caught:
                uci.load(str(file))
            assert f"uci: {caught.value}" == error.read_text().splitlines()[1], file.name


# --- the format -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b"plain", "plain"),
        (b"'a b'\"c d\"e", "a bc de"),
        (b"a\\ b", "a b"),
        (b"'a\\b'", "a\\b"),
        (b'"a\\"b\\\\"', 'a"b\\'),
        (b"'two\n\nlines'", "two\n\nlines"),
        (b'"two\nlines"', "two\nlines"),
        (b"joi\\\nned", "joined"),
        (b"joi\\\r\nned", "joined"),
        (b'"joi\\\nned"', "joined"),
        (b"v#comment", "v"),
        (b"'\xff\xe9'", "\udcff\udce9"),
        ("'é'".encode(), "é"),
    ],
)
def test_a_value_is_unquoted(value: bytes, meaning: str) -> None:
    package = uci.parse(b"config a\n\toption o " + value + b"\n", "test")
    assert package.sections[0].options == (Option("o", (Value(meaning, 2),), False),)


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        (b"bogus\n", "invalid command", 1),
        (b"option o 1\n", "option/list command found before the first section", 1),
        (b"config a\n\n option o-o 1\n", "invalid character in name field", 3),
        (b"config a\n option o 1 2\n", "too many arguments", 2),
        (b"config a\n option o 'x\n\n\n", "EOF with unterminated '", 2),
        (b'config a\n option o "x', 'EOF with unterminated "', 2),
        (b"config a\n option ''\n", "insufficient arguments", 2),
        (b"config \xc3\xa9\n", "invalid character in type field", 1),
        (b"config a x\nconfig b x\n", "section of different type", 2),
        (b"config", "config without name", 1),
    ],
)
def test_an_error_tells_the_reason_and_where_the_statement_starts(
    text: bytes, reason: str, line: int
) -> None:
    error = refused(text)
    assert error.reason.startswith(reason)
    assert error.line == line


def test_lines_are_kept_for_sections_and_values() -> None:
    package = uci.parse(b"\nconfig a 'x'\n option o 'two\nlines'\n list l 1\n\n list l 2\n", "test")
    section = package.sections[0]
    option, items = section.options
    assert (section.line, option.line) == (2, 3)
    assert [value.line for value in items.values] == [5, 7]


def test_a_repeated_section_is_merged_and_the_last_option_wins() -> None:
    text = b"config a x\n option o 1\n list l 1\nconfig a x\n option o 2\n list l 2\n"
    assert exported(text) == (
        b"package test\n\nconfig a 'x'\n\toption o '2'\n\tlist l '1'\n\tlist l '2'\n\n"
    )


def test_an_option_becomes_a_list_and_a_list_an_option() -> None:
    text = b"config a\n option o 1\n list o 2\n list l 1\n option l 2\n"
    assert exported(text) == (
        b"package test\n\nconfig a\n\tlist o '1'\n\tlist o '2'\n\toption l '2'\n\n"
    )


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (b"option o ''", b""),
        (b"option o 1\noption o ''", b"\toption o '1'\n"),
        (b"list l ''", b"\tlist l ''\n"),
        (b"option o '1' ; option p 2", b"\toption o '1'\n\toption p '2'\n"),
        (b"option o '1'; option p 2", b"\toption o '1'\n\toption p '2'\n"),
        # Glued to an unquoted value, the semicolon takes the rest of the line with it.
        (b"option o 1; option p 2", b"\toption o '1'\n"),
        # A NUL hides the rest of its line, newline and all.
        (b"option o 1\0junk\n option p 2", None),
        (b"option o '1\0junk\n2'", b"\toption o '12'\n"),
        (b"package other\no o 1\nl l 2", b"\toption o '1'\n\tlist l '2'\n"),
        (b"option o 'it'\\''s'", b"\toption o 'it'\\''s'\n"),
    ],
)
def test_the_oddities_of_the_real_uci(options: bytes, kept: bytes | None) -> None:
    text = b"config a\n" + options + b"\n"
    if kept is None:
        assert refused(text).reason == "too many arguments"
    else:
        assert exported(text) == b"package test\n\nconfig a\n" + kept + b"\n"


def test_a_section_without_name_is_found_under_the_name_uci_makes_up() -> None:
    (section,) = uci.parse(b"config rule\n", "test").sections
    assert section.anonymous
    merged = uci.parse(f"config rule\nconfig rule {section.name}\n option o 1\n".encode(), "test")
    assert len(merged.sections) == 1
    # As the real `uci -n export` prints it.
    assert section.name == "cfg0192bd"


# --- properties -------------------------------------------------------------------------

names = st.text("abcXYZ019_", min_size=1, max_size=6)
types = st.text("abcXYZ019_.-", min_size=1, max_size=6)
texts = st.binary(max_size=20).map(
    lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
values = texts.map(lambda text: Value(text, 0))


@st.composite
def sections(draw: st.DrawFn) -> Section:
    options = {}
    for name in draw(st.lists(names, unique=True, max_size=4)):
        if draw(st.booleans()):
            listed = draw(st.lists(values, min_size=1, max_size=3))
            options[name] = Option(name, tuple(listed), True)
        else:
            value = draw(values.filter(lambda value: bool(value.text)))
            options[name] = Option(name, (value,), False)
    name = draw(names.filter(lambda name: not name.startswith("cfg")) | st.just(""))
    return Section(draw(types), name, not name, 0, tuple(options.values()))


def without_lines(package: Package) -> list[object]:
    return [
        (
            section.type,
            None if section.anonymous else section.name,
            [(o.name, o.is_list, [v.text for v in o.values]) for o in section.options],
        )
        for section in package.sections
    ]


@given(st.lists(sections(), max_size=4, unique_by=lambda section: section.name or id(section)))
def test_what_is_exported_reads_back_the_same(content: list[Section]) -> None:
    package = Package("test", tuple(content))
    text = uci.export(package)
    again = uci.parse(text, "test")
    assert without_lines(again) == without_lines(package)
    assert uci.export(again) == text


WORDS = [b"config ", b"option ", b"list ", b"package ", b"a", b"x ", b"y" * 40, b"\xff"]
SIGNS = [b"'", b'"', b"\\", b";", b"#", b"\n", b"\r\n", b"\0", b"\t", b"\v", b" "]
pieces = st.sampled_from([*WORDS, *SIGNS])


@given(st.binary() | st.lists(pieces, max_size=60).map(b"".join))
def test_any_bytes_are_either_read_or_refused(text: bytes) -> None:
    try:
        package = uci.parse(text, "test")
    except UciError as error:
        assert 1 <= error.line <= text.count(b"\n") + 1
    else:
        last = text.count(b"\n") + 1
        assert all(1 <= s.line <= last for s in package.sections)


@pytest.mark.parametrize(
    "text",
    [
        b"config a\n" + b"\tlist l 'item'\n" * 20_000,
        b"config a\n\toption o '" + b"line\n" * 50_000 + b"'\n",
        b"config a\n\toption o " + b"joined\\\n" * 50_000 + b"\n",
        b"config a\n\toption o " + b"\\x" * 100_000 + b"\n",
        b"config a\n\toption o '" + b"x" * 1_000_000 + b"'\n",
        b"config a; " * 20_000,
        b"".join(b"config a n%d\n" % number for number in range(20_000)),
    ],
    ids=["list", "lines", "joined", "escapes", "long", "commands", "sections"],
)
def test_time_grows_with_the_size_only(text: bytes) -> None:
    def seconds(part: bytes) -> float:
        start = time.process_time()
        with contextlib.suppress(UciError):
            uci.parse(part, "test")
        return time.process_time() - start

    # Quadratic work on any of these would take minutes.
    assert seconds(text) < 10


# --- the program ------------------------------------------------------------------------


def program(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "flowguard.platform.openwrt.uci", *arguments],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT / "daemon")},
        check=False,
    )


def test_the_program_prints_the_export_under_the_files_name(tmp_path: Path) -> None:
    file = tmp_path / "demo.conf"
    file.write_bytes(b"config a x\n option o '\xff'\n")
    done = program(str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"package demo\n\nconfig a 'x'\n\toption o '\xff'\n\n"


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "demo"
    file.write_bytes(b"config a x\nbogus\n")
    done = program(str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"uci: Parse error (invalid command) at line 2, byte 0\n"
    missing = program(str(tmp_path / "missing"))
    assert missing.returncode == 1
    assert len(missing.stderr.splitlines()) == 1
