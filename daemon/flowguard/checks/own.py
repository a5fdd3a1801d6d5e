# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration, and what flowguard needs of the machine to see enough."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from flowguard import rules
from flowguard.checks.finding import Finding, Grade
from flowguard.platform.configuration import loading

ACCOUNTING = "/proc/sys/net/netfilter/nf_conntrack_acct"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"


def check_configuration(loaded: loading.Loaded, path: str) -> Iterator[Finding]:
    grade = Grade.WARNING if loaded.readable else Grade.ERROR
    for problem in loaded.problems:
        yield Finding(grade, "configuration", str(problem), f"correct {path}")
    if not loaded.problems:
        yield Finding(Grade.FINE, "configuration", f"{path} is understood")
    if loaded.readable and not loaded.configuration.enabled:
        remedy = f"set option enabled '1' in {path}"
        yield Finding(Grade.WARNING, "disabled", "the service is not enabled", remedy)


def check_rules(files: Sequence[str]) -> Iterator[Finding]:
    """Files with further fault rules, if there are any."""
    if not files:
        return
    left_out = rules.load_usable(files).left_out
    for sentence in left_out:
        yield Finding(Grade.WARNING, "rules", sentence, "correct it, then reload flowguard")
    if not left_out:
        yield Finding(Grade.FINE, "rules", f"{', '.join(files)}: understood")


def check_sysctls(accounting: str = ACCOUNTING, forwarding: str = FORWARDING) -> Iterator[Finding]:
    yield from _check_sysctl(
        accounting,
        "accounting",
        "conntrack counts no bytes, so stalled flows cannot be told from idle ones",
        "sysctl net.netfilter.nf_conntrack_acct=1",
    )
    yield from _check_sysctl(
        forwarding, "forwarding", "this machine does not forward", "sysctl net.ipv4.ip_forward=1"
    )


def _check_sysctl(path: str, code: str, sentence: str, remedy: str) -> Iterator[Finding]:
    try:
        with open(path, encoding="ascii") as file:
            value = file.read().strip()
    except OSError as error:
        yield Finding(Grade.WARNING, code, f"{path}: {error.strerror}", "load nf_conntrack")
        return
    if value == "0":
        yield Finding(Grade.WARNING, code, sentence, remedy)
    else:
        yield Finding(Grade.FINE, code, f"{os.path.basename(path)} is {value}")


def check_evidence() -> Iterator[Finding]:
    """Optional sources of evidence; without them flowguard sees less."""
    for code, path, sentence, remedy in (
        ("kmsg", "/dev/kmsg", "driver faults cannot be seen", "run as root"),
        (
            "engine",
            "/sys/kernel/debug",
            "the engine's own table cannot be read",
            "mount -t debugfs debugfs /sys/kernel/debug",
        ),
    ):
        if os.access(path, os.R_OK) and (not os.path.isdir(path) or os.listdir(path)):
            yield Finding(Grade.FINE, code, f"{path} is readable")
        else:
            yield Finding(Grade.WARNING, code, f"{path} is not readable: {sentence}", remedy)
