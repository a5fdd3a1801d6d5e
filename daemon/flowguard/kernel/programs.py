# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs other programs, none of them for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence

from flowguard.kernel.machine import Ended


class LinuxPrograms:
    """See `kernel.machine.Programs`."""

    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        # Not a pipe: what the program leaves running would keep that open.
        with open(os.memfd_create("flowguard-output"), "rb") as output:
            process = await asyncio.create_subprocess_exec(
                *words,
                env=environment,
                cwd="/",
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            in_time = await _ended_in_time(process, seconds)
            # From the start: the program and we share the position in the file.
            told = os.pread(output.fileno(), most, 0)
        return Ended(process.returncode if in_time else None, told)


async def _ended_in_time(process: Process, seconds: float) -> bool:
    """Wait for its end; kill it, with all that it started, when there is none or nobody waits."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
        return True
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # It has just ended.
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
