# SPDX-License-Identifier: GPL-2.0-or-later
"""What this end answers when it is called: published objects, listeners, subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from flowguard.core.records import frozen
from flowguard.ubus.blob import BlobError, Type, attribute, decode, encode
from flowguard.ubus.errors import UbusError
from flowguard.ubus.wire import Attribute, Attributes, Message, MessageType, Status, id_attribute

log = logging.getLogger(__name__)

CALLS_LIMIT = 64
"""Calls that one object serves at a time; more are refused with NO_MEMORY."""

Send = Callable[[Message], None]
DataHandler = Callable[[str, dict[str, Any]], None]


@frozen
class Caller:
    """Who calls, by ubusd's word (SO_PEERCRED); through rpcd this is root for every user."""

    user: str
    group: str


Handler = Callable[[dict[str, Any], Caller], Awaitable[dict[str, Any] | None]]


@frozen
class Method:
    """`handler(arguments, caller)` returns the reply, None for none, or raises UbusError.

    It may take its time: other calls are served meanwhile. `arguments` only tells people what
    to give (`ubus list -v`); what comes is passed on as it is, missing and extra ones alike.
    """

    handler: Handler
    arguments: Mapping[str, Type] = MappingProxyType({})


class Served:
    """An object id of this connection, and whether somebody has subscribed to it."""

    def __init__(self) -> None:
        self.active = False

    def asked(self, message: Message, asked: Attributes, send: Send) -> None:
        if message.kind == MessageType.INVOKE:
            self._invoked(_Call(message, asked, send))
        elif message.kind == MessageType.NOTIFY:
            self.active = bool(asked.active)
        elif message.kind == MessageType.UNSUBSCRIBE:
            self._unsubscribed()

    def _invoked(self, call: _Call) -> None:
        raise NotImplementedError

    def _unsubscribed(self) -> None:
        pass


@frozen
class _Call:
    message: Message
    asked: Attributes
    send: Send

    def arguments(self, strict: bool) -> dict[str, Any]:
        return decode(self.asked.data or b"", strict=strict)

    def reply(self, reply: dict[str, Any]) -> None:
        """BlobError when the reply cannot be carried."""
        self._answer(MessageType.DATA, attribute(Attribute.DATA, encode(reply)))

    def finish(self, status: int) -> None:
        self._answer(MessageType.STATUS, id_attribute(Attribute.STATUS, status))

    def _answer(self, kind: MessageType, body: bytes) -> None:
        if not self.asked.no_reply:
            body += id_attribute(Attribute.OBJECT_ID, self.asked.object_id or 0)
            self.send(Message(kind, self.message.sequence, self.message.peer, body))


class Provider(Served):
    """A published object."""

    def __init__(self, path: str, methods: Mapping[str, Method]) -> None:
        super().__init__()
        self._path = path
        self._methods = methods
        # asyncio itself only keeps weak references to tasks.
        self._running: set[asyncio.Task[None]] = set()

    def _invoked(self, call: _Call) -> None:
        method = self._methods.get(call.asked.method or "")
        if method is None:
            call.finish(Status.METHOD_NOT_FOUND)
        elif len(self._running) >= CALLS_LIMIT:
            call.finish(Status.NO_MEMORY)
        else:
            task = asyncio.get_running_loop().create_task(self._serve(method, call))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _serve(self, method: Method, call: _Call) -> None:
        try:
            arguments = call.arguments(strict=True)
        except BlobError as error:
            log.debug("ubus: %s %s: %s", self._path, call.asked.method, error)
            call.finish(Status.INVALID_ARGUMENT)
            return
        try:
            caller = Caller(call.asked.user, call.asked.group)
            reply = await method.handler(arguments, caller)
            if reply is not None:
                call.reply(reply)
        except UbusError as error:
            call.finish(error.status)
        except Exception:
            # One bad call must not end the daemon, nor go unseen.
            log.exception("ubus: %s %s failed", self._path, call.asked.method)
            call.finish(Status.UNKNOWN_ERROR)
        else:
            call.finish(Status.OK)


class Listener(Served):
    """Gets events: nobody waits for an answer."""

    def __init__(self, handler: DataHandler) -> None:
        super().__init__()
        self._handler = handler

    def _invoked(self, call: _Call) -> None:
        try:
            self._handler(call.asked.method or "", call.arguments(strict=False))
        except BlobError as error:
            log.warning("ubus: event %s cannot be read: %s", call.asked.method, error)
        except Exception:
            log.exception("ubus: event %s failed", call.asked.method)


class Subscriber(Listener):
    """Gets notifications, which the notifier may want to see acknowledged."""

    def __init__(self, handler: DataHandler, ended: Callable[[], None] | None) -> None:
        super().__init__(handler)
        self._ended = ended

    def _invoked(self, call: _Call) -> None:
        super()._invoked(call)
        call.finish(Status.OK)

    def _unsubscribed(self) -> None:
        if self._ended:
            self._ended()
