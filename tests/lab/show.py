# SPDX-License-Identifier: GPL-2.0-or-later
"""`./run`: boots the lab router and tells the story of tests.lab.demo in it.

On User Mode Linux if there is one; who wants to see it for the first time does not want to
wait until one is built, and gets a stock kernel on an emulated processor.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import DEFAULT_KERNEL, SUITES, LabError, ensure_kernel
from tests.lab.uml.build import cached_uml
from tests.lab.uml.machine import UserModeLinux, processors
from tests.lab.vm import Machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="run", description="See flowguard at work.")
    parser.add_argument("--kernel", choices=SUITES, default=DEFAULT_KERNEL)
    parser.add_argument("--shell", action="store_true", help="stay inside afterwards")
    options = parser.parse_args()
    try:
        uml = cached_uml(options.kernel)
        kernel = uml or ensure_kernel(options.kernel)
        # The shell finds `flowguard` beside the Python that runs this.
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
        python = guest_python(LAB_ENGINE=str(build_engine(kernel)), PATH=path)
        demo = [*python, "-m", "tests.lab.demo"]
        machine = UserModeLinux(kernel, processors()[-1]) if uml else Machine(kernel)
        return machine.shell([*demo, "--stay"]) if options.shell else machine.run(demo)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
