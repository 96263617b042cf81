#!/bin/sh
# check-ipc-logs.sh [container...]: are the hooks of these rooms' containers in place, and did none of them fail?
# Without a name it looks at every running container of a Roommate. Ends with 1 when something is wrong.
podman=${PODMAN_PATH:-podman}
# shellcheck disable=SC2046  # names are words
[ $# -gt 0 ] || set -- $("$podman" ps --filter label=io.roommate.room --format '{{.Names}}')
if [ $# -eq 0 ]; then
  echo "no room's container runs: write to the bot in a room first"
  exit 1
fi
wrong=0
for container; do
  echo "$container"
  "$podman" exec -i "$container" sh -s <<'INSIDE' || wrong=1
wrong=0
check() { # WHAT, then a command that must succeed
  what=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "  ✔ $what"; else echo "  ✘ $what"; wrong=1; fi
}
locked() { [ -d "$1" ] && ! touch "$1/.probe"; }
registered() { # AGENT FILE: each hook, through the wrapper
  for hook in session-start before-tool after-tool after-agent notification; do
    tr -d '",[]' <"$2" | grep -q "/run/hooks/wrapper $1 $hook" || return 1
  done
}
check "/run/spool/out can be written" sh -c ': >/run/spool/out/.probe && rm /run/spool/out/.probe'
check "/run/spool/in is there and read-only" locked /run/spool/in
check "/run/hooks is there and read-only" locked /run/hooks
for hook in wrapper session-start before-tool after-tool after-agent notification; do
  check "hook $hook can be run" test -x "/run/hooks/$hook"
done
check "python3 for the hooks" python3 -I -S -c ''
check "Gemini CLI has every hook registered" registered gemini /etc/gemini-cli/settings.json
check "Qwen Code has every hook registered" registered qwen /etc/qwen-code/settings.json
check "Claude Code has every hook registered" registered claude /etc/claude-code/managed-settings.json
check "Codex has every hook registered" registered codex /etc/codex/managed_config.toml
check "OpenCode has every hook registered" registered opencode /etc/opencode/plugin/roommate.js
check "no hook has failed (hook-errors.log is empty)" test ! -s /run/spool/out/hook-errors.log
[ ! -s /run/spool/out/hook-errors.log ] || tail -n 5 /run/spool/out/hook-errors.log | sed 's/^/      /'
exit $wrong
INSIDE
done
exit $wrong
