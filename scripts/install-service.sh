#!/bin/sh
# install-service.sh [options] [-- options of `roommate init`]
# Makes a service of Roommate: settings, the first release, the rooms' image, systemd units; starts it and waits until it
# is ready. Run it again whenever you like: what is there stays.
#   --user | --system   a unit of this user (rootless Podman), or of the system (root's); default: what you are
#   --root DIR          the install folder; default: ~/.local/share/roommate or /opt/roommate
#   --remote URL        where releases come from; default: this clone's origin, or the clone itself
#   --image STAGE       of the rooms' image: base, core, browser or agents; default: core, or what is there
#   --restore FILE      begin with what is in a backup: settings, login, rooms, conversations, files
#   --force             go on although doctor finds something that is needed
#   --dry-run           say what would be done, and do none of it
set -eu
NAMES_STATE='^(export +)?STATE_DIR *='
# Of what doctor found, as JSON: what there is, and what is not there yet or not as it should be.
SUMMARY='
import json, sys
checks = json.load(sys.stdin)
for named in True, False:
    for one in checks:
        if named == (one["what"] in ("model", "image")) and (named or one["level"] != "ok"):
            print(("  {what:18} {found}" if named else "  not there yet      {what}: {found}").format(**one))
            if one["level"] != "ok":
                print("                     {mend}".format(**one))
'
from=$PWD
cd "$(dirname "$0")/.."
me=install
. scripts/service.sh
clone=$PWD remote='' image='' force='' backup=''
while [ $# -gt 0 ]; do
    case $1 in
        --user|--system) scope=${1#--} ;;
        --root) value "$@"; root=$2; shift ;;
        --remote) value "$@"; remote=$2; shift ;;
        --image) value "$@"; image=$2; shift ;;
        --restore) value "$@"; backup=$2; shift ;;
        --force) force=yes ;;
        --dry-run) dry=yes ;;
        --) shift; break ;;
        --help|-h) usage; exit ;;
        *) fail "what is $1? See --help" ;;
    esac
    shift
