#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The first program inside the lab router: runs EXCHANGE/command, leaves its exit status
# in EXCHANGE/status. Its output goes to the virtio port that vm.py listens to, because
# /dev/virtio-ports exists only where the host has udev. With "shell" as second argument
# it stays on the console, for a person.
exchange=$1
: >"$exchange/started"
export PYTHONUNBUFFERED=1 LAB_ROUTER=1
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug

while read -r tag directory; do
    mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose "$tag" "$directory" ||
        echo "$directory is not cached" >&2
done <"$exchange/cached"
# The directory we stand in is the one below the mount.
cd "$PWD" || exit

if [ "$2" = shell ]; then
    . "$exchange/command"
    echo $? >"$exchange/status"
    exit
fi

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = flowguard.lab ] && exec >"/dev/${port##*/}" 2>&1 </dev/null
done
. "$exchange/command"
echo $? >"$exchange/status"
