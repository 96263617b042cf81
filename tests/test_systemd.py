"""What systemd hears of the daemon: on a socket as the manager's, which is this test."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.demo.synapse_config import free_port
from roommate.host.sd_notify import STALLED_SECONDS, Systemd
from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon
from tests.patience import until


class Manager:
    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.address)
        self.heard: list[str] = []
        # At once, as systemd does: what does not fit into a full queue is not sent.
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        self.heard.append(self._socket.recv(4096).decode())

    async def hears(self, words: str) -> str:
        """The first message with these words, heard already or soon."""
        return await until(lambda: next((said for said in self.heard if words in said), ""), words)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


async def test_a_daemon_says_that_it_is_ready_lives_and_stops(daemon: MakeDaemon, manager: Manager) -> None:
    bot = await daemon(start=False, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000")
    await bot.spawn()
    status = f"STATUS={bot.user_id}: {bot.settings['MATRIX_HOMESERVER']} answered "
    assert status in await manager.hears("READY=1")
    assert "ready after" in bot.log_text()
    manager.heard.clear()
    alive = await manager.hears("WATCHDOG=1")
    assert status in alive
    assert "EXTEND_TIMEOUT_USEC" not in alive
    manager.heard.clear()
    code, _, err = await roommate(bot.folder, "stop", **bot.settings)
    assert code == 1
    assert "systemctl stop roommate" in err
    code, _, err = await roommate(bot.folder, "restart", **bot.settings)
    assert code == 0, err
    await manager.hears("RELOADING=1")
    await manager.hears("READY=1")
    assert not any("STOPPING=1" in said for said in manager.heard), "the process is the same"
    await bot.term()
    await manager.hears("STOPPING=1")


async def test_a_homeserver_that_is_away_gets_the_time_that_it_takes(daemon: MakeDaemon, manager: Manager) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    bot = await daemon(start=False, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000", MATRIX_HOMESERVER=away)
    await bot.spawn()
    assert f"STATUS=waiting for {away}" in await manager.hears("EXTEND_TIMEOUT_USEC=300000")
    assert not any("READY=1" in said for said in manager.heard)


async def test_nobody_says_that_a_hanging_sync_lives(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    stalled = STALLED_SECONDS - 1
    systemd = Systemd(manager.address, 0.003)
    systemd.ready("")
    task = asyncio.create_task(systemd.run(lambda: "", lambda: stalled))
    await manager.hears("WATCHDOG=1")
    stalled = STALLED_SECONDS + 1
    await until(lambda: "systemd is not told any more" in caplog.text)
    manager.heard.clear()
    await asyncio.sleep(0.1)
    assert manager.heard == []
    stalled = 0
    await manager.hears("WATCHDOG=1")
    task.cancel()


def test_what_systemd_gave_us_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "90000000")
    systemd = Systemd.of_environment()
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(os.environ) == set()
    systemd.stopping()  # nobody listens there: nothing happens
