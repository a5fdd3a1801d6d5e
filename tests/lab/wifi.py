# SPDX-License-Identifier: GPL-2.0-or-later
"""Real Wi-Fi: simulated radios of the kernel's own (mac80211_hwsim), hostapd and wpa_supplicant.

Two access points of one network in br-lan, and one on a bridge of its own. Host lan2 is the
station; it has one address, with which it is behind a radio or behind port lan2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab import topologies
from tests.lab.hosts import LAN2, Router
from tests.lab.namespace import Namespace, run
from tests.lab.programs import running
from tests.lab.wait import wait_for

ACCESS_POINTS = ("phy0-ap0", "phy1-ap0")
"""In br-lan."""
GUEST_ACCESS_POINT = "phy2-ap0"
GUEST_BRIDGE = "br-guest"
NETWORK, PASSPHRASE = "lab", "a lab has no secrets"
FREQUENCY = 2412
"""Of channel 1, in MHz: allowed in every country."""
HOSTAPD = f"""
driver=nl80211
ssid={NETWORK}
hw_mode=g
channel=1
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase={PASSPHRASE}
"""
SUPPLICANT = f"""
ctrl_interface={{control}}
network={{{{
    ssid="{NETWORK}"
    psk="{PASSPHRASE}"
    scan_freq={FREQUENCY}
    disabled=1
}}}}
"""


class Station:
    """Host lan2: behind its port or behind an access point, wherever it was moved last."""

    def __init__(self, router: Router, control: Path) -> None:
        self._router = router
        self._host = router.hosts[LAN2.port]
        self._control = control

    def move(self, to: str) -> None:
        """To the port, or to the access point of that name; returns when it is there."""
        if to == LAN2.port:
            self._ask("disconnect")
            self._host.ip("link set eth0 up")
            return
        self._host.ip("link set eth0 down")
        bssid = str(self._router.namespace.links()[to]["address"])
        self._ask("bssid", "0", bssid)
        self._ask(*(("roam", bssid) if self._is_connected() else ("enable_network", "0")))
        self._ask("reconnect")
        wait_for(lambda: self._is_connected(bssid), f"the station at {to}", state=self._status)

    def _is_connected(self, bssid: str = "") -> bool:
        lines = self._status().splitlines()
        return "wpa_state=COMPLETED" in lines and (not bssid or f"bssid={bssid}" in lines)

    def _status(self) -> str:
        return self._ask("status")

    def _ask(self, *words: str) -> str:
        return run("wpa_cli", "-p", str(self._control), "-i", "wlan0", *words)


@contextmanager
def bridge_with_access_points(router: Router) -> Iterator[Station]:
    """Both LAN ports and two access points in br-lan, one network; the station is at the port."""
    with topologies.bridge(router), _radios(router), _access_points(ACCESS_POINTS, "br-lan"):
        own = str(router.namespace.links()["br-lan"]["address"])
        with _station(router, own) as station:
            yield station


@contextmanager
def bridge_of_its_own(router: Router) -> Iterator[Station]:
    """A network of Wi-Fi alone, with LAN2's addresses; the station is at its access point."""
    mac = str(router.namespace.links()[LAN2.port]["address"])
    with ExitStack() as ends:
        ends.callback(router.configure_port, LAN2)
        router.namespace.ip(
            f"address flush dev {LAN2.port}",
            f"link add {GUEST_BRIDGE} address {mac} type bridge",
        )
        ends.callback(router.namespace.ip, f"link delete {GUEST_BRIDGE}")
        router.configure_port(LAN2, GUEST_BRIDGE)
        ends.enter_context(_radios(router))
        ends.enter_context(_access_points((GUEST_ACCESS_POINT,), GUEST_BRIDGE))
        station = ends.enter_context(_station(router, mac))
        station.move(GUEST_ACCESS_POINT)
        yield station


@contextmanager
def _radios(router: Router) -> Iterator[None]:
    """Three for access points, and one that moves into the host's namespace."""
    run("modprobe", "mac80211_hwsim", "radios=4")
    try:
        names = (*ACCESS_POINTS, GUEST_ACCESS_POINT)
        router.namespace.ip(*(f"link set wlan{n} name {name}" for n, name in enumerate(names)))
        radio = Path("/sys/class/net/wlan3/phy80211/name").read_text().strip()
        host = router.hosts[LAN2.port]
        run("iw", "phy", radio, "set", "netns", "name", host.name)
        host.ip("link set wlan3 name wlan0")
        yield
    finally:
        run("modprobe", "--remove", "mac80211_hwsim")


@contextmanager
def _access_points(names: Sequence[str], bridge: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in names]
        for file in files:
            file.write_text(f"interface={file.name}\nbridge={bridge}\n{HOSTAPD}")
        with running("hostapd", *map(str, files)) as said:
            wait_for(
                lambda: said().count("AP-ENABLED") == len(names), "the access points", state=said
            )
            yield


@contextmanager
def _station(router: Router, own: str) -> Iterator[Station]:
    """The host's wire and radio in a bond, as a laptop has them; `own` is the router's MAC."""
    host = router.hosts[LAN2.port]
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        ends.callback(router.configure_host, LAN2)
        host.ip(
            "link add home type bond mode active-backup miimon 10",
            "address flush dev eth0",
            "link set eth0 down",
            "link set eth0 master home",
            "link set wlan0 master home",
            "link set home up",
        )
        ends.callback(host.ip, "link delete home", "link set eth0 up")
        router.configure_host(LAN2, "home")
        _introduce(host, own)
        file, control = folder / "configuration", folder / "control"
        file.write_text(SUPPLICANT.format(control=control))
        supplicant = host.command("wpa_supplicant", "-i", "wlan0", "-c", str(file))
        said = ends.enter_context(running(*supplicant))
        wait_for(lambda: (control / "wlan0").exists(), "wpa_supplicant", state=said)
        yield Station(router, control)


def _introduce(host: Namespace, own: str) -> None:
    host.ip(
        *(
            f"neighbour replace {address} lladdr {own} dev home nud permanent"
            for address in (LAN2.router4, LAN2.router6)
        )
    )
