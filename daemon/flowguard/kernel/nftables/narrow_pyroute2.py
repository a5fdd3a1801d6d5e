# SPDX-License-Identifier: GPL-2.0-or-later
"""Single modules of pyroute2, without the rest of the package.

`import pyroute2` runs a package `__init__` that costs about 25 MB of a router's memory, and
the sockets that its message classes are used with by others cost 2 MB more. Stand-ins,
present only while the import runs, avoid both.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

SOCKETS = "pyroute2.netlink.nlsocket"


class _NoSockets(ModuleType):
    """Has a class of every name that a module of messages wants to derive a socket from."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def pyroute2_messages(name: str) -> Any:
    """The module `pyroute2.NAME`, good for its message classes only.

    Raises ModuleNotFoundError when pyroute2 is not installed. A pyroute2 that is already
    there is used as it is.
    """
    if "pyroute2" in sys.modules:
        return importlib.import_module(f"pyroute2.{name}")
    spec = PathFinder.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(
            "pyroute2 is not installed: install python3-pyroute2", name="pyroute2"
        )
    package = ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = package
    sys.modules[SOCKETS] = _NoSockets(SOCKETS)
    try:
        return importlib.import_module(f"pyroute2.{name}")
    finally:
        # Whoever imports the real package later must get the real one, sockets and all.
        for stand_in in ("pyroute2", SOCKETS, f"pyroute2.{name}"):
            sys.modules.pop(stand_in, None)
