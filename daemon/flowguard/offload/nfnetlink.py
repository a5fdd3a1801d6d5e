# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables transactions and dumps on a netlink socket of our own."""

from __future__ import annotations


class Nftables:
    """One nfnetlink socket; open it once, share it, close it at the end."""

    def __init__(self) -> None:
        raise NotImplementedError

    @property
    def port(self) -> int:
        """Our netlink port id: notifications of our own changes carry it."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
