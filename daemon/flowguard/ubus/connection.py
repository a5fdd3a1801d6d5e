# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to ubusd: ask others, serve objects, listen (libubus-req.c, ubusd_proto.c)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from flowguard.core.records import frozen
from flowguard.ubus.asking import DEFAULT_TIMEOUT, Requests, within
from flowguard.ubus.blob import BlobError, attribute, decode, encode
from flowguard.ubus.errors import UbusError
from flowguard.ubus.link import Link
from flowguard.ubus.serving import Listener, Method, Provider, Served, Subscriber
from flowguard.ubus.wire import (
    Attribute,
    Attributes,
    Message,
    MessageType,
    Status,
    SystemObject,
    flag_attribute,
    id_attribute,
    parse,
    signed,
    text_attribute,
)

DEFAULT_SOCKET = "/var/run/ubus/ubus.sock"


@frozen
class ObjectInfo:
    """An object as `lookup` finds it: its id, and the type numbers of its methods' arguments."""

    path: str
    id: int
    methods: dict[str, dict[str, int]]


class Connection:
    """Made by `connect`. `lost` is done, with the reason, once ubusd is gone or after `close`.

    Requests raise UbusError: with the status that came back, TIMEOUT (seconds; None waits
    without end), CONNECTION_FAILED when the connection ended, PARSE_ERROR when a reply is
    damaged; and BlobError when their arguments cannot be carried.
    """

    def __init__(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.client_id = 0
        self._greeted: asyncio.Future[None] = loop.create_future()
        self._served: dict[int, Served] = {}
        self._link = Link(connected, self._received, self._ended)
        self._requests = Requests(self._link.send)

    @classmethod
    async def connect(
        cls, path: str = DEFAULT_SOCKET, timeout: float = DEFAULT_TIMEOUT
    ) -> Connection:
        """OSError when there is no ubusd; UbusError when what is there does not greet as one."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(connected, path)
        except BaseException as error:
            connected.close()
            if isinstance(error, TimeoutError):
                raise UbusError(Status.TIMEOUT) from None
            raise
        connection = cls(connected)
        try:
            await within(timeout, connection._greeted)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._link.close("closed")

    async def lookup(
        self, pattern: str | None = None, timeout: float | None = DEFAULT_TIMEOUT
    ) -> list[ObjectInfo]:
        """The objects of a path, or of a beginning followed by `*`; all when None."""
        return [_object_info(reply) for reply in await self._look_up(pattern, timeout)]

    async def call_all(
        self,
        target: str | int,
        method: str,
        arguments: dict[str, Any] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> list[dict[str, Any]]:
        """Every reply of one call to an object's path or id: ubus allows none or several."""
        encoded = encode(arguments or {})
        if isinstance(target, str):
            target = await self._id_of(target, timeout)
        body = (
            id_attribute(Attribute.OBJECT_ID, target)
            + text_attribute(Attribute.METHOD, method)
            + attribute(Attribute.DATA, encoded)
        )
        replies = await self._requests.ask(MessageType.INVOKE, target, body, timeout)
        return [_decoded(reply.data) for reply in replies]

    async def call(
        self,
        target: str | int,
        method: str,
        arguments: dict[str, Any] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> dict[str, Any]:
        """The last reply of one call; empty when there was none."""
        replies = await self.call_all(target, method, arguments, timeout)
        return replies[-1] if replies else {}

    async def add_object(self, path: str, methods: Mapping[str, Method]) -> int:
        """Publish an object; its id. INVALID_ARGUMENT: the path is taken or not permitted."""
        signature: dict[str, Any] = {
            name: {argument: int(kind) for argument, kind in method.arguments.items()}
            for name, method in methods.items()
        }
        body = text_attribute(Attribute.OBJECT_PATH, path)
        body += attribute(Attribute.SIGNATURE, encode(signature))
        return await self._add(body, Provider(path, methods))

    async def remove_object(self, object_id: int) -> None:
        """Also ends what `listen` and `subscribe` began."""
        body = id_attribute(Attribute.OBJECT_ID, object_id)
        await self._requests.ask(MessageType.REMOVE_OBJECT, 0, body)
        self._served.pop(object_id, None)

    async def send_event(self, name: str, data: dict[str, Any]) -> None:
        """To every listener but this connection's own; names with `ubus.` are ubusd's."""
        await self.call(SystemObject.EVENT, "send", {"id": name, "data": data})

    async def listen(self, pattern: str, handler: Callable[[str, dict[str, Any]], None]) -> int:
        """Call `handler(name, data)` for events of a name, or of a beginning followed by `*`."""
        listener = await self._add(b"", Listener(handler))
        arguments = {"object": signed(listener), "pattern": pattern}
        await self._or_removed(listener, self.call(SystemObject.EVENT, "register", arguments))
        return listener

    async def subscribe(
        self,
        path: str,
        handler: Callable[[str, dict[str, Any]], None],
        ended: Callable[[], None] | None = None,
    ) -> int:
        """Call `handler(name, data)` for an object's notifications, `ended()` when it goes away."""
        subscriber = await self._add(b"", Subscriber(handler, ended))
        await self._or_removed(subscriber, self._watch(subscriber, path))
        return subscriber

    def has_subscribers(self, object_id: int) -> bool:
        served = self._served.get(object_id)
        return served is not None and served.active

    def notify(self, object_id: int, name: str, data: dict[str, Any]) -> None:
        """Tell the subscribers of one's own object; nobody is asked for an answer."""
        body = (
            id_attribute(Attribute.OBJECT_ID, object_id)
            + text_attribute(Attribute.METHOD, name)
            + attribute(Attribute.DATA, encode(data))
            + flag_attribute(Attribute.NO_REPLY, True)
        )
        self._requests.tell(MessageType.NOTIFY, object_id, body)

    async def _look_up(self, pattern: str | None, timeout: float | None) -> list[Attributes]:
        body = text_attribute(Attribute.OBJECT_PATH, pattern) if pattern is not None else b""
        return await self._requests.ask(MessageType.LOOKUP, 0, body, timeout)

    async def _id_of(self, path: str, timeout: float | None) -> int:
        replies = await self._look_up(path, timeout)
        # An object without a method that this user may call is passed over, not refused.
        found = replies[0].object_id if replies else None
        if found is None:
            raise UbusError(Status.NOT_FOUND)
        return found

    async def _watch(self, subscriber: int, path: str) -> None:
        target = await self._id_of(path, DEFAULT_TIMEOUT)
        body = id_attribute(Attribute.OBJECT_ID, subscriber)
        body += id_attribute(Attribute.TARGET, target)
        await self._requests.ask(MessageType.SUBSCRIBE, 0, body)

    async def _or_removed(self, object_id: int, step: Any) -> None:
        try:
            await step
        except UbusError as error:
            if error.status != Status.CONNECTION_FAILED:
                await self.remove_object(object_id)
            raise

    async def _add(self, body: bytes, served: Served) -> int:
        ids: list[int] = []

        def added(reply: Attributes) -> None:
            # At once: a call may follow in the same read.
            if reply.object_id is not None:
                ids.append(reply.object_id)
                self._served[reply.object_id] = served

        await self._requests.ask(MessageType.ADD_OBJECT, 0, body, data=added)
        if not ids:
            raise UbusError(Status.NO_DATA)
        return ids[0]

    def _received(self, message: Message) -> None:
        if message.kind == MessageType.HELLO:
            self.client_id = message.peer
            if not self._greeted.done():
                self._greeted.set_result(None)
        elif message.kind in (MessageType.STATUS, MessageType.DATA):
            self._requests.answered(message)
        elif message.kind in (MessageType.INVOKE, MessageType.UNSUBSCRIBE, MessageType.NOTIFY):
            self._asked(message)

    def _asked(self, message: Message) -> None:
        try:
            asked = parse(message.body)
        except BlobError:
            return
        served = self._served.get(asked.object_id or 0)
        if served is None or asked.object_id is None:
            return
        served.asked(message, asked, self._link.send)
        if message.kind == MessageType.UNSUBSCRIBE:
            # A subscriber is there for one object and ends with it.
            del self._served[asked.object_id]
            body = id_attribute(Attribute.OBJECT_ID, asked.object_id)
            self._requests.tell(MessageType.REMOVE_OBJECT, 0, body)

    def _ended(self, reason: str) -> None:
        self.lost.set_result(reason)
        self._requests.end(reason)
        if not self._greeted.done():
            self._greeted.set_exception(UbusError(Status.CONNECTION_FAILED, reason))
        if not self._greeted.cancelled():
            self._greeted.exception()  # Seen, also when nobody waits for the greeting any more.


def _decoded(data: bytes | None) -> dict[str, Any]:
    try:
        return decode(data or b"", strict=False)
    except BlobError as error:
        raise UbusError(Status.PARSE_ERROR, f"a reply cannot be read: {error}") from None


def _object_info(reply: Attributes) -> ObjectInfo:
    methods = {
        name: {argument: kind for argument, kind in given.items() if isinstance(kind, int)}
        for name, given in _decoded(reply.signature).items()
        if isinstance(given, dict)
    }
    return ObjectInfo(reply.object_path or "", reply.object_id or 0, methods)
