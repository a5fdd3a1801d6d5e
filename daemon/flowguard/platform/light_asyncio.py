# SPDX-License-Identifier: GPL-2.0-or-later
"""asyncio without what the daemon never needs of it: 6 MB of a router's memory."""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import Any

CO_COROUTINE = 0x80  # what `async def` sets in the flags of its code


def prepare() -> None:
    """Call it before asyncio is imported for the first time."""
    # asyncio takes this as "no TLS" and leaves out OpenSSL: 5 MB.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    sys.modules.setdefault("inspect", _LateInspect("inspect"))


class _LateInspect(ModuleType):
    """`inspect`, loaded when somebody wants more of it than asyncio does each day.

    That is one question, for which it brings ast and dis along: 0.8 MB, and a tenth of the
    daemon's start.
    """

    def iscoroutinefunction(self, function: Any) -> bool:
        if isinstance(function, FunctionType | MethodType):
            code = getattr(function, "__code__", None)
            if code is not None:
                return bool(code.co_flags & CO_COROUTINE)
        return bool(self.__getattr__("iscoroutinefunction")(function))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"inspect is not loaded yet and so has no {name}")
        if sys.modules.get("inspect") is self:
            del sys.modules["inspect"]
        return getattr(import_module("inspect"), name)
