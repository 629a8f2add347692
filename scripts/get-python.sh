#!/usr/bin/env bash
# Prints the path of a Python that has nats-py, the NATS client that the tests use to check Axon from outside, and MCP
# servers and the MCP client for the same purpose. It lives in .axon/venv and is made once for the versions named below.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.axon/venv"
wanted="nats-py==2.16.0 mcp==2.3.0 mcp-server-git==2026.10.19 mcp-server-time==2026.10.19"

say() { printf '%s\n' "$*" >&2; }

if [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ] && "$venv/bin/python" -c 'import nats, mcp' 2>/dev/null; then
    printf '%s\n' "$venv/bin/python"
    exit 0
fi

command -v python3 >/dev/null || { say "the tests need python3 with its venv module: install Python 3.10 or newer."; exit 1; }
rm -rf "$venv"
mkdir -p "$root/.axon"
say "installing $wanted into .axon/venv ..."
log="$root/.axon/venv.log"
if ! python3 -m venv "$venv" >"$log" 2>&1; then
    say "python3 -m venv failed: install the venv module (package python3-venv on Debian). See $log."
    exit 1
fi
# pip brings certificates of its own; those of the machine know its proxies too.
if [ -z "${PIP_CERT:-}" ] && [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
fi
# One word each.
# shellcheck disable=SC2086
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted >>"$log" 2>&1; then
    say "pip could not install $wanted: check the network. See $log."
    exit 1
fi
printf '%s' "$wanted" >"$venv/installed"
printf '%s\n' "$venv/bin/python"
