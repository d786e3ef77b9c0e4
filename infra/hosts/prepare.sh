#!/bin/sh
# Prepares `@server` of stack `@stack`: the kernel, the container engine, the firewall.
#
#   prepare.sh apply     makes it so and says what it changes; a second time changes nothing
#   prepare.sh check     prints one line for each difference; exits 1 when there is one
#   prepare.sh remove    takes back what `apply` changed
#
# `--firewall-only` and `--docker-only` keep to that part. HELIX_ROOT stands before the paths of
# all files: to prepare the image of a machine.

set -eu

CHAIN='@chain'
ROOT="${HELIX_ROOT:-}"
STATE="$ROOT/var/lib/helix-hosts/@stack"
BEFORE="$STATE/before"
DAEMON="$ROOT/etc/docker/daemon.json"
UNIT='helix-hosts-@stack.service'
UNITS="$ROOT/etc/systemd/system"
HUGE_PAGES=/sys/kernel/mm/transparent_hugepage/enabled
NL='
'

settings() {
    cat <<'END'
@settings
END
}

rules_of_iptables() {
    cat <<'END'
@rules
END
}

rules_of_ip6tables() {
    cat <<'END'
@rules_v6
END
}

say() { printf '%s\n' "$*"; }

# --- kernel ------------------------------------------------------------------------------------

fits() { # RELATION HAVE WANT
    case $1 in
    '=') [ "$2" -eq "$3" ] ;;
    *) [ "$2" -ge "$3" ] ;;
    esac
}

remember() { # NAME VALUE: of the first time only
    mkdir -p "$STATE"
    grep -q "^$1 " "$BEFORE" 2>/dev/null || say "$1 $2" >>"$BEFORE"
}

huge_pages() { sed 's/.*\[\(.*\)\].*/\1/' "$HUGE_PAGES"; }

apply_kernel() {
    settings | while read -r name relation want; do
        have=$(sysctl -n "$name")
        fits "$relation" "$have" "$want" && continue
        remember "$name" "$have"
        sysctl -q -w "$name=$want"
        say "kernel: $name was $have, is $want"
    done
    if [ -e "$HUGE_PAGES" ] && [ "$(huge_pages)" = always ]; then
        remember transparent_hugepage always
        echo madvise >"$HUGE_PAGES"
        say 'kernel: huge pages were given always, are given on request'
    fi
}

check_kernel() {
    settings | while read -r name relation want; do
        have=$(sysctl -n "$name")
        fits "$relation" "$have" "$want" || say "kernel: $name is $have, not $relation $want"
    done
    if [ -e "$HUGE_PAGES" ] && [ "$(huge_pages)" = always ]; then
        say 'kernel: huge pages are given always, not on request'
    fi
}

remove_kernel() {
    [ -e "$BEFORE" ] || return 0
    while read -r name value; do
        if [ "$name" = transparent_hugepage ]; then
            echo "$value" >"$HUGE_PAGES"
        else
            sysctl -q -w "$name=$value"
        fi
        say "kernel: $name is $value again"
    done <"$BEFORE"
    rm -r "$STATE"
}

# --- container engine --------------------------------------------------------------------------

