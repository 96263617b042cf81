"""The tools of the model: their schemas, and what they do in a room over its hand."""

from roommate.tools.room_tools import RoomTools
from roommate.tools.tool import TurnPorts

__all__ = ["RoomTools", "TurnPorts"]
