# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped fault rules, and the files that an administrator adds to them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable

from flowguard.core.faults import FaultRules, RuleError, RuleSource

DIRECTORY = os.path.dirname(__file__)


def load(extra: Iterable[str] = ()) -> FaultRules:
    """All rules: those of the package, then the files in `extra`, by path.

    Raise RuleError with one line naming the file and the problem; nothing is half loaded.
    """
    names = sorted(name for name in os.listdir(DIRECTORY) if name.endswith(".toml"))
    paths = [os.path.join(DIRECTORY, name) for name in names]
    return FaultRules.compile([*map(read, paths), *map(read, extra)])


def load_usable(extra: Iterable[str]) -> FaultRules:
    """The package's rules and those of `extra` that can be used; the others are `left_out`."""
    files = tuple(extra)
    try:
        found = load(files)
    except RuleError:
        found = _load_one_by_one(files)
    _forget_parser()
    return found


def _load_one_by_one(extra: Iterable[str]) -> FaultRules:
    used: list[str] = []
    left_out: list[str] = []
    found = load()
    for path in extra:
        try:
            found = load([*used, path])
            used.append(path)
        except RuleError as error:
            left_out.append(f"rules: {error}; the file is left out")
    found.left_out = tuple(left_out)
    return found


def _forget_parser() -> None:
    """The daemon reads TOML when it starts and hardly ever again: tomllib, and the datetime that
    only tomllib wants, are close to a megabyte that the modules imported next take over."""
    for name in ("tomllib", "tomllib._parser", "tomllib._re", "tomllib._types", "datetime"):
        sys.modules.pop(name, None)
    gc.collect()


def read(path: str) -> RuleSource:
    """One rule file, parsed but not yet checked."""
    import tomllib

    try:
        with open(path, "rb") as file:
            return RuleSource(os.path.basename(path), tomllib.load(file))
    except OSError as error:
        raise RuleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, too long a number.
        raise RuleError(f"{path}: is no TOML: {error}") from error
