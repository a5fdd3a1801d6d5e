# SPDX-License-Identifier: GPL-2.0-or-later
"""Single modules of pyroute2, without the rest of the package.

`import pyroute2` runs a package `__init__` that costs about 25 MB of a router's memory. A
stand-in, present only while the import runs, avoids that.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


def pyroute2_modules(*names: str) -> list[Any]:
    """The modules `pyroute2.NAME`.

    Raises ModuleNotFoundError when pyroute2 is not installed. A pyroute2 that is already
    there is used as it is.
    """
    if "pyroute2" in sys.modules:
        return [importlib.import_module(f"pyroute2.{name}") for name in names]
    spec = PathFinder.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(
            "pyroute2 is not installed: install python3-pyroute2", name="pyroute2"
        )
    package = ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = package
    try:
        return [importlib.import_module(f"pyroute2.{name}") for name in names]
    finally:
        # Whoever imports the real package later must get the real one.
        del sys.modules["pyroute2"]
