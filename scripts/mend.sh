#!/bin/sh
# mend.sh RELEASE [COMMAND...]
# Makes the environment of a release anew where the Python that it was made with is gone or is another one by now, as
# after an upgrade of the distribution; else it does nothing. Then it becomes the command.
set -eu
me=mend
say() { printf '%s: %s\n' "$me" "$*" >&2; }
fail() { say "$*"; exit 1; }
need_venv() { fail "the package python3-venv is needed"; }
# shellcheck source=scripts/python.sh
. "$(dirname "$0")/python.sh"
case ${1:-} in ''|-*) sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"; exit ;; esac
release=$(cd "$1" && pwd -P)
shift
if ! sound "$release/.venv"; then
    exec 9>"$release/.mend.lock"
    flock 9
    if ! sound "$release/.venv"; then  # nobody else has done it meanwhile
        find_python
        say "the Python of $release is gone or another one: making its environment anew for $("$python" --version)"
        get_uv "$release"
        rm -rf "$release/.venv.new"
        # Its programs find it by where they are: it is moved, and newer releases copy it.
        "$uv" venv -q --relocatable --python "$python" "$release/.venv.new"
        install_packages "$release" "$release/.venv.new"
        rm -rf "$release/.venv" "$tools"
        mv "$release/.venv.new" "$release/.venv"
    fi
    exec 9>&-
fi
[ $# = 0 ] || exec "$@"
