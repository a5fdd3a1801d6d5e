# SPDX-License-Identifier: GPL-2.0-or-later
"""Who speaks ubusd's side of the protocol in tests: this broker, or the real ubusd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flowguard.ubus.blob import attribute, decode, encode
from flowguard.ubus.wire import (
    Attribute,
    Attributes,
    Message,
    MessageType,
    Splitter,
    Status,
    SystemObject,
    flag_attribute,
    id_attribute,
    pack,
    parse,
    text_attribute,
)

A = Attribute
OK, NOT_FOUND = Status.OK, Status.NOT_FOUND


class Ubusd(Protocol):
    path: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@asynccontextmanager
async def running(
    ubusd: Ubusd, program: Coroutine[Any, Any, None], limit: float
) -> AsyncIterator[None]:
    """The program runs meanwhile, for `limit` seconds at most; with it ends ubusd."""
    task = asyncio.create_task(program)
    try:
        async with asyncio.timeout(limit):
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await ubusd.stop()


class RealUbusd:
    """The program itself."""

    def __init__(self, program: str, path: str) -> None:
        self.path = path
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(self._program, "-s", self.path)
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(self.path)
                break
            except OSError:
                if self._process.returncode is not None:
                    raise
                await asyncio.sleep(0.002)
        writer.close()
        await writer.wait_closed()

    async def stop(self) -> None:
        if self._process:
            self._process.kill()
            await self._process.wait()
            self._process = None
            Path(self.path).unlink(missing_ok=True)


@dataclass(eq=False)
class Client:
    id: int
    writer: asyncio.StreamWriter

    def send(self, kind: int, sequence: int, peer: int, *attributes: bytes) -> None:
        self.writer.write(pack(Message(kind, sequence, peer, b"".join(attributes))))


@dataclass(eq=False)
class Published:
    id: int
    owner: Client
    path: str | None
    signature: bytes | None
    patterns: list[str] = field(default_factory=list)
    subscribers: list[Published] = field(default_factory=list)


def matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Broker:
    """Ids, lookup, calls, events, subscriptions; everybody is root."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._clients: dict[int, Client] = {}
        self._objects: dict[int, Published] = {}
        # Beyond 31 bits, as half of ubusd's random ids are.
        self._last_id = 0xF0000000

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            for client in self._clients.values():
                client.writer.close()
            self._server = None
            Path(self.path).unlink(missing_ok=True)
        while self._clients:
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self._new_id(), writer)
        self._clients[client.id] = client
        client.send(MessageType.HELLO, 0, client.id)
        splitter = Splitter()
        try:
            while data := await reader.read(1 << 16):
                for message in splitter.feed(data):
                    self._handle(client, message)
        except ConnectionError:
            pass
        finally:
            writer.close()
            del self._clients[client.id]
            for published in [o for o in self._objects.values() if o.owner is client]:
                self._remove(published)

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _handle(self, client: Client, message: Message) -> None:
        if message.kind in (MessageType.DATA, MessageType.STATUS):
            self._answer(client, message)
            return
        status = HANDLERS[MessageType(message.kind)](self, client, message, parse(message.body))
        if status is not None:
            client.send(
                MessageType.STATUS, message.sequence, message.peer, id_attribute(A.STATUS, status)
            )

    def _answer(self, client: Client, message: Message) -> None:
        published = self._objects.get(parse(message.body).object_id or 0)
        asker = self._clients.get(message.peer)
        if published and published.owner is client and asker:
            asker.send(message.kind, message.sequence, published.id, message.body)

    def _add(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        if asked.object_path and self._found(asked.object_path):
            return Status.INVALID_ARGUMENT
        published = Published(self._new_id(), client, asked.object_path, asked.signature)
        self._objects[published.id] = published
        if published.path:
            self._tell("ubus.object.add", {"id": 0, "path": published.path}, None)
        client.send(MessageType.DATA, message.sequence, 0, id_attribute(A.OBJECT_ID, published.id))
        return OK

    def _remove_object(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        published = self._objects.get(asked.object_id or 0)
        if not published:
            return NOT_FOUND
        client.send(MessageType.DATA, message.sequence, 0, id_attribute(A.OBJECT_ID, published.id))
        self._remove(published)
        return OK

    def _remove(self, published: Published) -> None:
        del self._objects[published.id]
        for other in self._objects.values():
            if published in other.subscribers:
                other.subscribers.remove(published)
                self._activity(other)
        for subscriber in published.subscribers:
            ids = id_attribute(A.OBJECT_ID, subscriber.id), id_attribute(A.TARGET, published.id)
            subscriber.owner.send(MessageType.UNSUBSCRIBE, 1, 0, *ids)

    def _lookup(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        found = self._found(asked.object_path or "*")
        for published in found:
            client.send(
                MessageType.DATA,
                message.sequence,
                message.peer,
                text_attribute(A.OBJECT_PATH, published.path or ""),
                id_attribute(A.OBJECT_ID, published.id),
                id_attribute(A.OBJECT_TYPE, 1),
                attribute(A.SIGNATURE, published.signature or b""),
            )
        return OK if found or not asked.object_path else NOT_FOUND

    def _found(self, pattern: str) -> list[Published]:
        return [o for o in self._objects.values() if o.path and matches(pattern, o.path)]

    def _invoke(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        if asked.object_id == SystemObject.EVENT:
            return self._event(client, asked.method, decode(asked.data or b""))
        published = self._objects.get(asked.object_id or 0)
        if not published:
            return NOT_FOUND
        self._forward(published, client, message, asked)
        return None

    def _forward(self, to: Published, client: Client, message: Message, asked: Attributes) -> None:
        to.owner.send(
            MessageType.INVOKE,
            message.sequence,
            client.id,
            flag_attribute(A.NO_REPLY, True) if asked.no_reply else b"",
            id_attribute(A.OBJECT_ID, to.id),
            text_attribute(A.METHOD, asked.method or ""),
            text_attribute(A.USER, "root"),
            text_attribute(A.GROUP, "root"),
            attribute(A.DATA, asked.data or b""),
        )

    def _event(self, client: Client, method: str | None, data: dict[str, Any]) -> Status:
        if method == "send":
            self._tell(data["id"], data["data"], client)
        else:
            self._objects[data["object"] & 0xFFFFFFFF].patterns.append(data["pattern"])
        return OK

    def _tell(self, name: str, data: dict[str, Any], sender: Client | None) -> None:
        for listener in self._objects.values():
            if listener.owner is sender or not any(matches(p, name) for p in listener.patterns):
                continue
            body = id_attribute(A.OBJECT_ID, listener.id) + text_attribute(A.METHOD, name)
            body += attribute(A.DATA, encode(data))
            listener.owner.send(MessageType.INVOKE, 1, 0, body)

    def _subscribe(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        target = self._objects.get(asked.target or 0)
        if not target:
            return NOT_FOUND
        target.subscribers.append(self._objects[asked.object_id or 0])
        self._activity(target)
        return OK

    def _activity(self, target: Published) -> None:
        active = flag_attribute(A.ACTIVE, bool(target.subscribers))
        target.owner.send(MessageType.NOTIFY, 1, 0, id_attribute(A.OBJECT_ID, target.id), active)

    def _notify(self, client: Client, message: Message, asked: Attributes) -> Status | None:
        for subscriber in self._objects[asked.object_id or 0].subscribers:
            self._forward(subscriber, client, message, asked)
        return None


HANDLERS = {
    MessageType.ADD_OBJECT: Broker._add,
    MessageType.REMOVE_OBJECT: Broker._remove_object,
    MessageType.LOOKUP: Broker._lookup,
    MessageType.INVOKE: Broker._invoke,
    MessageType.SUBSCRIBE: Broker._subscribe,
    MessageType.NOTIFY: Broker._notify,
}
