#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# build.sh SOURCE CONFIG RESULT: User Mode Linux from that source, with that configuration.
# RESULT gets `linux`, its modules as depmod likes them, and in `headers` what it takes to
# build more of them. The cache's key has this file in it: a change here means a new build.
set -eu
source=$1 config=$2 result=$3
# Neither this machine nor this day is in the binary.
export ARCH=um LC_ALL=C KBUILD_BUILD_USER=flowguard KBUILD_BUILD_HOST=lab KBUILD_BUILD_TIMESTAMP=@0
cd "$source"

make KCONFIG_ALLCONFIG="$config" allnoconfig
# What depends on something that is missing is dropped in silence.
grep '^CONFIG_' "$config" | while read -r line; do
    grep -qxF "$line" .config || { echo "not to be had in this kernel: $line"; exit 1; }
done
make -j2 linux modules

mkdir "$result/headers"
strip --strip-debug -o "$result/linux" linux
make INSTALL_MOD_PATH="$result" modules_install
make -s kernelrelease >"$result/release"
rm "$result"/lib/modules/*/build

# The rest of the tree is only of use to those who change the kernel.
tar -cf - --exclude='*.o' --exclude='*.cmd' --exclude='scripts/gdb' --exclude='dt-bindings' \
    .config Makefile Module.symvers scripts include arch/um arch/x86/Makefile* arch/x86/um \
    arch/x86/include | tar -xf - -C "$result/headers"
