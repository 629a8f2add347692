#!/usr/bin/env bash
# Makes every image that deploy/Dockerfile and docker-compose.yml name available to the local docker: leaves it where it
# is there, pulls it where a registry can be reached, and builds a stand-in of the same name from Debian's packages and
# this machine's Rust toolchain where not. A stand-in carries the label axon.stand-in. Needs root for the last.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work="$root/.axon/stand-ins"
suite=bookworm

say() { printf '%s\n' "$*" >&2; }

# The image of that name, with its tag, as the repository's files name it.
named() {
    sed -nE "s,^(FROM|[[:space:]]+image:)[[:space:]]+($1:[^[:space:]]+).*,\2,p" \
        "$root/deploy/Dockerfile" "$root/docker-compose.yml" | head -n 1
}

missing() {
    docker image inspect "$1" >/dev/null 2>&1 && return 1
    timeout 600 docker pull --quiet "$1" >/dev/null 2>&1 && return 1
    return 0
}

# A minimal Debian, once for all stand-ins of one run. What a later stand-in needs is added to it.
unpack_debian() {
    [ -e "$work/rootfs/etc/debian_version" ] && return
    [ "$(id -u)" = 0 ] || { say "building stand-ins for base images needs root: run as root, or pull the images."; exit 1; }
    command -v debootstrap >/dev/null || { say "building stand-ins for base images needs debootstrap: install it."; exit 1; }
    mkdir -p "$work"
    say "unpacking Debian $suite ..."
    local mirror
    mirror=$("$root/scripts/debian-mirrors.sh" "$suite" | head -n 1)
    debootstrap --variant=minbase "$suite" "$work/rootfs" ${mirror:+"$mirror"} >"$work/log" 2>&1 \
        || { tail -n 20 "$work/log" >&2; exit 1; }
}

add_packages() {
    DEBIAN_FRONTEND=noninteractive chroot "$work/rootfs" sh -c \
        "apt-get -qq update && apt-get -qq install --yes --no-install-recommends $*" >>"$work/log" 2>&1 \
        || { tail -n 20 "$work/log" >&2; exit 1; }
}

# import IMAGE CHANGE...
import() {
    local image=$1 change changes=(--change "LABEL axon.stand-in=true")
    shift
    for change in "$@"; do changes+=(--change "$change"); done
    tar -C "$work/rootfs" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -c . \
        | docker import "${changes[@]}" - "$image" >/dev/null
    say "built a stand-in for $image"
}

trap 'rm -rf "$work"' EXIT
rm -rf "$work"

# The order matters: each adds to the same root.
image=$(named debian)
if missing "$image"; then
    unpack_debian
    import "$image" 'CMD ["bash"]'
fi

image=$(named nats)
if missing "$image"; then
    unpack_debian
    add_packages busybox-static
    ln -sf /bin/busybox "$work/rootfs/usr/local/bin/wget"
    cp "$("$root/scripts/get-nats.sh")" "$work/rootfs/usr/local/bin/nats-server"
    # shellcheck disable=SC2016
    printf '%s\n' '#!/bin/sh' 'case "${1:--}" in -*) set -- nats-server "$@" ;; esac' 'exec "$@"' \
        >"$work/rootfs/usr/local/bin/docker-entrypoint.sh"
    # By name: the link beside them points into the image, and at nothing on this machine.
    chmod 755 "$work"/rootfs/usr/local/bin/{nats-server,docker-entrypoint.sh}
    import "$image" 'ENTRYPOINT ["docker-entrypoint.sh"]' 'EXPOSE 4222 6222 8222'
fi

image=$(named prom/prometheus)
if missing "$image"; then
    unpack_debian
    add_packages ca-certificates
    (cd "$work" && chroot rootfs sh -c 'cd /tmp && apt-get -qq update && apt-get -qq download prometheus' >>log 2>&1)
    dpkg-deb --fsys-tarfile "$work"/rootfs/tmp/prometheus_*.deb | tar -C "$work/rootfs" -x ./usr/bin/prometheus
    rm "$work"/rootfs/tmp/prometheus_*.deb
    mkdir -p "$work/rootfs/prometheus" && chown 65534:65534 "$work/rootfs/prometheus"
    import "$image" 'USER nobody' 'WORKDIR /prometheus' 'ENTRYPOINT ["/usr/bin/prometheus"]'
fi

image=$(named rust)
if missing "$image"; then
    unpack_debian
    add_packages gcc libc6-dev make ca-certificates
    # What this machine trusts, so that crates come in the same way as outside.
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$work/rootfs/etc/ssl/certs/"
    mkdir -p "$work/rootfs/usr/local/rust" "$work/rootfs/usr/local/cargo"
    tar -C "$(rustc --print sysroot)" --exclude=./share --exclude=./lib/rustlib/src -c . \
        | tar -C "$work/rootfs/usr/local/rust" --no-same-owner -x
    import "$image" 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        'ENV CARGO_HOME=/usr/local/cargo CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt' 'CMD ["bash"]'
fi
