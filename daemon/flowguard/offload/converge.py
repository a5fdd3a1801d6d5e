# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings the kernel's tables to a plan, without ever stranding an entry in the engine."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.core.model import DrainProgress, FlowTuple
from flowguard.core.plan import Plan
from flowguard.offload.nfnetlink import Nftables


class ConvergeError(Exception):
    """The kernel refused; what was there before is still there.

    `device` is named when the refusal concerns one device alone.
    """

    def __init__(self, message: str, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


class Converger:
    """The only owner of flowguard's tables and of the flow timeouts.

    The kernel is the truth: every call starts with a dump, and a kernel that already
    matches is not touched. Calls are serialised; cancel a `converge` to supersede it by
    another: the next one goes on from what it finds.
    """

    def __init__(
        self,
        nftables: Nftables,
        runtime_directory: str,
        progress: Callable[[DrainProgress], None],
        *,
        flow_timeout: int | None = None,
    ) -> None:
        """`flow_timeout` (seconds) holds while a hardware table exists; None leaves the kernel's.

        `progress` is called for every look at a drain.
        """
        raise NotImplementedError

    def recover(self) -> None:
        """Put back the flow timeouts that a killed predecessor left changed; call it first."""
        raise NotImplementedError

    async def converge(self, plan: Plan) -> None:
        """Return when a fresh dump equals the plan; raise ConvergeError when refused.

        Drains hardware first where a device leaves it; that can take as long as the flow
        timeout, and for ever with a driver that forgets (watch the progress, then cancel).
        """
        raise NotImplementedError

    async def intact(self) -> bool:
        """Whether the kernel still holds what the last successful `converge` put there."""
        raise NotImplementedError

    async def release(self, limit: float) -> tuple[FlowTuple, ...]:
        """Drain for at most `limit` seconds, remove everything, restore the timeouts.

        Returns the flows that would not leave hardware.
        """
        raise NotImplementedError
