# What the scripts share that put Roommate under systemd's care: sourced by them, from the root of a clone or a release.
# shellcheck shell=sh disable=SC2034,SC2154

# A script sets `me`, its name in what it says, and may set these from its arguments:
scope=          # user or system; default: system for root, else user
root=           # the install folder
dry=            # not empty: say what would be done, and do none of it

say() { printf '%s: %s\n' "$me" "$*" >&2; }
fail() { say "$*"; exit 1; }
usage() { sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "scripts/${0##*/}"; }

# value "$@": is there one for the option that comes next?
value() { [ $# -gt 1 ] || fail "$1 needs a value; see --help"; }

# Tell what of this clone no release has. A release itself is no clone.
uncommitted() {
    [ -e .git ] || return 0
    changes=$(git status --porcelain --untracked-files=no 2>/dev/null | wc -l)
    [ "$changes" = 0 ] || say "changed here and not committed: $changes files; releases are made of commits alone"
}

# Do it, or say it.
run() {
    if [ -n "$dry" ]; then say "would run: $*"; else "$@"; fi
}

# Fills in what the arguments left open. Call it after reading them.
settle() {
    if [ -z "$scope" ]; then
        if [ "$(id -u)" = 0 ]; then scope=system; else scope=user; fi
    fi
    if [ "$scope" = system ]; then
        [ "$(id -u)" = 0 ] || [ -n "$dry" ] || fail "--system needs root"
        root=${root:-/opt/roommate}
        units=/etc/systemd/system
        programs=/usr/local/bin
        state=/var/lib/roommate
        systemctl=systemctl
    else
        [ -n "${HOME:-}" ] || fail "HOME is not set"
        root=${root:-${XDG_DATA_HOME:-$HOME/.local/share}/roommate}
        units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
        programs=$HOME/.local/bin
        state=
        systemctl="systemctl --user"
        # su and sudo do not set it; the manager is there all the same where the user lingers or is logged in.
        export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
    fi
    case $root in /*) ;; *) root=$PWD/$root ;; esac
    case $root in *[!A-Za-z0-9/._+-]*) fail "the install folder $root may have letters, digits and /._+- in its path" ;; esac
}

journal() {
    if [ "$scope" = system ]; then echo "journalctl -u $1"; else echo "journalctl --user -u $1"; fi
}

have_systemd() {
    command -v systemctl >/dev/null && $systemctl show-environment >/dev/null 2>&1
}

# patiently SECONDS: PATIENCE times as many, as the settings say it for a slow host.
patiently() {
    patience=$(sed -n 's/^\(export \)\{0,1\}PATIENCE *= *["'\'']\{0,1\}0*\([1-9][0-9]*\).*/\2/p' "$root/.env" 2>/dev/null | tail -n 1)
    echo $(($1 * ${patience:-1}))
}

# put TEMPLATE UNIT: a unit into place, with its placeholders filled in. Sets `changed` when it was not there like this.
put() {
    filled=$(sed -e "s|@ROOT@|$root|g" -e "s|@SYSTEMCTL@|$systemctl|g" \
        -e "s|@START_SECONDS@|$(patiently 90)|g" -e "s|@STOP_SECONDS@|$(patiently 15)|g" \
        -e "s|@LIMIT_SECONDS@|$(patiently 600)|g" "$1")
    [ "$filled" != "$(cat "$units/$2" 2>/dev/null)" ] || return 0
    changed=yes
    say "unit $units/$2"
    [ -z "$dry" ] || return 0
    mkdir -p "$(dirname "$units/$2")"
    printf '%s\n' "$filled" >"$units/$2"
}

# put_units FOLDER: the service and its companions, as they are in this folder of a release.
put_units() {
    changed=
    for template in "$1"/roommate*.service "$1"/roommate*.timer; do
        case $template in
            *'*'*|*/roommate-synapse.service) ;;
            *) put "$template" "${template##*/}" ;;
        esac
    done
    if [ "$scope" = system ]; then put "$1/roommate-system.conf" roommate.service.d/system.conf; fi
    [ -z "$changed" ] || run $systemctl daemon-reload
}

# The command `roommate`, which goes to the settings of the install folder and says where it came from: what is typed
# begins there. One that is somebody else's stays.
put_launcher() {
    launcher=$programs/roommate
    if [ -e "$launcher" ] && ! grep -q "^cd $root " "$launcher"; then return 0; fi
    filled=$(printf '#!/bin/sh\n# Roommate, with the settings of its install folder.\nexport ROOMMATE_FROM="$PWD"\ncd %s && exec %s "$@"' \
        "$root" "$root/current/.venv/bin/roommate")
    [ "$filled" != "$(cat "$launcher" 2>/dev/null)" ] || return 0
    say "command $launcher"
    [ -z "$dry" ] || return 0
    mkdir -p "$programs"
    printf '%s\n' "$filled" >"$launcher"
    chmod 755 "$launcher"
}

last_words() { $(journal "$1") -n 15 --no-pager -o cat >&2 || :; }

# wait_for UNIT SECONDS: until it is active, longer on a slow host. What it says about itself meanwhile is shown.
wait_for() {
    [ -z "$dry" ] || return 0
    seconds=$(patiently "$2") began=$(date +%s) told='' ended=''
    while :; do
        case $($systemctl is-active "$1") in
            active) return 0 ;;
            failed) say "$1 has failed; its last words:"; last_words "$1"; return 1 ;;
        esac
        if [ -z "$ended" ] && [ "$($systemctl show --property SubState --value "$1")" = auto-restart ]; then
            ended=yes
            say "$1 has ended and is started again; its last words:"
            last_words "$1"
        fi
        status=$($systemctl show --property StatusText --value "$1")
        if [ -n "$status" ] && [ "$status" != "$told" ]; then say "$status"; told=$status; fi
        [ $(($(date +%s) - began)) -le "$seconds" ] || { say "$1 is not ready after $seconds s; see $(journal "$1")"; last_words "$1"; return 1; }
        sleep 0.2
    done
}

# Have the user's services run without a login. `lingering` becomes yes when it was us who said so.
linger() {
    lingering=
    [ "$scope" = user ] || return 0
    [ "$(loginctl show-user "$(id -un)" --property Linger --value 2>/dev/null)" != yes ] || return 0
    if [ -n "$dry" ]; then say "would run: loginctl enable-linger"; return 0; fi
    if loginctl enable-linger 2>/dev/null || sudo -n loginctl enable-linger "$(id -un)" 2>/dev/null; then
        lingering=yes
        for _ in 1 2 3 4 5 6 7 8 9 10; do have_systemd && return 0; sleep 0.3; done
    else
        say "it will stop when you log out, and not start with the machine, until root runs: loginctl enable-linger $(id -un)"
    fi
}

# Remove a folder of the user that is empty by now, and those that it was alone in.
tidy() {
    [ "$scope" = user ] || return 0
    folder=$1
    while [ "$folder" != "$HOME" ] && [ "$folder" != / ] && run rmdir "$folder" 2>/dev/null && [ -z "$dry" ]; do
        folder=$(dirname "$folder")
    done
}
