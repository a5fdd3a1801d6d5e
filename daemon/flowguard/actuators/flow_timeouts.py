# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an idle flow stays in a flowtable, with a journal so that it is always put back."""

from __future__ import annotations

import json
import logging
import os

from flowguard.kernel.machine import Machine

NAMES = ("nf_flowtable_tcp_timeout", "nf_flowtable_udp_timeout")
FOLDER = "net/netfilter"
# The kernel's own (NF_FLOW_TIMEOUT, include/net/netfilter/nf_flow_table.h), in seconds.
KERNELS_OWN = 30

log = logging.getLogger(__name__)


class FlowTimeouts:
    """The kernel's flow timeouts (seconds, nf_conntrack-sysctl.rst), changed for a while.

    The values found before the first change are in the journal until `restore`, for whoever
    comes after us. It lives in the runtime directory, which a reboot empties, as it resets
    sysctls.
    """

    def __init__(self, machine: Machine, runtime_directory: str) -> None:
        self._sysctls = machine.sysctls
        self._files = machine.files
        self._journal = os.path.join(runtime_directory, "flow_timeouts.json")
        # A journal that cannot be written once may be written later.
        self._originals: dict[str, int] = {}
        self._complained = False

    def override(self, seconds: int) -> None:
        """Set both timeouts; a kernel without them is left as it is (flows take its default)."""
        originals = self._recorded() or self._originals or self._current()
        if not originals:
            log.warning("no %s in this kernel: draining takes its own time", NAMES[0])
            return
        self._record(originals)
        self._originals = originals
        for name in originals:
            self._sysctls.set(f"{FOLDER}/{name}", seconds)

    def restore(self) -> None:
        """Put the recorded values back; nothing recorded means nothing was changed.

        But for a timeout of 0, which nobody wants to keep: the journal of whoever set it is
        lost, or could not be written.
        """
        originals = self._recorded() or self._originals
        if not originals:
            originals = {name: KERNELS_OWN for name, found in self._current().items() if not found}
        for name, seconds in originals.items():
            self._sysctls.set(f"{FOLDER}/{name}", seconds)
        self._files.remove(self._journal)
        self._originals = {}

    def current(self) -> int:
        """The longest time that an idle flow stays now, 0 when the kernel does not say."""
        return max(self._current().values(), default=0)

    def _current(self) -> dict[str, int]:
        found = {name: self._sysctls.get(f"{FOLDER}/{name}") for name in NAMES}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def _recorded(self) -> dict[str, int]:
        try:
            recorded = json.loads(self._files.read(self._journal))
            if not isinstance(recorded, dict):
                raise TypeError("not a JSON object")
            return {name: int(recorded[name]) for name in NAMES if name in recorded}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            log.error("%s is damaged: %s", self._journal, error)
            return {}

    def _record(self, originals: dict[str, int]) -> None:
        """Without a journal the hardware is left all the same: that cannot wait for a disk."""
        try:
            self._files.replace(self._journal, json.dumps(originals))
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.error("%s: %s: the flow timeouts cannot be noted", self._journal, error)
