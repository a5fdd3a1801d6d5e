# SPDX-License-Identifier: GPL-2.0-or-later
"""Splits a UCI file into commands and arguments exactly as `uci` does (its file.c)."""

from __future__ import annotations

import re

_KEYWORD = re.compile(rb"[ \t]*([^ \t]+)")
_PLAIN = re.compile(rb'[^"\\]*')
_NAME = re.compile(rb"[A-Za-z0-9_]+")
_PACKAGE_NAME = re.compile(rb"[A-Za-z0-9_-]+")
_TYPE = re.compile(rb"[!-~]+")


class UciError(Exception):
    """The file is not valid UCI; the text is what `uci` says about it.

    `line` is where the faulty statement starts, which is what a person wants to know:
    `uci` itself counts the newlines read so far.
    """

    def __init__(self, reason: str, line: int, newlines: int, byte: int) -> None:
        super().__init__(f"Parse error ({reason}) at line {newlines}, byte {byte}")
        self.reason = reason
        self.line = line


class Scanner:
    """Splits a file into commands and their arguments.

    Like `uci` it works on a buffer that holds the current line and, when a value or a
    trailing backslash goes on, the lines after it. What is visible from outside hangs
    on that buffer: positions in error messages, and what a NUL byte swallows.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._read = 0
        self._capacity = 32
        self._newlines = 0
        self._buffer = bytearray()
        self._position = 0
        self._command_end = 0
        self.line = 0

    def next_line(self) -> bool:
        """Go to the next line of the file; False at its end."""
        if self._read >= len(self._text):
            return False
        self._position = 0
        self._fill()
        self._skip_whitespace()
        return True

    def next_command(self) -> bytes | None:
        """The keyword of the next command on this line, not yet entered."""
        found = _KEYWORD.match(self._buffer, self._position)
        if not found or found[1].startswith(b"#"):
            return None
        # The last line of a file may lack its newline.
        self.line = self._newlines + (not self._buffer.endswith(b"\n"))
        self._command_end = found.end()
        return found[1]

    def enter_command(self, description: str) -> None:
        """Step behind the keyword, to the arguments."""
        if self._command_end >= len(self._buffer):
            raise self.error(f"{description} without name")
        self._position = self._command_end + 1

    def section_name(self) -> str:
        """The name of a section or, when it has none, an empty string."""
        return self._checked(self._argument(), _NAME, "name")

    def section_type(self) -> str:
        return self._checked(self._required_argument(), _TYPE, "type")

    def option_name(self) -> str:
        return self._checked(self._required_argument(), _NAME, "name")

    def package_name(self) -> str:
        return self._checked(self._required_argument(), _PACKAGE_NAME, "name")

    def value(self) -> str:
        return self._argument().decode("utf-8", "surrogateescape")

    def _checked(self, word: bytes, allowed: re.Pattern[bytes], place: str) -> str:
        if word and not allowed.fullmatch(word):
            raise self.error(f"invalid character in {place} field")
        return word.decode()

    def _required_argument(self) -> bytes:
        word = self._argument()
        if not word:
            raise self.error("insufficient arguments")
        return word

    def _argument(self) -> bytes:
        """The next argument; empty at the end of the command."""
        self._skip_whitespace()
        if self._current() == b";":
            self._position += 1
            return b""
        start = self._position
        word = bytearray()
        while (character := self._current()) and character not in b"#;":
            self._word_part(character, word)
            if self._current().isspace():
                self._position += 1
                return bytes(word)
        # uci ends a word in place: when nothing was unquoted, that overwrites the
        # semicolon, and the commands behind it are lost.
        if character == b"#" or len(word) == self._position - start:
            del self._buffer[self._position :]
        return bytes(word)

    def end_of_command(self) -> None:
        if self._argument():
            raise self.error("too many arguments")

    def error(self, reason: str) -> UciError:
        return UciError(reason, self.line, self._newlines, self._position)

    def _word_part(self, character: bytes, word: bytearray) -> None:
        """Add a quoted string, an escaped or a plain character to the word."""
        if character == b"'":
            self._single_quoted(word)
        elif character == b'"':
            self._double_quoted(word)
        elif character != b"\\" or self._unescape():
            self._take(self._position + 1, word)

    def _single_quoted(self, word: bytearray) -> None:
        self._position += 1
        while (end := self._buffer.find(b"'", self._position)) < 0:
            self._take(len(self._buffer), word)
            self._go_on_quoted("'")
        self._take(end, word)
        self._position += 1

    def _double_quoted(self, word: bytearray) -> None:
        self._position += 1
        while True:
            if plain := _PLAIN.match(self._buffer, self._position):
                self._take(plain.end(), word)
            character = self._current()
            if character == b'"':
                self._position += 1
                return
            if not character:
                self._go_on_quoted('"')
            elif self._unescape():
                self._take(self._position + 1, word)

    def _go_on_quoted(self, quote: str) -> None:
        self._fill()
        if not self._current():
            raise self.error(f"EOF with unterminated {quote}")

    def _unescape(self) -> bool:
        """Step behind a backslash; False when it only joined the next line to this one."""
        self._position += 1
        if bytes(self._buffer[self._position : self._position + 3]) in (b"", b"\n", b"\r\n"):
            self._fill()
            return False
        return True

    def _take(self, end: int, word: bytearray) -> None:
        word += self._buffer[self._position : end]
        self._position = end

    def _current(self) -> bytes:
        return bytes(self._buffer[self._position : self._position + 1])

    def _skip_whitespace(self) -> None:
        while self._current().isspace():
            self._position += 1

    def _fill(self) -> None:
        """Read a line into the buffer from the position on; nothing at the end of the file."""
        del self._buffer[self._position :]
        if self._position >= self._capacity - 1:
            self._capacity *= 2
        while chunk := self._read_chunk(self._capacity - len(self._buffer) - 1):
            self._buffer += chunk
            if chunk.endswith(b"\n"):
                self._newlines += 1
                return
            self._capacity *= 2

    def _read_chunk(self, limit: int) -> bytes:
        """What one C fgets() delivers: a NUL hides what was read behind it."""
        stop = self._read + limit
        newline = self._text.find(b"\n", self._read, stop)
        if newline >= 0:
            stop = newline + 1
        chunk = self._text[self._read : stop]
        self._read += len(chunk)
        return chunk.partition(b"\0")[0]
