# SPDX-License-Identifier: GPL-2.0-or-later
"""A page as Node shows it, its calls answered by `Rpcd`; `page/` is what runs there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.luci.rpcd import APP, Rpcd

NODE = shutil.which("node")
MAIN = Path(__file__).parent / "page" / "main.js"


@dataclass(frozen=True)
class Shown:
    """What is on a page. `lines` has one for each block, `buttons` tells which can be pressed,
    `styles` are those of the boxes, `chosen` what was filled in, and `html` is text that was given
    to be taken for HTML."""

    lines: list[str]
    buttons: dict[str, bool]
    links: list[str]
    styles: list[str]
    markup: list[str]
    html: list[str]
    chosen: list[str]
    notifications: list[str]

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class PageFailed(Exception):
    """A page threw an error; the text is where."""


class Browser:
    """Made by `started`. Node runs only while it is waited for, so time may be virtual."""

    def __init__(self, process: subprocess.Popen[str], router: Rpcd) -> None:
        self._process = process
        self.router = router

    async def open(self, name: str, readonly: bool = False) -> Shown:
        """A view by its class: `view.flowguard.overview`."""
        return (await self._do("open", name=name, readonly=readonly))[0]

    async def poll(self) -> Shown:
        """What the page does again and again, once."""
        return (await self._do("poll"))[0]

    async def click(self, text: str) -> Shown:
        return (await self._do("click", text=text))[0]

    async def choose(self, tag: str, value: str) -> Shown:
        """In the first field of this kind."""
        return (await self._do("choose", tag=tag, value=value))[0]

    async def ask(self, command: str, **what: Any) -> Any:
        """What the form is made of, and what its options do with texts."""
        return (await self._do(command, **what))[1]

    async def _do(self, command: str, **what: Any) -> tuple[Shown, Any]:
        self._tell({"command": command, **what})
        while True:
            assert self._process.stdout
            line = self._process.stdout.readline()
            if not line:
                raise PageFailed(f"Node ended with {self._process.wait()}")
            told = json.loads(line)
            if "call" in told:
                call = told["call"]
                reply = await self.router.call(call["object"], call["method"], call["params"])
                self._tell({"id": told["id"], "reply": reply})
            elif "failed" in told:
                raise PageFailed(told["failed"])
            else:
                return Shown(**told["done"]), told.get("result")

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()


@contextmanager
def started(router: Rpcd) -> Iterator[Browser]:
    command = [NODE or "node", str(MAIN), str(APP / "htdocs")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Browser(process, router)
        finally:
            process.kill()
