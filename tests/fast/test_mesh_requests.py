"""What operators see and end of what peers ask, and what becomes of it when a peer is trusted no more."""

from __future__ import annotations

import pytest

from roommate.errors import ControlError
from roommate.features.mesh import envelope
from roommate.features.mesh.identity_key import words
from tests.fast.test_mesh_answering import Meeting, met
from tests.fast.test_operations import found, typed
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
    numbers = [str(one["number"]) for one in listed]
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
        (("show", "first"), "N"),
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
