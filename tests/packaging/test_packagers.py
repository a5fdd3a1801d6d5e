# SPDX-License-Identifier: GPL-2.0-or-later
"""Installation, upgrade over a changed configuration, removal and reinstallation by the real
opkg, apk and dpkg, where they are on PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from packages import apk, deb, ipk
from packages.description import DEBIAN, OPENWRT, Package
from tests.packaging.router import SHELL, Router

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="packagers change their root, for which is root"),
    pytest.mark.skipif(not SHELL, reason="busybox is not installed"),
]
TIME = 1_700_000_000
CONFIGURATION = "/etc/config/flowguard"
STARTED = [
    "systemctl try-restart flowguard.service",
    "deb-systemd-invoke start flowguard.service",
]
COMPILED = "python3 -m py_compile -"
Build = Callable[[Package, str, int], bytes]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path / "root")


class Write(Protocol):
    def __call__(
        self, name: str, package: Package, build: Build, version: str, later: bool = False
    ) -> Path: ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a package; a later one has another default configuration."""

    def write(name: str, package: Package, build: Build, version: str, later: bool = False) -> Path:
        files = package.files
        if later:
            changed = tmp_path / "later"
            changed.write_text(files[0].source.read_text() + "# of a later version\n")
            files = (replace(files[0], source=changed), *files[1:])
        path = tmp_path / name
        path.write_bytes(build(replace(package, files=files), version, TIME))
        return path

    return write


def change_configuration(router: Router) -> str:
    """As the owner does; the text that has to survive."""
    path = router.root / CONFIGURATION[1:]
    text = path.read_text().replace("option enabled '0'", "option enabled '1'")
    path.write_text(text)
    return text


def configuration(router: Router) -> str:
    return (router.root / CONFIGURATION[1:]).read_text()


def depended(package: Package) -> list[Package]:
    """Empty ones, of the names that it depends on."""
    return [Package(name, name, name, "net", (), ()) for name in package.depends]


@needs("opkg")
def test_opkg(router: Router, write: Write) -> None:
    package, _ = OPENWRT
    opkg = shutil.which("opkg") or ""
    router.add_program(opkg)
    (router.root / "etc/opkg.conf").write_text("dest root /\narch all 1\n")

    def install(*paths: Path) -> None:
        for path in paths:
            shutil.copy(path, router.root / "tmp")
        router.inside(opkg, "install", *(f"/tmp/{path.name}" for path in paths))

    first = write("first.ipk", package, ipk.build, "1-r1")
    second = write("second.ipk", package, ipk.build, "2-r1", later=True)
    install(*(write(f"{d.name}.ipk", d, ipk.build, "1-r1") for d in depended(package)))
    router.before = router.files()
    install(first)
    assert router.asked() == [COMPILED, "service enable", "service start"]
    changed = change_configuration(router)
    install(second)
    assert router.asked() == [
        "service stop during an upgrade",  # opkg's own
        "service stop during an upgrade",
        COMPILED,
        "service start during an upgrade",
    ]
    assert "# of a later version" in (router.root / f"{CONFIGURATION[1:]}-opkg").read_text()
    assert configuration(router) == changed
    router.inside(opkg, "remove", "flowguard")
    assert router.asked() == ["service release", "service disable", "service stop"]
    left = router.left("/usr/lib/opkg/", "/tmp/", "/var/")
    assert left == {CONFIGURATION, f"{CONFIGURATION}-opkg"}
    install(second)
    assert router.asked() == [COMPILED, "service enable", "service start"]
    assert configuration(router) == changed


@needs("apk")
def test_apk(router: Router, write: Write) -> None:
    package, _ = OPENWRT

    def run(*words: str | Path) -> None:
        shared = ("--root", router.root, "--allow-untrusted", "--no-network")
        router.outside("apk", *shared, "--repositories-file", "/dev/null", *words)

    (router.root / "etc/apk").mkdir()
    (router.root / "etc/apk/arch").write_text("noarch\n")
    first = write("first.apk", package, apk.build, "1-r1")
    second = write("second.apk", package, apk.build, "2-r1", later=True)
    router.outside("apk", "verify", "--allow-untrusted", first)
    run("add", "--initdb", *(write(f"{d.name}.apk", d, apk.build, "1") for d in depended(package)))
    router.before = router.files()
    run("add", first)
    assert router.asked() == [COMPILED, "service enable", "service start"]
    changed = change_configuration(router)
    run("add", second)
    assert router.asked() == [
        "service stop during an upgrade",
        COMPILED,
        "service start during an upgrade",
    ]
    assert "# of a later version" in (router.root / f"{CONFIGURATION[1:]}.apk-new").read_text()
    assert configuration(router) == changed
    run("del", "flowguard")
    assert router.asked() == ["service disable", "service stop", "service release"]
    assert router.left("/lib/apk/", "/var/") == {CONFIGURATION}
    run("add", second)
    assert router.asked() == [COMPILED, "service enable", "service start"]
    assert configuration(router) == changed


@needs("dpkg")
def test_dpkg(router: Router, write: Write) -> None:
    (package,) = DEBIAN
    database = router.root / "var/lib/dpkg"
    for folder in (database / "info", database / "updates", router.root / "run/systemd/system"):
        folder.mkdir(parents=True)
    (database / "status").touch()

    def run(*words: str | Path) -> None:
        forced = ("--force-confold", "--force-depends", "--force-bad-path", "--log=/dev/null")
        router.outside("dpkg", f"--root={router.root}", *forced, *words)

    first = write("first.deb", package, deb.build, "1-1")
    second = write("second.deb", package, deb.build, "2-1", later=True)
    router.before = router.files()
    run("--install", first)
    asked = router.asked()
    assert asked[0] == "py3compile -p flowguard /usr/lib/flowguard"
    assert asked[-2:] == STARTED
    changed = change_configuration(router)
    run("--install", second)
    asked = router.asked()
    assert asked[0] == "py3clean -p flowguard /usr/lib/flowguard"
    # Nothing stops it before: only of a restart the unit knows that a next daemon follows.
    assert asked[-3:] == ["systemctl daemon-reload", *STARTED]
    assert not any("stop" in line for line in asked)
    assert "# of a later version" in (router.root / f"{CONFIGURATION[1:]}.dpkg-dist").read_text()
    assert configuration(router) == changed
    router.stand_in("flowguard")
    run("--remove", "flowguard")
    assert router.asked()[:2] == [
        "flowguard stop --release --state-dir /var/lib/flowguard",
        "deb-systemd-invoke stop flowguard.service",
    ]
    kept = {CONFIGURATION, f"{CONFIGURATION}.dpkg-dist", "/etc/flowguard.user"}
    assert router.left("/var/lib/dpkg/") == kept
    run("--install", second)
    assert router.asked()[-2:] == STARTED
    assert configuration(router) == changed
    router.stand_in("flowguard")
    run("--purge", "flowguard")
    assert router.left("/var/lib/dpkg/", "/log") == set()
