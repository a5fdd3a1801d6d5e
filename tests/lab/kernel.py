# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's kernels: Debian's stock images and headers, unpacked beside the project.

`python -m tests.lab.kernel [--kernel 6.12|6.1]` fetches one into `.cache/lab/VERSION`.
apt-get runs with a source list, package lists and cache of its own, so the machine's apt
configuration is only read: for the mirror and the keyring (sources.list(5)).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.mirror import AptSource, MirrorError, debian_source

DEFAULT_KERNEL = "6.12"
SUITES = {"6.12": "bookworm-backports", "6.1": "bookworm"}
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "lab"
TOOLS = ("apt-get", "apt-cache", "dpkg", "depmod")


class LabError(Exception):
    """Something the lab needs is missing; the text says what to install or do."""


@dataclass(frozen=True, slots=True)
class LabKernel:
    """An unpacked kernel: `version` as asked for, `release` as uname -r prints it."""

    version: str
    release: str
    image: Path
    modules: Path
    headers: Path


def ensure_kernel(version: str = DEFAULT_KERNEL) -> LabKernel:
    """The kernel of that version, fetched when it is not here yet; raises LabError."""
    if version not in SUITES:
        raise LabError(f"no lab kernel {version!r}: choose one of {', '.join(SUITES)}")
    root = CACHE / version
    marker = root / "release"
    if not marker.exists():
        with _only_one(CACHE / f"{version}.lock"):
            if not marker.exists():
                marker.write_text(_fetch(version, root))
    return _unpacked(version, root, marker.read_text())


def require_tools(tools: dict[str, str]) -> None:
    """Raise LabError naming the Debian packages of the programs that are not in PATH."""
    missing = {tool: package for tool, package in tools.items() if not shutil.which(tool)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise LabError(
            f"the lab needs {', '.join(sorted(missing))}; on Debian: apt-get install {packages}"
        )


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpacked(version: str, root: Path, release: str) -> LabKernel:
    return LabKernel(
        version=version,
        release=release,
        image=root / "boot" / f"vmlinuz-{release}",
        modules=root / "lib" / "modules" / release,
        headers=root / "usr" / "src" / f"linux-headers-{release}",
    )


def _fetch(version: str, root: Path) -> str:
    """Download and unpack into root; returns the kernel's release string."""
    for tool in TOOLS:
        if not shutil.which(tool):
            raise LabError(_not_debian(f"there is no {tool} here"))
    try:
        source = debian_source()
    except MirrorError as error:
        raise LabError(_not_debian(str(error))) from error
    shutil.rmtree(root, ignore_errors=True)
    apt = _Apt(root / "apt", source, SUITES[version])
    _progress(f"lab kernel {version}: asking {apt.suite} for its package list")
    apt.update()
    image, headers = apt.packages()
    _progress(f"lab kernel {version}: downloading {image} and its headers, about 120 MB")
    archives = apt.download([image, *headers])
    _progress(f"lab kernel {version}: unpacking")
    for archive in archives:
        _run("dpkg", "-x", str(archive), str(root))
    shutil.rmtree(apt.directory)
    release = image.removeprefix("linux-image-")
    kernel = _unpacked(version, root, release)
    _make_relative(kernel)
    _progress(f"lab kernel {version}: indexing its modules")
    _run("depmod", "--basedir", str(root), release)
    _progress(f"lab kernel {version}: {release} is ready in {root}")
    return release


def _make_relative(kernel: LabKernel) -> None:
    """The packages expect to live under /; let headers and modules find each other here."""
    makefile = kernel.headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("include /usr/src/", "include ../"))
    for name in ("build", "source"):
        link = kernel.modules / name
        if link.is_symlink():
            target = link.readlink().name
            link.unlink()
            link.symlink_to(Path("../../../usr/src") / target)


class _Apt:
    """apt-get against one suite, with all of its files in a directory of ours."""

    def __init__(self, directory: Path, source: AptSource, suite: str) -> None:
        self.directory = directory
        self.suite = suite
        for part in ("lists/partial", "cache/archives/partial", "archives"):
            (directory / part).mkdir(parents=True)
        sources = directory / "sources.list"
        sources.write_text(source.line(suite) + "\n")
        (directory / "status").touch()
        options = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "-",
            "Dir::Etc::Preferences": "-",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::Status": directory / "status",
            "Dir::Cache": directory / "cache",
            # The lists live where only this user may be able to write.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]

    def update(self) -> None:
        try:
            _run("apt-get", *self._options, "-q", "--error-on=any", "update")
        except LabError as error:
            raise LabError(_not_debian(str(error))) from error

    def packages(self) -> tuple[str, list[str]]:
        """The newest image package, and the packages that its headers consist of."""
        architecture = _run("dpkg", "--print-architecture").strip()
        image = self._depends(f"linux-image-{architecture}", r"linux-image-\S+")
        headers = self._depends(f"linux-headers-{architecture}", r"linux-headers-\S+")
        if not image or not headers:
            raise LabError(_not_debian(f"{self.suite} has no kernel for {architecture}"))
        parts = self._depends(headers[0], r"linux-(?:headers|kbuild)-\S+")
        return image[0], [headers[0], *parts]

    def download(self, packages: list[str]) -> list[Path]:
        directory = self.directory / "archives"
        _run("apt-get", *self._options, "-q", "download", *packages, cwd=directory)
        return sorted(directory.glob("*.deb"))

    def _depends(self, package: str, wanted: str) -> list[str]:
        text = _run("apt-cache", *self._options, "depends", package)
        return re.findall(rf"^\s*\|?Depends: ({wanted})$", text, re.MULTILINE)


def _not_debian(reason: str) -> str:
    return (
        f"cannot fetch a lab kernel: {reason}.\n"
        "The lab uses Debian's stock kernels. Run it on Debian 12 or newer with a reachable "
        "Debian mirror in its apt sources, for example in a Debian container or VM."
    )


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    if done.returncode:
        detail = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"{command[0]} failed with status {done.returncode}: {detail}")
    return done.stdout


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.kernel", description="Fetch a lab kernel.")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL, help=f"one of {', '.join(SUITES)}")
    try:
        kernel = ensure_kernel(parser.parse_args().kernel)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    print(kernel.image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