# Containers outlive a restart of the engine, and logs end somewhere; what else is there stays, and
# so does a log driver of the operator's own.
daemon() { # check | apply
    python3 - "$1" "$DAEMON" <<'END'
import json, os, sys
verb, path = sys.argv[1:]
have = {}
if os.path.exists(path):
    with open(path) as file:
        have = json.loads(file.read() or "{}")
want = {"live-restore": True}
if "log-driver" not in have and "log-opts" not in have:
    want["log-driver"] = "json-file"
    want["log-opts"] = {"max-size": "10m", "max-file": "3"}
missing = {key: value for key, value in want.items() if have.get(key) != value}
for key, value in missing.items():
    text = json.dumps(value)
    print(f"engine: {key} is now {text}" if verb == "apply" else f"engine: {key} is not {text}")
if missing and verb == "apply":
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.helix", "w") as file:
        json.dump(have | missing, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.helix", path)
    print("engine: restart it to take this: systemctl restart docker")
END
}

has_python() { command -v python3 >/dev/null; }

apply_docker() {
    if has_python; then
        daemon apply
    elif [ -e "$DAEMON" ]; then
        say "engine: put \"live-restore\": true into $DAEMON by hand; there is no python3 to merge it"
    else
        mkdir -p "${DAEMON%/*}"
        cat >"$DAEMON" <<'END'
{
  "live-restore": true,
  "log-driver": "json-file",
  "log-opts": {"max-size": "10m", "max-file": "3"}
}
END
        say "engine: wrote $DAEMON; restart the engine to take it"
    fi
}

check_docker() {
    if has_python; then
        daemon check
    elif ! grep -q '"live-restore": *true' "$DAEMON" 2>/dev/null; then
        say 'engine: live-restore is not true'
    fi
}

remove_docker() { say "engine: $DAEMON stays as it is: other containers may rely on it"; }

# --- firewall ----------------------------------------------------------------------------------

families() {
    echo iptables
    if [ -e /proc/net/if_inet6 ]; then echo ip6tables; fi
}

current() { "$1" -w -S "$CHAIN" 2>/dev/null | grep '^-A' || true; }

enters() { "$1" -w -C INPUT -j "$CHAIN" 2>/dev/null; }

apply_firewall() {
    for table in $(families); do
        rules=$("rules_of_$table")
        if [ "$(current "$table")" != "$rules" ]; then
            # One transaction: no moment without rules.
            printf '*filter\n:%s - [0:0]\n%s\nCOMMIT\n' "$CHAIN" "$rules" |
                "$table-restore" -w --noflush
            say "$table: chain $CHAIN is filled"
        fi
        if ! enters "$table"; then
            "$table" -w -I INPUT 1 -j "$CHAIN"
            say "$table: what comes in goes through $CHAIN first"
        fi
    done
}

lacking() { # TEXT, LINES, OTHER LINES: those of the first that the second has not
    printf '%s\n' "$2" | while IFS= read -r line; do
        case "$NL$3$NL" in
        *"$NL$line$NL"*) ;;
        *) say "$1: $line" ;;
        esac
    done
}

check_firewall() {
    for table in $(families); do
        rules=$("rules_of_$table") have=$(current "$table")
        if [ -z "$have" ]; then
            say "$table: there is no chain $CHAIN"
        elif [ "$have" != "$rules" ]; then
            found=$(lacking "$table lacks" "$rules" "$have"; lacking "$table has" "$have" "$rules")
            say "${found:-$table: the rules of $CHAIN are in another order}"
        fi
        enters "$table" || say "$table: what comes in does not go through $CHAIN"
    done
}

remove_firewall() {
    for table in $(families); do
        while enters "$table"; do "$table" -w -D INPUT -j "$CHAIN"; done
        "$table" -w -S "$CHAIN" >/dev/null 2>&1 || continue
        "$table" -w -F "$CHAIN"
        "$table" -w -X "$CHAIN"
        say "$table: chain $CHAIN is gone"
    done
}

# --- after a restart of the machine ------------------------------------------------------------

unit() {
    cat <<END
[Unit]
Description=Kernel and firewall of stack @stack
Before=docker.service network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/helix-hosts-@stack apply

[Install]
WantedBy=multi-user.target
END
}

has_systemd() { [ -n "$ROOT" ] || [ -d /run/systemd/system ]; }

kept() { cmp -s "$0" "$ROOT/usr/local/sbin/helix-hosts-@stack" &&
    [ "$(cat "$UNITS/$UNIT" 2>/dev/null)" = "$(unit)" ]; }

apply_boot() {
    if ! has_systemd; then
        say 'boot: there is no systemd: run this script with `apply` whenever the machine starts'
    elif ! kept; then
        mkdir -p "$ROOT/usr/local/sbin" "$UNITS/multi-user.target.wants"
        install -m 0755 "$0" "$ROOT/usr/local/sbin/helix-hosts-@stack"
        unit >"$UNITS/$UNIT"
        ln -sf "../$UNIT" "$UNITS/multi-user.target.wants/$UNIT"
        say "boot: $UNIT does this whenever the machine starts"
    fi
}

check_boot() {
    if has_systemd && ! kept; then say "boot: $UNIT is not what this script would write"; fi
}

remove_boot() {
    rm -f "$ROOT/usr/local/sbin/helix-hosts-@stack" "$UNITS/$UNIT" \
        "$UNITS/multi-user.target.wants/$UNIT"
}

# -----------------------------------------------------------------------------------------------

usage() {
    say "usage: $0 apply|check|remove [--firewall-only|--docker-only]" >&2
    exit 2
}

each() { for part in $2; do "$1_$part"; done; }

case ${2:-} in
--firewall-only) parts=firewall ;;
--docker-only) parts=docker ;;
'') parts='kernel docker firewall boot' ;;
*) usage ;;
esac

case ${1:-} in
apply | remove) each "$1" "$parts" ;;
check)
    found=$(each check "$parts")
    [ -z "$found" ] || {
        say "$found"
        exit 1
    }
    ;;
*) usage ;;
esac
