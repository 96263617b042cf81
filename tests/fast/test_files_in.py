"""People send files: they lie in the workspace, and the model is told of them. What a person sees of that."""

import json
from pathlib import Path
from typing import Any

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import notice, run, tool
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel
from tests.tools.test_showing import png

LS = run("cd inbox && ls -1A")


def out(answer: Shown) -> str:
    """What a command printed, of an answer that shows it."""
    return answer.body.partition("\n[exit code")[0]


async def marked(person: Person, room: str, event: str) -> None:
    await person.wait(lambda: "📎" in [key for _, key in person.reactions(room, event)], what="📎")


def asked(model: MemoryModel, words: str) -> str:
    """The newest prompt with these words, as the model read it."""
    return next(one.prompt for one in reversed(model.asked) if words in one.prompt)


async def test_a_file_without_a_word_is_placed_and_told_with_the_next_prompt(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    for name in ("a.txt", "b.txt"):
        await marked(alice, room, await alice.upload(room, name, f"this is {name}".encode(), "text/plain"))
    assert not alice.finals(room), "no turn began for them"
    answer = await alice.ask(room, run("cat inbox/a.txt inbox/b.txt"))
    assert out(answer) == "this is a.txtthis is b.txt"
    told = asked(model, "inbox/a.txt")
    localpart = alice.user_id[1:].partition(":")[0]
    assert told.splitlines()[:2] == [
        f"[{localpart} sent inbox/a.txt (text/plain, 13 B)]",
        f"[{localpart} sent inbox/b.txt (text/plain, 13 B)]",
    ]
    await alice.ask(room, "SAY what came next")
    assert "inbox/" not in asked(model, "what came next"), "they are told of once"


async def test_a_file_that_comes_while_a_turn_runs_reaches_it_at_the_next_boundary(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    model = MemoryModel()
    model.sees = True
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    prompt = await alice.say(room, f"{tool('ask_person', question='which file?')}\n---\nSAY never")
    card = await alice.wait(lambda: next((m for m in bot.said(alice, room) if m.is_card), None))
    assert card is not None
    waits = await alice.upload(room, "later.txt", b"later", "text/plain", caption="SAY its own turn")
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, waits), what="⏳")
    await marked(alice, room, await alice.upload(room, "shot.png", png(40, 30), "image/png"))
    await alice.say(room, "this one", reply_to=card.event_id)
    answer = await alice.wait(lambda: next((m for m in bot.said(alice, room) if "its own turn" in m.body), None))
    assert answer is not None
    before, own = [one for one in model.asked if "sent inbox/" in json.dumps(one.messages)][-2:]
    assert before.prompt.endswith(f"sent inbox/shot.png (image/png, {len(png(40, 30))} B)]")
    assert len(before.pictures) == 1, "a model that sees sees it"
    assert "later.txt" not in json.dumps(before.messages), "what has words of its own waits for its turn"
    assert own.prompt.count("inbox/") == 1
    assert "sent inbox/later.txt" in own.prompt
    said = (await alice.answer_to(prompt)).html
    assert "↪ <strong>" in said
    assert "inbox/shot.png" in said, "people see when it was told"


async def test_files_that_come_late_hold_up_those_of_no_other_room(
    bot: MemoryDaemon, person: MakePerson, homeserver: MemoryHomeserver
) -> None:
    """As of a homeserver that does not answer, which anybody in a room may have."""
    alice, bob = await person("alice"), await person("bob")
    room, other = await bot.room_with(alice), await bot.room_with(bob)
    known = await alice.upload(room, "known.txt", b"known", "text/plain")
    await marked(alice, room, known)
    [url] = [one.content["url"] for one in alice.messages(room) if one.event_id == known]
    with homeserver.withheld(url):
        late = [
            await alice.send(room, "m.room.message", {"msgtype": "m.file", "body": f"late-{number}.txt", "url": url})
            for number in range(8)
        ]
        await marked(bob, other, await bob.upload(other, "quick.txt", b"quick", "text/plain"))
        assert not any(alice.reactions(room, event) for event in late)
    for event in late:
        await marked(alice, room, event)


