"""A day of ordinary shell work, two hundred commands as a model gives them: after each of them the room is usable."""

# A command is a line.
# ruff: noqa: E501

from __future__ import annotations

import json

from roommate.domain import ToolCall, ToolResult
from roommate.tools import RoomTools, TurnPorts
from tests.sandbox.conftest import ROOM, Make

DAY = r"""
# A project begins
git config --global user.email a@example.org && git config --global user.name A && git config --global init.defaultBranch main
git init -q app && cd app && git commit -q --allow-empty -m start
cd app && mkdir -p src/sums tests docs && touch src/sums/__init__.py
cd app && printf 'def add(a, b):\n    return a + b\n' >src/sums/add.py
cd app && printf 'import sys, unittest\nsys.path.insert(0, "src")\nfrom sums.add import add\nclass T(unittest.TestCase):\n    def test_add(self): self.assertEqual(add(1, 1), 2)\n' >tests/test_add.py
cd app && python3 -m unittest -q tests/test_add.py
cd app && git add -A && git commit -qm first && git log --oneline | wc -l
cd app && git checkout -q -b feature && echo '# sums' >README.md && git add -A && git commit -qm docs
cd app && git checkout -q main && git merge -q feature && git branch -d feature
cd app && git diff HEAD~1 --stat
! cd app && git checkout nowhere
! cd app && git rebase -i HEAD~1 </dev/null && git commit
! git clone http://127.0.0.1:1/none.git
! git push
cd app && git stash list && git gc -q && git fsck
cd app && git log
cd app && git show HEAD --stat | cat
python3 -m compileall -q app
cd app && python3 -m zipapp src/sums -m add:add -o sums.pyz
tar czf app.tar.gz app && tar tzf app.tar.gz | wc -l
mkdir -p copy && tar xzf app.tar.gz -C copy && diff -r app/src copy/app/src
cp -r app app2 && mv app2 app3 && rm -rf app3 copy app.tar.gz
find . -name '*.pyc' -delete
rg -n 'def ' app/src
! rg nothing-like-that app
grep -rn add app/src | sort | uniq -c | head -3
sed -i 's/a + b/b + a/' app/src/sums/add.py && awk '/return/{print $2}' app/src/sums/add.py
python3 -c 'print("é" * 10)' | iconv -f utf-8 -t latin1 | od -c | head -2
jq -n '{a: [1, 2, 3]}' | jq -c .a
perl -e 'print join ",", 1 .. 10'
printf 'all: out\nout:\n\techo built >out\n' >Makefile; cat Makefile
! make
! gcc x.c
! npm install
! pip install nothing
! no-such-command
! cd nowhere
! cat missing
! ls /root
! touch /etc/x
! sudo ls
! apt-get update
! chown root:root app
! mount -t tmpfs none /mnt
! unshare -Urm true
! kill 1 && kill -0 999999
! curl -sS --max-time 2 http://127.0.0.1:1/
~ curl -sS --max-time 2 http://169.254.169.254/
# Output of every kind
seq 100000
head -c 3000000 /dev/zero | tr '\0' x
head -c 100000 /dev/urandom
cat /bin/true
printf 'a\rb\rc\n\033[31mred\033[0m\033]0;title\007\n'
printf '\377\376\000\001'
yes | head -n 200000 >/dev/null
echo err >&2
ls -la /proc/self/fd
! cat /proc/kmsg
python3 -c 'import sys; sys.stdout.write("no end of line")'
exec 1>&-; echo lost 2>/dev/null || true
exec >/dev/null 2>&1; echo hidden
! exec false
exec 3</nowhere; echo here
cat
read x || echo nothing to read
! python3 -c 'input()'
echo 'print(input())' >ask.py; echo given | python3 ask.py
less /etc/passwd
man ls || true
top -b -n 1 | head -3
echo $TERM $PAGER; tput cols 2>/dev/null || true
stty -a 2>/dev/null || echo no terminal
script -qc 'echo in a terminal' /dev/null
# Ends of every kind
! exit 3
! exit 255
! kill -TERM $$
! kill -KILL $$
! kill -SEGV $$
@ kill -STOP $$
! set -e; false; echo never
! timeout 0.2 sleep 5
trap 'echo bye' EXIT; true
trap '' TERM; true
! python3 -c 'import os; os.abort()'
! python3 -c 'raise SystemExit(7)'
! python3 -c $'def f(): f()\nf()'
@ sleep 60
@ while :; do :; done
@ trap '' TERM INT HUP; while :; do sleep 0.1; done
@ cat /dev/zero >/dev/null
@ tail -f /etc/passwd
@ sleep 60 | cat | cat
@ (sleep 60 & sleep 60 & wait)
@ yes
@ mkfifo pipe; cat pipe
@ python3 -c 'import time; time.sleep(60)'
rm -f pipe
# Daemons and what is left behind
sleep 30 & echo left behind
nohup sleep 30 >/dev/null 2>&1 &
setsid sleep 30 </dev/null >/dev/null 2>&1 &
(sleep 30 & disown); echo disowned
python3 -m http.server 8000 >server.log 2>&1 & sleep 0.5; curl -sS --noproxy '*' http://127.0.0.1:8000/ | head -1
curl -sS --noproxy '*' -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8000/app/README.md
! python3 -m http.server 8000
pkill -f http.server
! curl -sS --noproxy '*' --max-time 2 http://127.0.0.1:8000/
python3 -c 'import os, time; os.fork() or (os.setsid(), os.fork() or time.sleep(30))' & wait
nohup sh -c 'while sleep 0.1; do echo tick >>ticks; done' >/dev/null 2>&1 & sleep 0.3; wc -l <ticks
~ pkill -f ticks
rm -f ticks
jobs; pgrep -a sleep | wc -l
pkill sleep
pgrep sleep || echo none
ps ax | wc -l
# Kills that mean others
~ pkill python3
~ pkill -f python
~ pkill -f 'while :'
~ pkill -f hand
~ pkill sh; true
~ pkill bash
~ pkill -u "$(id -u)" python3
~ kill $(pgrep -f sock)
~ kill -HUP -1
~ kill -INT -1
~ kill -TERM -1
~ kill -USR1 -1
~ pkill -9 python3
~ pkill -9 -f python
~ pkill -9 -f 'while :'
~ pkill -9 -f sock
~ pkill -9 -x roommate-hand
~ for pid in $(ps -eo pid=); do kill $pid 2>/dev/null; done; true
~ kill -STOP $(pgrep -x sleep) 2>/dev/null; true
~ kill -KILL -1
~ pkill -9 -f roommate
# Limits
200 true & wait
for n in $(seq 200); do true & done; wait
for n in $(seq 30); do sleep 0.2 & done; wait
~ for n in $(seq 200); do sleep 1 & done; wait
@ f() { f | f & }; f; sleep 60
@ for n in $(seq 50); do while :; do :; done & done; wait
echo after the bombs
~ ulimit -n 20; cat <(true) <(true) <(true) <(true) <(true) <(true) <(true) <(true) <(true) <(true) <(true) <(true) 2>/dev/null
! ulimit -f 1; head -c 100000 /dev/zero >toobig
! ulimit -v 8000; python3 -c 'print(1)'
! python3 -c 'open("f" * 300, "w")'
! python3 -c 'bytearray(10**9)'
! python3 -c $'x = []\nwhile True: x.append(bytearray(10**7))'
! perl -e '$x = "x" x 1_000_000_000'
! set -o pipefail; head -c 1G /dev/zero | tail -c 900M >/dev/null
echo after the memory
! head -c 600M /dev/zero >/tmp/big
df -h /tmp | tail -1
echo still here; rm /tmp/big
! head -c 600M /dev/zero >/dev/shm/big
rm /dev/shm/big
! head -c 600M /dev/zero >big
! echo x >more && cp big big2
! cd app && git commit -q --allow-empty -m full && dd if=/dev/zero of=full bs=1M
df -h . | tail -1
rm -f big big2 more app/full
cd app && git status --short | head -3
! python3 -c 'for n in range(10**6): open(f"many{n}", "w").close()'
ls | wc -l
find . -maxdepth 1 -name 'many*' -delete
fallocate -l 10M space && truncate -s 1T sparse && ls -ls space sparse && rm space sparse
d=deep; for n in $(seq 200); do d=$d/deep; done; mkdir -p $d && rm -rf deep
python3 -c $'import os\nfor n in range(500): os.mkdir("down"); os.chdir("down")'
rm -rf down
mkdir -p odd && touch $'odd/new\nline' odd/-rf "odd/$(printf 'bad\377')" 'odd/ '
ls odd | wc -l; rm -rf odd
ln -s loop loop; ! cat loop; rm loop
ln -s / root && ls root | wc -l; rm root
mkdir shut && touch shut/in && chmod 000 shut; ! ls shut; chmod 700 shut; rm -r shut
mkfifo fifo && chmod 000 fifo && rm -f fifo
umask 777; touch mine; rm -f mine
python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("sock")' && rm sock
python3 -c $'import threading, time\nfor n in range(30): threading.Thread(target=time.sleep, args=(0.2,)).start()'
! python3 -c $'import threading, time\nfor n in range(100): threading.Thread(target=time.sleep, args=(1,)).start()'
python3 -c 'import multiprocessing as m; print(m.Pool(4).map(abs, range(8)))'
python3 -c 'import tempfile; f = tempfile.NamedTemporaryFile(); f.write(bytes(10**6))'
# Tidying up, thoroughly
cd app && git clean -fdxq && git status --short
cd app && git reset -q --hard
cd app && git checkout -q -f main && git worktree add -q ../other HEAD && git worktree remove --force ../other
rm -rf ~/.cache ~/.local ~/.config
rm -rf /tmp/* /tmp/.[!.]* 2>/dev/null; true
rm -rf /run/room 2>/dev/null; true
~ rm -rf /run /usr /etc /proc 2>/dev/null; true
rm -rf .roommate ~/.roommate
touch .roommate ~/.roommate
seq 100000
rm -f .roommate ~/.roommate
mkdir -p .roommate && chmod 000 .roommate; seq 100000
chmod 700 .roommate && rm -rf .roommate
rm -rf ~/* ~/.[!.]*
chmod 500 . && ! touch x; chmod 755 .
chmod -R a-w app && chmod -R u+w app
cd / && rm -rf /workspace/* 2>/dev/null; ls -A /workspace | wc -l
git init -q && git clean -fdxq && ls -A
env -i /bin/bash -c 'echo $PATH | wc -c'
unset HOME PATH; echo bare
PATH=/nowhere; echo lost its way
date && uname -a && echo good night
"""


