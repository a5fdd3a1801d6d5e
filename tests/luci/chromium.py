# SPDX-License-Identifier: GPL-2.0-or-later
"""Headless Chromium, told over a pipe what to do (the Chrome DevTools Protocol)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
    " --remote-debugging-pipe --hide-scrollbars"
)
PATIENCE = 60.0
LOOK_SECONDS = 0.1
ERROR_SHOWN = 1000


class Chromium:
    """One page; `errors` are what its scripts threw or wrote to the console as an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._session = ""
        self.errors: list[str] = []

    async def begin(self) -> None:
        self._listening = asyncio.create_task(self._listen())
        target = await self._ask("Target.createTarget", url="about:blank")
        attached = await self._ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        await self._ask("Page.enable")
        await self._ask("Runtime.enable")

    async def size(self, width: int, height: int, mobile: bool = False) -> None:
        """In CSS pixels."""
        await self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
            screenWidth=width,
            screenHeight=height,
        )

    async def open(self, address: str) -> None:
        await self._ask("Page.navigate", url=address)

    async def until(self, condition: str) -> None:
        """Until this expression of JavaScript is true; TimeoutError says what was there instead."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.value(f"Boolean({condition})"):
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"{condition}; {self.errors}; {await self.text()}") from None

    async def until_shown(self, text: str) -> None:
        await self.until(f"document.body?.innerText.includes({json.dumps(text)})")

    async def text(self) -> str:
        return str(await self.value("document.body?.innerText"))

    async def click(self, text: str) -> None:
        """The button with this text."""
        buttons = "[...document.querySelectorAll('button')]"
        button = f"{buttons}.find(button => button.innerText.trim() == {json.dumps(text)})"
        await self.until(button)
        await self.value(f"{button}.click()")

    async def value(self, expression: str) -> Any:
        found = await self._ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        return found["result"].get("value")

    async def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = await self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def _ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        told: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            told["sessionId"] = self._session
        done = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(told).encode() + b"\0")
        async with asyncio.timeout(PATIENCE):
            return await done

    async def _listen(self) -> None:
        while True:
            line = (await self._reader.readuntil(b"\0"))[:-1]
            told = json.loads(line)
            if told.get("id") in self._waiting:
                waiting = self._waiting.pop(told["id"])
                if "error" in told:
                    waiting.set_exception(RuntimeError(told["error"]["message"]))
                else:
                    waiting.set_result(told["result"])
            else:
                self._note(told.get("method", ""), told.get("params", {}))

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"])[:ERROR_SHOWN])
        elif event == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(json.dumps(about["args"])[:ERROR_SHOWN])


@asynccontextmanager
async def started() -> AsyncIterator[Chromium]:
    loop = asyncio.get_running_loop()
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # It takes exactly these two numbers.
        script = f'exec "$0" {OPTIONS} --user-data-dir="$1" 3<&{theirs_in} 4>&{theirs_out}'
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            PROGRAM or "chromium",
            profile,
            pass_fds=(theirs_in, theirs_out),
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        reader = asyncio.StreamReader(limit=1 << 26)
        protocol = asyncio.StreamReaderProtocol(reader)
        await loop.connect_read_pipe(lambda: protocol, os.fdopen(ours_in, "rb"))
        transport, flow = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(ours_out, "wb")
        )
        writer = asyncio.StreamWriter(transport, flow, reader, loop)
        chromium = Chromium(reader, writer)
        try:
            await chromium.begin()
            yield chromium
        finally:
            chromium._listening.cancel()
            process.kill()
            await process.wait()
            writer.close()
