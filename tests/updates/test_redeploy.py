"""Redeploying from chat, as an operator sees it: what works takes over, what does not leaves no trace."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from roommate.demo.embedded_synapse import Synapse
from roommate.features.mesh.envelope import new_id, new_nonce
from roommate.updates.journal import Journal
from tests.conftest import PASSWORD, register
from tests.e2e.test_cards import rung
from tests.e2ee import strict
from tests.e2ee.strict import Seen, StrictPerson
from tests.harness import MARK, no_settings
from tests.mesh.attacked import Attacked, JsonObject
from tests.patience import OF_DAEMONS, PATIENCE, until
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel
from tests.updates.installed import Installed, Remote, installed_in

ENDED = re.compile("✅ `|❌ `")


@pytest.fixture(scope="module")
def homeserver(ringing: Synapse) -> Synapse:
    return ringing


@pytest.fixture(scope="module")
async def remote(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return Remote(tmp_path_factory.mktemp("remote") / "roommate")


@pytest.fixture(scope="module")
async def alice(homeserver: Synapse) -> AsyncIterator[Person]:
    """The operator."""
    async with await Person.at(homeserver.url, await register(homeserver, "operator"), PASSWORD) as person:
        yield person


@pytest.fixture(scope="module")
async def ann(homeserver: Synapse) -> AsyncIterator[StrictPerson]:
    """An operator, too, whose client reads what signed devices write."""
    async with strict.started() as node:
        yield await strict.person(node, homeserver.url, await register(homeserver, "ann"), PASSWORD)


@pytest.fixture(scope="module")
async def bot(
    homeserver: Synapse,
    image: str,
    model: ScriptedModel,
    learned: Path,
    remote: Remote,
    alice: Person,
    ann: StrictPerson,
) -> AsyncIterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        root = await asyncio.to_thread(installed_in, Path(folder), remote)
        settings = {
            "SANDBOX_IMAGE": image,
            "OPERATORS": f"{alice.user_id},{ann.user_id}",
            "LLM_API_BASE": model.url,  # for the room that talks to it: the rehearsal costs a start nothing
            "LLM_API_KEY": "scripted",
        }
        user_id = await register(homeserver, "bot")
        installed = Installed(homeserver.url, user_id, PASSWORD, settings, learned)
        installed.cwd = root
        try:
            yield await installed.start()
        finally:
            await installed.end("run", "update")
            print(installed.log.read_text()[-20_000:])
            if (log := installed.state / "update.log").exists():  # it has begun to update
                print(log.read_text()[-20_000:])
            await installed.discard()


@pytest.fixture(scope="module")
async def room(bot: Installed, alice: Person) -> str:
    room = await bot.room_with(alice)
    await alice.say(room, "!ping")  # its greeting is no answer to what is asked next
    await answered(bot, alice, room, 1)
    return room


@pytest.fixture(scope="module")
async def talk(bot: Installed, alice: Person) -> str:
    """A room with the scripted model."""
    talk = await bot.room_with(alice)
    await card(bot, alice, talk, "!model openai/scripted")
    return talk


@pytest.fixture(scope="module")
async def sealed(bot: Installed, ann: StrictPerson) -> str:
    """An encrypted room of ann's with the scripted model, in which she has had an answer."""
    sealed = await ann.room_with(bot.user_id)
    await ann.say(sealed, "!model openai/scripted")
    await ann.notice(sealed, "openai/scripted")
    await ann.say(sealed, "SAY before")
    await ann.answer(sealed, "before")
    return sealed


async def card(bot: Installed, person: Person, room: str, command: str = "!redeploy") -> Shown:
    """Say the command; what the bot says to it."""
    said = await person.say(room, command)

    def found() -> Shown | None:
        events = [seen.event_id for seen in person.seen]
        later = events[events.index(said) :] if said in events else []
        return next((message for message in bot.said(person, room) if message.event_id in later), None)

    shown = await person.wait(found, what=f"an answer to {command}")
    assert shown is not None
    return shown


async def ended(bot: Installed, person: Person, room: str, asked: Shown, timeout: float = PATIENCE) -> Shown:
    """The card's message, once it tells how the update ended."""

    def look() -> Shown | None:
        shown = next(m for m in bot.said(person, room) if m.event_id == asked.event_id)
        return shown if ENDED.search(shown.body) else None

    found = await person.wait(look, timeout, "the end of the update")
    assert found is not None
    return found


