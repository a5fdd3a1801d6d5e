# SPDX-License-Identifier: GPL-2.0-or-later
"""A sysfs tree with the network devices that a test wants."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from flowguard.core.model import Device
from flowguard.core.tables.topology import Link
from flowguard.kernel.route.links import NO_CARRIERS, links, scan


class Machine:
    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        self.proc = root / "proc"
        self._net = self.sys / "class" / "net"
        self._net.mkdir(parents=True)
        (self.proc / "net").mkdir(parents=True)
        self._index = 0

    def add(
        self,
        name: str,
        *,
        driver: str | None = None,
        up: bool = True,
        kind: str = "",
        type_: int = 1,
        entries: tuple[str, ...] = (),
        above: tuple[str, ...] = (),
    ) -> None:
        """A device; `above` are those it is built on, `entries` further directories."""
        self._index += 1
        directory = self._net / name
        directory.mkdir()
        (directory / "ifindex").write_text(f"{self._index}\n")
        (directory / "type").write_text(f"{type_}\n")
        (directory / "flags").write_text("0x1003\n" if up else "0x1002\n")
        (directory / "uevent").write_text(
            f"DEVTYPE={kind}\nINTERFACE={name}\n" if kind else "", errors="surrogateescape"
        )
        for entry in entries:
            (directory / entry).mkdir()
        if driver:
            (directory / "device").mkdir()
            (directory / "device" / "driver").symlink_to(f"/bus/platform/drivers/{driver}")
        for lower in above:
            (directory / f"lower_{lower}").symlink_to(self._net / lower)
            (self._net / lower / f"upper_{name}").symlink_to(directory)

    def scan(self, *names: str, carriers: Mapping[str, str] = NO_CARRIERS) -> dict[str, Device]:
        found = scan(names, str(self.sys), str(self.proc), carriers)
        return {device.name: device for device in found.devices}

    def link(self, name: str, carriers: Mapping[str, str] = NO_CARRIERS) -> Link:
        found = links(str(self.sys), str(self.proc), carriers)
        return {link.name: link for link in found}[name]

    def sessions(self, *devices: str) -> None:
        lines = [f"0000002A 02:00:00:00:00:01     {device}" for device in devices]
        text = "\n".join(["Id       Address              Device", *lines, ""])
        (self.proc / "net" / "pppoe").write_text(text)

    def remove(self, name: str) -> None:
        """A device that nothing is built on."""
        shutil.rmtree(self._net / name)
        for upper in self._net.glob(f"*/upper_{name}"):
            upper.unlink()
