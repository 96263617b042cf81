#!/bin/sh
# rescue.sh ROOT
# What systemd does when it has given up on roommate.service: where the environment of the release is broken because its
# Python is gone, it is made anew and the release stays; else the release before takes over.
set -eu
case ${1:-} in ''|-*) sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"; exit ;; esac
scripts=$(cd "$(dirname "$0")" && pwd) root=$1
# shellcheck source=scripts/python.sh
. "$scripts/python.sh"
if ! sound "$root/current/.venv"; then exec sh "$scripts/mend.sh" "$root/current"; fi
if ! [ -e "$root/previous" ]; then
    echo "rescue: there is no release to go back to" >&2
    exit 1
fi
# By the release before itself: the current one may be too broken for that.
exec sh "$scripts/mend.sh" "$root/previous" \
    "$root/previous/.venv/bin/roommate" rollback --root "$root" --if-failing