async def redeploy(bot: Installed, person: Person, room: str, command: str = "!redeploy") -> Shown:
    asked = await card(bot, person, room, command)
    await person.react(room, asked.event_id, "✅")
    return await ended(bot, person, room, asked)


def pongs(bot: Installed, person: Person, room: str) -> int:
    return sum("Pong" in message.body for message in bot.said(person, room))


async def answered(bot: Installed, person: Person, room: str, pings: int) -> None:
    """Wait until that many of them are."""
    await person.wait(lambda: pongs(bot, person, room) >= pings, what=f"{pings} answers")


@pytest.fixture(scope="module")
async def shared(bot: Installed, homeserver: Synapse, alice: Person) -> AsyncIterator[tuple[Attacked, str]]:
    """Another daemon, whom this one does all for, and a room of theirs."""
    async with await Person.at(homeserver.url, await register(homeserver, "peer"), PASSWORD) as person:
        yield await Attacked.at(bot, person), await bot.room_with(alice, person)


async def done_once(shared: tuple[Attacked, str], word: str) -> Mapping[str, JsonObject]:
    """What would do it once more."""
    attacked, theirs = shared
    attacked.change("UPDATE mesh_floor SET issued=0")  # an update may have been taken back just now
    once = attacked.asks(theirs, word)
    content = attacked.peer.signed(once)
    await attacked.peer.send(theirs, content)
    assert (await attacked.ended(once))["exit"] == 0
    other = {"id": new_id()}, {"nonce": new_nonce()}
    return {"the same": content} | {f"another {one}": attacked.peer.signed(once, **one) for one in other}


async def are_refused(shared: tuple[Attacked, str], again: Mapping[str, JsonObject]) -> None:
    attacked, theirs = shared
    codes = await attacked.codes({name: await attacked.peer.send(theirs, one) for name, one in again.items()})
    assert codes.keys() == again.keys()
    assert {*codes.values()} <= {"replay", "expired"}, "too old it is on a busy machine alone"


async def test_a_good_release_takes_over(
    bot: Installed,
    remote: Remote,
    alice: Person,
    room: str,
    talk: str,
    model: ScriptedModel,
    shared: tuple[Attacked, str],
) -> None:
    """In the middle of a turn, and of what it does for another daemon."""
    attacked, theirs = shared
    asker = attacked.peer
    await alice.ask(talk, "SAY first")
    old, pid = bot.release, bot.pid
    remote.commit("A <b>bold</b> `change`")
    for name, text in (("CHANGELOG.md", "- Rooms *dance*,\n  all of them.\n"), (".env.example", "\n# How\n#DANCE=\n")):
        with (remote.folder / name).open("a") as file:
            file.write(text)
    new = remote.commit("And *another* one")
    asked = await card(bot, alice, room)
    assert f"`{old}` → `{new}`" in asked.body
    assert "bold" in asked.body
    assert "<b>bold" not in asked.html
    assert "What is new:" in asked.body and "Rooms *dance*, all of them." in asked.html
    assert "New settings:" in asked.body and "DANCE: How" in asked.html
    running = await asker.ask(theirs, "exec", argv=["sh", "-c", "echo once >>ran; sleep 600"])
    await asker.reply(running, lambda one: one.kind == "started")
    await alice.react(room, asked.event_id, "✅")

    await bot.step("image")
    in_flight = await alice.say(talk, "DELAY 3\nSAY in flight")
    await alice.wait(lambda: any(one.prompt.endswith("in flight") for one in model.asked), what="the turn")
    await bot.step("trial")
    pings = pongs(bot, alice, room)
    await alice.say(room, "!ping")
    on_trial = await asker.ask(theirs, "exec", argv=["cat", "ran"])

    shown = await ended(bot, alice, room, asked)
    assert f"✅ `{old}` → `{new}`" in shown.body
    assert (bot.release, bot.pid) == (new, pid)
    assert any("making the release" in look for look in shown.looks)
    assert any("on trial" in look for look in shown.looks)
    assert (await alice.answer_to(in_flight)).body.startswith("in flight")
    await answered(bot, alice, room, pings + 1)
    assert new in (await card(bot, alice, room, "!version")).body
    await asker.reply(on_trial, lambda one: one.kind == "result")
    printed = [one.body["data"] for one in asker.replies(on_trial) if one.kind == "output"]
    assert base64.b64decode("".join(printed)) == b"once\n"
    assert await asker.refusal(running) == "unknown"
    assert [one.kind for one in asker.replies(running)] == ["started", "refused"]


