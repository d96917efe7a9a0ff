#!/bin/sh
# Creates the stack's missing keys: first-keys dashboard, or first-keys monitoring. Each key is stored in a volume that
# only its reader mounts.
set -eu
umask 027

key() { # NAME SCOPE FILE
    if [ "$2" = none ]; then
        marketlens keys revoke "$1" >/dev/null 2>&1 || true
        : >"$3"
        return
    fi
    if [ -s "$3" ] && marketlens keys list | grep -w "$1" | grep -qw "$2"; then return; fi
    # The key has another scope, or an interrupted start left it incomplete: replace it.
    marketlens keys revoke "$1" >/dev/null 2>&1 || true
    marketlens keys create "$1" --scope "$2" >"$3.part"
    mv "$3.part" "$3"
}

case "$1" in
dashboard) key dashboard "${DASHBOARD_SCOPE:-read}" /secrets/dashboard/MARKETLENS_DASHBOARD__API_KEY ;;
monitoring)
    key prometheus admin /secrets/prometheus/api-key
    [ -s /secrets/grafana/admin-password ] ||
        python -c 'import secrets; print(secrets.token_urlsafe(24), end="")' >/secrets/grafana/admin-password
    ;;
esac
