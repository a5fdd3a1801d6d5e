# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by ./run and ./test: installs what they need, says what it does.

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# Debian packages: program (or file) that proves it is there, then the package.
unit_packages="
nft:nftables
ip:iproute2
make:make
git:git
conntrack:conntrack
sysctl:procps
/bin/busybox:busybox-static
shellcheck:shellcheck
"
lab_packages="
qemu-system-x86_64:qemu-system-x86
/bin/busybox:busybox-static
kmod:kmod
zstd:zstd
file:file
make:make
gcc:gcc
nft:nftables
ip:iproute2
ethtool:ethtool
conntrack:conntrack
mkfs.ext4:e2fsprogs
pppd:ppp
pppoe-server:pppoe
systemctl:systemd
wg:wireguard-tools
hostapd:hostapd
wpa_supplicant:wpasupplicant
iw:iw
"
# To build User Mode Linux, and to start it.
uml_packages="
flex:flex
bison:bison
m4:m4
bc:bc
xz:xz-utils
/usr/include/stdio.h:libc6-dev
taskset:util-linux
"

present() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    local missing="" entry
    for entry in $1; do
        present "${entry%%:*}" || missing="$missing ${entry#*:}"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "please install these (Debian names):$missing"
    [ "$(id -u)" = 0 ] || die "not root; please run: apt-get install$missing"
    say "installing Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2 || say "apt-get update had trouble; trying with the lists there are"
    # shellcheck disable=SC2086 # several words on purpose
    apt-get install -q -y --no-install-recommends $missing >&2 || die "apt-get install failed"
}

prepare_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "Python 3.11 or newer is needed (Debian 12 and later have it)"
    if ! [ -x .venv/bin/python ]; then
        if ! python3 -c 'import ensurepip' 2>/dev/null; then
            install_packages "/usr/share/doc/python3-venv:python3-venv"
        fi
        say "making a virtual environment in .venv"
        python3 -m venv .venv || die "python3 -m venv failed"
    fi
    if ! cmp -s pyproject.toml .venv/installed-for; then
        say "installing flowguard and its tools into .venv"
        .venv/bin/pip install --quiet --disable-pip-version-check -e '.[test,lab]' >&2 ||
            die "pip install failed"
        cp pyproject.toml .venv/installed-for
    fi
}
