# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the user that established connections escape once they are offloaded.

An offloaded flow meets no chain any more: a rule that begins later ends nothing that runs, a
quota counts nothing, and a TTL is not changed (openwrt#9958).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from flowguard.checks.finding import Finding, Grade, exclude_section
from flowguard.kernel.files import LinuxFiles
from flowguard.platform.openwrt import effective, uci

FIREWALL = "firewall"
TIMES = ("start_date", "stop_date", "start_time", "stop_time", "weekdays", "monthdays")
# Options of the firewall that an exclusion has as well.
SAME = ("src_ip", "dest_ip", "src_port", "dest_port")
OFF = ("0", "off", "false", "no")
RULES = re.compile(r"\b(?:(quota)|meta (?:hour|day|time)|(?:ttl|hoplimit) set)\b")
MATCHES = (
    (re.compile(r"\bip6? saddr ([0-9a-fA-F:./]+)"), "list src_ip '{}'"),
    (re.compile(r"\bip6? daddr ([0-9a-fA-F:./]+)"), "list dest_ip '{}'"),
    (re.compile(r'\b[io]ifname "?([\w.-]+)"?'), "list device '{}'"),
)
REMEDY = "keep the flows that it is meant for off with a config exclude section"


def look(root: str = "/") -> Iterator[Finding]:
    """Rules with times in the firewall's configuration, and those in files below `root`."""
    yield from _check_times()
    pattern = os.path.join(root, "etc/nftables.d/*.nft")
    for path in sorted(glob.glob(pattern)):
        yield from _check_file(path)


def _check_times() -> Iterator[Finding]:
    try:
        package, _ = effective.load(FIREWALL)
    except (OSError, uci.UciError):
        return  # Whoever looks at the firewall's own offloading says so.
    for section in package.sections:
        options = {option.name: option for option in section.options}
        times = [name for name in TIMES if name in options]
        if section.type != "rule" or not times or _text(options.get("enabled")) in OFF:
            continue
        name = _text(options.get("name")) or section.name
        sentence = f"the firewall's rule '{name}' has {times[0]}: it ends no connection that is"
        lines = [
            f"list {same} '{word}'"
            for same in SAME
            if same in options
            for value in options[same].values
            for word in value.text.split()
        ]
        yield _finding("time-rule", f"{sentence} offloaded when it begins", lines)


def _check_file(path: str) -> Iterator[Finding]:
    try:
        lines = LinuxFiles().read(path).splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8"
        yield Finding(Grade.WARNING, "packet-rule", f"{path}: {reason}", "look at it yourself")
        return
    for number, line in enumerate(lines, 1):
        rule = line.partition("#")[0]
        if found := RULES.search(rule):
            sentence = f"{path}:{number}: '{found[0]}' does not see offloaded packets"
            matches = [form.format(m[1]) for match, form in MATCHES for m in match.finditer(rule)]
            yield _finding("packet-rule", sentence, matches)


def _finding(code: str, sentence: str, lines: list[str]) -> Finding:
    return Finding(Grade.WARNING, code, sentence, REMEDY, exclude_section(lines))


def _text(option: uci.Option | None) -> str:
    return option.values[-1].text if option else ""
