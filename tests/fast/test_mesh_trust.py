"""Whom a daemon believes: pinned by operators alone, in rooms, for a time; followed where a key hands over. The one who
tries is a member of the room who signs what they like."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from roommate.control import NAME
from roommate.control.client import Client
from roommate.errors import ControlError, StateError
from roommate.features.mesh import envelope
from roommate.features.mesh.identity_key import Identity, fingerprint, rotation, words
from roommate.store import reading
from tests import program
from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_operations import found, typed
from tests.harness import notice
from tests.mesh.peer import RawPeer, new_key, public_of
from tests.person import Person, Seen


async def peers(bot: MemoryDaemon) -> dict[str, dict[str, Any]]:
    """Those that it knows, by key."""
    return {one["key"]: one for one in await found(bot, "trust", "ls")}


async def knows(bot: MemoryDaemon, key: str) -> dict[str, Any]:
    """Wait until it does: what a room says is taken in order, and what is refused leaves no mark to wait for."""
    while key not in (known := await peers(bot)):
        await asyncio.sleep(0.01)
    return known[key]


async def audited(bot: MemoryDaemon) -> list[str]:
    """What its audit log has, the newest last."""

    def look() -> list[str]:
        with reading(bot.state) as c:
            return [row[0] for row in c.execute("SELECT what FROM audit ORDER BY number")]

    return await asyncio.to_thread(look)


async def refused(bot: MemoryDaemon, *arguments: str) -> str:
    with pytest.raises(ControlError) as raised:
        await typed(bot, *arguments)
    return str(raised.value)


async def met(bot: MemoryDaemon, alice: Person, mallory: Person) -> tuple[str, RawPeer]:
    """A room with both; and what mallory speaks with there."""
    room = await bot.known_room_with(alice)
    await alice.invite(room, mallory.user_id)
    await mallory.join(room)
    return room, RawPeer(mallory, str((await found(bot, "identity"))["key"]))


def test_an_identity_is_made_once_by_all_who_start_at_the_same_time(tmp_path: Path) -> None:
    async def race() -> list[Identity]:
        return await asyncio.gather(*(asyncio.to_thread(Identity.load, tmp_path) for _ in range(16)))

    keys = {one.public for one in asyncio.run(race())} | {Identity.load(tmp_path).public}
    file = tmp_path / "identity.key"
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["identity.key"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = Identity.load(tmp_path)
    after = before.rotated()
    assert after.public != before.public
    assert Identity.load(tmp_path).public == after.public
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(words(after.public).split("-")) == 4
    assert len(fingerprint(after.public).replace(" ", "")) == 64
    file.chmod(0o640)
    with pytest.raises(StateError, match="read by others"):
        Identity.load(tmp_path)
    file.chmod(0o600)
    file.write_text("{}")
    with pytest.raises(StateError, match="damaged"):
        Identity.load(tmp_path)


async def introduced(person: Person, count: int) -> list[Seen]:
    """All introductions that a person has seen, once there are so many."""

    def seen() -> list[Seen]:
        return [one for one in person.seen if one.type == envelope.INTRODUCTION]

    await person.wait(lambda: len(seen()) >= count, what=f"{count} hellos")
    return seen()


async def test_an_operator_trusts_a_key_at_the_command_line(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice, mallory = await daemon(), await person("alice"), await person("mallory")
    room, peer = await met(bot, alice, mallory)
    assert "trust ls" in await refused(bot, "trust", "approve", "nobody", room)
    assert "--everywhere" in await refused(bot, "trust", "add", peer.public, mallory.user_id)
    assert "43 characters" in await refused(bot, "trust", "add", "short", mallory.user_id, room)
    assert "own key" in await refused(bot, "trust", "add", peer.target, mallory.user_id, room)
    made = await found(bot, "trust", "add", peer.public, mallory.user_id, room, "--name", "laptop", "--days", "1")
    assert (made["name"], made["state"], made["rooms"]) == ("laptop", "pinned", [room])
    assert made["expires"] > made["changed"]
    said = await mallory.wait(lambda: [one for one in mallory.seen if one.type == envelope.INTRODUCTION], 10, "a hello")
    hello = envelope.read_introduction(said[0].content)
    envelope.verify(said[0].content, peer.target, bot.user_id)
    assert (hello.origin, hello.sender, hello.room_id) == (peer.target, bot.user_id, room)

    assert "another account" in await refused(bot, "trust", "add", peer.public, alice.user_id, room)
    shared, other = await bot.known_room_with(alice, mallory), await bot.known_room_with(alice)
    await typed(bot, "trust", "approve", "laptop", "--everywhere")
    told = [one.room_id for one in await introduced(mallory, 3)]
    assert sorted(told) == sorted([room, room, shared]), "each room that it shares with it is told"
    assert not [one for one in alice.seen if one.type == envelope.INTRODUCTION and one.room_id == other]
    assert (await found(bot, "trust", "show", words(peer.public)))["rooms"] is None
    assert (await found(bot, "trust", "revoke", "laptop"))["state"] == "revoked"
    shown = await typed(bot, "trust", "ls")
    assert "revoked" in str(shown)
    assert {"trust.add", "trust.approve", "trust.revoke"} <= set(await audited(bot))
    assert "█" in str(await typed(bot, "identity"))


async def test_who_introduces_itself_is_a_card_for_operators_and_no_more(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    control = await alice.create_room(name="control")
    bot = await daemon(OPERATORS=alice.user_id, CONTROL_ROOM=control)
    await alice.invite(control, bot.user_id)
    await alice.wait_for_member(control, bot.user_id)
    room, peer = await met(bot, alice, mallory)
    await peer.introduce(room)
    assert (await knows(bot, peer.public))["state"] == "introduced"
    card = await notice(bot, alice, control, words(peer.public))
    assert fingerprint(peer.public) in card.body
    assert room in card.body

    for number in range(6):  # who makes up keys rings once, and is remembered with the newest few
        await RawPeer(mallory, peer.target).introduce(room, methods=[f"x{number}"])
    last = RawPeer(mallory, peer.target)
    await last.introduce(room)
    await knows(bot, last.public)
    assert len([one for one in await peers(bot) if one]) <= 3
    assert len([one for one in bot.said(alice, control) if "says in" in one.body]) == 1

    again = RawPeer(mallory, peer.target, peer.key)
    await again.introduce(room)
    await knows(bot, peer.public)
    await alice.wait(lambda: len(alice.reactions(control, card.event_id)) == 2, what="choices")
    await alice.react(control, card.event_id, "✅")
    await notice(bot, alice, control, "allowed by")
    trusted = await knows(bot, peer.public)
    assert (trusted["state"], trusted["rooms"]) == ("pinned", [room])


async def test_who_may_set_state_is_known_to_a_daemon_that_comes_later(daemon: MakeDaemon, person: MakePerson) -> None:
    one, two, alice = await daemon(), await daemon(), await person("alice")
    room = await one.known_room_with(alice)
    levels = {"users": {alice.user_id: 100}, "events": {envelope.INTRODUCTION: 0}}
    await alice.call("PUT", f"rooms/{quote(room)}/state/m.room.power_levels/", levels)
    await typed(one, "introduce", room)
    said = await alice.wait(lambda: [seen for seen in alice.seen if seen.type == envelope.INTRODUCTION], 10, "a hello")
    assert said[0].event["state_key"] == one.user_id
    for number in range(3):
        await alice.say(room, f"{number}: what is said meanwhile is not for who comes later")
    await alice.invite(room, two.user_id)
    key = (await found(one, "identity"))["key"]
    met = await knows(two, key)
    assert (met["state"], met["mxid"], met["introduced_in"]) == ("introduced", one.user_id, room)
    assert "exec" in met["methods"]


async def test_what_is_wrong_introduces_nobody(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice, mallory = await daemon(), await person("alice"), await person("mallory")
    room, peer = await met(bot, alice, mallory)
    other = await alice.create_room()
    right = {"version": "9"}
    await peer.introduce(room, room_id=other, **right)
    await peer.introduce(room, sender=alice.user_id, **right)
    await peer.introduce(room, issued=2**52, **right)
    content = peer.signed(await _introduction(peer, room))
    await peer.send(room, content | {"load": 5}, envelope.INTRODUCTION)
    await peer.send(room, content | {"signatures": None}, envelope.INTRODUCTION)
    await peer.send(room, content, envelope.REQUEST)
    thief = RawPeer(mallory, peer.target)
    await thief.send(room, content | {"origin": thief.public}, envelope.INTRODUCTION)
    marker = RawPeer(alice, peer.target)
    await marker.introduce(room)
    await knows(bot, marker.public)
    assert list(await peers(bot)) == [marker.public]


async def _introduction(peer: RawPeer, room: str) -> envelope.Introduction:
    now = peer.request(room).issued
    return envelope.Introduction(room, peer.person.user_id, peer.public, "1", ["ping"], 0, now, [])


async def test_a_key_that_hands_over_is_followed_and_one_that_was_stolen_is_not(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    bot, alice, mallory, eve = await daemon(), await person("alice"), await person("mallory"), await person("eve")
    room, peer = await met(bot, alice, mallory)
    await alice.invite(room, eve.user_id)
    await eve.join(room)
    await typed(bot, "trust", "add", peer.public, mallory.user_id, room, "--name", "laptop")
    fresh, wrong = new_key(), new_key()
    statement = rotation(peer.key, fresh, 1)

    forged = rotation(wrong, fresh, 1) | {"old": peer.public}
    taken = rotation(peer.key, wrong, 1)
    for who, key, said in (
        (mallory, fresh, forged),
        (mallory, fresh, taken),  # it names another key
        (eve, fresh, statement),  # another account
        (mallory, fresh, statement | {"at": 2}),
        (mallory, fresh, {}),
    ):
        await RawPeer(who, peer.target, key).introduce(room, rotations=[said])
    marker = RawPeer(alice, peer.target)
    await marker.introduce(room)
    await knows(bot, marker.public)
    assert [one["key"] for one in (await peers(bot)).values() if one["state"] == "pinned"] == [peer.public]

    following = new_key()
    chain = [rotation(peer.key, following, 1)]
    newest = new_key()
    chain.append(rotation(following, newest, 2))
    await RawPeer(mallory, peer.target, newest).introduce(room, rotations=chain)
    trusted = await knows(bot, public_of(newest))
    assert (trusted["state"], trusted["name"], trusted["rooms"]) == ("pinned", "laptop", [room])
    known = await peers(bot)
    assert known[peer.public]["state"] == "rotated"
    assert known[peer.public]["successor"] == public_of(newest)

    late = new_key()  # whoever stole the first key hands it over once more
    await RawPeer(mallory, peer.target, late).introduce(room, rotations=[rotation(peer.key, late, 3)])
    assert (await knows(bot, public_of(late)))["state"] == "introduced"


async def test_our_own_key_hands_over_in_the_rooms_of_those_who_trust_it(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    one, two, alice = await daemon(), await daemon(), await person("alice")
    room = await one.known_room_with(alice)
    await alice.invite(room, two.user_id)
    await alice.wait(lambda: two.said(alice, room), what="the other's greeting")
    before = await found(one, "identity")
    await typed(two, "trust", "add", before["key"], one.user_id, room, "--name", "one")
    theirs = await found(two, "identity")
    await typed(one, "trust", "add", theirs["key"], two.user_id, room, "--name", "two")
    after = await found(one, "identity", "rotate")
    assert after["key"] != before["key"]
    trusted = await knows(two, after["key"])
    assert (trusted["state"], trusted["name"]) == ("pinned", "one")
    assert (await peers(two))[before["key"]]["state"] == "rotated"


async def test_a_policy_with_a_mistake_stops_a_start_and_later_grants_nothing(daemon: MakeDaemon) -> None:
    bot = await daemon(start=False)
    policy = bot.folder / "policy.toml"
    bot.settings["POLICY_FILE"] = str(policy)
    policy.write_text("version = 1\n[limits]\nseconds = 'x'\n")
    with pytest.raises(Exception, match=r"line 3, column 1: limits\.seconds"):
        await bot.start()
    policy.write_text(
        'version = 1\n[[allow]]\npeers = ["laptop"]\nrooms = ["*"]\nmethods = ["exec"]\ncommands = ["/usr/bin/make"]\n'
        'arguments = ["test"]\n[[test]]\npeer = "laptop"\nroom = "!x:y"\nmethod = "exec"\n'
        'words = ["/usr/bin/make", "test"]\nexpect = "operators"\n'
        '[[test]]\npeer = "laptop"\nroom = "!x:y"\nmethod = "exec"\nwords = ["/usr/bin/rm"]\nexpect = "allow"\n'
    )
    await bot.start()
    assert (await found(bot, "policy", "check"))["rules"] == 1
    assert [one["found"] for one in await found(bot, "policy", "test")] == ["operators", "deny"]

    async def exit_code(command: str) -> int:
        environment = {"PATH": program.PATH, "STATE_DIR": str(bot.state)}
        return (await program.run("policy", command, cwd=bot.folder, environment=environment))[0]

    assert (await exit_code("check"), await exit_code("test")) == (0, 1)
    policy.write_text("version =")
    assert "line 1" in (await found(bot, "policy", "check"))["problem"]
    assert await exit_code("check") == 1
    assert "line 1" in await refused(bot, "policy", "test")

    def told() -> list[str]:
        with Client(bot.state / "ipc" / NAME) as client:
            return [one["text"] for one in client.call("status")["problems"]]

    assert [one for one in await asyncio.to_thread(told) if "granted nothing" in one and "line 1" in one]
    policy.unlink()
    assert not [one for one in await asyncio.to_thread(told) if "granted nothing" in one]
