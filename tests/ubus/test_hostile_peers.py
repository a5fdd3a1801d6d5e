# SPDX-License-Identifier: GPL-2.0-or-later
"""What is not ubus, or is meant to do harm, ends one call or one connection, never the daemon."""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowguard.ubus.blob import BlobError, Type, attribute, encode
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.link import OUTGOING_LIMIT
from flowguard.ubus.serving import Caller, Method
from flowguard.ubus.wire import (
    Attribute,
    Message,
    MessageType,
    Splitter,
    Status,
    flag_attribute,
    id_attribute,
    pack,
    parse,
    text_attribute,
)

A = Attribute
HELLO = pack(Message(MessageType.HELLO, 0, 5000))
CLOCK = 0xF0000001


class Peer:
    """ubusd's end of one connection, in the test's hands."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._splitter = Splitter()
        self._messages: list[Message] = []

    async def read(self) -> Message:
        while not self._messages:
            data = await asyncio.get_running_loop().sock_recv(self._end, 65536)
            assert data
            self._messages += self._splitter.feed(data)
        return self._messages.pop(0)

    async def write(self, *messages: bytes | Message) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else pack(message)
            await asyncio.get_running_loop().sock_sendall(self._end, data)

    def close(self) -> None:
        self._end.close()

    async def publish(self, connection: Connection, methods: dict[str, Method]) -> None:
        adding = asyncio.create_task(connection.add_object("clock", methods))
        asked = await self.read()
        await self.write(
            Message(MessageType.DATA, asked.sequence, 0, id_attribute(A.OBJECT_ID, CLOCK)),
            Message(MessageType.STATUS, asked.sequence, 0, id_attribute(A.STATUS, 0)),
            # In the same breath: ubusd may send a call before the object's owner knows its id.
            invoke("echo", encode({"early": True})),
        )
        assert await adding == CLOCK
        assert (await self.read()).kind == MessageType.DATA
        assert (await self.read()).kind == MessageType.STATUS


def invoke(method: str, data: bytes, *more: bytes) -> Message:
    body = id_attribute(A.OBJECT_ID, CLOCK) + text_attribute(A.METHOD, method)
    body += attribute(A.DATA, data) + b"".join(more)
    return Message(MessageType.INVOKE, 3, 6000, body)


async def echo(arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return arguments


METHODS = {"echo": Method(echo)}


def facing(use: Callable[[Peer, Connection], Awaitable[None]], greeting: bytes = HELLO) -> None:
    """A connection to a peer that greets like ubusd and then does as the test says."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            listener.listen()
            listener.setblocking(False)
            # Waited for in vain where it is less than a whole greeting.
            limit = 0.2 if len(greeting) < len(HELLO) else 10
            connecting = asyncio.create_task(Connection.connect(f"{folder}/s", limit))
            end, _ = await asyncio.get_running_loop().sock_accept(listener)
            end.setblocking(False)
            peer = Peer(end)
            await peer.write(greeting)
            try:
                connection = await connecting
                await use(peer, connection)
                connection.close()
            finally:
                peer.close()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await run()

    asyncio.run(bounded())


async def unused(peer: Peer, connection: Connection) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("greeting", "status"),
    [
        (b"", Status.TIMEOUT),
        (HELLO[:7], Status.TIMEOUT),
        (b"HTTP/1.1 400 Bad Request\r\n", Status.CONNECTION_FAILED),
        (struct.pack(">BBHII", 0, 0, 0, 5000, 3), Status.CONNECTION_FAILED),
        (struct.pack(">BBHII", 0, 0, 0, 5000, 0xFFFFFF), Status.CONNECTION_FAILED),
        (struct.pack(">BBHII", 1, 0, 0, 5000, 4), Status.CONNECTION_FAILED),
    ],
)
def test_what_does_not_greet_like_ubusd_is_not_connected_to(
    greeting: bytes, status: Status
) -> None:
    with pytest.raises(UbusError) as caught:
        facing(unused, greeting)
    assert caught.value.status == status


