"""What survives: SQLite, one file, and every line of SQL there is."""

from roommate.store.agent_sessions import Agents
from roommate.store.agent_usage import AgentUsages
from roommate.store.audit import Audit, Chain, Record
from roommate.store.background_jobs import WatchedJob, WatchedJobs
from roommate.store.cards import Card, Cards, Decided
from roommate.store.crypto_records import CryptoRecords, device_in
from roommate.store.database import (
    DATABASE,
    MEND,
    Database,
    Transaction,
    Work,
    damage,
    is_begun,
    locked,
    reading,
)
from roommate.store.egress import Egress
from roommate.store.hook_reports import Heard, Ipc
from roommate.store.inbox import Inbox, Waiting
from roommate.store.inbox_claim import mark_of
from roommate.store.mesh_asked import AskedRequests
from roommate.store.mesh_events import MeshArrival, MeshEvents
from roommate.store.mesh_nonces import Claim, Nonces
from roommate.store.mesh_peers import Peer, Peers, PeerState
from roommate.store.mesh_requests import PeerRequest, PeerRequests
from roommate.store.outbox import Outbox
from roommate.store.pauses import Pause, Pauses
from roommate.store.queue_depths import Queues, Vitals
from roommate.store.reactions_from_people import MessageReactions
from roommate.store.received_files import FileState, ReceivedFile, ReceivedFiles
from roommate.store.replied_messages import KnownMessage, RepliedMessages
from roommate.store.repos import Repos
from roommate.store.restored import Past, Restored
from roommate.store.retention import Retention
from roommate.store.room_settings import RoomSettings
from roommate.store.room_upgrades import Upgrade, Upgrades
from roommate.store.rooms import RoomRow, Rooms
from roommate.store.run_again_reaction import again_at
from roommate.store.schedules import Schedules
from roommate.store.snapshots import Copy, copy, put_back, rescue, take_down, version
from roommate.store.tokens_spent import TokensSpent
from roommate.store.turns import Spending, Turn, TurnRow, Turns

__all__ = [
    "DATABASE",
    "MEND",
    "AgentUsages",
    "Agents",
    "AskedRequests",
    "Audit",
    "Card",
    "Cards",
    "Chain",
    "Claim",
    "Copy",
    "CryptoRecords",
    "Database",
    "Decided",
    "Egress",
    "FileState",
    "Heard",
    "Inbox",
    "Ipc",
    "KnownMessage",
    "MeshArrival",
    "MeshEvents",
    "MessageReactions",
    "Nonces",
    "Outbox",
    "Past",
    "Pause",
    "Pauses",
    "Peer",
    "PeerRequest",
    "PeerRequests",
    "PeerState",
    "Peers",
    "Queues",
    "ReceivedFile",
    "ReceivedFiles",
    "Record",
    "RepliedMessages",
    "Repos",
    "Restored",
    "Retention",
    "RoomRow",
    "RoomSettings",
    "Rooms",
    "Schedules",
    "Spending",
    "TokensSpent",
    "Transaction",
    "Turn",
    "TurnRow",
    "Turns",
    "Upgrade",
    "Upgrades",
    "Vitals",
    "Waiting",
    "WatchedJob",
    "WatchedJobs",
    "Work",
    "again_at",
    "copy",
    "damage",
    "device_in",
    "is_begun",
    "locked",
    "mark_of",
    "put_back",
    "reading",
    "rescue",
    "take_down",
    "version",
]
