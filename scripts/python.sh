# What the scripts share that make environments of Python packages: sourced by them. `say` and `fail` are theirs.
# shellcheck shell=sh disable=SC2034,SC2154

# uv trusts whom this host trusts, as pip and Roommate do: a company's proxy may have a CA of its own.
export UV_SYSTEM_CERTS=1

# sound VENV: does its Python run, and is it of the version that the packages in it were installed for? After an upgrade of
# the distribution it may be neither.
sound() {
    "$1/bin/python" -c 'import os, sysconfig; os.listdir(sysconfig.get_path("purelib"))' 2>/dev/null
}

# `python` becomes one of 3.11 or newer, and one that can make environments if there is any. The distribution's comes first:
# it is kept up to date with the rest, every user may read it, and it is built to be fast. One that was compiled without a
# profile, as pyenv does, takes 1.4 times as long for everything.
find_python() {
    for needed in "sys, ensurepip" sys; do
        for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
            "$python" -c "import $needed; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && return
        done
    done
    fail "Python 3.11 or newer is needed, and none is on the PATH"
}

# get_uv FOLDER: `uv` becomes the program of that name, as the folder's lock has it, in the folder `tools`, which is to be
# removed. The one of its environment needs no Python.
get_uv() {
    tools=$(mktemp -d "$1/.venv-tools.XXXXXX")
    trap 'rm -rf "$tools"' EXIT
    uv=$tools/uv
    if cp "$1/.venv/bin/uv" "$uv" 2>/dev/null && "$uv" --version >/dev/null 2>&1; then return 0; fi
    find_python
    "$python" -c 'import ensurepip' 2>/dev/null || need_venv
    say "getting uv, which installs the rest"
    "$python" -m venv "$tools/venv"
    sed -n '/^uv==/,/^[^ ]/ { /^uv==/p; /^ /p; }' "$1/requirements.lock" >"$tools/uv.lock"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$tools/uv.lock"
    uv=$tools/venv/bin/uv
}

# install_packages FOLDER VENV: all that the folder's lock says, and what is in the folder itself.
install_packages() {
    "$uv" pip sync -q --python "$2/bin/python" --require-hashes "$1/requirements.lock"
    "$uv" pip install -q --python "$2/bin/python" --no-deps --no-build-isolation -e "$1"
}