def test_an_over_long_message_ends_the_connection() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        await peer.write(struct.pack(">BBHII", 0, 2, 1, 0, 0xFFFFFF))
        assert "not ubus" in await connection.lost

    facing(use)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 40,
        encode({"n": 1})[:-1],
        attribute(Type.STRING, b"x\0"),
        encode({"n": "??"}).replace(b"??", b"\xff?"),
    ],
    ids=["garbage", "cut", "nameless", "not UTF-8"],
)
def test_damaged_arguments_are_refused_and_the_next_call_served(data: bytes) -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        await peer.publish(connection, METHODS)
        await peer.write(invoke("echo", data))
        assert parse((await peer.read()).body).status == Status.INVALID_ARGUMENT
        await peer.write(invoke("echo", encode({"n": 1})))
        assert parse((await peer.read()).body).data == encode({"n": 1})

    facing(use)


def test_who_asks_for_no_reply_gets_none() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        await peer.publish(connection, METHODS)
        await peer.write(
            invoke("echo", encode({"n": 1}), flag_attribute(A.NO_REPLY, True)),
            invoke("nope", encode({"n": 1}), flag_attribute(A.NO_REPLY, True)),
            invoke("echo", encode({"n": 2})),
        )
        assert parse((await peer.read()).body).data == encode({"n": 2})

    facing(use)


def test_a_notifier_that_waits_for_its_subscribers_is_answered() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        heard: list[str] = []
        subscribing = asyncio.create_task(connection.subscribe("x", lambda n, _: heard.append(n)))
        for _ in range(3):
            asked = await peer.read()
            given = id_attribute(A.OBJECT_ID, CLOCK)
            ok = id_attribute(A.STATUS, 0)
            await peer.write(Message(MessageType.DATA, asked.sequence, 0, given))
            await peer.write(Message(MessageType.STATUS, asked.sequence, 0, ok))
        assert await subscribing == CLOCK
        await peer.write(invoke("strike", b""))
        assert parse((await peer.read()).body).status == Status.OK
        assert heard == ["strike"]

    facing(use)


def test_messages_that_nobody_waits_for_are_passed_over() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        await peer.publish(connection, METHODS)
        for kind in (*range(12), 77, 255):
            await peer.write(
                Message(kind, 9, 9), Message(kind, 9, 9, b"garbage"), Message(kind, 0, 0, bytes(4))
            )
        await peer.write(invoke("echo", encode({"n": 1})))
        while (reply := await peer.read()).kind != MessageType.DATA:
            pass
        assert parse(reply.body).data == encode({"n": 1})

    facing(use)


def test_only_whom_one_asked_can_answer() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        calling = asyncio.create_task(connection.call(CLOCK, "echo"))
        asked = await peer.read()
        ok = id_attribute(A.STATUS, 0)
        forged, real = (attribute(A.DATA, encode({"n": n})) for n in (1, 2))
        await peer.write(
            Message(MessageType.DATA, asked.sequence, 4444, forged),
            Message(MessageType.STATUS, asked.sequence, 4444, ok),
            Message(MessageType.DATA, asked.sequence, CLOCK, real),
            Message(MessageType.STATUS, asked.sequence, CLOCK, ok),
        )
        assert await calling == {"n": 2}

    facing(use)


@pytest.mark.parametrize(
    "data", [attribute(A.DATA, b"garbage!"), b"garbage!"], ids=["inside", "outside"]
)
def test_a_damaged_reply_is_an_error_of_that_call(data: bytes) -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        calling = asyncio.create_task(connection.call(CLOCK, "echo"))
        asked = await peer.read()
        await peer.write(
            Message(MessageType.DATA, asked.sequence, CLOCK, data),
            Message(MessageType.STATUS, asked.sequence, CLOCK, id_attribute(A.STATUS, 0)),
        )
        with pytest.raises(UbusError) as caught:
            await calling
        assert caught.value.status == Status.PARSE_ERROR
        assert not connection.lost.done()

    facing(use)


def test_an_end_that_reads_nothing_does_not_fill_the_memory() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        await peer.publish(connection, METHODS)
        large = {"text": "x" * 500_000}
        for _ in range(OUTGOING_LIMIT // 500_000 + 3):
            connection.notify(CLOCK, "strike", large)
        assert "does not read" in await connection.lost

    facing(use)


def test_names_that_cannot_be_sent_are_refused_here() -> None:
    async def use(peer: Peer, connection: Connection) -> None:
        with pytest.raises(BlobError):
            await connection.call(CLOCK, "a\0b")
        with pytest.raises(BlobError):
            await connection.lookup("a\0b")

    facing(use)
