#!/usr/bin/env bash
# Prints the addresses this machine installs Debian's main component from, most likely first, each once.
# Security mirrors are left out: they carry no other suites.
set -euo pipefail

# shellcheck source=/dev/null
codename=${1:-$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")}

# A stanza per source; a field may go on in indented lines.
deb822() {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk -v codename="$codename" '
        function flush(   n, i, uris) {
            if (enabled && index(types, " deb ") && index(components, " main ") && index(suites, " " codename " ")) {
                n = split(uri, uris, " ")
                for (i = 1; i <= n; i++) print uris[i]
            }
            enabled = 1; types = uri = suites = components = " "; field = ""
        }
        BEGIN { flush() }
        /^#/ { next }
        /^[ \t]*$/ { flush(); next }
        {
            line = $0
            if (line !~ /^[ \t]/) { field = tolower(line); sub(/:.*/, "", field); sub(/^[^:]*:/, "", line) }
            gsub(/[ \t]+/, " ", line); sub(/^ /, "", line); sub(/ $/, "", line)
            if (field == "types") types = types line " "
            if (field == "uris") uri = uri line " "
            if (field == "suites") suites = suites line " "
            if (field == "components") components = components line " "
            if (field == "enabled" && line ~ /^(no|false|0)$/) enabled = 0
        }
        END { flush() }'
}

# deb [options] address suite component...
one_line() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null \
        | sed -E -e 's/#.*//' -e 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?/deb /' \
        | awk -v codename="$codename" '$1 == "deb" && $3 == codename { for (i = 4; i <= NF; i++) if ($i == "main") { print $2; next } }'
}

{ deb822 || true; one_line || true; } | grep -v security | awk '!seen[$0]++' || true
