# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic one can ask for.

Host lan1 or lan2 talks to the server in the WAN; host wan comes in to the server on
lan1 (IPv4: through the port forward). Sizes are bytes of payload, rates bytes a second
and connection unless said otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """`stall_limit`: seconds without progress after which a connection counts as stalled."""

    host: str = "lan1"
    family: int = 4
    stall_limit: float = 60.0


class Ending(StrEnum):
    """How a request ends; both resets come in the middle, with data on the way.

    Where `impair.silent_ends` holds back the client's reset, the client has vanished.
    """

    ORDERLY = "orderly"
    SERVER_RESETS = "server_resets"
    CLIENT_RESETS = "client_resets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Pattern):
    """New connections at `per_second`, each one request and its response.

    `count` ends the pattern after so many; None goes on until it is stopped. A request
    has at most 64 KiB.
    """

    per_second: float = 5.0
    count: int | None = None
    request: int = 200
    response: int = 8_000
    ending: Ending = Ending.ORDERLY


@dataclass(frozen=True, slots=True, kw_only=True)
class PortScan(Pattern):
    """TCP connections to closed ports of the WAN host, each to the next one, at `per_second`.

    `count` ends the pattern after so many; None goes on until it is stopped.
    """

    per_second: float = 50.0
    count: int | None = None
    first_port: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloads(Pattern):
    """`count` transfers to the client; `rate` 0 is as fast as it goes, `size` None endless."""

    count: int = 1
    rate: int = 8_000
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads(Pattern):
    """`count` transfers to the server; `rate` 0 is as fast as it goes, `size` None endless."""

    count: int = 1
    rate: int = 8_000
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlives(Pattern):
    """`count` connections that echo a message of `size` every `interval` seconds."""

    count: int = 1
    interval: float = 5.0
    size: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagrams(Pattern):
    """`count` UDP flows, each sending `per_second` numbered datagrams that are echoed.

    They begin `spacing` seconds after one another.
    """

    count: int = 1
    spacing: float = 0.01
    per_second: float = 10.0
    size: int = 400


KINDS: dict[str, type[Pattern]] = {
    kind.__name__: kind for kind in (Requests, PortScan, Downloads, Uploads, KeepAlives, Datagrams)
}


def encode(pattern: Pattern) -> dict[str, object]:
    """The pattern as JSON can carry it."""
    return {"kind": type(pattern).__name__, **asdict(pattern)}


def decode(fields: dict[str, object]) -> Pattern:
    """The pattern that `encode` described."""
    kind = KINDS[str(fields["kind"])]
    return kind(**{k: v for k, v in fields.items() if k != "kind"})  # type: ignore[arg-type]
