"""What a room writes for people to read, and how little another room feels of it."""

from __future__ import annotations

from roommate.domain import HookKind
from tests.e2e.noise import TwoRooms

HOOKS = f"""
out, kinds = "/run/spool/out/", {[str(kind) for kind in HookKind]}
for number in range(6000):
    name = f"{{number:020d}}-1-{{kinds[number % 3]}}-abc.json"
    content = {{"agent": "gemini", "session": str(number), "tool": "shell", "text": "![" * 2000}}
    with open(out + "." + name, "w") as file:
        json.dump(content, file)
    os.rename(out + "." + name, out + name)
    if number % 20 == 0:
        os.symlink("/etc/passwd", out + f"link-{{number}}")
"""


async def test_a_flood_of_what_hooks_tell(two_rooms: TwoRooms) -> None:
    felt = await two_rooms.under(HOOKS, hush=False)
    felt.assert_quiet()
    refused = [line for line in two_rooms.bot.log_text().splitlines() if "was set aside" in line]
    assert len(refused) <= 2 * 20, "the log does not fill"


async def test_answers_that_are_slow_to_draw(two_rooms: TwoRooms) -> None:
    mallory, noisy = two_rooms.mallory, two_rooms.noisy

    async def chat() -> None:
        await mallory.answer_to(two_rooms._started)
        for piece in ("![", "*_`[~", "**a"):
            answer = await mallory.ask(noisy, "SAY " + piece * (30_000 // len(piece)))
            assert answer.body.startswith(piece)

    felt = await two_rooms.under("time.sleep(1)", hush=False, meanwhile=chat)
    felt.assert_quiet()
