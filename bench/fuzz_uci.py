# SPDX-License-Identifier: GPL-2.0-or-later
"""UCI files by the million: every one parses or raises UciError, and none takes long.

Where there is a real `uci` on PATH, one in a thousand goes through it as well: what it exports,
or what it says is wrong, has to be the same.

Run: python -m bench.fuzz_uci [--inputs 1000000] [--seed 1] [--compare 1000]
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from flowguard.core.records import frozen, mutable
from flowguard.platform.openwrt import uci
from flowguard.platform.openwrt.uci import UciError

NAME = "fuzzed"
SLOWEST = 5.0
"""Seconds of processor time for one input; a mebibyte of newlines in quotes is the worst."""
SIZE = 1 << 20
SHOWN = 5
"""So many of the faults of each kind are printed."""
LENGTH = 10_000
"""Of the texts in them so much; only the worst cases are longer."""

FILES = (
    (Path(__file__).parents[1] / "config/flowguard").read_bytes(),
    b"config defaults\n\toption input 'REJECT'\n\toption flow_offloading '1'\n\n"
    b"config zone\n\toption name 'lan'\n\tlist network 'lan'\n\tlist network 'guest'\n\n"
    b"config rule 'dhcp'\n\toption name \"Allow \\\"DHCP\\\"\"\n\toption dest_port '68'\n",
    b"package network\n\nconfig interface 'lan'\n\toption ipaddr 192.168.1.1 # a comment\n"
    b"\tlist dns 'it''s'\n\toption note 'two\nlines'\n\n"
    b"config interface lan\n\toption ipaddr \\\n\t\t10.0.0.1\n\nconfig device\r\n\toption up 1\r\n",
    b"c a x; o k v; l m 'v'; l m w\nc a y\no k \"a\\\nb\"\nc a x\no k ''\no m \xff\xc3\xbc\n",
)
KEYWORDS = (b"config", b"option", b"list", b"package", b"c", b"o", b"l", b"p", b"bogus")
FREQUENT = (b"config", *[b"option", b"list"] * 2, b"o")
NAMES = (b"a", b"b", b"'a'", b'"b"', b"globals", b"cfg01b68a", b"x" * 33, b"a-b.c", b"!~", b"")
WORDS = (
    *(b"1", b"x_1", b"'x y'", b'"q r"', b"''", b'""', b"it\\'s", b"\\ ", b"\\\\", b"'\\'"),
    *(b'"\\""', b"'#'", b"a\\\nb", b"\\\r\nc", b"'l\n\nm'", b'"l\\\nm"', b"'\r\n'", b"y" * 31),
    *(b"z" * 64, b"\xff\xe9", b"\xc2\xa0", b"\x7f"),
)
GAPS = (*[b" "] * 6, b"\t", b"  ", b" \\\n", b"\t \t", b"\v ", b" \f", b"\r")
ENDS = (
    *[b"\n"] * 10,
    *(b"\r\n", b" # c\n", b"# x 'y\n", b" ;", b"; ", b" ; ", b";\n", b"\n\n", b"\n#c\n", b"\\\n\n"),
    *(b"\0zz\n\n", b"\n\0\n", b"\n \t\n"),
)
TOKENS = (
    *(keyword + b" " for keyword in KEYWORDS),
    *(*NAMES, *WORDS, *GAPS, *ENDS),
    *(b"'", b'"', b"\\", b";", b"#", b"\0", b"\xef\xbb\xbf", b"config a\n", b"config b 'x'\n"),
)


def damaged_files(source: random.Random) -> bytes:
    """A valid file in which bytes were changed, cut, doubled, or replaced by tokens."""
    data = bytearray(source.choice(FILES))
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data) + 1)
        end = min(len(data), at + source.randint(1, 60))
        match source.randrange(6):
            case 0:
                data[at:at] = source.choice(TOKENS)
            case 1:
                data[at : at + 1] = source.choice(TOKENS)
            case 2:
                data[at : at + 1] = source.randbytes(1)
            case 3:
                del data[at : at + source.randint(1, 8)]
            case 4:
                data[at:at] = data[at:end] * source.randint(1, 3)
            case _:
                del data[end:]
    return bytes(data)


def sentences(source: random.Random) -> bytes:
    """Commands as they should be, mostly, with all that may stand between them."""
    data = bytearray(b"config a\n")
    for _ in range(source.randint(1, 8)):
        keyword = source.choice(KEYWORDS) if source.random() < 0.05 else source.choice(FREQUENT)
        data += keyword + source.choice(GAPS) + _name(source)
        if keyword[:1] in b"ol":
            words = source.choices(WORDS, k=source.choice((1, 1, 1, 2, 3)))
            data += source.choice(GAPS) + b"".join(words)
        elif source.random() < 0.5:
            data += source.choice(GAPS) + _name(source)
        data += source.choice(ENDS)
    return bytes(data)


def _name(source: random.Random) -> bytes:
    return source.choice(NAMES if source.random() < 0.05 else NAMES[:6])


def token_soup(source: random.Random) -> bytes:
    return b"".join(source.choices(TOKENS, k=source.randint(1, 25)))


def raw_bytes(source: random.Random) -> bytes:
    return source.randbytes(source.randint(0, 50))


MAKERS = (damaged_files, sentences, token_soup, raw_bytes)


def worst() -> Iterator[bytes]:
    """Large files of what costs most: escapes, joined lines, quotes that never end, commands."""
    for part in (b"\\a", b"'a'", b'"a"', b"\\\n", b"a", b"\0\n"):
        yield b"config a\noption b " + part * (SIZE // len(part))
    for quote in (b"'", b'"'):
        for part in (b"a", b"\n", b"\\\n", b"\\a"):
            yield b"config a\noption b " + quote + part * (SIZE // len(part))
    for command in (
        b"config a\n",
        b"config a b\n",
        b"list b c\n",
        b"list b c;",
        b"o b c ; ",
        b"\n",
    ):
        yield b"config a\n" + command * (SIZE // len(command))


def inputs(make: Callable[[random.Random], bytes], count: int, seed: int) -> Iterator[bytes]:
    source = random.Random(f"{make.__name__} {seed}")
    return (make(source) for _ in range(count))


@frozen
class Outcome:
    """What is exported, or what is said to be wrong; one of them is empty."""

    exported: bytes
    error: str = ""


def ours(text: bytes) -> Outcome:
    try:
        return Outcome(uci.export(uci.parse(text, NAME)))
    except UciError as error:
        return Outcome(b"", str(error))


class RealUci:
    """The program, and a folder for the file it is to read."""

    def __init__(self, program: str, folder: str) -> None:
        self._command = [program, "-c", folder, "export", NAME]
        self._file = Path(folder, NAME)

    def outcome(self, text: bytes) -> Outcome:
        self._file.write_bytes(text)
        done = subprocess.run(self._command, capture_output=True)
        if not done.returncode:
            return Outcome(done.stdout)
        # Behind the name of the program.
        return Outcome(done.stdout, done.stderr.decode().partition(": ")[2].strip())


@mutable
class Tally:
    """What came of the inputs of one kind; times are of the processor, for our parser alone."""

    accepted: int = 0
    refused: int = 0
    crashed: int = 0
    compared: int = 0
    different: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    slowest: bytes = b""

    @property
    def failed(self) -> bool:
        return bool(self.crashed or self.different) or self.longest > SLOWEST

    def __str__(self) -> str:
        compared = f"{self.different} of {self.compared} unlike uci" if self.compared else "no uci"
        done = self.accepted + self.refused + self.crashed
        return (
            f"{self.accepted} accepted, {self.refused} refused, {self.crashed} crashed, "
            f"{compared}, {done / self.seconds:.0f} inputs/s, "
            f"slowest {self.longest * 1e3:.1f} ms ({_shown(self.slowest, 60)})"
        )


def run(texts: Iterable[bytes], real: RealUci | None, every: int) -> Tally:
    """Parse them all, and compare one of so many."""
    tally = Tally()
    for number, text in enumerate(texts):
        begin = time.process_time()
        outcome = None
        try:
            outcome = ours(text)
        except Exception as error:
            tally.crashed += 1
            if tally.crashed <= SHOWN:
                print(f"{error!r}: {_shown(text)}")
        took = time.process_time() - begin
        tally.seconds += took
        if took > tally.longest:
            tally.longest, tally.slowest = took, text
        if outcome is None:
            continue
        tally.accepted += not outcome.error
        tally.refused += bool(outcome.error)
        if real and not number % every:
            _compare(text, outcome, real, tally)
    return tally


def _compare(text: bytes, outcome: Outcome, real: RealUci, tally: Tally) -> None:
    expected = real.outcome(text)
    tally.compared += 1
    if outcome != expected:
        tally.different += 1
        if tally.different <= SHOWN:
            print(f"{_shown(text)}\n  uci:  {_shown(expected)}\n  here: {_shown(outcome)}")


def _shown(what: object, length: int = LENGTH) -> str:
    text = repr(what)
    return text if len(text) <= length else f"{text[:length]}..."


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fuzz_uci")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compare", type=int, default=1000, help="one of so many; 0: none")
    options = parser.parse_args()
    program = shutil.which("uci") if options.compare else None
    share = -(-options.inputs // len(MAKERS))
    runs = [("worst cases", worst(), 1)]
    for make in MAKERS:
        name = make.__name__.replace("_", " ")
        runs.append((name, inputs(make, share, options.seed), options.compare))
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        real = RealUci(program, folder) if program else None
        for name, texts, every in runs:
            tally = run(texts, real, every)
            print(f"{name:<14}{tally}", flush=True)
            status |= tally.failed
    return status


if __name__ == "__main__":
    sys.exit(main())