async def test_who_may_not_and_what_means_nothing(
    bot: Installed, remote: Remote, alice: Person, room: str, talk: str, homeserver: Synapse
) -> None:
    running = bot.release
    remote.commit("For nobody")
    bob_id = await register(homeserver, "bob")
    async with await Person.at(homeserver.url, bob_id, PASSWORD) as bob:
        for place in (room, talk):
            await alice.invite(place, bob.user_id)
            await bob.join(place)
        assert "Only an operator" in (await card(bot, bob, room)).body
        asked = await card(bot, alice, room)
        await bob.wait(lambda: any(m.event_id == asked.event_id for m in bob.messages(room)), what="the card")
        assert asked.event_id in await rung(alice, room), "it rings for who can answer"
        assert asked.event_id not in await rung(bob, room)
        await bob.react(room, asked.event_id, "✅")
        assert "is no name" in (await card(bot, alice, room, "!redeploy --upload-pack=touch")).body

        me = f"{bot.user_id}: "
        said = await alice.ask(talk, f"{me}SAY !redeploy")
        assert said.body == "!redeploy"
        assert await alice.ask(talk, f'{me}TOOL request_redeploy {{"why": "I want to"}}\n---\nSAY I asked')
        cards = [m for m in bot.said(alice, talk) if "The model asks for it: I want to" in m.body]
        assert len(cards) == 1
        await bob.ask(talk, f'{me}TOOL request_redeploy {{"why": "Me too"}}\n---\nSAY so did I')
        assert not [m for m in bot.said(alice, talk) if "Me too" in m.body and "Redeploy" in m.body]

        await alice.react(room, asked.event_id, "❌")
        await alice.wait(lambda: any("stays as it is" in m.body for m in bot.said(alice, room)), what="no")
        for place in (room, talk):
            await bob.leave(place)
    assert bot.journal["step"] == "done"
    assert bot.release == running
    remote.back_to(running)


