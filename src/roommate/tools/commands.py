"""The tools that run things: run_command, read_background, stop_background."""

from __future__ import annotations

import asyncio
import signal

from roommate.ports import Emit, Hand
from roommate.tools.arguments import ReadBackground, RunCommand, StopBackground
from roommate.tools.bounded import Excerpt
from roommate.tools.live_output import watched
from roommate.tools.outcome import Outcome
from roommate.tools.plain import shown
from roommate.words import Exit, Job

WORKSPACE = "/workspace"
FIRST_LOOK = 0.5
"""Seconds for which a new background command is watched: most that cannot work end at once."""
LONGEST_WAIT = 120.0
LOOK_EVERY = 0.1


async def run(
    call_id: str, asked: RunCommand, hand: Hand, emit: Emit, *, default: float, longest: float, keep: int
) -> Outcome:
    """Times are seconds; `keep` is how many bytes of output the model gets."""
    if asked.background:
        return await _start(asked, hand, keep)
    timeout = min(asked.timeout or default, longest)
    with watched(call_id, emit, keep) as (printed, take):
        ended = await hand.run(
            asked.command, cwd=asked.cwd or WORKSPACE, timeout=timeout, on_output=take, spill_after=keep
        )
    text = shown(printed.excerpt(), ended.spilled or "")
    how = ending(ended)
    advice = ""
    if ended.timed_out:
        advice = f"; to let it run longer give it a timeout (at most {longest:g}) or background true"
    return Outcome(with_status(text, how + advice), how, ok=ended.code == 0 and not ended.timed_out)


async def read(asked: ReadBackground, hand: Hand, keep: int) -> Outcome:
    job = await hand.job(asked.id)
    job = await _wait(job, hand, min(asked.wait or 0, LONGEST_WAIT))
    text, how = await _log(job, hand, keep), state(job)
    return Outcome(with_status(text, f"background {job.id}: {how}; log in {job.log}"), how)


async def stop(asked: StopBackground, hand: Hand, keep: int) -> Outcome:
    job = await hand.stop_job(asked.id)
    text, how = await _log(job, hand, keep), state(job)
    return Outcome(with_status(text, f"background {job.id}: {how}; log in {job.log}"), how)


def ending(ended: Exit) -> str:
    """How a process ended, in one line: ``exit code 1 · 0.2 s``."""
    memory = " · the room's memory ran out meanwhile" if ended.out_of_memory else ""
    if ended.timed_out:
        return f"timed out after {ended.seconds:.1f} s and was killed{memory}"
    if ended.signal is not None:
        how = f"killed by {_signal_name(ended.signal)}"
    elif ended.code is not None:
        how = f"exit code {ended.code}"
    else:
        how = "nobody saw how, since the room's hand was ended meanwhile"
    return f"{how} · {ended.seconds:.1f} s{memory}"


def state(job: Job) -> str:
    return "still running" if job.exit is None else f"ended: {ending(job.exit)}"


async def _start(asked: RunCommand, hand: Hand, keep: int) -> Outcome:
    job = await hand.start_job(asked.command, cwd=asked.cwd or WORKSPACE)
    job = await _wait(job, hand, FIRST_LOOK)
    text = await _log(job, hand, keep)
    if job.exit is not None:
        return Outcome(with_status(text, state(job)), state(job), ok=job.exit.code == 0)
    status = (
        f"runs in the background with id {job.id}; see its output with read_background, end it with stop_background"
    )
    return Outcome(with_status(text, status), f"in the background, id {job.id}")


async def _wait(job: Job, hand: Hand, seconds: float) -> Job:
    """The job when it has ended, or after so many seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while job.exit is None and (left := until - loop.time()) > 0:
        await asyncio.sleep(min(LOOK_EVERY, left))
        job = await hand.job(job.id)
    return job


async def _log(job: Job, hand: Hand, keep: int) -> str:
    """The end of a job's output."""
    size = (await hand.read(job.log, limit=0)).size
    before = max(0, size - keep)
    end = (await hand.read(job.log, before, keep)).content
    return shown(Excerpt(b"", end, size, left_out=before, left_out_lines=0), job.log)


def with_status(text: str, status: str) -> str:
    """What was printed, and below it how things are."""
    text = text.rstrip()
    return f"{text}\n[{status}]" if text else f"(no output)\n[{status}]"


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"
