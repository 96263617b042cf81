#!/bin/sh
# uninstall.sh [options]
# Takes Roommate away: service, units, the rooms' containers, releases. Settings, the rooms' files and the image stay, and
# it says where.
#   --purge             those as well: nothing stays
#   --yes               do not ask
#   --user | --system   which service; default: what you are
#   --root DIR          the install folder; default: ~/.local/share/roommate or /opt/roommate
#   --dry-run           say what would be done, and do none of it
set -eu
cd "$(dirname "$0")/.."
me=uninstall
. scripts/service.sh
purge='' yes=''
while [ $# -gt 0 ]; do
    case $1 in
        --user|--system) scope=${1#--} ;;
        --root) value "$@"; root=$2; shift ;;
        --purge) purge=yes ;;
        --yes) yes=yes ;;
        --dry-run) dry=yes ;;
        --help|-h) usage; exit ;;
        *) fail "what is $1? See --help" ;;
    esac
    shift
done
settle
clone=$PWD
cd /  # this script may be in what goes
if ! [ -e "$root" ] && ! [ -e "$units/roommate.service" ]; then
    [ -n "$purge" ] || fail "nothing is installed in $root"
    say "nothing is installed in $root, or not any more"
    exit 0
fi

# What only the settings say, asked for before they go.
podman=podman image='' run_dir='' backups=''
state=${state:-$HOME/.local/state/roommate}
python=$root/current/.venv/bin/python
[ -x "$python" ] || python=$clone/.venv/bin/python
if [ -e "$root/.env" ] && [ -x "$python" ] && told=$(cd "$root" && "$python" -c '
try:
    from roommate.settings import config
except ImportError:  # a release of before
    from roommate import config
s = config.load()
print(s.state_dir, s.run_dir, s.sandbox_image, s.podman_path, s.backups, sep="\n")'); then
    state=$(printf %s "$told" | sed -n 1p)
    run_dir=$(printf %s "$told" | sed -n 2p)
    image=$(printf %s "$told" | sed -n 3p)
    podman=$(printf %s "$told" | sed -n 4p)
    backups=$(printf %s "$told" | sed -n 5p)
fi
backups=${backups:-$state/backups}
if [ -n "$purge" ]; then
    made=$(find "$backups" -maxdepth 1 -name 'roommate-*.tar.gz' 2>/dev/null | wc -l)
    case $backups/ in
        "${state%/}"/*|"${root%/}"/*) fate="$made backups in $backups go as well" ;;
        *) fate="$made backups in $backups stay" ;;
    esac
    for folder in "$state" "$root" ${run_dir:+"$run_dir"}; do
        case $folder in /*/*) ;; *) fail "$folder is not Roommate's alone: nothing was removed" ;; esac
        case ${HOME:-/root}/ in "${folder%/}"/*) fail "$folder is not Roommate's alone: nothing was removed" ;; esac
    done
fi

if [ -z "$yes" ] && [ -z "$dry" ]; then
    [ -t 0 ] || fail "pass --yes to do it without a question"
    if [ -n "$purge" ]; then
        printf 'Everything of Roommate goes, the rooms'\'' files in %s as well; %s. Write yes: ' "$state" "$fate" >&2
    else
        printf 'The service, the rooms'\'' containers and the releases in %s go. Write yes: ' "$root" >&2
    fi
    read -r answer
    [ "$answer" = yes ] || fail "nothing was done"
fi

# ── Service ──
# theirs: this file says that it belongs to another install folder.
theirs() { [ -e "$1" ] && ! grep -qx "WorkingDirectory=$root" "$1"; }
if theirs "$units/roommate.service"; then
    say "$units/roommate.service stays: it is of another install folder"
    units=/nowhere
fi
for unit in "$units"/roommate.service "$units"/roommate-*.service "$units"/roommate-*.timer; do
    case $unit in *'*'*|*/roommate-synapse.service) continue ;; esac
    [ -e "$unit" ] || continue
    run $systemctl disable --quiet --now "${unit##*/}" || :
    case $unit in *.timer) run $systemctl clean --what=state "${unit##*/}" || : ;; esac
    run rm -f "$unit"
done
run rm -rf "$units/roommate.service.d"
# What runs without systemd.
if [ -x "$root/current/.venv/bin/roommate" ]; then
    ended=0
    (cd "$root" && run current/.venv/bin/roommate stop) || ended=$?
    [ $ended -ne 1 ] || fail "it runs still: nothing else was removed"
fi
if command -v systemctl >/dev/null; then
    run $systemctl daemon-reload || :
    run $systemctl reset-failed 'roommate*' 2>/dev/null || :
fi

# ── Containers, and the disks that they had ──
containers=$($podman ps --all --quiet --filter "label=io.roommate.state=$state" 2>/dev/null || :)
if [ -n "$containers" ]; then
    say "$(echo "$containers" | wc -l) containers"
    # At times Podman fails over a busy shm although the container is gone.
    # shellcheck disable=SC2086
    run $podman rm --force --time 0 $containers >/dev/null 2>&1 || :
    [ -n "$dry" ] || [ -z "$($podman ps --all --quiet --filter "label=io.roommate.state=$state")" ] \
        || fail "not all containers could be removed: podman ps --all --filter label=io.roommate.state=$state"
fi
for disk in "$state"/rooms/*/files; do
    if mountpoint -q "$disk" 2>/dev/null; then run umount "$disk"; fi
done

# ── Files ──
if [ -e "$programs/roommate" ] && grep -q "^cd $root " "$programs/roommate"; then run rm -f "$programs/roommate"; fi
lingers=''
[ ! -e "$root/.lingers" ] || lingers=yes
run rm -rf "$root/releases" "$root/repository.git" "$root/current" "$root/previous" "$root/site.env" "$root/.lingers"
if [ -n "$purge" ]; then
    say "$fate"
    # What a room's other users wrote belongs to others, as the host sees it.
    if [ -n "$dry" ]; then run rm -rf "$state"; else rm -rf "$state" 2>/dev/null || $podman unshare rm -rf "$state"; fi
    run rm -rf "$root" ${run_dir:+"$run_dir"}
    case $image in
        localhost/*)
            run $podman image rm --force "$image" >/dev/null 2>&1 || :
            made=$($podman image ls --all --quiet --filter label=io.roommate.inputs 2>/dev/null | sort -u)
            # shellcheck disable=SC2086
            [ -z "$made" ] || run $podman image rm $made >/dev/null 2>&1 || :  # what another one uses stays
            ;;
    esac
else
    for kept in "$root/.env" "$state"; do
        [ ! -e "$kept" ] || say "kept: $kept"
    done
    [ -z "$image" ] || ! $podman image exists "$image" 2>/dev/null || say "kept: the image $image"
    say "scripts/uninstall.sh --purge takes that away as well"
fi
stamps=${XDG_DATA_HOME:-${HOME:-}/.local/share}/systemd/timers
for folder in "$stamps" "$units/default.target.wants" "$units/timers.target.wants" "$units" "$programs" "$root" "$(dirname "$state")"; do
    tidy "$folder"
done
if [ -n "$lingers" ]; then run loginctl disable-linger 2>/dev/null || say "you still linger: loginctl disable-linger"; fi
say "done"
