"""`roommate image`: make the rooms' image with a line for each step, and show what images there are."""

from __future__ import annotations

import time
from dataclasses import asdict

from rich.console import Console

from roommate.cli import daemon_requests
from roommate.cli.progress import Steps
from roommate.sandbox import image
from roommate.settings import config


async def build(name: str, stage: str, at_least: str, *, fresh: bool) -> str:
    """Its id. Raises ConfigError, EngineError, ImageError."""
    settings = config.load()
    return await image.build(
        name or settings.sandbox_image,
        stage=stage,
        at_least=at_least,
        fresh=fresh,
        podman=settings.podman_path,
        step=Steps(Console(stderr=True)).step,
    )


async def show(as_json: bool) -> None:
    """Raises ConfigError, EngineError, ImageError."""
    settings = config.load()
    columns: dict[str, daemon_requests.Column] = {
        "name": lambda one: one["name"] + (" ← SANDBOX_IMAGE" if one["name"] == settings.sandbox_image else ""),
        "stage": lambda one: one["stage"] + ("" if one["current"] else ", outdated"),
        "size": lambda one: _size(one["size"]),
        "age": lambda one: _age(time.time() - one["made"]),
        "coding agents": lambda one: ", ".join(f"{name} {version}" for name, version in one["agents"].items()),
    }
    daemon_requests.table(
        [asdict(one) for one in await image.made(podman=settings.podman_path)], columns, as_json=as_json
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
