#!/bin/sh
# setup-synapse.sh [options]
# A homeserver for Roommate and its people: Synapse as a systemd service, an account for the bot, whose limit on messages is
# lifted, and one for you. Prints what .env needs. Without federation, unless you ask for it. Run it again to change it.
#   --server-name NAME  in every Matrix id, for ever; default: localhost, if it is only bound there
#   --bind ADDRESS      where it listens, may be given again; default: 127.0.0.1. 0.0.0.0 is every address, your LAN's too
#   --port PORT         default: 8008
#   --url URL           as clients reach it, such as https://matrix.example.org, if a proxy with TLS is before it
#   --federation        speak with other homeservers
#   --bot NAME          default: roommate, or matrixbot with VPS_IP
#   --operator NAME     you, who become an admin of Synapse; default: admin
#   --env FILE          write the settings into this file instead of printing them
#   --folder DIR        default: ~/.local/share/roommate-synapse or /var/lib/roommate-synapse
#   --user | --system   a unit of this user or of the system; default: what you are
#   --remove            take the service away; with --purge everything that people wrote on it as well
#   --dry-run           say what would be done, and do none of it
# Of the environment or .env: with VPS_IP it is reached at http://VPS_IP:8008 and called so, unless the options say
# otherwise; MATRIX_ADMIN_PASSWORD and MATRIX_PASSWORD are what you and the bot log in with, instead of random ones.
set -eu
cd "$(dirname "$0")/.."
me=setup-synapse
. scripts/service.sh
. scripts/python.sh
name='' binds='' port=8008 url='' federation='' bot='' operator=admin env='' folder='' remove='' purge=''
while [ $# -gt 0 ]; do
    case $1 in
        --server-name) value "$@"; name=$2; shift ;;
        --bind) value "$@"; binds="$binds $2"; shift ;;
        --port) value "$@"; port=$2; shift ;;
        --url) value "$@"; url=$2; shift ;;
        --federation) federation=--federation ;;
        --bot) value "$@"; bot=$2; shift ;;
        --operator) value "$@"; operator=$2; shift ;;
        --env) value "$@"; env=$2; shift ;;
        --folder) value "$@"; folder=$2; shift ;;
        --user|--system) scope=${1#--} ;;
        --remove) remove=yes ;;
        --purge) purge=yes ;;
        --dry-run) dry=yes ;;
        --help|-h) usage; exit ;;
        *) fail "what is $1? See --help" ;;
    esac
    shift
done
settle
if [ -z "$folder" ]; then
    if [ "$scope" = system ]; then folder=/var/lib/roommate-synapse; else folder=$root-synapse; fi
fi
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
unit=roommate-synapse.service
[ -n "$dry" ] || have_systemd || linger
[ -n "$dry" ] || have_systemd || fail "there is no systemd to run it under ($($systemctl show-environment 2>&1 | tail -n 1)); scripts/demo needs none"

if [ -n "$remove" ]; then
    run $systemctl disable --quiet --now $unit || :
    run rm -f "$units/$unit"
    run $systemctl daemon-reload
    if [ -n "$purge" ]; then run rm -rf "$folder"; else say "kept: $folder, with all that was written; --purge removes it"; fi
    tidy "$units/default.target.wants"
    tidy "$units"
    tidy "$(dirname "$folder")"
    exit 0
fi

said=.env
[ -z "$env" ] || [ ! -e "$env" ] || said=$env
ip=${VPS_IP:-$(sed -n "s/^\(export \)\{0,1\}VPS_IP *= *[\"']\{0,1\}\([^\"'# ]*\).*/\2/p" "$said" 2>/dev/null | tail -n 1)}
if [ -n "$ip" ]; then
    case $ip in \[*) ;; *:*) ip="[$ip]" ;; esac
    name=${name:-$ip} bot=${bot:-matrixbot} url=${url:-http://$ip:$port}
    if [ -z "$binds" ]; then
        address=$(echo "$ip" | tr -d '[]')
        # Behind the NAT of a provider no interface has it.
        if [ "$address" = 127.0.0.1 ]; then
            binds=127.0.0.1
        elif python3 -c 'import socket, sys; socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)' "$address" 2>/dev/null; then
            binds="127.0.0.1 $address"
        else
            binds=0.0.0.0
        fi
    fi
fi
bot=${bot:-roommate}
binds=${binds:-127.0.0.1}
if [ -z "$name" ]; then
    case ${binds# } in
        127.0.0.1|localhost|::1) name=localhost ;;
        *) fail "--server-name is needed: people are @name:SERVER-NAME" ;;
    esac
fi
[ -z "$federation" ] || [ "$name" != localhost ] || fail "--federation needs a --server-name that others can find"

# ── Synapse ──
run scripts/setup
python=$folder/venv/bin/python
if [ -n "$dry" ]; then
    say "would install Synapse into $folder/venv"
else
    # The very versions of the lock, whose hashes are checked.
    version=$(sed -n 's/^matrix-synapse==\([^ ;]*\).*/\1/p' requirements.lock)
    if [ "$("$python" -c 'import importlib.metadata as m; print(m.version("matrix-synapse"))' 2>/dev/null)" != "$version" ]; then
        say "installing Synapse $version into $folder/venv"
        (umask 077; mkdir -p "$folder")
        sound "$folder/venv" || .venv/bin/uv venv -q --clear --python "$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" "$folder/venv"
        .venv/bin/uv pip install -q --python "$python" --constraint requirements.lock "matrix-synapse==$version"
    fi
fi
set -- --server-name "$name" --port "$port" --bot "$bot" --operator "$operator" $federation ${url:+--url "$url"}
for address in $binds; do set -- "$@" --bind "$address"; done
run .venv/bin/python -m roommate.demo.standalone_synapse configure "$folder" "$@"

# ── Service ──
changed=
filled=$(mktemp)
trap 'rm -f "$filled"' EXIT
sed "s|@FOLDER@|$folder|g" systemd/$unit >"$filled"
put "$filled" $unit
[ -z "$changed" ] || run $systemctl daemon-reload
linger
run $systemctl enable --quiet $unit
run $systemctl restart $unit || :  # why not, its last words tell
wait_for $unit 180
[ -z "$dry" ] || exit 0

.venv/bin/python -m roommate.demo.standalone_synapse accounts "$folder" "$@" --settings "$said" ${env:+--env "$env"}
[ -z "$ip" ] || say "it listens on$(printf ' %s' $binds), and is reached at $url by all who reach that address, without TLS"
[ -n "$env" ] || say "put these lines into .env, or give them to .venv/bin/roommate init"
say "next: scripts/install-service.sh"
