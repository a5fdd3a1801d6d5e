# SPDX-License-Identifier: GPL-2.0-or-later
"""ubus messages on the socket (ubusmsg.h): a header of eight bytes, then one blob of attributes.

Header: version (0), type, 16-bit sequence number, 32-bit peer, all big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from flowguard.core.records import frozen, mutable
from flowguard.ubus.blob import MESSAGE_LIMIT, BlobError, attribute, walk

SEND_LIMIT = MESSAGE_LIMIT - 1024
"""Bytes of attributes: ubusd adds names to a call, and drops what overfills its queue unsaid."""
RECEIVE_LIMIT = MESSAGE_LIMIT + 4096
"""Bytes: a call of the full size arrives with its caller's user and group added."""
FIRST_OBJECT_ID = 1024
"""Lower ones are ubusd's own (UBUS_SYSTEM_OBJECT_MAX)."""

_HEADER = struct.Struct(">BBHII")
_ID = struct.Struct(">I")


class MessageType(IntEnum):
    HELLO = 0
    STATUS = 1
    DATA = 2
    PING = 3
    LOOKUP = 4
    INVOKE = 5
    ADD_OBJECT = 6
    REMOVE_OBJECT = 7
    SUBSCRIBE = 8
    UNSUBSCRIBE = 9
    NOTIFY = 10
    MONITOR = 11


class Attribute(IntEnum):
    STATUS = 1
    OBJECT_PATH = 2
    OBJECT_ID = 3
    METHOD = 4
    OBJECT_TYPE = 5
    SIGNATURE = 6
    DATA = 7
    TARGET = 8
    ACTIVE = 9
    NO_REPLY = 10
    SUBSCRIBERS = 11
    USER = 12
    GROUP = 13


class SystemObject(IntEnum):
    EVENT = 1
    ACL = 2
    MONITOR = 3


class Status(IntEnum):
    OK = 0
    INVALID_COMMAND = 1
    INVALID_ARGUMENT = 2
    METHOD_NOT_FOUND = 3
    NOT_FOUND = 4
    NO_DATA = 5
    PERMISSION_DENIED = 6
    TIMEOUT = 7
    NOT_SUPPORTED = 8
    UNKNOWN_ERROR = 9
    CONNECTION_FAILED = 10
    NO_MEMORY = 11
    PARSE_ERROR = 12
    SYSTEM_ERROR = 13


class ProtocolError(Exception):
    """The other end does not speak ubus: nothing after this can be understood."""


@frozen
class Message:
    """`kind` is a MessageType, or a number that a later ubus may have given a meaning."""

    kind: int
    sequence: int
    peer: int
    body: bytes = b""


@mutable
class Attributes:
    """What a message says; None where it says nothing. Ids are 32 bits without sign."""

    status: int | None = None
    object_path: str | None = None
    object_id: int | None = None
    method: str | None = None
    object_type: int | None = None
    signature: bytes | None = None
    data: bytes | None = None
    target: int | None = None
    active: bool | None = None
    no_reply: bool = False
    subscribers: bytes | None = None
    user: str = ""
    group: str = ""


_IDS = (Attribute.STATUS, Attribute.OBJECT_ID, Attribute.OBJECT_TYPE, Attribute.TARGET)
_TEXTS = (Attribute.OBJECT_PATH, Attribute.METHOD, Attribute.USER, Attribute.GROUP)
_FLAGS = (Attribute.ACTIVE, Attribute.NO_REPLY)
_FIELDS = {kind: kind.name.lower() for kind in Attribute}


def parse(body: bytes) -> Attributes:
    """Attributes of one message, unknown ones left out; BlobError when one is damaged."""
    found = Attributes()
    for kind, _, start, end in walk(body, 0, len(body)):
        field = _FIELDS.get(kind)  # type: ignore[call-overload]
        if field is None:
            continue
        payload = body[start:end]
        if kind in _IDS:
            setattr(found, field, _id(payload))
        elif kind in _TEXTS:
            setattr(found, field, _text(payload))
        elif kind in _FLAGS:
            setattr(found, field, any(payload[:1]))
        else:
            setattr(found, field, payload)
    return found


def id_attribute(kind: Attribute, value: int) -> bytes:
    return attribute(kind, _ID.pack(value))


def text_attribute(kind: Attribute, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if b"\0" in data:
        raise BlobError(f"text with a NUL: {text[:40]!r}")
    return attribute(kind, data + b"\0")


def flag_attribute(kind: Attribute, value: bool) -> bytes:
    return attribute(kind, bytes((value,)))


def signed(number: int) -> int:
    """An id as blobmsg carries it: in 32 bits, which Python reads with sign."""
    return number - (1 << 32) if number >= 1 << 31 else number


def pack(message: Message) -> bytes:
    """BlobError when it is larger than ubusd delivers."""
    if len(message.body) > SEND_LIMIT:
        raise BlobError(f"message of {len(message.body)} bytes; ubus carries {SEND_LIMIT}")
    length = len(message.body) + _ID.size
    return _HEADER.pack(0, message.kind, message.sequence, message.peer, length) + message.body


class Splitter:
    """Cuts what arrives on a socket into messages."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages completed by `data`; ProtocolError when this is not ubus."""
        received = self._received
        received += data
        start = 0
        try:
            while len(received) - start >= _HEADER.size:
                version, kind, sequence, peer, word = _HEADER.unpack_from(received, start)
                length = word & 0xFFFFFF
                if version or not _ID.size <= length <= RECEIVE_LIMIT:
                    raise ProtocolError(f"message of version {version}, {length} bytes")
                end = start + _HEADER.size - _ID.size + length
                if len(received) < end:
                    return
                body = bytes(received[start + _HEADER.size : end])
                start = end
                yield Message(kind, sequence, peer, body)
        finally:
            del received[:start]


def _id(payload: bytes) -> int:
    if len(payload) != _ID.size:
        raise BlobError(f"number of {len(payload)} bytes where {_ID.size} belong")
    return int(_ID.unpack(payload)[0])


def _text(payload: bytes) -> str:
    if not payload.endswith(b"\0"):
        raise BlobError("text without its terminating NUL")
    return payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")
