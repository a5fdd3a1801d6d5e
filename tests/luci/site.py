# SPDX-License-Identifier: GPL-2.0-or-later
"""LuCI's own scripts and theme from a LuCI tree, with flowguard's pages among them, over HTTP.

The router behind it is `Rpcd`; what LuCI asks for itself is answered here. No uhttpd, no rpcd.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.luci.rpcd import APP, Json, Rpcd

MENU = APP / "root/usr/share/luci/menu.d/luci-app-flowguard.json"
HTDOCS = ("modules/luci-base", "modules/luci-mod-status", "themes/luci-theme-bootstrap")
KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".gif": "image/gif",
}
BASE = "/cgi-bin/luci"
PAGE = """<!DOCTYPE html>
<html lang="en" data-darkmode="{dark}"><head>
<meta charset="utf-8"><title>router</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/luci-static/bootstrap/cascade.css">
<link rel="stylesheet" media="only screen and (max-device-width: 854px)"
 href="/luci-static/bootstrap/mobile.css">
<script>window.TR = {{}};</script>
<script src="/luci-static/resources/cbi.js"></script>
</head><body>
<header><a class="brand" href="/">router</a>
<ul class="nav" id="topmenu" style="display:none"></ul>
<div id="indicators" class="pull-right"></div></header>
<div id="maincontent" class="container"><div id="tabmenu" style="display:none"></div>
<script src="/luci-static/resources/luci.js"></script>
<script>L = new LuCI({environment});</script>
<div id="view"><div class="spinning">Loading view…</div>
<script>L.require('ui').then(ui => ui.instantiateView('{view}'));</script></div>
</div><footer><ul class="breadcrumb pull-right" id="modemenu" style="display:none"></ul></footer>
<script>L.require('menu-bootstrap')</script>
</body></html>
"""


class Site:
    """`staged` are the changes that a form has saved. `dark` is the theme of the next page."""

    def __init__(self, tree: Path, router: Rpcd) -> None:
        self._folders = [APP / "htdocs", *(tree / part / "htdocs" for part in HTDOCS)]
        self._router = router
        self.staged: list[tuple[str, Json]] = []
        self.dark = False
        self.unknown: list[str] = []

    async def call(self, name: str, method: str, given: Json) -> Json:
        """What LuCI's own scripts need, or what flowguard's pages ask for."""
        match name, method:
            case ("luci", "getFeatures"):
                return {"result": [0, {}]}
            case ("file", "list"):
                names = [] if "include" not in given["path"] else ["75_flowguard.js"]
                return {"result": [0, {"entries": [{"name": n, "type": "file"} for n in names]}]}
            case ("uci", "get") if given["config"] in ("luci", "system"):
                return {"result": [0, {"values": {}}]}
            case ("uci", "changes"):
                return {"result": [0, {"changes": {}}]}
            case ("session", "access"):
                return {"result": [0, {"access": self._router.session.may_read("flowguard")}]}
            case ("uci", "add" | "set" | "delete" | "order"):
                self.staged.append((method, given))
                return {"result": [0, {"section": "cfg01"}]}
            case ("network" | "network.interface" | "luci-rpc" | "iwinfo", _):
                return {"result": [0, {}]}
        return await self._router.call(name, method, given)

    async def answer(self, path: str, body: bytes) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and content for a request; one with a body is JSON-RPC."""
        path = path.partition("?")[0]
        if body:
            return HTTPStatus.OK, "application/json", await self._rpc(json.loads(body))
        if path == f"{BASE}/admin/menu":
            return HTTPStatus.OK, "application/json", json.dumps(menu()).encode()
        if path.startswith(f"{BASE}/"):
            return HTTPStatus.OK, "text/html", self._page(path.removeprefix(f"{BASE}/")).encode()
        for folder in self._folders:
            if (file := folder / path.lstrip("/")).is_file():
                return HTTPStatus.OK, KINDS.get(file.suffix, "text/plain"), file.read_bytes()
        self.unknown.append(path)
        return HTTPStatus.NOT_FOUND, "text/plain", b""

    async def _rpc(self, asked: Any) -> bytes:
        if isinstance(asked, list):
            return json.dumps([await self._reply(one) for one in asked]).encode()
        return json.dumps(await self._reply(asked)).encode()

    async def _reply(self, asked: Json) -> Json:
        frame = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] == "list":
            return {**frame, "result": {}}
        _session, name, method, given = asked["params"]
        return {**frame, **await self.call(name, method, given)}

    def _page(self, path: str) -> str:
        view = json.loads(MENU.read_text()).get(path, {}).get("action", {}).get("path")
        environment = {
            "media": "/luci-static/bootstrap",
            "resource": "/luci-static/resources",
            "scriptname": BASE,
            "pathinfo": f"/{path}",
            "documentroot": "/www",
            "requestpath": path.split("/"),
            "dispatchpath": path.split("/"),
            "pollinterval": 1,
            "ubuspath": "/ubus/",
            "sessionid": "0" * 32,
            "token": "0" * 32,
            "nodespec": {"satisfied": True, "readonly": False},
            "apply_rollback": 90,
            "apply_holdoff": 4,
            "apply_timeout": 5,
            "apply_display": 1.5,
        }
        return PAGE.format(
            environment=json.dumps(environment),
            view=view or "status/index",
            dark=json.dumps(self.dark),
        )


def menu() -> Json:
    """The tree of the menu as the dispatcher makes it of menu.d, with flowguard's entries only."""
    root: Json = {"satisfied": True, "children": {}, "title": "root"}
    titles = {"admin": "Administration", "admin/network": "Network"}
    entries = json.loads(MENU.read_text())
    for path in (*titles, *entries):
        node = root
        for name in path.split("/"):
            node = node["children"].setdefault(name, {"satisfied": True, "children": {}})
        node.update(entries.get(path, {"title": titles.get(path, "")}))
    return root


@asynccontextmanager
async def served(site: Site) -> AsyncIterator[str]:
    """The address under which it can be reached meanwhile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [w.split(":")[1] for w in head.lower().splitlines() if "content-length" in w]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            status, kind, content = await site.answer(head.split()[1], body)
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
            tail = f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            writer.write((line + tail).encode() + content)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The browser has changed its mind.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
