"""`roommate image`: make the rooms' image with a line for each step, and show what images there are."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from roommate import config
from roommate.cli.steps import Steps
from roommate.sandbox import image


async def build(name: str, stage: str, *, fresh: bool) -> str:
    """Its id. Raises ConfigError, EngineError, ImageError."""
    settings = config.load()
    return await image.build(
        name or settings.sandbox_image,
        stage=stage,
        fresh=fresh,
        podman=settings.podman_path,
        step=Steps(Console(stderr=True)).step,
    )


async def show(as_json: bool) -> None:
    """Raises ConfigError, EngineError, ImageError."""
    settings = config.load()
    images = await image.made(podman=settings.podman_path)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in images], indent=1))
        return
    table = Table("name", "stage", "size", "age", "coding agents", box=None)
    for one in images:
        mark = "" if one.current else ", outdated"
        agents = ", ".join(f"{name} {version}" for name, version in one.agents.items())
        used = " ← SANDBOX_IMAGE" if one.name == settings.sandbox_image else ""
        table.add_row(f"{one.name}{used}", f"{one.stage}{mark}", _size(one.size), _age(time.time() - one.made), agents)
    Console(soft_wrap=True).print(table)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
