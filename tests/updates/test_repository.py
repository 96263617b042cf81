"""What of a remote is taken: fast-forwards by default, anything by name, and with signatures only what is signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from roommate.errors import UpdateError
from roommate.updates.repository import LONGEST_TEXT, MOST_COMMITS, Repository


class Somewhere:
    """A remote with commits that nobody runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "remote"
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.signers = self.keys / "signers"
        self.folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=trunk")
        self.first = self.commit("first")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "gpg.format=ssh")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, subject: str) -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def key(self, name: str) -> Path:
        file = self.keys / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        return file

    def trust(self, key: Path) -> None:
        self.signers.write_text(f"ann@example.org {key.with_suffix('.pub').read_text()}")

    def sign(self, tag: str, key: Path) -> None:
        self.git("-c", f"user.signingKey={key}", "tag", "--sign", "--message", tag, tag)


@pytest.fixture
def remote(tmp_path: Path) -> Somewhere:
    return Somewhere(tmp_path)


@pytest.fixture
def mirror(remote: Somewhere, tmp_path: Path) -> Repository:
    return _mirror(remote, tmp_path)


def _mirror(remote: Somewhere, folder: Path, signed_only: bool = False) -> Repository:
    repository = Repository(folder / "mirror.git", signed_only=signed_only, signers=remote.signers)
    repository.set_remote(str(remote.folder))
    repository.fetch()
    return repository


def test_the_newest_is_what_the_remote_calls_its_own(remote: Somewhere, mirror: Repository) -> None:
    newest = [remote.commit(f"change {number}") for number in range(MOST_COMMITS + 3)][-1]
    mirror.fetch()
    way = mirror.way(remote.first, "")
    assert (way.ref, way.to.id, way.ahead, way.behind) == ("trunk", newest, MOST_COMMITS + 3, 0)
    assert len(way.commits) == MOST_COMMITS
    assert way.commits[0].subject == f"change {MOST_COMMITS + 2}"


def test_a_branch_that_was_rewritten_is_seen(remote: Somewhere, mirror: Repository) -> None:
    gone = remote.commit("gone")
    mirror.fetch()
    remote.git("reset", "--quiet", "--hard", remote.first)
    other = remote.commit("other")
    mirror.fetch()
    way = mirror.way(gone, "")
    assert (way.to.id, way.ahead, way.behind) == (other, 1, 1)


def test_a_tag_a_branch_and_a_commit_have_names(remote: Somewhere, mirror: Repository) -> None:
    remote.git("tag", "v1")
    remote.git("branch", "topic/one")
    remote.commit("later")
    mirror.fetch()
    for name in ("v1", "topic/one", remote.first, remote.first[:10]):
        assert mirror.way(None, name).to.id == remote.first


def test_what_git_says_is_told_from_its_beginning(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "mirror.git")
    repository.set_remote(str(tmp_path / "nowhere"))
    with pytest.raises(UpdateError) as raised:
        repository.fetch()
    said = str(raised.value)
    assert said.startswith(f"fetching failed: fatal: '{tmp_path}/nowhere' does not appear to be a git repository")
    assert said.endswith("and the repository exists.")
    assert "\n" not in said


@pytest.mark.parametrize("ref", ["nosuch", "--upload-pack=touch", "a..b", "HEAD^{/x}", "@{u}", "a b", "\n", "-"])
def test_what_is_no_name_is_refused(mirror: Repository, ref: str) -> None:
    with pytest.raises(UpdateError):
        mirror.way(None, ref)


def test_a_subject_is_one_bounded_line(remote: Somewhere, mirror: Repository) -> None:
    remote.commit("x" * 500 + "\nmore")
    mirror.fetch()
    [commit] = mirror.way(remote.first, "").commits
    assert len(commit.subject) <= 100


def test_a_file_of_a_commit_is_read_where_it_is_one(remote: Somewhere, mirror: Repository) -> None:
    (remote.folder / "CHANGELOG.md").write_text("- One\n")
    (remote.folder / "large").write_bytes(bytes(LONGEST_TEXT + 1))
    (remote.folder / "binary").write_bytes(b"\xff\xfe")
    (remote.folder / "link").symlink_to("/etc/passwd")
    (remote.folder / "folder").mkdir()
    (remote.folder / "folder" / "file").touch()
    remote.git("add", "--all")
    commit = remote.commit("files")
    mirror.fetch()
    assert mirror.text(commit, "CHANGELOG.md") == "- One"
    assert (
        mirror.text(remote.first, "CHANGELOG.md") == mirror.text(commit, "large") == mirror.text(commit, "folder") == ""
    )
    assert mirror.text(commit, "binary") == "\ufffd\ufffd"
    assert mirror.text(commit, "link") == "/etc/passwd", "as git keeps it: nothing of this host is read"


@pytest.mark.parametrize("sign", ["\v", "\f", "\x1b", "\x1c", "\x7f", "\x85", "\x9b", "\u2028", "\u202e"])
def test_a_subject_does_nothing_where_it_is_shown(remote: Somewhere, mirror: Repository, sign: str) -> None:
    remote.commit(f"one{sign}two")
    mirror.fetch()
    [commit] = mirror.way(remote.first, "").commits
    assert commit.subject == "one two"


def test_only_signed_tags(remote: Somewhere, tmp_path: Path) -> None:
    trusted, stranger = remote.key("trusted"), remote.key("stranger")
    remote.trust(trusted)
    remote.sign("v1.9", trusted)
    remote.commit("ten")
    remote.sign("v1.10", trusted)
    ten = remote.git("rev-parse", "HEAD")
    mirror = _mirror(remote, tmp_path, signed_only=True)
    assert mirror.way(None, "").to.id == ten, "versions are compared as versions"
    assert mirror.way(None, "v1.9").to.id == remote.first

    remote.commit("evil")
    remote.sign("v2", stranger)
    remote.git("tag", "--annotate", "--message", "none", "v3")
    remote.git("tag", "v4")
    remote.git("update-ref", "refs/tags/v5", remote.git("rev-parse", "refs/tags/v1.9"))
    mirror.fetch()
    for name in ("v2", "v3", "v4", "trunk", ten):
        with pytest.raises(UpdateError):
            mirror.way(None, name)
    with pytest.raises(UpdateError, match="signed under another name"):
        mirror.way(None, "v5")
    with pytest.raises(UpdateError):
        mirror.way(None, "")


def test_signed_tags_need_a_list_of_who_may_sign(remote: Somewhere, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "mirror.git", signed_only=True)
    repository.set_remote(str(remote.folder))
    with pytest.raises(UpdateError, match="UPDATE_ALLOWED_SIGNERS"):
        repository.way(None, "")


def test_a_remote_that_is_not_there(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "mirror.git")
    repository.set_remote(str(tmp_path / "nowhere"))
    with pytest.raises(UpdateError, match="fetching failed"):
        repository.fetch()


def test_the_tree_of_a_commit_becomes_files(remote: Somewhere, mirror: Repository, tmp_path: Path) -> None:
    (remote.folder / "file").write_text("content")
    remote.git("add", "file")
    commit = remote.commit("a file")
    mirror.fetch()
    mirror.export(commit, tmp_path / "tree")
    assert (tmp_path / "tree" / "file").read_text() == "content"
    with pytest.raises(UpdateError):
        mirror.export("0" * 40, tmp_path / "other")
