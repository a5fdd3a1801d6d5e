# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages of `./package` hold the same as the feed's, and are the same bytes each time."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packages import adb, apk, deb, ipk
from packages.archive import Entry, ar
from packages.description import DEBIAN, LICENSE, MAINTAINER, OPENWRT, SUMMARY, URL, Package
from tests.packaging import adb_reader, unpacked
from tests.packaging.build import ROOT, FeedPackage, build, modes
from tests.packaging.unpacked import Unpacked

VERSION, TIME = "1.2.3-r4", 1_700_000_000
FLOWGUARD, LUCI_APP = OPENWRT
(FLOWGUARD_OF_DEBIAN,) = DEBIAN
PROGRAM = "/usr/lib/flowguard/flowguard/"


@dataclass(frozen=True)
class Format:
    package: Package
    build: Callable[[Package, str, int], bytes]
    unpack: Callable[[bytes], Unpacked]

    def unpacked(self) -> Unpacked:
        return self.unpack(self.build(self.package, VERSION, TIME))


FORMATS = {
    "ipk": Format(FLOWGUARD, ipk.build, unpacked.ipk),
    "apk": Format(FLOWGUARD, apk.build, unpacked.apk),
    "deb": Format(FLOWGUARD_OF_DEBIAN, deb.build, unpacked.deb),
}
every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
for_openwrt = pytest.mark.parametrize("name", ["ipk", "apk"])


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> FeedPackage:
    return build(tmp_path_factory.mktemp("package"))


@every_format
def test_the_program_is_whole(format: Format) -> None:
    files = format.unpacked().files
    assert files["/usr/bin/flowguard"][1] == 0o755
    daemon = ROOT / "daemon" / "flowguard"
    sources = [p for p in daemon.rglob("*") if p.suffix in {".py", ".toml", ".typed"}]
    expected = {PROGRAM + str(path.relative_to(daemon)): path.read_bytes() for path in sources}
    assert {p: c for p, (c, _) in files.items() if p.startswith(PROGRAM)} == expected


@for_openwrt
def test_besides_the_program_it_installs_what_the_feed_installs(
    feed: FeedPackage, name: str
) -> None:
    found = FORMATS[name].unpacked().modes()
    extra = {p for p in found if p.startswith((PROGRAM, "/lib/apk/packages/flowguard."))}
    extra.add("/etc/uci-defaults/89-flowguard")
    assert {p: mode for p, mode in found.items() if p not in extra} == modes(feed.root)


@for_openwrt
def test_configuration_dependencies_and_words_are_the_feeds(feed: FeedPackage, name: str) -> None:
    package = FORMATS[name].unpacked()
    assert package.conffiles == feed.conffiles
    assert tuple(f"+{name}" for name in package.depends) == feed.depends
    fields = {key.lower(): text for key, text in package.fields.items()}
    assert fields["description"] == feed.description
    assert (fields["url"], fields["maintainer"], fields["license"]) == feed.fields[2:]
    assert (FLOWGUARD.section, SUMMARY, URL, MAINTAINER, LICENSE) == feed.fields


def test_opkg_runs_the_feeds_scripts(feed: FeedPackage) -> None:
    scripts = FORMATS["ipk"].unpacked().scripts
    assert set(scripts) == {"postinst", "preinst", "prerm", "prerm-pkg", "postrm"}
    # What is beside OpenWrt's own is run by default_prerm.
    assert (scripts["preinst"], scripts["prerm-pkg"]) == (feed.preinst, feed.prerm)


def test_apk_runs_the_feeds_scripts(feed: FeedPackage) -> None:
    scripts = FORMATS["apk"].unpacked().scripts
    assert set(scripts) == set(unpacked.APK_SCRIPTS) - {"trigger"}
    assert scripts["pre-install"] == feed.preinst
    assert scripts["pre-upgrade"].splitlines()[1] == "export PKG_UPGRADE=1"
    assert scripts["post-upgrade"].splitlines()[1] == "export PKG_UPGRADE=1"
    own = feed.prerm.partition("\n")[2]
    assert scripts["pre-deinstall"].endswith(f"default_prerm\n{own}")


@for_openwrt
def test_the_service_knows_the_version(name: str) -> None:
    script = FORMATS[name].unpacked().files["/etc/init.d/flowguard"][0].decode()
    # procd does not see a change of the last three characters.
    assert f"FLOWGUARD_VERSION='{VERSION}...'" in script


def test_apk_finds_changed_configuration_by_its_digest() -> None:
    files = FORMATS["apk"].unpacked().files
    lines = files["/lib/apk/packages/flowguard.conffiles_static"][0].decode().splitlines()
    assert [line.split()[0] for line in lines] == ["/etc/config/flowguard", "/etc/flowguard.user"]
    listed = files["/lib/apk/packages/flowguard.list"][0].decode().split()
    assert set(listed) == {path for path in files if not path.startswith("/lib/apk/")}


