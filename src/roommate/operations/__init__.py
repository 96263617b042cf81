"""Operations: what people and programs can ask of the daemon, each declared once.

A declaration says what an operation is called, takes and does, who may ask for it, what the audit log calls it and how
it is written at each door. The doors (`roommate.doors`) are adapters. Whether it is allowed, and that it is written
down, is seen to here, in `Operations.perform`.
"""

from roommate.operations.caller import Call, Door, Settled
from roommate.operations.operation import (
    Ask,
    AsOption,
    Base64,
    Bound,
    Change,
    Form,
    OfRoom,
    OfRoomOrAll,
    Operation,
    Params,
    RoomName,
    Short,
    Table,
    Unchanged,
    Who,
    changing,
    changing_if,
    form,
    operation,
    operations_of,
)
from roommate.operations.registry import Operations

__all__ = [
    "AsOption",
    "Ask",
    "Base64",
    "Bound",
    "Call",
    "Change",
    "Door",
    "Form",
    "OfRoom",
    "OfRoomOrAll",
    "Operation",
    "Operations",
    "Params",
    "RoomName",
    "Settled",
    "Short",
    "Table",
    "Unchanged",
    "Who",
    "changing",
    "changing_if",
    "form",
    "operation",
    "operations_of",
]
