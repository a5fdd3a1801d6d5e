# SPDX-License-Identifier: GPL-2.0-or-later
"""Single modules of pyroute2, without the rest of the package.

`import pyroute2` runs a package `__init__` that costs about 25 MB of a router's memory.
A stand-in package object, present only while the import runs, avoids that.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


def pyroute2_module(name: str) -> Any:
    """The module `pyroute2.NAME`; raises ModuleNotFoundError when pyroute2 is not installed."""
    if "pyroute2" in sys.modules:
        return importlib.import_module(f"pyroute2.{name}")
    spec = PathFinder.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(
            "pyroute2 is not installed: install python3-pyroute2", name="pyroute2"
        )
    stand_in = ModuleType("pyroute2")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = stand_in
    try:
        return importlib.import_module(f"pyroute2.{name}")
    finally:
        # Whoever imports the real package later must get the real one.
        del sys.modules["pyroute2"]