def test_debian_gets_the_unit_and_what_its_policy_asks_for() -> None:
    package = FORMATS["deb"].unpacked()
    unit = package.files["/usr/lib/systemd/system/flowguard.service"][0]
    assert unit == (ROOT / "init.d" / "flowguard.service").read_bytes()
    assert package.conffiles == ("/etc/config/flowguard", "/etc/flowguard.user")
    assert "/usr/share/doc/flowguard/copyright" in package.files
    changes = gzip.decompress(package.files["/usr/share/doc/flowguard/changelog.gz"][0])
    assert changes == (ROOT / "CHANGELOG.md").read_bytes()
    packaging = gzip.decompress(package.files["/usr/share/doc/flowguard/changelog.Debian.gz"][0])
    assert packaging.decode().startswith(f"flowguard ({VERSION}) unstable; ")
    assert set(package.scripts) == {"postinst", "prerm", "postrm"}


def test_manual_and_completion_know_every_command() -> None:
    files = FORMATS["deb"].unpacked().files
    manual = gzip.decompress(files["/usr/share/man/man8/flowguard.8.gz"][0]).decode()
    named = set(re.findall(r"[a-z]+", manual.partition(".SH COMMANDS")[2].partition(".SH")[0]))
    completed = files["/usr/share/bash-completion/completions/flowguard"][0].decode()
    words = re.findall(r'-W "(.*?)"', completed, re.DOTALL)[0].split()
    for command in commands():
        assert command in named
    assert set(words) == commands()


def commands() -> set[str]:
    help_text = subprocess.run(
        [sys.executable, "-m", "flowguard", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "daemon"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(re.findall(r"^    ([a-z]+) ", help_text, re.MULTILINE))


def test_debian_has_what_the_project_needs() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (lowest,) = re.findall(r'"pyroute2>=([\d.]+)"', project)
    (python,) = re.findall(r'requires-python = ">=([\d.]+)"', project)
    depends = FORMATS["deb"].unpacked().depends
    wanted = {f"python3 (>= {python})", f"python3-pyroute2 (>= {lowest})", "python3-psutil"}
    assert wanted <= set(depends)


@every_format
def test_the_same_is_the_same_bytes(format: Format) -> None:
    first, second = (format.build(format.package, VERSION, TIME) for _ in range(2))
    assert first == second
    assert format.build(format.package, VERSION, TIME + 1) != first


def test_an_installed_program_runs(tmp_path: Path) -> None:
    for path, (content, mode) in FORMATS["deb"].unpacked().files.items():
        file = tmp_path / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.replace(b'"/usr/lib/', f'"{tmp_path}/usr/lib/'.encode()))
        file.chmod(mode)
    log = tmp_path / "log"
    log.write_text("[  1.0] NETDEV WATCHDOG: wan (mtk_soc_eth): transmit queue 0 timed out\n")
    program = str(tmp_path / "usr/bin/flowguard")
    command = [sys.executable, program, "classify", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["verdict"] == "driver", done.stderr


# --- the formats --------------------------------------------------------------------------

simple = st.none() | st.integers(0, 2**64 - 1) | st.binary(min_size=1, max_size=300)
trees = st.recursive(simple, lambda inner: st.lists(inner, min_size=1, max_size=6), max_leaves=30)


def written(values: adb.Values, tree: adb_reader.Value) -> int:
    match tree:
        case None:
            return adb.NULL
        case int():
            return values.integer(tree)
        case bytes():
            return values.blob(tree)
        case list():
            return values.record([written(values, item) for item in tree])


def stripped(tree: adb_reader.Value) -> adb_reader.Value:
    """Without empty ends, which are the same as nothing."""
    if not isinstance(tree, list):
        return tree
    items = [stripped(item) for item in tree]
    while items and items[-1] is None:
        items.pop()
    return items or None


@given(trees)
def test_adb_values_are_read_back(tree: adb_reader.Value) -> None:
    values = adb.Values()
    assert adb_reader.root(values.finished(written(values, tree))) == stripped(tree)


@pytest.mark.parametrize("size", [255, 256, 65_535, 65_536])
def test_adb_blobs_of_every_length_are_read_back(size: int) -> None:
    values = adb.Values()
    values.blob(b"odd")
    assert adb_reader.root(values.finished(values.blob(b"x" * size))) == b"x" * size


def test_adb_bytes_are_used_again_only_where_they_are_aligned() -> None:
    values = adb.Values()
    # The blob is written at an odd place, and with its length it is the number's bytes.
    fields = [values.blob(b"x"), values.blob(b"abc")]
    number = int.from_bytes(b"\x03abc", "little")
    tree = values.record([*fields, values.integer(number)])
    assert adb_reader.root(values.finished(tree)) == [b"x", b"abc", number]


def test_ar_pads_what_is_odd() -> None:
    archive = ar([Entry("a", 0o644, b"1"), Entry("b", 0o755, b"23")], 7)
    assert archive == (
        b"!<arch>\n"
        b"a               7           0     0     100644  1         `\n1\n"
        b"b               7           0     0     100755  2         `\n23"
    )
