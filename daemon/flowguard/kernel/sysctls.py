# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an idle flow stays in a flowtable, with a journal so that it is always put back."""

from __future__ import annotations

import contextlib
import json
import logging
import os

from flowguard.kernel.files import replace_file

NAMES = ("nf_flowtable_tcp_timeout", "nf_flowtable_udp_timeout")
PROC = "/proc/sys/net/netfilter"

log = logging.getLogger(__name__)


def min_packets_problem(min_packets: int, proc: str = PROC) -> str | None:
    """Why a minimum of packets would keep every flow from being offloaded, in one line.

    The kernel switches counting on when such a rule is made (nft_ct_get_init in
    net/netfilter/nft_ct.c); it is off only when something switched it off afterwards.
    """
    path = os.path.join(proc, "nf_conntrack_acct")
    if not min_packets:
        return None
    try:
        with open(path) as file:
            counting = file.read().strip() != "0"
    except OSError as error:
        return f"min_packets needs {path}: {error.strerror}"
    if counting:
        return None
    return (
        "min_packets needs net.netfilter.nf_conntrack_acct=1: "
        "without it no new flow is ever offloaded"
    )


class LinuxSysctls:
    """See `kernel.machine.Sysctls`."""

    def __init__(self, proc: str = "/proc/sys") -> None:
        self._proc = proc

    def get(self, name: str) -> int | None:
        try:
            with open(os.path.join(self._proc, name), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def set(self, name: str, value: int) -> None:
        with open(os.path.join(self._proc, name), "w", encoding="ascii") as file:
            file.write(f"{value}\n")


class FlowTimeouts:
    """The kernel's flow timeouts (seconds, nf_conntrack-sysctl.rst), changed for a while.

    The values found before the first change are in the journal until `restore`. The
    journal lives in the runtime directory, which a reboot empties, as it resets sysctls.
    """

    def __init__(self, runtime_directory: str, proc: str = PROC) -> None:
        self._proc = proc
        self._journal = os.path.join(runtime_directory, "flow_timeouts.json")

    def override(self, seconds: int) -> None:
        """Set both timeouts; a kernel without them is left as it is (flows take its default)."""
        originals = self._recorded() or self._current()
        if not originals:
            log.warning("no %s in %s: draining takes the kernel's own time", NAMES[0], self._proc)
            return
        self._record(originals)
        for name in originals:
            self._write(name, seconds)

    def restore(self) -> None:
        """Put the recorded values back; nothing recorded means nothing was changed."""
        for name, seconds in self._recorded().items():
            self._write(name, seconds)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._journal)

    def current(self) -> int:
        """The longest time that an idle flow stays now, 0 when the kernel does not say."""
        return max(self._current().values(), default=0)

    def _current(self) -> dict[str, int]:
        values: dict[str, int] = {}
        for name in NAMES:
            with (
                contextlib.suppress(FileNotFoundError),
                open(os.path.join(self._proc, name)) as file,
            ):
                values[name] = int(file.read())
        return values

    def _recorded(self) -> dict[str, int]:
        try:
            with open(self._journal) as file:
                recorded = json.load(file)
            if not isinstance(recorded, dict):
                raise TypeError("not a JSON object")
            return {name: int(recorded[name]) for name in NAMES if name in recorded}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            log.error("%s is damaged, flow timeouts stay as they are: %s", self._journal, error)
            return {}

    def _record(self, originals: dict[str, int]) -> None:
        replace_file(self._journal, json.dumps(originals))

    def _write(self, name: str, seconds: int) -> None:
        with open(os.path.join(self._proc, name), "w") as file:
            file.write(f"{seconds}\n")
