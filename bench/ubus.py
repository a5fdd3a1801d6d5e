# SPDX-License-Identifier: GPL-2.0-or-later
"""What ubus costs: memory of the import, processor time of a call, memory after many calls.

Both ends of the calls run here, over ubusd where it is on PATH or named by UBUSD.

Run: python -m bench.ubus [--calls 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil

from flowguard.ubus.blob import decode, encode
from flowguard.ubus.connection import Connection
from flowguard.ubus.serving import Caller, Method
from tests.ubus.broker import Broker, RealUbusd, Ubusd

BASE = "import asyncio, json, logging, sys, dataclasses"
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
IMPORT = f"{BASE}; import flowguard.ubus.bus"
HOLD = "; print('up', flush=True); sys.stdin.read()"
STATUS: dict[str, Any] = {
    "level": "software",
    "devices": [
        {"name": f"lan{n}", "driver": "mt7530", "level": "hardware", "hardware_capable": True}
        for n in range(5)
    ],
    "decisions": [{"time": 1.5, "from": "hardware", "to": "software"} for _ in range(20)],
}


def pss(program: str) -> int:
    """Bytes, once the program has said that it is up."""
    process = subprocess.Popen(
        [sys.executable, "-c", program + HOLD],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        size = int(psutil.Process(process.pid).memory_full_info().pss)
        process.stdin.close()
    return size


async def status(arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return STATUS


async def echo(arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return arguments


async def calls(ubusd: Ubusd, count: int) -> None:
    await ubusd.start()
    server, client = [await Connection.connect(ubusd.path) for _ in range(2)]
    process = psutil.Process()
    try:
        bench = await server.add_object("bench", {"status": Method(status), "echo": Method(echo)})
        for method in ("echo", "status"):
            for _ in range(count // 20):
                await client.call(bench, method)
            memory = process.memory_info().rss
            begin, used = time.perf_counter(), time.process_time()
            for _ in range(count):
                await client.call(bench, method)
            elapsed, used = time.perf_counter() - begin, time.process_time() - used
            grown = process.memory_info().rss - memory
            print(
                f"{method:<8} {elapsed / count * 1e6:.0f} µs a call, {used / count * 1e6:.0f} µs of"
                f" processor time for both ends, RSS {grown / 1024:+.0f} KiB after {count} calls"
            )
    finally:
        server.close()
        client.close()
        await ubusd.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.ubus")
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    pss(IMPORT)  # Compiles what is not yet compiled.
    added = sorted(pss(IMPORT) - pss(BASE) for _ in range(5))[2]
    print(f"import   PSS {added / 1024:+.0f} KiB over asyncio, json, logging and dataclasses")
    data = encode(STATUS)
    begin = time.process_time()
    for _ in range(500):
        encode(STATUS)
    middle = time.process_time()
    for _ in range(500):
        decode(data)
    end = time.process_time()
    print(
        f"values   a status of {len(data)} bytes: encode {(middle - begin) * 2e3:.0f} µs,"
        f" decode {(end - middle) * 2e3:.0f} µs"
    )
    program = os.environ.get("UBUSD") or shutil.which("ubusd")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ubus.sock"
        print("over", program or "the tests' broker, in this process too")
        asyncio.run(calls(RealUbusd(program, path) if program else Broker(path), options.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
