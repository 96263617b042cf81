"""Repositories of a forge as people in a room use them: clone, change, pull request; and what is left to people."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeDaemon, MakePerson
from tests.forge import TOKEN, Forge
from tests.harness import notice, run, tool
from tests.scripted_model import ScriptedModel

REPO = "acme/widget"


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    async with Forge() as forge:
        forge.add(REPO, private=True)
        yield forge


async def test_clone_change_and_a_pull_request(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, forge: Forge
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(
        model=model, OPERATORS=alice.user_id, ANSWER_EVERYTHING="true", GITHUB_TOKEN=TOKEN, GITHUB_SERVER_URL=forge.url
    )
    room = await bot.room_with(alice, bob)
    url = f"{forge.url}/{REPO}"
    asked = await alice.say(room, run(f"git clone {url}"))
    card = await notice(bot, alice, room, "wants to connect to `127.0.0.1`")
    await alice.react(room, card.event_id, "✅")
    assert "An operator lets this room use it with `!repo add acme/widget`" in (await alice.answer_to(asked)).body

    await bob.say(room, f"!repo add {REPO}")
    await notice(bot, alice, room, "Only an operator can use `!repo add`")
    await alice.say(room, "!repo add acme/nothing")
    await notice(bot, alice, room, "has no acme/nothing, or the GITHUB_TOKEN may not see it")
    await alice.say(room, f"!repo add {url}.git")
    await notice(bot, alice, room, "This room may use `acme/widget` now")

    cloned = await alice.ask(room, run(f"git clone -q git@127.0.0.1:{REPO} w && cat w/README"))
    assert cloned.body.startswith("Read me."), "whatever form its address has"
    nothing = await alice.ask(room, propose("A change"))
    assert "there is nothing to propose: w has no change that `main` does not have" in nothing.body
    assert "## main...origin/main\n" in (await alice.ask(room, run("git -C w status --branch --short; echo"))).body
    asked_for = f"{tool('write_file', path='w/new.txt', content='new')}\n---\n{propose('Add a new file: Ünïque!')}"
    made = await alice.ask(room, asked_for)
    address = f"{url}/pull/1"
    assert made.body.startswith(f"{address}\n[PR #1 of acme/widget is open now: `roommate/add-a-new-file-unique`")
    assert f"PR #1 · {address}" in "\n".join(made.looks), "people see it with the call"
    [pull] = forge.pulls
    assert (pull["title"], pull["base"], pull["body"]) == ("Add a new file: Ünïque!", "main", "It says why.")
    assert forge.git(REPO, "show", f"{pull['head']}:new.txt") == "new"
    assert forge.git(REPO, "log", "--format=%an", "-1", pull["head"]) == "Roommate"

    more = await alice.ask(
        room, f"{tool('run_command', command='echo more >w/more.txt')}\n---\n{propose('More', repo='w')}"
    )
    assert "PR #1 of acme/widget was open already" in more.body
    assert forge.git(REPO, "log", "--format=%s", pull["head"]).split("\n")[0] == "More"

    there = forge.branches(REPO)
    pushes = ("HEAD:main", "--delete roommate/add-a-new-file-unique", "--force HEAD~1:roommate/add-a-new-file-unique")
    refused = (await alice.ask(room, run("cd w; " + "; ".join(f"git push origin {push}" for push in pushes)))).body
    assert "(a protected branch: push to a new branch)" in refused
    assert "(nothing is deleted from a room)" in refused
    assert "(history would be rewritten, or may be: push to a new branch)" in refused
    assert forge.branches(REPO) == there

    await alice.say(room, "!repo")
    await notice(bot, alice, room, "- `acme/widget`")
    await alice.say(room, "!repo remove Acme/Widget")
    await notice(bot, alice, room, "is not among this room's repositories any more")
    gone = await alice.ask(room, f"{tool('run_command', command='echo 3 >w/3')}\n---\n{propose('Three')}")
    assert "acme/widget is not among this room's repositories: ask an operator" in gone.body
    await alice.say(room, "!audit 50")
    deeds = (await notice(bot, alice, room, "pull-request")).body
    assert "repo.add" in deeds
    assert "push" in deeds
    assert len(forge.pulls) == 1


def propose(title: str, **more: str) -> str:
    return tool("create_pull_request", title=title, body="It says why.", **more) + "\n---\nECHO"
