# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and secrets that this machine knows: of its owner, of hosts, of Wi-Fi, of the provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from flowguard.core.records import frozen
from flowguard.kernel.machine import Files
from flowguard.platform.configuration.exclusions import Exclude
from flowguard.platform.configuration.options import Configuration
from flowguard.platform.configuration.sections import settings
from flowguard.platform.openwrt import uci
from flowguard.report.masking import KnownName, NameKind

Load = Callable[[str], uci.Package]
"""Reads a UCI package; OSError or UciError when there is none."""

PUBLIC_OPTIONS = {s.name for kind in (Configuration, Exclude) for s in settings(kind)} - {"name"}
"""Of flowguard's own configuration; whatever else is there is meant for its owner."""

LEASES = ("/tmp/dhcp.leases", "/var/lib/misc/dnsmasq.leases", "/tmp/hosts/odhcpd")
HOSTS = ("/etc/hosts", "/etc/ethers")
HOST_NAMES = ("/etc/hostname", "/proc/sys/kernel/hostname")
RESOLVERS = ("/etc/resolv.conf", "/tmp/resolv.conf.d/resolv.conf.auto", "/tmp/resolv.conf.auto")
PPP_SECRETS = ("/etc/ppp/chap-secrets", "/etc/ppp/pap-secrets")
HOSTAPD = ("/etc/hostapd/hostapd.conf", "/etc/wpa_supplicant/wpa_supplicant.conf")
USERS = "/etc/passwd"
FIRST_PERSON = 1000
"""User numbers below are the system's (login.defs(5), UID_MIN)."""
NOBODY = 65534


@frozen
class _Options:
    """The options of a UCI package whose values are names of one kind."""

    package: str
    kind: NameKind
    names: tuple[str, ...]


_HOST, _DOMAIN, _SECRET = NameKind.HOST, NameKind.DOMAIN, NameKind.SECRET
_OPTIONS = (
    _Options("system", _HOST, ("hostname",)),
    _Options("system", NameKind.NAME, ("description", "notes")),
    _Options("dhcp", _HOST, ("name", "hostname")),
    _Options("dhcp", _DOMAIN, ("domain", "local", "rebind_domain")),
    _Options("wireless", NameKind.SSID, ("ssid", "mesh_id")),
    _Options(
        "wireless",
        _SECRET,
        ("key", "key1", "key2", "key3", "key4", "password", "sae_password", "priv_key_pwd"),
    ),
    _Options("wireless", _SECRET, ("auth_secret", "acct_secret")),
    _Options("wireless", NameKind.ACCOUNT, ("identity", "anonymous_identity")),
    _Options("network", NameKind.ACCOUNT, ("username",)),
    _Options(
        "network",
        _SECRET,
        ("password", "private_key", "public_key", "preshared_key", "key", "pincode", "auth_key"),
    ),
    _Options("network", NameKind.NAME, ("description",)),
    _Options("network", _DOMAIN, ("dns_search", "endpoint_host", "server", "peeraddr")),
    _Options("network", _HOST, ("hostname", "clientid", "sendopts")),
    _Options("ddns", _DOMAIN, ("domain", "lookup_host")),
    _Options("ddns", NameKind.ACCOUNT, ("username",)),
    _Options("ddns", _SECRET, ("password",)),
    _Options("firewall", NameKind.NAME, ("name",)),
)


@frozen
class Names:
    """`unread` says of each source that is there, but cannot be read, why not."""

    known: tuple[KnownName, ...]
    unread: tuple[str, ...]


def names_of(files: Files, load: Load) -> Names:
    """All that this machine knows."""
    sources = _Sources(files, load)
    known = tuple(_all(sources))
    return Names(known, tuple(sources.unread))


class _Sources:
    """Files and UCI packages, each read once."""

    def __init__(self, files: Files, load: Load) -> None:
        self.unread: list[str] = []
        self._files = files
        self._load = load
        self._packages: dict[str, tuple[uci.Section, ...]] = {}

    def lines(self, path: str) -> list[str]:
        try:
            # One name that is no UTF-8 must not let all the others through.
            return self._files.read_escaped(path).splitlines()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return []
        except OSError as error:
            self.unread.append(f"{path}: {error.strerror or error}")
            return []

    def sections(self, package: str) -> tuple[uci.Section, ...]:
        if package not in self._packages:
            self._packages[package] = self._sections(package)
        return self._packages[package]

    def _sections(self, package: str) -> tuple[uci.Section, ...]:
        try:
            return self._load(package).sections
        except FileNotFoundError:
            return ()
        except OSError as error:
            self.unread.append(f"configuration {package}: {error.strerror or error}")
        except uci.UciError as error:
            self.unread.append(f"configuration {package}: line {error.line}: {error.reason}")
        return ()


