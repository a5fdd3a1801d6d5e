# SPDX-License-Identifier: GPL-2.0-or-later
"""The look at the engine's table: on some kernels reading it is what crashes them.

So the first one is written down before it begins. If it ends the boot, that is no fault of the
hardware: the eye stays shut on that kernel, and hardware goes on without it.
"""

from __future__ import annotations

from flowguard.core.events import (
    BootSeen,
    Command,
    LookBegun,
    LookEnded,
    Notify,
    Save,
    Severity,
)
from flowguard.core.model import Attribution, Fault, ShutEye
from flowguard.core.records import replace
from flowguard.core.state import State

Step = tuple[State, list[Command]]


def on_look(state: State, event: LookBegun | LookEnded) -> Step:
    looking = isinstance(event, LookBegun)
    return (state, []) if state.looking is looking else (replace(state, looking=looking), [Save()])


def on_fault(state: State, fault: Fault) -> Step:
    """A look that this boot has survived."""
    return shut(state, state.boots.kernel, f"{fault.line} ({fault.because})")


def crashed_the_boot(event: BootSeen) -> str:
    """What says that a look has ended the boot before; "" when something else did, or nothing."""
    looks = [fault for fault in event.faults if fault.by_look]
    if looks:
        return f"{looks[0].line} ({looks[0].because})"
    # Whatever the kernel says against others counts more than the moment.
    others = (Attribution.OFFLOAD, Attribution.DRIVER)
    named = any(fault.attribution in others for fault in event.faults)
    unrelated = event.crash and not event.faults
    if not (event.looking and event.unplanned) or named or unrelated:
        return ""
    return "the boot ended while it was read for the first time"


def shut(state: State, kernel: str, evidence: str) -> Step:
    if state.shut_eye and state.shut_eye.kernel == kernel:
        return state, []
    message = (
        f"the engine's table is not read any more on Linux {kernel}: {evidence};"
        " `flowguard forget` opens that eye again"
    )
    state = replace(state, shut_eye=ShutEye(kernel, evidence))
    return state, [Save(), Notify(Severity.WARNING, message)]
