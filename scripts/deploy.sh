#!/bin/sh
# deploy.sh [options] [REF]
# Takes the installed Roommate to a branch, tag or commit (default: the newest), as !redeploy does it in chat: the release
# is made beside the one that runs, tried, and left again when it does not work.
#   --user | --system   which service; default: what you are
#   --root DIR          the install folder; default: ~/.local/share/roommate or /opt/roommate
#   --check             only show what would come in
#   --dry-run           say what would be done, and do none of it
set -eu
cd "$(dirname "$0")/.."
me=deploy
. scripts/service.sh
ref='' check=''
while [ $# -gt 0 ]; do
    case $1 in
        --user|--system) scope=${1#--} ;;
        --root) value "$@"; root=$2; shift ;;
        --check) check=--check ;;
        --dry-run) dry=yes ;;
        --help|-h) usage; exit ;;
        -*) fail "what is $1? See --help" ;;
        *) ref=$1 ;;
    esac
    shift
done
settle
[ -e "$root/current" ] || fail "nothing is installed in $root: scripts/install-service.sh does it"
uncommitted
unpushed=$(git rev-list --count '@{upstream}..HEAD' 2>/dev/null || echo 0)
[ "$unpushed" = 0 ] || say "commits of this clone that are not pushed: $unpushed; releases are made of what the remote has"
run sh scripts/mend.sh "$root/current"
cd "$root"
run current/.venv/bin/roommate update --root "$root" $check ${ref:+"$ref"}
[ -z "$check" ] || exit 0
if [ -e "$units/roommate.service" ]; then
    put_units "$root/current/systemd"
    run $systemctl reset-failed roommate.service 2>/dev/null || :  # it may have been tried too often
    put_launcher
    run $systemctl start --no-block roommate.service
    wait_for roommate.service 120
fi
[ -z "$dry" ] || exit 0
say "$(readlink current) is installed; current/.venv/bin/roommate rollback goes back"