def _all(sources: _Sources) -> Iterator[KnownName]:
    for path in HOST_NAMES:
        for name in " ".join(sources.lines(path)).split():
            yield from _host(name)
    for path in (*LEASES, *_lease_files(sources)):
        yield from _leases(sources.lines(path))
    for path in HOSTS:
        for line in sources.lines(path):
            for name in line.split("#")[0].split()[1:]:
                yield from _host(name)
    for path in RESOLVERS:
        yield from _resolver(sources.lines(path))
    for path in PPP_SECRETS:
        yield from _ppp(sources.lines(path))
    for path in HOSTAPD:
        yield from _hostapd(sources.lines(path))
    yield from _people(sources.lines(USERS))
    for options in _OPTIONS:
        yield from _configured(options, sources)
    yield from _people_in_ours(sources.sections("flowguard"))


def _host(name: str) -> Iterator[KnownName]:
    """A host's name, and with its domain as well."""
    yield KnownName(_HOST, name.strip("\"'."))
    short, dot, domain = name.partition(".")
    if dot:
        yield KnownName(_HOST, short)
        yield KnownName(_DOMAIN, domain)


def _leases(lines: Sequence[str]) -> Iterator[KnownName]:
    """Lines of dnsmasq: time, MAC, address, name, client.

    And of odhcpd: `#`, device, client (DUID), IAID, name and more; and address, name.
    """
    for line in lines:
        match line.split():
            case ["#", _, client, _, name, *_]:
                yield from _host(name)
                yield KnownName(_SECRET, client)
            case [time, _, _, name, client, *_] if time.isdigit():
                yield from _host(name)
                yield KnownName(_SECRET, client)
            case [_, name]:
                yield from _host(name)


def _lease_files(sources: _Sources) -> Iterator[str]:
    for section in sources.sections("dhcp"):
        yield from (o.values[-1].text for o in section.options if o.name == "leasefile")


def _resolver(lines: Sequence[str]) -> Iterator[KnownName]:
    """Domains to search in come from the provider (resolv.conf(5))."""
    for line in lines:
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            yield from (KnownName(_DOMAIN, word.strip(".")) for word in words[1:])


def _ppp(lines: Sequence[str]) -> Iterator[KnownName]:
    """Client, server, secret, addresses (pppd(8), AUTHENTICATION)."""
    for line in lines:
        words = [word.strip("\"'") for word in line.split()]
        if not line.startswith("#") and len(words) >= 3:
            yield KnownName(NameKind.ACCOUNT, words[0])
            yield KnownName(_SECRET, words[2])


def _hostapd(lines: Sequence[str]) -> Iterator[KnownName]:
    kinds = {
        "ssid": NameKind.SSID,
        "wpa_passphrase": _SECRET,
        "wpa_psk": _SECRET,
        "psk": _SECRET,
        "sae_password": _SECRET,
        "identity": NameKind.ACCOUNT,
        "password": _SECRET,
    }
    for line in lines:
        name, _, value = line.strip().partition("=")
        if kind := kinds.get(name):
            yield KnownName(kind, value.strip("\"'"))


def _people(lines: Sequence[str]) -> Iterator[KnownName]:
    """Accounts of persons, and the names that they have there (passwd(5))."""
    for line in lines:
        fields = line.split(":")
        if len(fields) < 5 or not fields[2].isdigit():
            continue
        if FIRST_PERSON <= int(fields[2]) < NOBODY:
            yield KnownName(NameKind.ACCOUNT, fields[0])
            yield from (KnownName(NameKind.NAME, part) for part in fields[4].split(","))


def _configured(options: _Options, sources: _Sources) -> Iterator[KnownName]:
    for section in sources.sections(options.package):
        for option in section.options:
            if option.name in options.names:
                for value in option.values:
                    yield from _value(options.kind, value.text)


def _value(kind: NameKind, text: str) -> Iterator[KnownName]:
    if kind is _HOST:
        yield from _host(text)
    else:
        # Domains stand between slashes there, as dnsmasq has them.
        yield KnownName(kind, text.strip("/.") if kind is _DOMAIN else text)


def _people_in_ours(sections: Sequence[uci.Section]) -> Iterator[KnownName]:
    """What people call their exclusions, and what else they have put there for themselves."""
    for section in sections:
        if section.name != "globals" and not section.anonymous:
            yield KnownName(NameKind.NAME, section.name)
        for option in section.options:
            if option.name not in PUBLIC_OPTIONS:
                yield from (KnownName(NameKind.NAME, value.text) for value in option.values)
