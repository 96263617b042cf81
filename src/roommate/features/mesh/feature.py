"""The mesh, put together: who asks, who answers, and whom they believe."""

from __future__ import annotations

import asyncio

from roommate.administration.startup_order import Phase, Service
from roommate.domain import MESH_INTRODUCTION, CardKind
from roommate.features.feature import Feature
from roommate.features.mesh.answering_composition import AnsweringPart
from roommate.features.mesh.asking_composition import AskingPart
from roommate.features.mesh.envelope import REPLY
from roommate.features.mesh.event_dispatch import EventRoad
from roommate.features.mesh.request_operations import RequestOperations
from roommate.features.mesh.trust import Introductions, Trust
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.questions import Questions
from roommate.store import Database, MeshEvents


def feature(
    database: Database,
    news: asyncio.Event,
    trust: Trust,
    asking: AskingPart,
    answering: AnsweringPart,
    questions: Questions,
    control: ControlRoom,
    *,
    after_trial: bool,
) -> Feature:
    """`after_trial`: this release was on trial, and what came meanwhile waits."""
    introductions = Introductions(trust, database, questions, lambda: control.room_id)
    deals = {MESH_INTRODUCTION: introductions.hear, REPLY: asking.hear, **answering.deals}

    def waited(to: int) -> None:
        if after_trial:
            answering.admission.came_on_trial = to

    road = EventRoad(MeshEvents(database), news, deals, waited)
    return Feature(
        [asking.operations, RequestOperations(answering.requests, answering.running, asking.asking)],
        tools=asking.tools,
        cards={CardKind.TRUST: introductions.decide, CardKind.MESH_REQUEST: answering.decide},
        services=(answering.service, asking.service, Service(Phase.READY, trust.run), Service(Phase.READY, road.run)),
    )
