# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's kernels: Debian's stock images and headers, unpacked beside the project.

`python -m tests.lab.kernel [--kernel 6.1|6.12|7.3]` fetches one into `.cache/lab/VERSION`.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.apt import LabError as LabError
from tests.lab.apt import open_apt, progress, run
from tests.lab.newer_tools import make_runnable

DEFAULT_KERNEL = "6.12"
SUITES = {"6.12": "bookworm-backports", "6.1": "bookworm", "7.3": "trixie-backports"}
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "lab"


@dataclass(frozen=True, slots=True)
class LabKernel:
    """An unpacked kernel: `version` as asked for, `release` as uname -r prints it.

    `cache` is where the things built for it are kept, `architecture` as its Makefiles call
    it where that is not this machine's.
    """

    version: str
    release: str
    image: Path
    modules: Path
    headers: Path
    cache: Path
    architecture: str = ""


def ensure_kernel(version: str = DEFAULT_KERNEL) -> LabKernel:
    """The kernel of that version, fetched when it is not here yet; raises LabError."""
    if version not in SUITES:
        raise LabError(f"no lab kernel {version!r}: choose one of {', '.join(SUITES)}")
    root = CACHE / version
    marker = root / "release"
    if not marker.exists():
        with only_one(CACHE / f"{version}.lock"):
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
def only_one(lock: Path) -> Iterator[None]:
    """One process at a time inside."""
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
        cache=root,
    )


def _fetch(version: str, root: Path) -> str:
    """Download and unpack into root; returns the kernel's release string."""
    require_tools({"depmod": "kmod"})
    shutil.rmtree(root, ignore_errors=True)
    apt = open_apt(root / "apt", SUITES[version])
    progress(f"lab kernel {version}: asking {apt.suite} for its package list")
    apt.update()
    image, others = apt.packages()
    progress(f"lab kernel {version}: downloading {image} and its headers, about 120 MB")
    archives = apt.download([image, *others])
    progress(f"lab kernel {version}: unpacking")
    for archive in archives:
        run("dpkg", "-x", str(archive), str(root))
    shutil.rmtree(apt.directory)
    release = image.removeprefix("linux-image-")
    kernel = _unpacked(version, root, release)
    if not kernel.modules.exists():
        _arrange(root, kernel)
    _make_relative(kernel)
    make_runnable(root, SUITES[version])
    progress(f"lab kernel {version}: indexing its modules")
    run("depmod", "--basedir", str(root), release)
    progress(f"lab kernel {version}: {release} is ready in {root}")
    return release


def _arrange(root: Path, kernel: LabKernel) -> None:
    """Debian 13 has all of it below /usr, and the image beside the modules."""
    kernel.modules.parent.parent.mkdir()
    (root / "usr" / "lib" / "modules").rename(kernel.modules.parent)
    kernel.image.parent.mkdir()
    (kernel.modules / "vmlinuz").rename(kernel.image)


def _make_relative(kernel: LabKernel) -> None:
    """The packages expect to live under /; let headers and modules find each other here."""
    makefile = kernel.headers / "Makefile"
    text = makefile.read_text().replace(f"=/usr/src/{kernel.headers.name}", "=$(CURDIR)")
    makefile.write_text(text.replace("include /usr/src/", "include ../"))
    for name in ("build", "source"):
        link = kernel.modules / name
        if link.is_symlink():
            target = link.readlink().name
            link.unlink()
            link.symlink_to(Path("../../../usr/src") / target)


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