async def test_an_update_is_cancelled_before_it_switches(
    bot: Installed, remote: Remote, alice: Person, room: str
) -> None:
    running = bot.release
    new = remote.commit("Not now")
    asked = await card(bot, alice, room)
    await alice.react(room, asked.event_id, "✅")
    await bot.step("build", "check")
    await bot.roommate("update", "--cancel")
    shown = await ended(bot, alice, room, asked)
    assert f"❌ `{new}` failed: uid {os.getuid()} cancelled it" in shown.body
    assert bot.release == running
    await until(lambda: not bot.processes("update"), "it to end what it is at, and not to go on")
    assert bot.journal["step"] == "failed"
    with pytest.raises(AssertionError, match="no update is on its way"):
        await bot.roommate("update", "--cancel")

    # Who goes away from an update does not end it, and is told so.
    process = await asyncio.create_subprocess_exec(
        bot.program, "update", cwd=bot.root, env={**no_settings(), **bot.settings, MARK: bot.mark},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await bot.step("build", "check")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130, err
    assert b"it goes on without this command" in err
    assert b"update --cancel" in err
    await bot.step("done")
    assert bot.release == new


BROKEN = {
    "build": ("does not pin its packages", {}, "making the release"),
    "check": ("cannot be loaded", {"domain__ids": "raise RuntimeError('broken on purpose')"}, "broken on purpose"),
    "trial": (
        "cannot start",
        {"daemon_process": "def main(settings: object) -> int:\n    raise RuntimeError"},
        "ended while it was on trial",
    ),
}


@pytest.mark.parametrize("step", BROKEN)
async def test_a_release_that_does_not_work(
    bot: Installed, remote: Remote, alice: Person, room: str, step: str
) -> None:
    running = bot.release
    subject, changes, why = BROKEN[step]
    lock = remote.folder / "requirements.lock"
    if step == "build":
        lock.write_text("aiohttp==3.13.0\n" + lock.read_text())
    broken = remote.commit(f"It {subject}", **changes)
    asked = await card(bot, alice, room)
    assert "That is asked already" in (await card(bot, alice, room)).body
    await alice.react(room, asked.event_id, "✅")
    await bot.step("build", "check")
    assert "is on its way" in (await card(bot, alice, room)).body
    shown = await ended(bot, alice, room, asked)
    assert f"❌ `{broken}` failed" in shown.body
    assert why in shown.body
    assert f"`{running}` runs" in shown.body
    before = pongs(bot, alice, room)
    await alice.say(room, "!ping")
    await answered(bot, alice, room, before + 1)
    assert running in (await card(bot, alice, room, "!version")).body
    remote.back_to(running)


async def test_a_migration_that_destroys_and_a_start_that_hangs(
    bot: Installed,
    remote: Remote,
    alice: Person,
    room: str,
    talk: str,
    model: ScriptedModel,
    shared: tuple[Attacked, str],
) -> None:
    """What a peer asked before is not done again, nor what it asked of a release that was taken back."""
    attacked, theirs = shared
    running = bot.release
    await alice.ask(talk, "SAY remembered")
    broken = remote.commit(
        "It forgets everything, and hangs",
        store__migrations='STEPS = (*STEPS, "DELETE FROM steps; DELETE FROM conversations WHERE id < 0;")',
        updates__at_start="async def confirmed(*_: object) -> None:\n    await asyncio.sleep(3600)",
    )
    (bot.root / ".env").write_text("UPDATE_HEALTH_SECONDS=1\n")
    before = pongs(bot, alice, room)
    asked = await card(bot, alice, room)
    again = await done_once(shared, "before")
    await alice.react(room, asked.event_id, "✅")
    await bot.step("trial")
    on_trial = await attacked.peer.ask(theirs, "exec", argv=["sh", "-c", "echo evil >>ran"])
    await alice.say(room, "!ping")
    waiting = await alice.say(talk, "SAY and goes on")
    shown = await ended(bot, alice, room, asked)
    (bot.root / ".env").unlink()
    assert f"❌ `{broken}` failed" in shown.body
    assert f"was not ready after {OF_DAEMONS:.0f} s" in shown.body
    assert (await alice.answer_to(waiting)).body == "and goes on"
    history = [str(message.get("content")) for message in model.asked[-1].messages]
    assert any("remembered" in text for text in history), "the conversation is there again"
    await answered(bot, alice, room, before + 1)
    assert [m.body for m in alice.finals(talk)].count("and goes on") == 1
    assert bot.release == running
    await are_refused(shared, again)
    assert await attacked.peer.refusal(on_trial) in ("replay-store", "expired")
    remote.back_to(running)


def steps_of(said: Seen) -> tuple[str, int]:
    """Which step of which ratchet an event of an encrypted room was written with: it stands before the ciphertext, a
    version and a tag in front of it. https://spec.matrix.org/v1.16/olm-megolm/megolm/#message-format"""
    message = base64.b64decode(said.wire["ciphertext"] + "==")
    assert message[:2] == b"\x03\x08"
    index = end = 0
    for end, byte in enumerate(message[2:]):
        index |= (byte & 0x7F) << 7 * end
        if byte < 0x80:
            break
    return str(said.wire["session_id"]), index


def said_so_far(ann: StrictPerson, sealed: str) -> list[str]:
    """Without the line of what it took, which stands below what took long."""
    return [one.body.partition("\n\n")[0] for one in ann.finals(sealed)]


def nothing_lost(bot: Installed, ann: StrictPerson, sealed: str, *words: str) -> None:
    """The encrypted conversation is whole, in order, once, and no step of a ratchet was taken for two events."""
    assert said_so_far(ann, sealed) == [*words]
    assert ann.failures(sealed) == []
    assert not [one.body for one in ann.messages(sealed) if "cannot read" in one.body]
    assert {one.shield for one in ann.messages(sealed)} == {0}
    steps = {one.event_id: steps_of(one) for one in ann.messages(sealed)}
    assert len(set(steps.values())) == len(steps)


async def test_an_encrypted_conversation_where_a_release_comes_and_goes(
    bot: Installed, remote: Remote, alice: Person, room: str, ann: StrictPerson, sealed: str
) -> None:
    """The database goes back to before the trial, what encryption knows does not: a key that only the release on trial
    was given is there in the one that takes over again."""
    running, enough = bot.release, bot.root / "enough"
    broken = remote.commit(
        "It takes keys, and ends",
        updates__at_start=f"async def confirmed(*_: object) -> None:\n    while not Path({str(enough)!r}).exists():\n"
        "        await asyncio.sleep(0.01)\n    raise RuntimeError('enough')",
    )
    asked = await card(bot, alice, room)
    await alice.react(room, asked.event_id, "✅")
    await bot.step("trial")
    await ann.do("discardSession", room=sealed)
    said = await ann.say(sealed, "SAY to the one on trial")
    await ann.say(sealed, "SAY and once more")

    def given() -> bool:
        session = next(one.wire["session_id"] for one in ann.node.seen if one.event_id == said)
        with sqlite3.connect(bot.state / "crypto.db") as c:
            return bool(
                c.execute("SELECT 1 FROM records WHERE kind='inbound' AND key=?", (f"{sealed} {session}",)).fetchone()
            )

    await until(given, "the key of what is said meanwhile")
    assert bot.journal["step"] == "trial"
    enough.touch()
    assert f"❌ `{broken}` failed" in (await ended(bot, alice, room, asked)).body
    assert bot.release == running
    await ann.answer(sealed, "and once more")
    await ann.do("discardSession", room=sealed)
    await ann.say(sealed, "SAY afterwards")
    await ann.answer(sealed, "afterwards")
    nothing_lost(bot, ann, sealed, "before", "to the one on trial", "and once more", "afterwards")
    remote.back_to(running)


KILLS = [
    *((step, ("run", "update")) for step in ("build", "check", "image", "restart", "trial", "confirmed")),
    ("check", ("update",)),
    ("trial", ("update",)),
    ("trial", ("run",)),
]


async def test_kill_9_between_any_two_steps(bot: Installed, remote: Remote, alice: Person, room: str) -> None:
    """Of daemon and updater, or of one: the update goes on or is taken back, and every message is answered once. On the
    way back what the newer release did to the database is undone."""
    shape = 'STEPS = (*STEPS, "CREATE TABLE more (a)")\nUNDO = {**UNDO, len(STEPS): "DROP TABLE more"}'
    there = [bot.release, remote.commit("Another good one, of another shape", store__migrations=shape)]
    pings = pongs(bot, alice, room)
    outcomes = []
    for step, commands in KILLS:
        running = bot.release
        [other] = set(there) - {running}
        asked = await card(bot, alice, room, f"!redeploy {other}")
        await alice.react(room, asked.event_id, "✅")
        if step == "confirmed":  # it may be over before anybody has looked
            await bot.step("trial")
        await bot.step(step, *(("done",) if step == "confirmed" else ()))
        await bot.end(*commands)
        await alice.say(room, "!ping")
        pings += 1
        if commands == ("run", "update"):
            await bot.start()
        shown = await ended(bot, alice, room, asked)
        stays = "✅" in shown.body
        outcomes.append((step, commands, "done" if stays else "back"))
        assert bot.release == (other if stays else running), (outcomes, shown.body)
        await answered(bot, alice, room, pings)
        assert bot.release in (await card(bot, alice, room, "!version")).body
        assert pongs(bot, alice, room) == pings, outcomes
    print(outcomes)
    assert {outcome for _, _, outcome in outcomes} == {"done", "back"}


async def test_back_to_the_release_before(
    bot: Installed, alice: Person, room: str, ann: StrictPerson, sealed: str, shared: tuple[Attacked, str]
) -> None:
    """In the middle of a turn in an encrypted room, too; and what was done for a peer is not done again."""
    running, before = bot.release, (bot.root / "previous").readlink().name
    said = said_so_far(ann, sealed)
    asked = await card(bot, alice, room, "!rollback")
    await ann.say(sealed, "DELAY 3\nSAY in flight")
    await ann.do("discardSession", room=sealed)
    await ann.say(sealed, "SAY behind it")
    again = await done_once(shared, "after")
    await alice.react(room, asked.event_id, "✅")
    shown = await ended(bot, alice, room, asked)
    assert f"✅ `{running}` → `{before}`" in shown.body
    assert bot.release == before
    await are_refused(shared, again)
    attacked, theirs = shared
    assert await attacked.ran(theirs) == len("once\nbefore\nafter\n")
    await ann.answer(sealed, "behind it")
    await ann.say(sealed, "SAY and back")
    await ann.answer(sealed, "and back")
    nothing_lost(bot, ann, sealed, *said, "in flight", "behind it", "and back")


async def test_no_way_back_to_a_release_that_cannot_read_the_database(
    bot: Installed, remote: Remote, alice: Person, room: str
) -> None:
    newer = remote.commit("Another shape", store__migrations='STEPS = (*STEPS, "CREATE TABLE other (a)")')
    said = await bot.roommate("update", "--check")
    assert f"{newer} " in said
    assert bot.release != newer
    with Journal(bot.state).held():  # by an updater that is through, and tidies up
        updating = asyncio.create_task(bot.roommate("update"))  # an operator at the machine, while it runs
        await bot.step("build")
        await asyncio.sleep(2)
    await updating
    assert bot.release == newer
    shown = await redeploy(bot, alice, room, "!rollback")
    assert "❌" in shown.body
    assert "the database is of version" in shown.body
    assert newer in (await card(bot, alice, room, "!version")).body
