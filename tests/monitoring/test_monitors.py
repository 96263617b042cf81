"""What monitors, alerts and backups tell of a real daemon."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from roommate.administration import daemon_health
from roommate.demo.synapse_config import free_port
from roommate.monitoring.listener import MOST_CONNECTIONS
from tests.cli.test_operating import run
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon, notice
from tests.patience import PATIENCE
from tests.scripted_model import ScriptedModel

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def until_health(port: int, status: int) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                found, text = await get(port, "/health")
                if found == status:
                    return dict(json.loads(text))
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def samples(text: str) -> dict[str, float]:
    """By name and labels, as they are written."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics_in(query: str) -> set[str]:
    """The families that a query of Prometheus' is about."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\broommate_[a-z_]+\b", query)}


async def test_health_and_metrics(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    port = free_port()
    bot, alice = await daemon(model=model, HTTP_LISTEN=str(port)), await person("alice")
    room = await bot.known_room_with(alice, name="Secret plans")
    script = 'TOOL run_command {"command": "true"}\nTOOL no_such_tool {}\n---\nSAY done'
    said = await alice.ask(room, script)
    assert said.body.startswith("done")
    await alice.react(room, said.event_id, "👍🏽")
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    found = await until_health(port, 200)
    assert found["status"] == daemon_health.WARNING and [one["key"] for one in found["problems"]] == [
        daemon_health.BACKUP
    ]

    status, text = await get(port, "/metrics")
    assert status == 200
    now = samples(text)
    expected = {
        "roommate_ready": 1,
        "roommate_health": 1,
        "roommate_problem,problem=backup": 1,
        "roommate_problem,problem=disk": 0,
        "roommate_rooms": 1,
        "roommate_containers": 1,
        "roommate_turns_running": 0,
        "roommate_turns_total,outcome=done": 1,
        "roommate_turns_total,outcome=failed": 0,
        "roommate_turn_seconds_count": 1,
        "roommate_ratings_total,rating=good": 1,
        "roommate_ratings_total,rating=bad": 0,
        "roommate_tool_calls_total,outcome=ok,tool=run_command": 1,
        "roommate_tool_calls_total,outcome=failed,tool=unknown": 1,
        "roommate_model_calls_total,model=openai/scripted,outcome=ok": 2,
        "roommate_model_call_seconds_bucket,le=+Inf": 2,
        "roommate_inbox_messages": 0,
        "roommate_cards_open": 0,
        "roommate_undecrypted_events_total": 0,
        "roommate_withheld_keys_total,by=others": 0,
    }
    assert {name: now.get(name) for name in expected} == expected
    assert now["roommate_tokens_total,by=conversation,direction=input,model=openai/scripted"] > 0
    assert now["roommate_sync_age_seconds"] < 60 and now["roommate_disk_free_bytes"] > 0
    assert now["roommate_database_bytes"] > 4096 and now["roommate_process_resident_memory_bytes"] > 1 << 20
    for secret in (room, "Secret plans", alice.user_id, bot.settings["MATRIX_PASSWORD"], str(bot.state)):
        assert secret not in text and secret not in json.dumps(found)

    types = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert [query for query in queries if not (used := metrics_in(query)) or not used <= types] == []
    about = (DASHBOARD.parent / "monitoring.md").read_text()
    assert {name for name in types if name.partition("roommate_")[2] not in about} == set(), "the page names them all"

    # Others who dial and say nothing take nothing away for long, and what is not there is not there.
    assert (await get(port, "/"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/health", data=b"x") as answer:
        assert answer.status == 405
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS + 8)]
    assert await asyncio.wait_for(silent[-1][0].read(), 10) == b"", "one too many is closed at once"
    for _, writer in silent:
        writer.close()
    await until_health(port, 200)
    assert (await alice.ask(room, "SAY still there")).body.startswith("still there")


async def test_a_check_for_monitors(daemon: MakeDaemon, tmp_path: Path) -> None:
    bot = await daemon(start=False)
    code, out, _ = await run(bot, "status", "--check")
    assert (code, out) == (3, b"ROOMMATE UNKNOWN: no daemon runs here\n")
    await bot.start()
    code, out, _ = await run(bot, "status", "--check")
    assert code == 1 and out.startswith(b"ROOMMATE WARNING: there is no backup") and b" | sync=" in out
    assert (await run(bot, "backup"))[0] == 0
    code, out, _ = await run(bot, "status", "--check", "--json")
    assert (code, json.loads(out)["said"]) == (0, "all is well")
    bot.process.send_signal(19)  # SIGSTOP: it hangs
    try:
        code, out, _ = await run(bot, "status", "--check")
        assert code == 2 and out.startswith(b"ROOMMATE CRITICAL: the daemon does not say how it is")
    finally:
        bot.process.send_signal(18)


async def test_a_daemon_whose_homeserver_is_away_is_not_well(daemon: MakeDaemon) -> None:
    port, nowhere = free_port(), free_port()
    bot = await daemon(start=False, HTTP_LISTEN=f"127.0.0.1:{port}", MATRIX_HOMESERVER=f"http://127.0.0.1:{nowhere}")
    await bot.spawn()
    found = await until_health(port, 503)
    assert found["state"] == "starting" and found["problems"][0]["key"] == daemon_health.START
    status, text = await get(port, "/metrics")
    assert status == 200 and samples(text)["roommate_ready"] == 0 and "roommate_sync_age_seconds" not in samples(text)
    code, out, _ = await run(bot, "status", "--check")
    assert code == 2 and out.startswith(b"ROOMMATE CRITICAL: not ready yet")


async def test_a_taken_port_stops_nothing(daemon: MakeDaemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bot = await daemon(HTTP_LISTEN=str(taken.getsockname()[1]))
        await bot.wait_for_log("HTTP_LISTEN: ")
        assert bot.running
    other = await daemon(HTTP_LISTEN=f"0.0.0.0:{free_port()}")
    assert "can be reached from elsewhere" in other.log_text()


def _alerting(bot: Daemon) -> dict[str, str]:
    """Settings with which alerts end in a file."""
    script = bot.folder / "alert.py"
    script.write_text(f"import sys; open({str(bot.folder / 'alerts')!r}, 'a').write(sys.stdin.read() + '---')")
    return {"ALERT_COMMAND": f"{sys.executable} {script}"}


def _alerted(bot: Daemon) -> list[str]:
    file = bot.folder / "alerts"
    return file.read_text().split("---")[:-1] if file.exists() else []


async def test_a_dead_login_is_told_as_the_daemon_ends_and_once(daemon: MakeDaemon, homeserver: Any) -> None:
    bot = await daemon(start=False)
    bot.settings |= _alerting(bot)
    await bot.start()
    async with aiohttp.ClientSession() as session:
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": bot.user_id},
            "password": bot.settings["MATRIX_PASSWORD"],
        }
        base = f"{homeserver.url}/_matrix/client/v3"
        async with session.post(f"{base}/login", json=login) as answer:
            token = (await answer.json())["access_token"]
        del bot.settings["MATRIX_PASSWORD"]
        await bot.term()
        await bot.start()
        async with session.post(f"{base}/logout/all", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
    assert await bot.wait_for_exit() == 77
    assert len(_alerted(bot)) == 1 and "the daemon has ended: " in _alerted(bot)[0] and bot.user_id in _alerted(bot)[0]
    await bot.spawn()
    assert await bot.wait_for_exit() == 77
    assert len(_alerted(bot)) == 1


async def test_a_killed_daemon_is_told_by_the_next(daemon: MakeDaemon) -> None:
    bot = await daemon(start=False)
    bot.settings |= _alerting(bot)
    await bot.start()
    await bot.term()
    await bot.start()
    assert _alerted(bot) == []
    for _ in range(2):
        await bot.kill9()
        await bot.start()
    assert len(_alerted(bot)) == 1 and "ended without a word" in _alerted(bot)[0]


async def test_backups_are_brought_elsewhere_and_failures_told(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(start=False), await person("alice")
    room = await alice.create_room([bot.user_id])
    elsewhere = bot.folder / "elsewhere"
    elsewhere.mkdir()
    bot.settings |= _alerting(bot) | {
        "CONTROL_ROOM": room,
        "MATRIX_ADMIN_USER": alice.user_id,
        "BACKUP_COMMAND": f"sh -c 'cp \"$0\" {elsewhere}'",
    }
    await bot.start()
    await alice.wait_for_member(room, bot.user_id)
    code, out, err = await run(bot, "backup")
    assert code == 0, err
    assert [file.name for file in elsewhere.iterdir()] == [Path(out.decode().strip()).name]

    bot.settings["BACKUP_COMMAND"] = "sh -c 'echo the bucket is gone >&2; exit 9'"
    for _ in range(2):
        code, out, err = await run(bot, "backup")
        assert code == 1 and err.endswith("roommate: BACKUP_COMMAND ended with code 9: the bucket is gone\n")
        assert Path(out.decode().strip()).exists(), "the backup is there all the same"
    await alice.wait(
        lambda: any("a backup failed: BACKUP_COMMAND ended" in one.body for one in bot.said(alice, room)), what="a word"
    )
    assert len(_alerted(bot)) == 1 and "the bucket is gone" in _alerted(bot)[0]
    bot.settings["BACKUP_COMMAND"] = ""
    assert (await run(bot, "backup"))[0] == 0
    assert len(_alerted(bot)) == 2 and "it is over" in _alerted(bot)[1]
