"""The tools that run things: run_command, read_background, stop_background."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

from pydantic import Field

from roommate.domain import Exit, Hand, Job
from roommate.tools.arguments import Arguments, Command, Seconds, Text
from roommate.tools.bounded import Excerpt
from roommate.tools.live_output import watched
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import shown
from roommate.tools.tool import Call, tool

WORKSPACE = "/workspace"
FIRST_LOOK = 0.5
"""Seconds for which a new background command is watched: most that cannot work end at once."""
LONGEST_WAIT = 120.0
LOOK_EVERY = 0.1


class RunCommand(Arguments):
    """Run a shell command in the room's container and get its output and exit code."""

    command: Command = Field(description="The command, as typed into a shell")
    timeout: Seconds | None = Field(None, description="Seconds until it is killed")
    cwd: Text | None = Field(None, description="Folder to run it in; default: the workspace")
    background: bool = Field(False, description="True for servers and what runs long: go on at once while it runs")
    wake: bool = Field(True, description="In the background: tell you when it has ended; false for servers")


class ReadBackground(Arguments):
    """See whether a background command still runs, and the end of its output."""

    id: Text = Field(description="The id that run_command gave")
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Seconds to wait for it to end first"
    )


class StopBackground(Arguments):
    """Stop a background command."""

    id: Text = Field(description="The id that run_command gave")


async def run(asked: RunCommand, call: Call) -> Outcome:
    keep, longest = call.ports.keep, call.ports.longest_timeout
    if asked.background:
        return await _start(asked, call, keep)
    timeout = min(asked.timeout or call.ports.command_timeout, longest)
    with watched(call) as (printed, take):
        ended = await call.hand.run(
            asked.command,
            cwd=asked.cwd or WORKSPACE,
            env=dict(call.ports.env),
            timeout=timeout,
            on_output=take,
            spill_after=keep,
            clock=call.ports.clock,
        )
    text = shown(printed.excerpt(), ended.spilled or "")
    how = ending(ended)
    advice = ""
    if ended.timed_out:
        advice = f"; to let it run longer give it a timeout (at most {longest:g}) or background true"
    return Outcome(with_status(text, how + advice), how, ok=ended.code == 0 and not ended.timed_out)


async def read(asked: ReadBackground, call: Call) -> Outcome:
    job = await call.hand.job(asked.id)
    return await _shown(await _wait(job, call.hand, min(asked.wait or 0, LONGEST_WAIT)), call)


async def stop(asked: StopBackground, call: Call) -> Outcome:
    return await _shown(await call.hand.stop_job(asked.id), call)


async def _shown(job: Job, call: Call) -> Outcome:
    text, how = await log_end(job, call.hand, call.ports.keep), state(job)
    if call.ports.jobs and job.exit is not None:
        await call.ports.jobs.known(job.id)
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


async def _start(asked: RunCommand, call: Call, keep: int) -> Outcome:
    hand, jobs = call.hand, call.ports.jobs if asked.wake else None
    job = await hand.start_job(asked.command, cwd=asked.cwd or WORKSPACE)
    job = await _wait(job, hand, FIRST_LOOK)
    text = await log_end(job, hand, keep)
    if jobs and job.exit is None:
        await jobs.watch(job)
    if job.exit is not None:
        return Outcome(with_status(text, state(job)), state(job), ok=job.exit.code == 0)
    status = (
        f"runs in the background with id {job.id}; see its output with read_background, end it with stop_background"
        + ("; when it has ended you are told, so do not wait for it" if jobs else "")
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


async def log_end(job: Job, hand: Hand, keep: int) -> str:
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


TOOLS = (
    tool("run_command", RunCommand, run, title=("command",)),
    tool("read_background", ReadBackground, read, title=("id",)),
    tool("stop_background", StopBackground, stop, title=("id",)),
)
