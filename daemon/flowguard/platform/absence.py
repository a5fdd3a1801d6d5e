# SPDX-License-Identifier: GPL-2.0-or-later
"""Why there is no daemon, and the command that mends it."""

from __future__ import annotations

import glob
import os

from flowguard.platform.configuration import loading
from flowguard.platform.openwrt import effective


def reason(root: str = "/") -> str:
    """In one line, by the configuration and by whoever starts services on this machine.

    Below `root` is what tells OpenWrt and systemd apart.
    """
    loaded = loading.load()
    start = _start(root)
    if not loaded.readable:
        return f"not running: {loaded.problems[0]}; correct it, then: {start}"
    if loaded.configuration.enabled:
        return f"not running; start it with: {start}"
    if _is_openwrt(root):
        switch = "uci set flowguard.globals.enabled=1; uci commit flowguard"
        return f"not enabled; enable it with: {switch}; {start}"
    path = effective.file_of(loading.PACKAGE)
    return f"not enabled; set option enabled '1' in {path}, then: {start}"


def _start(root: str) -> str:
    if _is_openwrt(root):
        is_linked = glob.glob(os.path.join(root, "etc/rc.d/S[0-9][0-9]flowguard"))
        return f"{'' if is_linked else 'service flowguard enable; '}service flowguard start"
    if os.path.exists(os.path.join(root, "run/systemd/system")):
        return "systemctl enable --now flowguard"
    return "flowguard run"


def _is_openwrt(root: str) -> bool:
    return os.path.exists(os.path.join(root, "etc/rc.common"))
