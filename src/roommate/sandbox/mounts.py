"""What a room's container sees of the host: its own files, and besides them a folder that it can only read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import EngineError
from roommate.host import durable_files, folder_modes
from roommate.sandbox import agent_hooks, mirrors_and_certificates
from roommate.sandbox.container_spec import HOME, RUN, SPOOL_IN, SPOOL_OUT, WORKSPACE, Mount
from roommate.sandbox.hand import program
from roommate.sandbox.podman_service_process import check_socket_path
from roommate.sandbox.workspace import Workspace

COMMAND = ("python3", "-I", "-S", f"{RUN}/hand.py", "--keep", f"{RUN}/hand.sock")
"""What a room's container runs."""

_HOSTS = "127.0.0.1 localhost room\n::1 localhost\n"
_TRUSTED = "certificates.pem"


@dataclass(frozen=True, slots=True)
class Layout:
    """A room's files, and its `run` folder: hand, hooks, certificates, answers to hooks. Its methods block."""

    files: Workspace
    run: Path

    @property
    def socket(self) -> Path:
        return self.run / "hand.sock"

    @property
    def answers(self) -> Path:
        """What hooks asked is answered here."""
        return self.run / "spool" / "in"

    @property
    def certificates(self) -> str:
        """The file, in the container, of those that its programs trust; "" where the image's own will do."""
        return f"{RUN}/{_TRUSTED}" if (self.run / _TRUSTED).stat().st_size else ""

    @property
    def root(self) -> int:
        """Host id of who is root in the room that it was laid out for."""
        return (self.run / "hooks").stat().st_uid

    def lay_out(self, root: int) -> None:
        """Make the run folder as the room's user must find it. `root` is the host id of who is root in the room.

        Raises EngineError where it cannot be written, or its path is too long for the socket.
        """
        check_socket_path(self.socket)
        try:
            self._write(root)
        except OSError as exc:
            raise EngineError(f"{self.run} cannot be written: {exc.strerror or exc}") from exc

    def _write(self, root: int) -> None:
        folder_modes.private(self.run.parent)
        folder_modes.readable(self.run)
        # A site that looks into TLS has an authority of its own, which its programs must trust in a room as well.
        trusted = mirrors_and_certificates.bundle(mirrors_and_certificates.certificates(Path("/"), os.environ))
        for name, content in (("hand.py", program()), ("hosts", _HOSTS.encode()), (_TRUSTED, trusted.encode())):
            durable_files.replace(self.run / name, content, mode=0o644)
        folder_modes.readable(self.answers.parent)
        folder_modes.readable(self.answers)
        agent_hooks.lay_out(self.run / "hooks", root)

    def mounts(self) -> tuple[Mount, ...]:
        return (
            Mount(self.files.workspace, WORKSPACE, writable=True),
            Mount(self.files.home, HOME, writable=True),
            Mount(self.run, RUN),  # the folder, since a mounted file would stay the old one when it is replaced
            Mount(self.run / "hosts", "/etc/hosts"),
            Mount(self.files.spool, SPOOL_OUT, writable=True),
            Mount(self.answers, SPOOL_IN),
            *agent_hooks.mounts(self.run / "hooks"),
        )
