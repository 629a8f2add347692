#!/usr/bin/env bash
# Prints the path of a nats-server that Axon can use (2.10 or newer) and gets one if there is none.
#
# Taken in this order: $AXON_NATS_SERVER, the one on PATH, the one fetched before, Debian's newest package.
# The package is unpacked under .axon/; nothing of the system changes, and root is not needed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home="$root/.axon/nats"
wanted="2.10"

say() { printf '%s\n' "$*" >&2; }

# The version of a server, as 2.10.27; nothing when it does not run.
version_of() {
    "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p'
}

# Whether a server is there and new enough.
usable() {
    local version
    version=$(version_of "$1") || return 1
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]
}

# Fetches the package of one suite from one mirror and unpacks it into .axon/nats.
fetch() {
    local mirror=$1 suite=$2 work
    work="$root/.axon/apt/$suite"
    rm -rf "$work" && mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$work/sources.list"
    local options=(
        -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
        -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=$work/parts"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
        -o "APT::Default-Release=" -o "APT::Sandbox::User=" -o "APT::Get::List-Cleanup=0"
        -o "Acquire::Languages=none" -o "Acquire::Retries=2" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    )
    (
        cd "$work"
        apt-get "${options[@]}" -qq update
        apt-get "${options[@]}" -qq download nats-server
        dpkg-deb -x nats-server_*.deb unpacked
    ) >"$work/log" 2>&1 || return 1
    usable "$work/unpacked/usr/sbin/nats-server" || return 1
    mkdir -p "$home"
    # A rename: whoever runs the old file keeps it, whoever looks now finds a whole one.
    mv -f "$work/unpacked/usr/sbin/nats-server" "$home/nats-server"
    rm -rf "$work"
}

if [ -n "${AXON_NATS_SERVER:-}" ]; then
    usable "$AXON_NATS_SERVER" || { say "AXON_NATS_SERVER=$AXON_NATS_SERVER is no nats-server $wanted or newer: point it at one, or unset it."; exit 1; }
    printf '%s\n' "$AXON_NATS_SERVER"
    exit 0
fi

if found=$(command -v nats-server) && usable "$found"; then
    printf '%s\n' "$found"
    exit 0
fi
if usable "$home/nats-server"; then
    printf '%s\n' "$home/nats-server"
    exit 0
fi

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [ -e "$keyring" ]; then
    for mirror in $("$root/scripts/debian-mirrors.sh" | head -n 4); do
        for suite in sid trixie; do
            say "getting nats-server from Debian $suite ..."
            if fetch "$mirror" "$suite"; then
                say "nats-server $(version_of "$home/nats-server") is in .axon/nats"
                printf '%s\n' "$home/nats-server"
                exit 0
            fi
        done
    done
fi

say "Axon needs nats-server $wanted or newer and found none: install one (see \"Installing a NATS Server\" in the NATS" \
    "documentation), then put it on PATH or set AXON_NATS_SERVER to its path."
exit 1
