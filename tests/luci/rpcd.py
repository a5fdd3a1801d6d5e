# SPDX-License-Identifier: GPL-2.0-or-later
"""What answers a page on a router: uhttpd with rpcd, for one session, in front of the bus.

Sources: uhttpd's ubus.c (errors of JSON-RPC), rpcd's session.c, file.c and uci.c (access).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from flowguard.core.interface import Interface
from flowguard.ubus.errors import UbusError

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "openwrt-package" / "luci-app-flowguard"
ACCESS = APP / "root/usr/share/rpcd/acl.d/luci-app-flowguard.json"
STATUS, SETTINGS = "luci-app-flowguard-status", "luci-app-flowguard"

Json = dict[str, Any]
Program = Callable[[list[str]], Awaitable[Json]]

NOT_FOUND, ACCESS_DENIED = -32000, -32002
UBUS_NOT_FOUND, PERMISSION_DENIED = 4, 6


class Bus(Interface):
    """ubus, or what stands for it; raises UbusError."""

    async def call(self, path: str, method: str, arguments: Json) -> Json: ...


class Session:
    """What the groups of the access list grant, each for reading or for writing or for both."""

    def __init__(
        self, groups: Iterable[str] = (STATUS, SETTINGS), kinds: Iterable[str] = ("read", "write")
    ) -> None:
        listed = json.loads(ACCESS.read_text())
        self._granted = [listed[group].get(kind, {}) for group in groups for kind in kinds]

    def may_call(self, name: str, method: str) -> bool:
        return any(method in grant.get("ubus", {}).get(name, ()) for grant in self._granted)

    def may_read(self, configuration: str) -> bool:
        return any(configuration in grant.get("uci", ()) for grant in self._granted)

    def may_run(self, command: str, words: Iterable[str]) -> bool:
        line = " ".join((command, *words))
        return any(
            fnmatchcase(line, pattern) and "exec" in kinds
            for grant in self._granted
            for pattern, kinds in grant.get("file", {}).items()
        )


class Rpcd:
    """`bus` is None where no object is published. `services` is procd's, `options` UCI's:
    configuration, section, option. `programs` are those that can be run, `ran` those that were,
    and `refused` the calls for which the session has no right."""

    def __init__(self, bus: Bus | None, session: Session | None = None) -> None:
        self.bus = bus
        self.session = session or Session()
        self.services: Json = {}
        self.options: dict[str, dict[str, Json]] = {}
        self.programs: dict[str, Program] = {}
        self.ran: list[str] = []
        self.calls: list[str] = []
        self.refused: list[str] = []

    async def call(self, name: str, method: str, given: Json) -> Json:
        """A reply of JSON-RPC: what ubus said, or why it was not asked."""
        self.calls.append(f"{name} {method}")
        if not self.session.may_call(name, method):
            return self._denied(f"{name} {method}")
        if name == "service":
            return _said({k: v for k, v in self.services.items() if k == given["name"]})
        if name == "uci":
            return self._get(given)
        if name == "file":
            return await self._run(given["command"], given.get("params", []))
        if not self.bus:
            return _refused(NOT_FOUND, "Object not found")
        try:
            return _said(await self.bus.call(name, method, {**given, "ubus_rpc_session": "0" * 32}))
        except UbusError as error:
            return {"result": [int(error.status)]}

    def _denied(self, what: str) -> Json:
        self.refused.append(what)
        return _refused(ACCESS_DENIED, "Access denied")

    def _get(self, given: Json) -> Json:
        if not self.session.may_read(given["config"]):
            return self._denied(f"uci get {given['config']}")
        sections = self.options.get(given["config"], {})
        if "option" not in given:
            return _said({"values": sections}) if sections else {"result": [UBUS_NOT_FOUND]}
        value = sections.get(given["section"], {}).get(given["option"])
        return {"result": [UBUS_NOT_FOUND]} if value is None else _said({"value": value})

    async def _run(self, command: str, words: list[str]) -> Json:
        if not self.session.may_run(command, words):
            self.refused.append(" ".join((command, *words)))
            return {"result": [PERMISSION_DENIED]}
        self.ran.append(" ".join((command, *words)))
        return _said(await self.programs[command](words))


def _said(reply: Json) -> Json:
    return {"result": [0, reply]}


def _refused(code: int, message: str) -> Json:
    return {"error": {"code": code, "message": message}}
