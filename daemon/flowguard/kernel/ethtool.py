# SPDX-License-Identifier: GPL-2.0-or-later
"""A netdev's feature by name, and the versions of its code, over the ethtool ioctl
(include/uapi/linux/ethtool.h).

pyroute2 has it too, but behind imports that cost more memory than this whole file.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct

SIOCETHTOOL = 0x8946
GET_DRIVER_INFO = 0x03
DRIVER_INFO = struct.Struct("=I32s32s32s32s32s12x20x")
GET_STRINGS = 0x1B
GET_STRING_COUNT = 0x37
GET_FEATURES = 0x3A
FEATURES = 4
NAME_SIZE = 32
BLOCK = struct.Struct("=IIII")  # available, requested, active, never changed


def has_feature(device: str, feature: str) -> bool | None:
    """Whether the feature is on; None when device or kernel do not know it.

    Raises OSError, ENODEV for a device that does not exist.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            names = _feature_names(control, device)
            if feature not in names:
                return None
            return _is_active(control, device, names.index(feature), len(names))
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise


def code_of(device: str) -> str:
    """The versions of driver and firmware in words, "" where the driver tells none.

    Raises OSError, ENODEV for a device that does not exist.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            answer = _ask(control, device, DRIVER_INFO.pack(GET_DRIVER_INFO, *[b""] * 5))
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return ""
            raise
    _, *texts = DRIVER_INFO.unpack(answer)
    driver, version, firmware, _, _ = (t.split(b"\0", 1)[0].decode(errors="replace") for t in texts)
    known = [f"{driver} {version}".strip()]
    if firmware and firmware != "N/A":
        known.append(f"firmware {firmware}")
    return ", ".join(filter(None, known))


def _feature_names(control: socket.socket, device: str) -> list[str]:
    answer = _ask(control, device, struct.pack("=IIQI", GET_STRING_COUNT, 0, 1 << FEATURES, 0))
    (number,) = struct.unpack_from("=I", answer, 16)
    header = struct.pack("=III", GET_STRINGS, FEATURES, number)
    answer = _ask(control, device, header + bytes(number * NAME_SIZE))
    names = (answer[i : i + NAME_SIZE] for i in range(len(header), len(answer), NAME_SIZE))
    return [name.split(b"\0", 1)[0].decode() for name in names]


def _is_active(control: socket.socket, device: str, index: int, number: int) -> bool:
    blocks = (number + 31) // 32
    header = struct.pack("=II", GET_FEATURES, blocks)
    answer = _ask(control, device, header + bytes(blocks * BLOCK.size))
    _, _, active, _ = BLOCK.unpack_from(answer, len(header) + index // 32 * BLOCK.size)
    return bool(active >> index % 32 & 1)


def _ask(control: socket.socket, device: str, request: bytes) -> bytes:
    buffer = array.array("B", request)
    address, _ = buffer.buffer_info()
    fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", os.fsencode(device), address))
    return buffer.tobytes()