async def test_a_caption_is_the_prompt(bot: MemoryDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    sent = await alice.upload(room, "data.csv", b"1,2,3", "text/csv", caption=run("cat inbox/data.csv"))
    assert out(await alice.answer_to(sent)) == "1,2,3"
    assert not alice.reactions(room, sent), "the answer is sign enough"
    # What comes while a file is still on its way waits for it, whoever is quicker.
    await alice.upload(room, "big.bin", bytes(8 << 20))
    answer = await alice.ask(room, run("stat -c %s inbox/big.bin"))
    assert out(answer) == str(8 << 20)


async def test_names_are_safe_and_nothing_is_overwritten(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("mkdir inbox; echo mine > inbox/notes.txt"))
    names = [
        "../../etc/passwd",
        "a/b\\c.txt",
        "..",
        "notes.txt",
        "\u202egnp.exe",
        "x" * 300 + ".tar",
        "new\nline.txt",
        "",
    ]
    for number, name in enumerate(names):
        await marked(alice, room, await alice.upload(room, name, f"{number}".encode(), "text/plain", body=name or " "))
    again = await alice.upload(room, "notes.txt", b"3", "text/plain")
    await marked(alice, room, again)
    listed = sorted(out(await alice.ask(room, LS)).split("\n"))
    numbered = ("file.txt", "file-2.txt", "notes.txt", "notes-2.txt")
    assert listed == sorted([*numbered, "passwd", "c.txt", "gnp.exe", f"{'x' * 116}.tar", "new_line.txt"])
    assert out(await alice.ask(room, run("cat inbox/notes.txt inbox/notes-2.txt"))).split() == ["mine", "3"]


async def test_what_the_room_puts_in_the_way_leads_nowhere(
    daemon: MakeDaemon, model: MemoryModel, person: MakePerson, tmp_path: Path
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    await alice.ask(room, run(f"ln -s {outside} inbox"))
    sent = await alice.upload(room, "in.txt", b"x", "text/plain", caption="SAY it came")
    said = await notice(bot, alice, room, "did not come in")
    assert "inbox in the workspace is no folder" in said.body
    assert [one.name for one in outside.iterdir()] == ["kept.txt"]
    # A file that is a link is a name that is taken; 🔁 tries the same again.
    await alice.ask(room, run(f"rm inbox; mkdir inbox; ln -s {outside}/kept.txt inbox/in.txt; mkfifo inbox/in-2.txt"))
    await alice.wait(lambda: (bot.user_id, "🔁") in alice.reactions(room, said.event_id), what="🔁 to tap")
    await alice.react(room, said.event_id, "🔁")
    came = await alice.wait(lambda: next((m for m in alice.finals(room) if "it came" in m.body), None))
    assert came and came.reply_to in (None, sent)
    assert (outside / "kept.txt").read_text() == "kept"
    assert out(await alice.ask(room, run("cat inbox/in-3.txt"))) == "x"


async def test_what_is_too_large_is_told(daemon: MakeDaemon, model: MemoryModel, person: MakePerson) -> None:
    bot, alice = await daemon(model=model, INBOX_FILE_MB="1"), await person("alice")
    room = await bot.room_with(alice)
    await alice.upload(room, "large.bin", bytes((1 << 20) + 1), caption="SAY never")
    said = await notice(bot, alice, room, "large.bin")
    assert "I take files of 1 MiB at most" in said.body
    await alice.upload(room, "liar.bin", bytes((1 << 20) + 1), info={"size": 3})
    await notice(bot, alice, room, "liar.bin")
    await alice.ask(room, "SAY a word")
    assert not [m for m in alice.finals(room) if "never" in m.body]


async def test_a_picture_is_seen_by_a_model_that_sees(daemon: MakeDaemon, person: MakePerson) -> None:
    model = MemoryModel()
    model.sees = True
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    picture = png(40, 30)
    sent = await alice.upload(room, "shot.png", picture, "image/png", caption="SAY I see it")
    assert out(await alice.answer_to(sent)) == "I see it"
    assert len(model.asked[-1].pictures) == 1
    await alice.ask(room, "SAY and still do")
    assert len(model.asked[-1].pictures) == 1, "it stays in the conversation"
    model.sees = False
    await alice.ask(room, "SAY and no more")
    assert not model.asked[-1].pictures
    assert "You cannot see pictures" in json.dumps(model.asked[-1].messages)


async def test_a_file_of_somebody_else_comes_in_with_a_reply(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson
) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    sent = await bob.upload(room, "report.txt", b"the figures", "text/plain")
    await alice.wait(lambda: any(m.event_id == sent for m in alice.messages(room)), what="the file")
    asks = await alice.say(room, run("cat inbox/report.txt"), reply_to=sent, mentions=[bot.user_id])
    assert out(await alice.answer_to(asks)) == "the figures"
    assert not bob.reactions(room, sent), "it was nothing for the bot before"
    assert "This replies to a message of" in asked(model, "inbox/report.txt")


async def test_what_somebody_says_is_a_prompt(daemon: MakeDaemon, model: MemoryModel, person: MakePerson) -> None:
    voice: dict[str, Any] = {"org.matrix.msc3245.voice": {}}
    async with ScriptedModel() as hears:
        set_so: dict[str, Any] = {"TRANSCRIPTION_MODEL": "openai/hears", "TRANSCRIPTION_API_BASE": hears.url}
        bot, alice = await daemon(model=model, TRANSCRIPTION_API_KEY="scripted", **set_so), await person("alice")
        room = await bot.room_with(alice)
        sent = await alice.upload(room, "note.ogg", b"SAY it was heard", "audio/ogg", **voice)
        assert "SAY it was heard" in (await notice(bot, alice, room, "I heard")).body
        assert (await alice.answer_to(sent)).body == "it was heard"
        assert "sent inbox/note.ogg" in asked(model, "SAY it was heard")
        await alice.upload(room, "nothing.ogg", b"", "audio/ogg", **voice)
        await notice(bot, alice, room, "could not hear")
