"""The mirror of the remote: what there is to update to, who signed it, and its tree as files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import UpdateError
from roommate.host.die_with_parent import tied
from roommate.updates.programs import run

MOST_COMMITS = 12
LONGEST_SUBJECT = 100
LONGEST_TEXT = 1 << 19
"""Bytes."""
FETCH_SECONDS = 120.0
_SECONDS = 30.0

_REF = re.compile(r"[A-Za-z0-9][\w./+-]{0,200}")
_EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True, slots=True)
class Commit:
    """``subject`` and ``day`` are what somebody wrote there: a stranger's text."""

    id: str
    subject: str
    day: str


@dataclass(frozen=True, slots=True)
class Way:
    """From what runs to another commit."""

    ref: str
    to: Commit
    ahead: int
    """Commits that come in."""
    behind: int
    """Commits that go away: it is no fast-forward."""
    commits: Sequence[Commit]
    """The newest of those that come in."""


class Repository:
    """A bare repository that fetches everything from one remote.

    With `signers`, an allowed-signers file (ssh-keygen(1)), only tags count, signed with a key of that file.
    """

    def __init__(self, path: Path, *, signed_only: bool = False, signers: Path = Path()) -> None:
        self._path = path
        self._signed_only = signed_only
        self._signers = signers

    @property
    def exists(self) -> bool:
        return (self._path / "HEAD").exists()

    def set_remote(self, url: str) -> None:
        """Make the repository where it is not there yet, and fetch from here from now on."""
        if not self.exists:
            run(["git", "init", "--quiet", "--bare", self._path], "making the repository", seconds=_SECONDS)
        self._git("config", "remote.origin.url", url, doing="setting the remote")

    def fetch(self, seconds: float = FETCH_SECONDS) -> None:
        """Get all branches and tags, and learn which branch is the remote's own. Raises UpdateError."""
        self._git("fetch", "--quiet", "--prune", "--force", "origin", *_EVERYTHING, doing="fetching", seconds=seconds)
        head = self._git("ls-remote", "--symref", "origin", "HEAD", doing="asking the remote", seconds=seconds)
        if found := re.match(r"ref: (refs/heads/\S+)\t", head):
            self._git("symbolic-ref", "HEAD", found[1], doing="taking over the remote's branch")

    def way(self, old: str | None, ref: str) -> Way:
        """How to get from commit `old` to `ref`: a branch, tag or commit; "" is the newest there is.

        Raises UpdateError when there is no such ref, or its tag is not signed as it has to be.
        """
        if ref and (not _REF.fullmatch(ref) or ".." in ref):
            raise UpdateError("that is no name of a branch, a tag or a commit")
        if self._signed_only:
            ref, commit = self._signed(ref)
        else:
            commit = self._commit(ref or "HEAD")
            ref = ref or self._git("symbolic-ref", "--short", "HEAD", doing="reading the branch")
        if old is None or not self._knows(old):
            return Way(ref, self.told(commit), 0, 0, ())
        counts = self._git("rev-list", "--left-right", "--count", f"{old}...{commit}", doing="counting commits")
        behind, ahead = map(int, counts.split())
        return Way(ref, self.told(commit), ahead, behind, self._log(f"{old}..{commit}", MOST_COMMITS))

    def told(self, commit: str) -> Commit:
        [told] = self._log(commit, 1)
        return told

    def text(self, commit: str, path: str) -> str:
        """A file of a commit; "" where there is none, or one that is larger than any of its kind."""
        try:
            size = int(self._git("cat-file", "-s", f"{commit}:{path}", doing="looking it up"))
            return self._git("cat-file", "blob", f"{commit}:{path}", doing="reading it") if size <= LONGEST_TEXT else ""
        except (UpdateError, ValueError):
            return ""

    def export(self, commit: str, folder: Path) -> None:
        """The tree of a commit as files in a new folder."""
        archive = subprocess.Popen(
            [*self._command(), "-c", "tar.umask=022", "archive", "--format=tar", commit],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        folder.mkdir(parents=True)
        with archive:
            tar = tied(["tar", "--extract", f"--directory={folder}"], "KILL")
            unpacked = subprocess.run(tar, stdin=archive.stdout, capture_output=True, check=False)
        if archive.returncode or unpacked.returncode:
            raise UpdateError(f"the tree of {commit} could not be written: {unpacked.stderr.decode(errors='replace')}")

    def _signed(self, ref: str) -> tuple[str, str]:
        """The tag and its commit, once its signature is good."""
        if self._signers == Path():
            raise UpdateError("UPDATE_SIGNED_TAGS_ONLY needs UPDATE_ALLOWED_SIGNERS, the file with the keys to trust")
        if not ref:
            newest = ("for-each-ref", "--count=1", "--sort=-version:refname", "--format=%(refname:short)", "refs/tags")
            ref = self._git(*newest, doing="looking for tags")
            if not ref:
                raise UpdateError("the remote has no tags, and only signed tags are taken")
        try:
            tag = self._git("rev-parse", "--verify", "--quiet", f"refs/tags/{ref}", doing="looking it up")
        except UpdateError:
            raise UpdateError(f"only signed tags are taken, and the remote has no tag {ref}") from None
        # By its id, so that what is checked is what is taken; and only SSH signatures, since those have the list of
        # who may sign, while any key of the user's keyring would do for the others.
        trust = (
            "-c",
            f"gpg.ssh.allowedSignersFile={self._signers}",
            "-c",
            "gpg.program=false",
            "-c",
            "gpg.x509.program=false",
        )
        run([*self._command(), *trust, "verify-tag", tag], f"checking the signature of {ref}", seconds=_SECONDS)
        says = self._git("cat-file", "tag", tag, doing="reading the tag")
        if f"\ntag {ref}\n" not in says.partition("\n\n")[0] + "\n":
            raise UpdateError(f"the tag {ref} was signed under another name")
        return ref, self._commit(tag)

    def _commit(self, ref: str) -> str:
        for name in (f"refs/tags/{ref}", f"refs/heads/{ref}", ref):
            try:
                return self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", doing="looking it up")
            except UpdateError:
                continue
        raise UpdateError(f"the remote has no branch, tag or commit {ref}")

    def _knows(self, commit: str) -> bool:
        try:
            self._git("cat-file", "-e", f"{commit}^{{commit}}", doing="looking it up")
        except UpdateError:
            return False
        return True

    def _log(self, commits: str, most: int) -> list[Commit]:
        form = f"--format=%H%x00%<({LONGEST_SUBJECT},trunc)%s%x00%cs"
        lines = self._git("log", f"--max-count={most}", form, commits, "--", doing="reading the log").split("\n")
        found = [line.split("\0") for line in lines if line]
        return [Commit(commit, _one_line(subject), day) for commit, subject, day in found]

    def _git(self, *arguments: str, doing: str, seconds: float = _SECONDS) -> str:
        return run([*self._command(), *arguments], doing, seconds=seconds).decode(errors="replace").strip()

    def _command(self) -> list[str]:
        # Never waits for a password, never runs a program that a URL names.
        return ["env", "GIT_TERMINAL_PROMPT=0", "git", "-c", "protocol.ext.allow=never", f"--git-dir={self._path}"]


def _one_line(subject: str) -> str:
    """Without what a terminal would obey, and what others than git take for the end of a line."""
    return "".join(one if one.isprintable() else " " for one in subject).rstrip()
