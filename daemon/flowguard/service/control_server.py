# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's end of the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from typing import Any

from flowguard.service.control import ApiError, Call

log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 1024


class ControlServer:
    """Serves `call(method, params)` on a unix socket that only root may open."""

    def __init__(self, path: str, call: Call) -> None:
        self._path = path
        self._call = call
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        if os.path.exists(self._path):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(self._path)
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_LIMIT)

    def close(self) -> None:
        if self._server:
            self._server.close()
            # Whoever still listens sees the end; cancelled instead, asyncio would complain.
            for writer in self._connections:
                writer.close()
            with contextlib.suppress(FileNotFoundError):  # From 3.13 on asyncio removes it.
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            if not _is_privileged(writer):
                await _reply(writer, {"error": "permission denied: only root may ask"})
                return
            while line := await reader.readline():
                await _reply(writer, await self._answer(line))
        except (ConnectionError, ValueError) as error:
            log.debug("control socket: %s", error)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            method, params = request["method"], request.get("params") or {}
            if not isinstance(method, str) or not isinstance(params, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": 'expected a line like {"method": "status", "params": {}}'}
        try:
            return {"result": await self._call(method, params)}
        except ApiError as error:
            return {"error": str(error)}
        except Exception as error:
            # One bad request must not end the daemon, nor go unseen.
            log.exception("control socket: %s failed", method)
            return {"error": f"internal error: {error}"}


def _is_privileged(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, _ = struct.unpack("3i", credentials)
    return user in (0, os.geteuid())


async def _reply(writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
    writer.write(json.dumps(reply).encode() + b"\n")
    await writer.drain()
