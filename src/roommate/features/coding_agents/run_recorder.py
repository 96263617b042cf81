"""What a run of an agent came to: its events shown to people, kept as a transcript, and summed up."""

from __future__ import annotations

from roommate.domain import NO_USAGE, Emit, ToolOutput, ToolStep, Usage
from roommate.features.coding_agents.agent_clis import is_session
from roommate.features.coding_agents.events import AgentEvent, Began, Called, Complained, Ended, Returned, Spoke

TRANSCRIPT = 4 << 20
"""Characters that a transcript holds."""
ANSWER = 200_000
SHOWN = 2000
"""Characters of one text that people see live; the transcript has all of it."""
SUBJECT = 200
LONGEST = 10_000
"""Characters of what went wrong."""
MOST_OPEN, MOST_CHANGED, KEY = 256, 1000, 200


class Account:
    def __init__(self, call_id: str, emit: Emit) -> None:
        self._call_id, self._emit = call_id, emit
        self._transcript: list[str] = []
        self._room = TRANSCRIPT
        self._answer = ""
        self._new_text, self._spoken = True, False
        self._open: dict[str, Called] = {}
        self.session = ""
        self.usage: Usage = NO_USAGE
        self.calls = 0
        self.changed: dict[str, None] = {}
        """Files that it wrote, in the order in which it did so first."""
        self.error = ""
        self.complaint = ""

    @property
    def answer(self) -> str:
        """What it said since its last call."""
        return self._answer.strip()

    @property
    def transcript(self) -> str:
        return "".join(self._transcript) + ("" if self._room else "\n\n(The rest is left out.)\n")

    def take(self, event: AgentEvent) -> None:
        match event:
            case Began(session):
                self.session = session if is_session(session) else self.session
            case Spoke(text, more):
                self._spoke(text, more)
            case Called():
                self._called(event)
            case Returned():
                self._returned(event)
            case Complained(text):
                self.complaint = text[:LONGEST]
                self._emit(ToolOutput(self._call_id, f"\n⚠ {text[:SHOWN]}\n"))
                self._write(f"\n\n> ⚠ {text}\n")
            case Ended(usage, error):
                self.usage += usage
                self.error = error[:LONGEST]

    def _spoke(self, text: str, more: bool) -> None:
        gap = "" if more and not self._new_text else "\n\n"
        line = "\n" if gap and self._spoken else ""
        self._new_text, self._spoken = False, True
        self._answer = (self._answer + gap + text)[-ANSWER:]
        self._write(gap + text)
        self._emit(ToolOutput(self._call_id, line + text[-SHOWN:]))

    def _called(self, call: Called) -> None:
        self.calls += 1
        self._answer, self._new_text = "", True
        if len(self._open) < MOST_OPEN:
            self._open[call.id[:KEY]] = call
        if call.change and len(self.changed) < MOST_CHANGED:
            self.changed[call.subject] = None
        self._write(f"\n\n▶ {call.tool}: {call.subject}\n" + (f"{call.change}\n" if call.change else ""))
        self._emit(self._step(call, None))

    def _returned(self, result: Returned) -> None:
        call = self._open.pop(result.id[:KEY], None)
        self._write(f"\n{'✔' if result.ok else '✘'} {result.text}\n")
        if call is not None:
            self._emit(self._step(call, result.ok))

    def _step(self, call: Called, ok: bool | None) -> ToolStep:
        return ToolStep(self._call_id, call.id[:100], call.tool[:40], call.subject[:SUBJECT], call.change[:SHOWN], ok)

    def _write(self, text: str) -> None:
        kept = text[: self._room]
        self._room -= len(kept)
        if kept:
            self._transcript.append(kept)
