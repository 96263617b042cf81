"""The mesh, put together: who asks, who answers, and whom they believe."""

from __future__ import annotations

import asyncio

from roommate.administration.startup_phases import Phase, Service
from roommate.features.feature import Feature
from roommate.features.mesh.events import EventRoad
from roommate.store import Database, MeshEvents


def feature(database: Database, news: asyncio.Event) -> Feature:
    road = EventRoad(MeshEvents(database), news, deals={})
    return Feature(services=(Service(Phase.READY, road.run),))
