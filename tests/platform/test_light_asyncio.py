# SPDX-License-Identifier: GPL-2.0-or-later
"""asyncio works as ever, and what it brings along stays out until it is wanted."""

from __future__ import annotations

import subprocess
import sys

BEGIN = """
import sys
from flowguard.platform import light_asyncio
light_asyncio.prepare()
import asyncio, functools, signal

def heard(): print("signal")

async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, heard)
    signal.raise_signal(signal.SIGUSR1)
    await asyncio.gather(asyncio.sleep(0.01), asyncio.to_thread(int, "1"))

async def coroutine(): pass
class Both:
    async def coroutine(self): pass
    def plain(self): pass
"""


def output(program: str) -> list[str]:
    """What a Python of its own prints; this one has imported everything already."""
    command = [sys.executable, "-c", BEGIN + program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_nothing_more_is_loaded_for_what_the_daemon_does() -> None:
    program = "asyncio.run(main()); print(*({'ast', 'dis', '_ssl'} & sys.modules.keys()), 'end')"
    assert output(program) == ["signal", "end"]


def test_asyncio_knows_coroutine_functions() -> None:
    program = """
asked = [coroutine, Both().coroutine, Both.coroutine, functools.partial(coroutine)]
asked += [Both().plain, functools.partial(Both().plain), print, lambda: None]
print(*map(asyncio.iscoroutinefunction, asked))
"""
    assert output(program) == ["True"] * 4 + ["False"] * 4


def test_whoever_wants_more_of_inspect_gets_it() -> None:
    program = """
import inspect
from inspect import signature
print(signature(main), inspect.getdoc(int)[:3], inspect.isawaitable(1), 'ast' in sys.modules)
import inspect
print(inspect.__file__.endswith('inspect.py'), asyncio.iscoroutinefunction(main))
"""
    assert output(program) == ["()", "int", "False", "True", "True", "True"]


def test_tasks_and_callbacks_can_be_shown() -> None:
    program = """
async def shown():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    print('coroutine' in repr(asyncio.ensure_future(coroutine())), end=' ')
    print('plain' in repr(loop.call_soon(functools.partial(Both().plain))))
asyncio.run(shown())
"""
    assert output(program) == ["True", "True"]
