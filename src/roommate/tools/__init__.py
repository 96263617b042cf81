"""TEMPORARY stand-in by the lead so that the daemon starts; the tools' author overwrites this file. Never committed."""
import json
from roommate.words import ToolResult, ToolSpec

class RoomTools:
    def __init__(self, hand, *, command_timeout, longest_timeout, keep=16384):
        self._hand = hand
    @property
    def specs(self):
        return [ToolSpec("run_command", "Run", {"type": "object", "properties": {"command": {"type": "string"}}})]
    async def call(self, call, emit):
        try:
            out = []
            hand = await self._hand()
            end = await hand.run(json.loads(call.arguments)["command"], on_output=lambda b: out.append(b))
            return ToolResult(call.id, f"exit {end.code}\n" + b"".join(out).decode(errors="replace"), True, f"exit {end.code}")
        except Exception as e:
            return ToolResult(call.id, repr(e), False, str(e))
