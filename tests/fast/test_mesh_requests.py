"""What operators see and end of what peers ask, and what becomes of it when a peer is trusted no more."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest

from roommate.errors import ControlError
from roommate.features.mesh import envelope
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.trust import now_ms
from tests.fast.test_mesh_answering import POLICY, Meeting, met
from tests.fast.test_operations import found, typed
from tests.harness import notice
from tests.mesh.peer import RawPeer
from tests.patience import until

__all__ = ["met"]  # a fixture


async def test_requests_are_listed_shown_and_ended(met: Meeting) -> None:
    over = await met.exec("sh", "-c", "echo over; exit 3")
    await met.ended(over)
    running = await met.exec("sh", "-c", "echo x >>ended.txt; exec sleep 1000")
    held = await met.exec("sh", "-c", "echo y >>ended.txt", "held-on")
    await met.peer.reply(running, lambda one: one.kind == "output" or one.kind == "started")
    await met.peer.reply(held, lambda one: one.kind == "held")
    listed = [one for one in await found(met.bot, "requests", "ls") if one["room_id"] == met.room]
    assert [(one["state"], one["outcome"]) for one in listed] == [("held", ""), ("running", ""), ("done", "result")]
    assert {one["words"] for one in listed} == {words(met.peer.public)}
    numbers = [one["id"] for one in listed]
    assert {(one["direction"], one["peer"]) for one in listed} == {("in", met.peer.person.user_id)}
    table = (await typed(met.bot, "requests", "ls"))["table"]
    assert any("held-on" in str(row) for row in table["rows"])

    shown = await found(met.bot, "requests", "show", numbers[2])
    assert (shown["digest"], shown["result"]["exit"]) == (envelope.digest(over), 3)
    text = (await typed(met.bot, "requests", "show", numbers[2]))["text"]
    assert envelope.digest(over) in text
    assert "echo over; exit 3" in text

    for number, asked in zip(numbers, (held, running), strict=False):
        assert "is ended" in str(await typed(met.bot, "requests", "cancel", number))
        assert (await met.ended(asked))["code"] == "cancelled"
    for arguments, wrong in (
        (("cancel", numbers[0]), "is over already"),
        (("cancel", numbers[2]), "is over already"),
        (("show", "999999"), "there is no request 999999"),
        (("cancel", "999999"), "`roommate requests ls` shows those that are"),
        (("show", "first"), "there is no request first"),
    ):
        with pytest.raises(ControlError, match=wrong):
            await typed(met.bot, "requests", *arguments)
    card = await met.card("held-on")
    await met.alice.react(met.room, card.event_id, "✅")  # too late
    seen = await met.exec("cat", "ended.txt")
    assert (await met.ended(seen))["bytes"] == len("x\n")
    assert [met.kinds(one).count("refused") for one in (held, running)] == [1, 1]


async def test_who_is_trusted_no_more_has_nothing_that_runs_or_waits(met: Meeting) -> None:
    running = await met.exec("sh", "-c", "sleep 1000 & wait; echo x >>revoked.txt")
    held = await met.exec("sh", "-c", "echo y >>revoked.txt", "held-yet")
    await met.peer.reply(running, lambda one: one.kind == "started")
    await met.peer.reply(held, lambda one: one.kind == "held")
    card = await met.card("held-yet")
    await typed(met.bot, "trust", "revoke", words(met.peer.public))
    assert [(await met.ended(one))["code"] for one in (running, held)] == ["revoked", "revoked"]
    await met.alice.react(met.room, card.event_id, "✅")  # of no use any more
    after = await met.exec("sh", "-c", "echo z >>revoked.txt")
    assert await met.peer.refusal(after) == "revoked"
    assert met.states().count(("done", "revoked")) >= 2
    looks = await typed(met.bot, "requests", "ls")
    assert "revoked" in str(looks)
    await until(lambda: len([one for one in met.audited("refused") if "revoked" in one[1]]) >= 2)
    await met.alice.wait(lambda: sum("revoked" in one or "trusted no more" in one for one in met.shown()) >= 1)


async def test_trust_that_ends_by_itself_ends_what_runs_and_what_waits(met: Meeting) -> None:
    running = await met.exec("sh", "-c", "sleep 1000 & wait; echo x >>expired.txt")
    held = await met.exec("sh", "-c", "echo y >>expired.txt", "held-expired")
    await met.peer.reply(running, lambda one: one.kind == "started")
    await met.peer.reply(held, lambda one: one.kind == "held")
    changed(met, "UPDATE mesh_peers SET expires=? WHERE key=?", now_ms() + 2000, met.peer.public)
    another = RawPeer(met.alice, met.peer.target)  # since who is trusted changes it looks when the next one ends
    await typed(met.bot, "trust", "add", another.public, met.alice.user_id, met.room)
    assert [(await met.ended(one))["code"] for one in (running, held)] == ["trust-expired", "trust-expired"]
    after = await met.exec("true")
    assert await met.peer.refusal(after) == "trust-expired"


async def test_a_policy_that_has_changed_ends_what_it_would_refuse_and_nothing_else(met: Meeting) -> None:
    running = await met.exec("sleep", "600")
    kept = await met.exec("sh", "-c", "echo kept; read line", "x", stdin=True)
    held = await met.exec("sh", "-c", "echo y >>policy.txt", "held-policy")
    await until(lambda: "started" in met.kinds(running))
    await met.peer.reply(kept, lambda one: one.kind == "output")
    await met.peer.reply(held, lambda one: one.kind == "held")
    shell = 'commands = ["*"]\narguments = ["-c", "echo kept*", "x"]'
    rule = POLICY.partition("[[allow]]\npeers")[0] + "[[allow]]\n" + POLICY.split("[[allow]]\n")[2]
    met.policy(rule.replace('commands = ["*"]\nnot_arguments = ["held*"]\narguments = ["*"]', shell))
    assert [(await met.ended(one))["code"] for one in (running, held)] == ["policy", "policy"]
    assert "result" not in met.kinds(kept)
    assert "refused" not in met.kinds(kept)
    ended = [detail for what, detail in met.audited("refused") if what == "mesh.exec"]
    assert sum("policy" in one for one in ended) >= 2
    met.policy("no policy")
    assert (await met.ended(kept))["code"] == "policy-broken"
    met.policy(POLICY)


async def test_a_request_that_was_decided_leaves_nothing_that_waits(met: Meeting) -> None:
    for number, choice in enumerate(("✅", "❌")):
        asked = await met.exec("sh", "-c", "echo ran", f"held-left-{number}")
        card = await met.card(f"held-left-{number}")
        await met.alice.react(met.room, card.event_id, choice)
        await met.ended(asked)
    await until(lambda: not [one for one in asyncio.all_tasks() if "_attend" in str(one.get_coro())])


async def test_a_yes_is_to_what_was_shown_by_who_may_and_once(met: Meeting) -> None:
    swapped = await met.exec("sh", "-c", "echo ran", "held-swapped")
    card = await met.card("held-swapped")
    other = met.peer.signed(met.peer.request(met.room, "exec", argv=["sh", "-c", "echo evil"]))
    changed(met, "UPDATE mesh_requests SET content=? WHERE request=?", json.dumps(other), swapped.id)
    await met.alice.react(met.room, card.event_id, "✅")
    assert (await met.ended(swapped))["code"] == "signature"

    twice = await met.exec("sh", "-c", "echo x >>doors.txt", "held-doors")
    card = await met.card("held-doors")
    [number] = [one["id"] for one in await found(met.bot, "approvals", "ls") if one["room_id"] == met.room]
    at_once = [
        met.alice.react(met.room, card.event_id, "✅"),
        met.peer.person.react(met.room, card.event_id, "✅"),
        typed(met.bot, "approvals", "approve", str(number)),
    ]
    await asyncio.gather(*at_once, return_exceptions=True)
    assert (await met.ended(twice))["exit"] == 0
    assert met.kinds(twice).count("result") == 1
    ran = await met.exec("cat", "doors.txt")
    assert (await met.ended(ran))["bytes"] == len("x\n")


async def test_people_decide_what_the_policy_says_when_they_do(met: Meeting) -> None:
    stricter = POLICY.replace('approval = "people"', 'approval = "operators"')
    held = await met.exec("sh", "-c", "echo ran", "held-changed")
    card = await met.card("held-changed")
    (met.bot.state / "policy.toml").write_text(stricter)
    await met.alice.react(met.room, card.event_id, "✅")
    await notice(met.bot, met.alice, met.room, "operators alone decide")
    assert met.kinds(held) == ["held"]
    (met.bot.state / "policy.toml").write_text(POLICY)
    await met.alice.say(met.room, "yes")  # nobody has said anything since
    assert (await met.ended(held))["exit"] == 0

    (met.bot.state / "policy.toml").write_text(stricter)
    held = await met.exec("sh", "-c", "echo ran", "held-strange")
    card = await met.card("held-strange")
    await met.alice.react(met.room, card.event_id, "✅")  # who is no operator
    await met.alice.say(met.room, "yes")
    await met.alice.say(met.room, "!ping")
    await notice(met.bot, met.alice, met.room, "Pong")
    assert met.kinds(held) == ["held"]


async def test_yes_to_each_other_is_no_yes_to_a_request(met: Meeting) -> None:
    held = await met.exec("sh", "-c", "echo ran", "held-talk")
    await met.card("held-talk")
    await met.alice.say(met.room, "shall we have lunch?")
    await met.peer.person.say(met.room, "yes")
    await met.alice.say(met.room, "!ping")
    await notice(met.bot, met.alice, met.room, "Pong")
    assert met.kinds(held) == ["held"]


def changed(met: Meeting, query: str, *values: object) -> None:
    with sqlite3.connect(met.bot.state / "roommate.db") as c:
        assert c.execute(query, values).rowcount == 1
    c.close()
