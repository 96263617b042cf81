"""A coding agent through Roommate, beside its bare CLI in the same container: what starting and reading it adds."""

from __future__ import annotations

from bench.broker import broker_to
from bench.stage import ROOM, Figure, Stage, beside, figure, sandboxes, take_turns
from roommate.domain import Hand, RoomId
from roommate.features.coding_agents.agent_clis import AGENT_CLIS
from roommate.features.coding_agents.delegated_tasks import Choice, RoomAgents
from roommate.features.coding_agents.task_prompt import brief
from roommate.sandbox import image
from tests.fake_providers import FakeProviders
from tests.sandbox_image import AGENTS_NAME, printed

NAMES = ("claude", "codex", "gemini")
TASK = "DO say fine"


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    await image.build(AGENTS_NAME, stage="agents", step=printed)
    async with FakeProviders() as fake, sandboxes(AGENTS_NAME) as (rooms, _):
        bases = {AGENT_CLIS[name].provider: f"{fake.url}/{AGENT_CLIS[name].provider}" for name in NAMES}
        async with broker_to(bases) as broker:
            rooms.attach(broker.attach)
            hand = await rooms.hand(ROOM)
            return [made for name in NAMES for made in await _measure(name, hand, max(5, rounds // 4))]


async def _measure(name: str, hand: Hand, rounds: int) -> list[Figure]:
    plan = AGENT_CLIS[name]
    choice = Choice([plan.provider], {}, {}, 60)

    async def bare() -> None:
        command = plan.command(brief("ask", TASK), plan.model, "")
        ended = await hand.run(command, env=plan.environment_of(plan.model), timeout=60)
        assert ended.code == 0

    async def ours() -> None:
        agents = RoomAgents(ROOM, choice, _Forgetful())
        report = await agents.work("ask", TASK, name, hand=hand, call_id="1", emit=lambda _: None)
        assert report.text == "fine", report

    await ours()
    cli, whole = await take_turns([bare, ours], rounds)
    baseline = figure(f"bare {plan.title}, a prompt and its answer", cli)
    return [baseline, beside(figure(f"{plan.title} through Roommate", whole), baseline, most=1.05)]


class _Forgetful:
    """`AgentStore`: each run is a session of its own, as the bare one is."""

    async def preferred(self, room_id: RoomId, role: str) -> tuple[str, ...]:
        return ()

    async def session(self, conversation_id: int, agent: str) -> str:
        return ""

    async def keep_session(self, conversation_id: int, agent: str, session: str) -> None:
        pass
