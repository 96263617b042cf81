"""The mesh, put together: who asks, who answers, and whom they believe."""

from __future__ import annotations

import asyncio

from roommate.administration.startup_phases import Phase, Service
from roommate.domain import MESH_INTRODUCTION, CardKind
from roommate.features.feature import Feature
from roommate.features.mesh.events import EventRoad
from roommate.features.mesh.trust import Introductions, Trust
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.questions import Questions
from roommate.store import Database, MeshEvents


def feature(
    database: Database, news: asyncio.Event, trust: Trust, questions: Questions, control: ControlRoom
) -> Feature:
    introductions = Introductions(trust, database, questions, lambda: control.room_id)
    road = EventRoad(MeshEvents(database), news, deals={MESH_INTRODUCTION: introductions.hear})
    return Feature(cards={CardKind.TRUST: introductions.decide}, services=(Service(Phase.READY, road.run),))
