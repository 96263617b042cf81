"""A forge on the loopback: git's own HTTP server over bare repositories, and beside it what GitHub's REST API says."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

TOKEN = "ghp_a-token-that-stays-on-the-host"


class Forge:
    """`add` makes a repository; `pulls` are the pull requests; `shown` is what it was shown as Authorization."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.folder = Path(tempfile.mkdtemp(prefix="forge-"))
        self.private: set[str] = set()
        self.pulls: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.asked: list[str] = []
        """Each request as ``METHOD path``."""
        self.moved: dict[str, str] = {}
        """Paths that are answered with a redirect."""
        self.rest = True
        """Its REST API works."""
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/api/v3/repos/{owner}/{name}{path:.*}", self._rest)
        app.router.add_route("*", "/{path:.*}", self._git)
        self._runner = web.AppRunner(app, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        shutil.rmtree(self.folder)

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def add(self, name: str, *, private: bool = False, empty: bool = False) -> None:
        """A repository with a README on `main`."""
        self.git(name, "init", "--quiet", "--bare", "--initial-branch=main", str(self._path(name)))
        self.git(name, "config", "http.receivepack", "true")
        if private:
            self.private.add(name.lower())
        if not empty:
            self.commit(name, "main", {"README": "Read me.\n"})

    def commit(self, name: str, branch: str, files: dict[str, str], *, parent: str = "") -> str:
        """A commit that somebody else pushed; gives its id."""
        blobs = [f"100644 blob {self.git(name, 'hash-object', '-w', '--stdin', given=text)}\t{path}"
                 for path, text in files.items()]  # fmt: skip
        tree = self.git(name, "mktree", given="\n".join(blobs) + "\n")
        before = parent or self.branches(name).get(branch, "")
        made = self.git(
            name, "commit-tree", tree, "-m", f"{branch}: {', '.join(files)}", *(["-p", before] * bool(before))
        )
        self.git(name, "update-ref", f"refs/heads/{branch}", made)
        return made

    def branches(self, name: str) -> dict[str, str]:
        """Branch to commit."""
        listed = self.git(name, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
        return dict(line.split() for line in listed.splitlines())

    def git(self, name: str, *words: str, given: str | None = None) -> str:
        """What git says of a repository here; it must succeed."""
        who = {
            f"GIT_{role}_{what}": "forge@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            ["git", *words],
            cwd=self._path(name) if self._path(name).exists() else self.folder,
            input=given, env=_environment() | who, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.lower()}.git"

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()

    def _saw(self, request: web.Request) -> str:
        self.asked.append(f"{request.method} {request.path_qs}")
        shown = request.headers.get("Authorization", "")
        if shown:
            self.shown.append(shown)
        return shown

    async def _git(self, request: web.Request) -> web.StreamResponse:
        shown = self._saw(request)
        if to := self.moved.get(request.path):
            raise web.HTTPMovedPermanently(to)
        name = request.path.strip("/").partition(".git/")[0]
        pushes = "git-receive-pack" in request.path_qs
        if shown not in ("", self._basic()) or (not shown and (pushes or name.lower() in self.private)):
            return web.Response(
                status=401, text="Bad credentials: " + shown, headers={"WWW-Authenticate": 'Basic realm="forge"'}
            )
        if not self._path(name).exists():
            return web.Response(status=404, text="Repository not found.")
        path = request.path[len(name) + 5 :]
        return await self._backend(request, f"{self._path(name)}{path}", await request.read())

    async def _backend(self, request: web.Request, path: str, body: bytes) -> web.StreamResponse:
        """git-http-backend(1), as a CGI program."""
        asked = {
            "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "somebody", "PATH_TRANSLATED": path,
            "REQUEST_METHOD": request.method, "QUERY_STRING": request.query_string, "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=_environment() | asked, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate(body)
        head, _, content = said.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, body=content, headers=headers)

    async def _rest(self, request: web.Request) -> web.Response:
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        if not self.rest:
            return web.json_response({}, status=500)
        if self._saw(request) != f"Bearer {self.token}":
            return web.json_response({"message": f"Bad credentials {request.headers.get('Authorization')}"}, status=401)
        if not self._path(name).exists():
            return web.json_response({"message": "Not Found"}, status=404)
        match request.method, request.match_info["path"].strip("/").split("/"):
            case "GET", [""]:
                return web.json_response({"full_name": name, "default_branch": "main"})
            case "GET", ["branches"]:
                return web.json_response([{"name": branch} for branch in self.branches(name)][:1])
            case "GET", ["compare", commits]:
                return self._compare(name, *commits.split("..."))
            case "GET", ["pulls"]:
                head = request.query["head"].partition(":")[2]
                return web.json_response([one for one in self.pulls if (one["repo"], one["head"]) == (name, head)])
            case "POST", ["pulls"]:
                return self._pull(name, await request.json())
        return web.json_response({"message": "Not Found"}, status=404)

    def _compare(self, name: str, old: str, new: str) -> web.Response:
        try:
            base = self.git(name, "merge-base", old, new)
        except AssertionError:
            return web.json_response({"message": "Not Found"}, status=404)
        status = "identical" if old == new else {old: "ahead", new: "behind"}.get(base, "diverged")
        return web.json_response({"status": status})

    def _pull(self, name: str, asked: dict[str, str]) -> web.Response:
        if asked["head"] not in self.branches(name):
            errors = [{"resource": "PullRequest", "field": "head", "code": "invalid", "message": "head is not there"}]
            return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
        number = len(self.pulls) + 1
        made = {**asked, "repo": name, "number": number, "html_url": f"{self.url}/{name}/pull/{number}"}
        self.pulls.append(made)
        return web.json_response(made, status=201)


def _environment() -> dict[str, str]:
    """Without what would change what git does."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
