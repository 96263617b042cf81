"""The words that every part speaks: what there is about a subject is in the module of that name."""

# ruff: noqa: F403 — all of them, under one name
from roommate.domain.cards import *
from roommate.domain.checks import *
from roommate.domain.conversation_steps import *
from roommate.domain.deeds import *
from roommate.domain.egress_destination import *
from roommate.domain.forge import *
from roommate.domain.hand import *
from roommate.domain.hook_events import *
from roommate.domain.host_place import *
from roommate.domain.ids import *
from roommate.domain.login import *
from roommate.domain.matrix_events import *
from roommate.domain.model import *
from roommate.domain.outgoing import *
from roommate.domain.sandbox_results import *
from roommate.domain.todo import *
from roommate.domain.turn_events import *
from roommate.domain.updates import *
from roommate.domain.usage import *