class Day:
    """The room as a model has it."""

    def __init__(self, tools: RoomTools) -> None:
        self._tools = tools
        self._number = 0

    async def run(self, command: str, timeout: float = 100) -> ToolResult:
        self._number += 1
        asked = json.dumps({"command": command, "timeout": timeout})
        return await self._tools.call(ToolCall(str(self._number), "run_command", asked), lambda _: None)


async def test_after_each_command_of_an_ordinary_day_the_room_is_usable(make: Make) -> None:
    """``!`` fails, ``@`` is ended by its timeout, ``~`` ends as it likes; all others must succeed."""
    sandboxes = make()
    day = Day(RoomTools(lambda: sandboxes.hand(ROOM), TurnPorts(command_timeout=100, longest_timeout=100)))
    ordered = 0
    for line in DAY.strip().splitlines():
        kind, command = (line[0], line[2:]) if line[:2] in ("# ", "! ", "@ ", "~ ") else ("", line)
        if kind == "#":
            continue
        ordered += 1
        done = await day.run(command, 0.5 if kind == "@" else 100)
        expected = {"": done.ok, "!": not done.ok, "@": "timed out" in done.title, "~": True}[kind]
        assert expected, f"{line}\n{done.text[-1000:]}"
        after = await day.run("echo usable >/dev/null && cd / && echo $((6 * 7))")
        assert after.text.startswith("42\n"), f"after {line}\n{done.text[-1000:]}\n{after.text[-1000:]}"
    assert ordered >= 200
