#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Process 1 of the lab router on User Mode Linux; machine.py copies it into the exchange
# folder, which LAB_EXCHANGE names. First on the host's files, which are read-only, then
# (with "inside" as argument) on a copy of them whose changes are in memory.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

boot() {
    mount -t proc proc /proc
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/changes /mnt/work /mnt/root
    root=/mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work overlay "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t debugfs debugfs "$root/sys/kernel/debug"
    mount -t devtmpfs devtmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/var/tmp"
    modules=$root/lib/modules/$(uname -r)
    mkdir -p "$modules"
    mount --bind "$(cat "$LAB_EXCHANGE/modules")" "$modules"
    while read -r folder; do
        mount -t hostfs -o "$folder" none "$root$folder"
    done <"$LAB_EXCHANGE/shared"
    # A chroot would do for most programs, but systemd and nsenter look through it.
    cd "$root"
    pivot_root . mnt
    exec chroot . sh "$LAB_EXCHANGE/guest.sh" inside
}

inside() {
    umount --lazy /mnt
    # A kernel that was reset starts again; there is nothing to do a second time.
    [ -e "$LAB_EXCHANGE/started" ] && busybox poweroff -f
    : >"$LAB_EXCHANGE/started"
    hostname router
    ip link set lo up
    export PYTHONUNBUFFERED=1 LAB_ROUTER=1 TERM="${TERM:-dumb}"
    # No carriage returns of a terminal's.
    [ "$LAB_MODE" = shell ] || stty -F /dev/tty1 raw
    stty -F /dev/tty2 raw
    setsid -c sh -c '. "$LAB_EXCHANGE/command"; echo $? >"$LAB_EXCHANGE/status"' \
        </dev/tty1 >/dev/tty1 2>&1
    # Not before the host has all of it.
    stty -F /dev/tty1 -echo
    sync
    busybox poweroff -f
}

"${1:-boot}"
