# SPDX-License-Identifier: GPL-2.0-or-later
"""A router with its owner's names and secrets in every place that the report reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowguard.checks import Finding, Grade
from flowguard.core.model import Device
from flowguard.core.records import replace
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.machine import Ended
from flowguard.kernel.nftables.ruleset import ForeignFlowtable
from flowguard.kernel.pstore import Dump, Dumps
from flowguard.platform.openwrt import uci
from flowguard.report.making import Told, report
from flowguard.service.frozen_moments import path_of
from tests.sensors.machine import Parts
from tests.service.composed import PATHS, Home, at_home, shipped_rules

OOPS = """\
BUG: kernel NULL pointer dereference, address: 0000000000000018
CPU: 1 PID: 77 Comm: kworker/1:2 Not tainted 6.12.40 #0
Workqueue: nf_ft_offload_add flow_offload_work_handler [nf_flow_table]
RIP: 0010:mtk_foe_entry_commit+0x1f8/0x3a0 [mtk_eth_soc]
Call Trace:
 flow_offload_work_handler+0x94/0x2f0 [nf_flow_table]
 process_one_work+0x1d7/0x3b0
---[ end trace 0000000000000000 ]---"""


class Nft:
    """Lists a table with what people put into it; not there when `listing` is empty."""

    def __init__(self, listing: str = "") -> None:
        self.listing = listing

    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        if not self.listing:
            raise FileNotFoundError(2, "No such file or directory", words[0])
        return Ended(0, self.listing.encode()[:most])


def a_status() -> dict[str, Any]:
    """Of a daemon that has just started."""
    found: list[dict[str, Any]] = []

    async def use(home: Home) -> None:
        await home.settled()
        found.append(json.loads(json.dumps(home.status())))

    at_home(use)
    return found[0]


class Household:
    """A machine in memory; what is told by the daemon is `status`, None where it does not run."""

    def __init__(self, status: dict[str, Any] | None = None, release: str = "6.12.40") -> None:
        self.parts = Parts(release=release)
        self.files = self.parts.files.texts
        self.packages: dict[str, str] = {"flowguard": "config flowguard 'globals'\n"}
        self.status = status
        self.absence = "not running; start it with: service flowguard start"
        self.findings: list[Finding] = []
        self.nft = Nft()
        self.unread: tuple[str, ...] = ()
        for name in ("lan1", "wan"):
            self.parts.network.add(Link(name, Kind.PORT))
            self.parts.network.devices[name] = Device(
                name, 2, "mtk_soc_eth", "15100000.ethernet", forward_names=(name, "br-lan")
            )
            self.parts.network.codes[name] = "mtk_soc_eth 6.12.40, firmware 1.2.3.4"
        self.parts.network.add(Link("br-lan", Kind.BRIDGE, lower=("lan1",)))
        self.parts.network.codes["br-lan"] = ""

    def load(self, name: str) -> uci.Package:
        if name not in self.packages:
            raise FileNotFoundError(2, "No such file or directory", name)
        return uci.parse(self.packages[name].encode("utf-8", "surrogateescape"), name)

    def report(self) -> str:
        told = Told(self.status, self.absence, self.findings, shipped_rules(), self.load)
        machine = replace(self.parts.machine, programs=self.nft)
        made = asyncio.run(report(machine, PATHS, told))
        self.unread = made.unread
        return made.text

    def plant(self, text: str) -> None:
        """The text in every place: a log's line, a comment, a reason, a dump, a file."""
        one_line = " ".join(text.split("\n"))
        folder = PATHS.runtime_directory
        self.parts.kernel_log.write(f"eth0: {one_line} said", *OOPS.split("\n"))
        left = Dump("dmesg-ramoops-0", "Oops", f"{one_line}\n{OOPS}\n{one_line}", ("it",))
        self.parts.last_boot.left = Dumps((left,), ())
        self.nft.listing = (
            f'table inet flowguard {{\n  # {one_line}\n  ip saddr {one_line} comment "Annas TV"\n}}'
        )
        self.parts.tables.foreign = (ForeignFlowtable(f"inet {one_line}", False, ("wan",)),)
        self.findings.append(Finding(Grade.ERROR, "code", f"says {text}", f"mend {text}"))
        self.files[f"{PATHS.state_directory}/state.json"] = json.dumps({"verdicts": [{"a": text}]})
        self.files[f"{folder}/events.jsonl"] = json.dumps({"event": "Tick", "what": text}) + "\n"
        self.files["/proc/version"] = f"Linux version 6.12.40 ({one_line}) (gcc)"
        self.files["/tmp/sysinfo/model"] = f"A router {one_line}"
        self.files["/proc/net/dev"] = f"eth0: 1 2 3 {one_line}"
        status = self._said(self.status or {"flows": {}, "devices": []}, text)
        if self.status is not None:
            self.status = status
        moment = {"cause": text, "time": 7.0, "at": "then", "status": status}
        for number in (1, 2):
            lines = [f"[    1.000000] {one_line}", *OOPS.split("\n")] if number == 1 else [one_line]
            self.files[path_of(folder, number)] = json.dumps({**moment, "kernel_log": lines})

    def _said(self, status: dict[str, Any], text: str) -> dict[str, Any]:
        decision = {"at": text, "device": "wan", "from": "hardware", "to": "software"}
        return {
            **status,
            "reason": f"because of {text}",
            "problems": [text],
            "decisions": [{**decision, "reason": text, "evidence": text}],
            "drain": {"tuples": [text]},
            "sensors": {"kmsg": text},
            "left_out": [{"name": "wlan0", "reason": text}],
        }
