# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines per second of the fault matcher on one core, and how long the rules take to load.

Run: python -m bench.fault_matcher
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from flowguard.core.faults import FaultAssembler, FaultRules, LogRecord
from flowguard.rules import load
from flowguard.sensors.log_reader import KmsgReader

GOAL = 100_000
LINES = 20_000
ROUNDS = 5
ORDINARY = (
    "br-lan: port 1(lan1) entered forwarding state",
    "mtk_soc_eth 15100000.ethernet eth0: Link is Up - 2.5Gbps/Full - flow control rx/tx",
    "IPv6: ADDRCONF(NETDEV_CHANGE): lan1: link becomes ready",
    "reject wan in: IN=wan OUT= MAC=00:00:5e:00:53:01:00:00:5e:00:53:02:08:00 SRC=192.0.2.7"
    " DST=198.51.100.9 LEN=40 TOS=0x00 PREC=0x00 TTL=51 ID=60536 PROTO=TCP SPT=1361 DPT=23",
    "usb 1-1: new high-speed USB device number 7 using xhci-mtk",
    "random: crng init done",
    "device wlan0 entered promiscuous mode",
    "ath10k_pci 0000:01:00.0: mac flush null vif, drop 0 queues 0xffff",
    "UBIFS (ubi0:2): un-mount UBI device 0",
    "mt7530-mdio mdio-bus:1f lan3: configuring for phy/gmii link mode",
)
DUMP = (
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: 7 at net/core/dev.c:1 some_function+0x10/0x20",
    "CPU: 0 UID: 0 PID: 7 Comm: kworker/0:1 Not tainted 6.12.1 #0",
    "pc : some_function+0x10/0x20",
    *(f" frame_{n}+0x1/0x2" for n in range(20)),
    "---[ end trace 0000000000000000 ]---",
)


def best(action: Callable[[], object]) -> float:
    """CPU seconds of the quickest of several rounds: the others were disturbed."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def load_afresh() -> None:
    re.purge()
    load()


def rate(rules: FaultRules, lines: Sequence[str]) -> float:
    count = LINES // len(lines) * len(lines)
    records = [LogRecord(lines[n % len(lines)], n * 1e-4) for n in range(count)]

    def run() -> None:
        feed = FaultAssembler(rules).feed
        for record in records:
            feed(record)

    return count / best(run)


def sensor_rate(rules: FaultRules) -> float:
    """The same from /dev/kmsg's bytes on."""
    records = [f"6,{n},{n * 100},-;{ORDINARY[n % len(ORDINARY)]}\n".encode() for n in range(LINES)]

    def run() -> None:
        take = KmsgReader(rules, lambda device_id: None).take
        for record in records:
            take(record)

    return LINES / best(run)


def main() -> None:
    print(f"loading the rules       {best(load_afresh) * 1e3:9.0f} ms")
    rules = load()
    rates = {
        "ordinary lines": rate(rules, ORDINARY),
        "ordinary, from /dev/kmsg": sensor_rate(rules),
        "dumps only": rate(rules, DUMP),
    }
    for name, value in rates.items():
        print(f"{name:24}{value:9.0f} lines/s  {value / GOAL:5.1f} x the goal")


if __name__ == "__main__":
    main()