done
settle
case $backup in ''|/*) ;; *) backup=$from/$backup ;; esac
export PYTHONDONTWRITEBYTECODE=  # what is compiled once is faster ever after
[ -n "$dry" ] || have_systemd || linger
[ -n "$dry" ] || have_systemd || fail "there is no systemd to run it under ($($systemctl show-environment 2>&1 | tail -n 1)): .venv/bin/roommate start runs it without"

run scripts/setup
remote=${remote:-$(git remote get-url origin 2>/dev/null || echo "$clone")}
commit=$(git rev-parse HEAD)
uncommitted
if [ "$remote" = "$(git remote get-url origin 2>/dev/null)" ] && ! [ -e "$root/current" ] \
    && [ -z "$(git branch --remotes --contains "$commit" 2>/dev/null)" ]; then
    fail "commit $(git rev-parse --short "$commit") is not in $remote, where releases come from: git push, or pass --remote $clone"
fi

# ── Settings ──
if [ -n "$dry" ]; then
    [ -e "$root/.env" ] || say "would write $root/.env"
else
    mkdir -p "$root"
    chmod 700 "$root"
    if [ -n "$backup" ]; then
        [ ! -e "$root/.env" ] || fail "there are settings in $root already: a backup is restored where nothing is installed"
        kept=$(tar -xzOf "$backup" settings.env) || fail "$backup is no backup that has settings in it, made by roommate backup"
        to=
        if [ -n "$state" ] && ! printf '%s\n' "$kept" | grep -Eq "$NAMES_STATE"; then to="--to $state"; fi
        # shellcheck disable=SC2086
        (cd "$root" && "$clone/.venv/bin/roommate" restore "$backup" $to)
        say "the daemon that this is a backup of must never run again: both would answer"
    elif ! [ -e "$root/.env" ] && [ -e .env ]; then
        say "the settings are in $root/.env from now on, copied from $clone/.env"
        (umask 077; cp .env "$root/.env")
    fi
    place=
    if [ -n "$state" ] && ! grep -Eqs "$NAMES_STATE" "$root/.env"; then place=STATE_DIR=$state; fi
    [ $# -gt 0 ] || [ -e "$root/.env" ] || [ -t 0 ] \
        || fail "there are no settings yet: run .venv/bin/roommate init, or pass its options after --"
    [ $# -gt 0 ] || set -- --missing  # of what setup-synapse.sh, or a person, wrote
    # A login that init makes must lie where the service looks for it.
    # shellcheck disable=SC2086
    env $place .venv/bin/roommate init --env-file "$root/.env" --image none "$@"
    chmod 600 "$root/.env"
    if [ -n "$place" ]; then
        [ -z "$(tail -c 1 "$root/.env")" ] || echo >>"$root/.env"  # its last line has no end
        printf '%s\n' "$place" >>"$root/.env"
    fi
    # systemd starts it without what a shell knows of this site.
    (umask 077; env | grep -Ei '^((https?|no|all)_proxy|ssl_cert_(file|dir)|(requests|curl)_ca_bundle|git_ssl_[a-z]+|node_extra_ca_certs|(pip|uv|npm_config|containers)_[a-z_]+)=' \
        | sed 's/[\\"`$]/\\&/g; s/=/="/; s/$/"/' >"$root/site.env")
fi

# ── Release, image ──
if [ -e "$root/current" ]; then run sh scripts/mend.sh "$root/current"; fi
if ! [ -e "$root/current" ]; then
    run .venv/bin/roommate update --root "$root" --remote "$remote" "$commit"
else
    say "the release stays: $(readlink "$root/current" 2>/dev/null); scripts/deploy.sh goes to another one"
fi
roommate=$root/current/.venv/bin/roommate
run cd "$root"
case ${SANDBOX_IMAGE:-$(sed -n 's/^\(export \)\{0,1\}SANDBOX_IMAGE *= *//p' .env 2>/dev/null)} in
    '')
        # A release of before has no --at-least.
        if [ -z "$image" ] && { [ -n "$dry" ] || "$roommate" image build --help | grep -q -- --at-least; }; then
            run "$roommate" image build --at-least core >/dev/null
        else
            run "$roommate" image build ${image:+--stage "$image"} >/dev/null
        fi ;;
    localhost/*) run "$roommate" image build ${image:+--stage "$image"} >/dev/null ;;  # stays at the stage that it has
    *) ;;  # somebody else's: not ours to make
esac
# Its exit code is 1 where nothing but warnings is found.
run "$roommate" doctor --fix || [ $? = 1 ] || [ -n "$force" ] || fail "mend what doctor shows with ✘, and run this again"

# ── Service ──
linger
[ -z "$lingering" ] || touch "$root/.lingers"
if [ -n "$dry" ]; then put_units "$clone/systemd"; else put_units "$root/current/systemd"; fi
put_launcher
for timer in "$root"/current/systemd/roommate*.timer; do
    if [ -e "$timer" ]; then run $systemctl enable --quiet --now "${timer##*/}"; fi
done
run $systemctl enable --quiet roommate.service
if [ -n "$changed" ]; then run $systemctl restart --no-block roommate.service; else run $systemctl start --no-block roommate.service; fi
wait_for roommate.service 120
[ -z "$dry" ] || exit 0

cat >&2 <<END

Roommate runs as $(sed -n "s/^MATRIX_USER=//p" "$root/.env"). Invite it into a room without encryption, and write.
$("$roommate" doctor --json 2>/dev/null | "$root/current/.venv/bin/python" -c "$SUMMARY")
  how it is          $systemctl status roommate        $launcher doctor
  its log            $(journal roommate) -f
  settings           $root/.env, then: $systemctl restart roommate
  a newer release    scripts/deploy.sh, or !redeploy in chat
  away with it       scripts/uninstall.sh
END
