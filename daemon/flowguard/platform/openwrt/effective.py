# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration that counts on OpenWrt: the file, with what is staged or overridden.

`uci` knows of changes that are not committed yet (/tmp/.uci) and of files in /var/run/uci
that replace those in /etc/config (libuci, `conf2dir`). Elsewhere there is only the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess

from flowguard.platform.openwrt import uci

DIRECTORIES = ("/var/run/uci", "/etc/config")
LIMIT_SECONDS = 3.0

log = logging.getLogger(__name__)


def file_of(name: str) -> str:
    """The file of a package, whether it exists or not; an override goes before the other."""
    override, usual = (os.path.join(directory, name) for directory in DIRECTORIES)
    return override if os.path.exists(override) else usual


def load(name: str) -> tuple[uci.Package, str]:
    """The package that counts, and what its lines belong to: its file, or `uci export NAME`.

    Raises OSError and UciError as uci.load does.
    """
    path = file_of(name)
    text = _export(name)
    if text is None:
        return uci.load(path), path
    with contextlib.suppress(OSError, uci.UciError):  # What is staged may have repaired it.
        package = uci.load(path)
        if uci.export(package) == text:
            return package, path
    return uci.parse(text, name), f"uci export {name}"


def _export(name: str) -> bytes | None:
    """None when there is no `uci`, or when it fails: what is wrong the file will show."""
    try:
        done = subprocess.run(
            ["uci", "-q", "export", name], capture_output=True, timeout=LIMIT_SECONDS
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("uci export %s: %s; what is staged is not seen", name, error)
        return None
    return done.stdout if done.returncode == 0 else None
