"""What git says in a push, as types: pkt-lines, the commands, the report (gitprotocol-pack(5), gitprotocol-http(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

FLUSH = b"0000"
NOTHING = "0" * 40
"""Stands for the commit of a branch that is not there."""

COMMANDS_BYTES = 1 << 18

ADVICE = (
    "Roommate: nothing was pushed. From a room branches only grow, and protected ones are left to people: "
    "push to a new branch and propose it with a pull request."
)

_LENGTH = re.compile(rb"[0-9a-f]{4}", re.IGNORECASE)
_COMMAND = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) (refs/[\x21-\x7e\x80-\U0010ffff]{1,500})")
_NO_NAME = re.compile(r"\.\.|//|@\{|/\.|\.lock(/|$)|[./]$|[\\~^:?*\[\x7f]")
"""What git-check-ref-format(1) takes out of the names of refs."""
_SHALLOW = re.compile(r"shallow ([0-9a-f]{40})")
_KEPT = re.compile(
    r"report-status(-v2)?|delete-refs|side-band-64k|quiet|atomic|ofs-delta|object-format=sha1|agent=[\x21-\x7e]*"
)
"""Capabilities of a push that change nothing about what can be judged of it."""
_ADVERTISED = re.compile(rb"(?:[0-9a-f]{40} [^\0\n]+)")


class BadPush(Exception):
    """It is none that can be judged."""


@dataclass(frozen=True, slots=True)
class Update:
    """A ref that is to point to `new` and points to `old`; either may be NOTHING."""

    old: str
    new: str
    ref: str


@dataclass(frozen=True, slots=True)
class Commands:
    """What a push begins with. `size` is how many bytes that were; the pack, if any, stands behind them."""

    updates: tuple[Update, ...]
    shallow: tuple[str, ...]
    capabilities: frozenset[str]
    size: int

    def encoded(self) -> bytes:
        """For the forge: what was understood, and nothing else."""
        lines = [pkt(f"shallow {commit}") for commit in self.shallow]
        said = "\0" + " ".join(sorted(self.capabilities))
        for update in self.updates:
            lines.append(pkt(f"{update.old} {update.new} {update.ref}{said}"))
            said = ""
        return b"".join(lines) + FLUSH


def pkt(line: str | bytes) -> bytes:
    content = line.encode() if isinstance(line, str) else line
    return b"%04x" % (len(content) + 4) + content


def pkts(data: bytes) -> Iterator[tuple[bytes | None, int]]:
    """Each whole line, None for a flush, and where it ends. Raises BadPush."""
    at = 0
    while len(data) - at >= 4:
        if not _LENGTH.fullmatch(data[at : at + 4]):
            raise BadPush("it is not in the form of git")
        length = int(data[at : at + 4], 16)
        if 0 < length <= 4:
            raise BadPush("it has a line that is none")
        if length > len(data) - at:
            return
        content = data[at + 4 : at + length] if length else None
        at += length or 4
        yield content, at


def commands(data: bytes) -> Commands:
    """Read the start of a push's body. Raises BadPush."""
    updates: list[Update] = []
    shallow: list[str] = []
    capabilities: frozenset[str] = frozenset()
    for content, end in pkts(data[:COMMANDS_BYTES]):
        if content is None:
            if len({update.ref for update in updates}) != len(updates):
                raise BadPush("it names a ref twice")
            return Commands(tuple(updates), tuple(shallow), capabilities, end)
        line, _, said = content.partition(b"\0")
        try:
            text = line.decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise BadPush("it has the name of a ref that is no UTF-8") from None
        if found := _SHALLOW.fullmatch(text):
            shallow.append(found[1])
        elif found := _COMMAND.fullmatch(text):
            if not updates:
                capabilities = frozenset(one for one in said.decode(errors="replace").split() if _KEPT.fullmatch(one))
            if _NO_NAME.search(found[3]):
                raise BadPush("it has a ref with an impossible name")
            updates.append(Update(found[1], found[2], found[3]))
        else:
            raise BadPush("it has a command that is not understood")
    raise BadPush("its commands do not end")


def judgeable(advertised: bytes) -> bytes | None:
    """The start of a forge's answer to ``info/refs?service=git-receive-pack``, with those capabilities only whose
    pushes can be judged, and `no-thin`: a pack has in it all that it builds on. None while more has to come first.

    Raises BadPush when it is not such an answer."""
    made = b""
    for content, end in pkts(advertised):
        if content is None or b"\0" not in content:
            if content is not None and not content.startswith(b"# service=git-receive-pack"):
                raise BadPush("it does not begin as git does")
            made += FLUSH if content is None else pkt(content)
            continue
        line, _, said = content.partition(b"\0")
        if not _ADVERTISED.fullmatch(line):
            raise BadPush("it does not begin as git does")
        kept = [one for one in said.decode(errors="replace").split() if _KEPT.fullmatch(one)]
        return made + pkt(line + b"\0" + " ".join([*kept, "no-thin"]).encode() + b"\n") + advertised[end:]
    return None


def report(pushed: Commands, refusals: Mapping[str, str]) -> bytes:
    """The answer to a push of which nothing is done: people see the reason beside each ref."""
    lines = [
        f"ng {update.ref} {refusals.get(update.ref, 'refused together with the others')}\n" for update in pushed.updates
    ]
    said = b"".join(map(pkt, ["unpack ok\n", *lines])) + FLUSH
    if "side-band-64k" not in pushed.capabilities:
        return said
    return pkt(b"\x02" + ADVICE.encode() + b"\n") + b"".join(_band(said)) + FLUSH


def _band(said: bytes, most: int = 65000) -> Iterable[bytes]:
    return (pkt(b"\x01" + said[at : at + most]) for at in range(0, len(said), most))
