"""Making the rooms' image stage by stage, each found again as long as nothing changed that it is made from."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import ImageError
from roommate.sandbox import base_from_registry_or_debian, host_apt, mirrors_and_certificates
from roommate.sandbox.base_from_registry_or_debian import INPUTS
from roommate.sandbox.build_lock import Builds, builds
from roommate.sandbox.containerfile import Stage, digest, stages
from roommate.sandbox.mirrors_and_certificates import Site
from roommate.sandbox.run_host_program import follow, output, run

CONTAINERFILE = Path(__file__).parents[3] / "Containerfile"
"""Of the checkout that this module is part of; a wheel carries none."""

DEFAULT_STAGE = "core"
"""Of a new image: the first that has what work needs, such as pip, pytest, make, a compiler and Node."""

ABOVE_BASE = {
    "core": "build tools (pip, pytest, make, a compiler, Node)",
    "browser": "a browser for pictures of web pages",
    "agents": "coding agents",
}
"""What each stage adds, for people."""

STAGE, AGENT = "io.roommate.stage", "io.roommate.agent."
"""Labels of an image: its stage, and the version of each coding agent in it."""

_STEP = re.compile(r"STEP \d+/\d+: RUN : ([^;]+);")
"""A RUN of the Containerfile says in its first words what it does."""
_PODMANS = ("STEP ", "Error: ", "error building at STEP", "subprocess exited with status ")
_UNFINISHED = ".unfinished"
_SITE = "roommate-build-"
"""A folder with what a build has of this host, passwords of package indexes with it."""

ABANDONED_SECONDS = 86400.0
"""Age at which a build on an image of ours that is none of ours is taken to have ended: it looks as ours do."""

Step = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""``with step("sandbox image: core") as say:`` shows that a step runs, what it says, and how long it took."""


@dataclass(frozen=True, slots=True)
class Made:
    """An image of ours. `size` in bytes with all that is below it, `made` in seconds since 1970."""

    name: str
    id: str
    stage: str
    size: int
    made: int
    agents: Mapping[str, str]
    """The coding agents in it and their versions."""
    current: bool
    """It is what a build would make now."""


async def build(
    name: str,
    *,
    stage: str = "",
    at_least: str = "",
    new: str = DEFAULT_STAGE,
    fresh: bool = False,
    containerfile: Path = CONTAINERFILE,
    podman: str = "podman",
    abandoned_after: float = ABANDONED_SECONDS,
    step: Step,
) -> str:
    """Make the image `name` unless it is there already, made from the same inputs; returns its id.

    Without a `stage` it stays at the stage that it has, or goes to the one that it is to have `at_least`; a `new` one
    is of that stage. Where one that nobody named cannot be made, it is of the stage below, and that is said. `fresh`
    makes every stage anew, with the distribution's newest packages. What builds that were killed left on our images is
    removed: of what may be somebody else's what is older than `abandoned_after` (seconds). Raises EngineError when
    Podman is missing, ImageError when it cannot be made.
    """
    here = await _site()
    recipe = await asyncio.to_thread(_read, containerfile)
    known = _stages(recipe, here)
    with step("sandbox image") as say:
        names = [one.name for one in known]
        has = await _stage_of(podman, name)
        default = new if new in names else names[0]
        least = max((one for one in (has, at_least) if one in names), key=names.index, default=default)
        wanted = _up_to(known, stage or least)
        say(f"{name}, stage {wanted[-1].name}")
        if not fresh and (made := await _made_from(podman, name, wanted[-1])):
            say(f"{name}, stage {wanted[-1].name}, is up to date")
            return made
        say(f"{name}, stage {wanted[-1].name}, is to be made")
    async with builds(podman) as lock:
        return await _make(
            name, wanted, recipe, here, lock, podman=podman, fresh=fresh, step=step,
            needed=wanted if stage else wanted[: names.index(has) + 1 if has in names else 0],
            abandoned_after=abandoned_after,
        )  # fmt: skip


async def _make(
    name: str, wanted: Sequence[Stage], recipe: str, here: Site, lock: Builds, *, podman: str, fresh: bool, step: Step,
    needed: Sequence[Stage], abandoned_after: float,
) -> str:  # fmt: skip
    """Without a stage that cannot be made it is of the one below, unless it is `needed`."""
    began, complete = time.time(), True
    missing, parent = (wanted, "") if fresh else await _newest(podman, wanted)
    # A finished stage has a name until all is done: it must not be tidied away, and a failed build goes on from there.
    unfinished = name + _UNFINISHED
    for one in missing:
        try:
            with step(f"sandbox image: {one.name}") as say:
                on = parent or await base_from_registry_or_debian.base(podman, recipe, _inputs_of_base(recipe), say)
                await _build(podman, one, on, unfinished, here, fresh, lock, say)
                parent = await _made_from(podman, unfinished, one) or ""
                if not parent:
                    raise ImageError(f"{one.name} was built, but Podman does not show it")
        except ImageError as error:
            if not parent or one in needed:
                raise
            complete = False
            with step("sandbox image") as say:
                say(f"goes without {one.name} for now: {error}")
            break
    await run([podman, "tag", parent, name], f"naming {name}")
    await output(podman, "untag", unfinished, unfinished)
    if lock.alone():
        await _remove_left_behind(podman, began, abandoned_after, layers=complete)
        for left in lock.folder.glob(f"{_SITE}*"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
    await _tidy(podman)
    return parent


async def made(*, containerfile: Path = CONTAINERFILE, podman: str = "podman") -> list[Made]:
    """All images of ours that have a name, newest first. Raises EngineError, ImageError."""
    listed = await output(podman, "image", "ls", "--format", "json", "--filter", f"label={STAGE}")
    here = {one.inputs for one in _stages(await asyncio.to_thread(_read, containerfile), await _site())}
    found: dict[str, Made] = {}  # Podman lists an image with two names twice, each time with both
    for image in json.loads(listed or "[]"):
        labels = image.get("Labels") or {}
        for name in image.get("Names") or ():
            if not name.endswith(_UNFINISHED):
                found[name] = Made(
                    name=name,
                    id=image["Id"],
                    stage=labels[STAGE],
                    size=image["Size"],
                    made=image["Created"],
                    agents=agents_of(labels),
                    current=labels.get(INPUTS) in here,
                )
    return sorted(found.values(), key=lambda one: -one.made)


def lacking(labels: Mapping[str, str]) -> Sequence[str]:
    """The stages whose tools are not in an image; none of one that is not ours, of which nothing is known."""
    stage = labels.get(STAGE, "")
    stages = ["base", *ABOVE_BASE]
    return stages[stages.index(stage) + 1 :] if stage in stages else []


def agents_of(labels: Mapping[str, str]) -> dict[str, str]:
    """The coding agents in an image and their versions, as its labels say."""
    return {name.removeprefix(AGENT): labels[name] for name in sorted(labels) if name.startswith(AGENT)}


async def _build(
    podman: str,
    stage: Stage,
    parent: str,
    name: str,
    here: Site,
    fresh: bool,
    lock: Builds,
    say: Callable[[str], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix=_SITE, dir=lock.folder) as place:
        folder = Path(place) / "site"
        # Its name changes with what of it stays in the image, so that no older layer is taken for the same.
        script = f"{digest(*here.stays.values())[:8]}.sh"
        await asyncio.to_thread(here.lay_out, folder, script)
        # Isolation "chroot" needs neither an OCI runtime nor cgroups, which is what differs most between hosts.
        command = [podman, "build", "--isolation=chroot", "--layers", "--pull=never"]
        command += ["--no-cache"] if fresh else []
        command += [
            "--volume",
            # With what is forbidden where it lies, most likely: a user may mount it with no less.
            f"{folder}:{mirrors_and_certificates.MOUNT}:ro,nosuid,nodev,noexec",
            "--build-arg",
            f"SITE={mirrors_and_certificates.MOUNT}/{script}",
        ]
        command += ["--tag", name, "-"]

        def show(line: str) -> None:
            if found := _STEP.match(line):
                say(found[1])

        code, last = await follow(command, stage.on(parent, STAGE, INPUTS), show, holds=[lock.fd])
    if code != 0:
        # Podman's own last lines only name the command; the one before them says what was wrong.
        said = [line for line in last if line.strip() and not line.startswith(_PODMANS)]
        raise ImageError(f"building stage {stage.name} failed: {said[-1] if said else last[-1] if last else code}")


async def _site() -> Site:
    options, codename = await host_apt.options(), host_apt.codename()
    return await asyncio.to_thread(mirrors_and_certificates.read, Path("/"), os.environ, codename, options)


def _stages(recipe: str, here: Site) -> list[Stage]:
    return stages(recipe, *base_from_registry_or_debian.HOW, *here.stays.values())


def _up_to(known: Sequence[Stage], name: str) -> list[Stage]:
    names = [stage.name for stage in known]
    if name not in names:
        raise ImageError(f"there is no stage {name!r}: the Containerfile has {', '.join(names)}")
    return list(known[: names.index(name) + 1])


async def _newest(podman: str, wanted: Sequence[Stage]) -> tuple[list[Stage], str]:
    """The stages that are still to be made, and the image to make them on; empty when there is none yet."""
    for count in range(len(wanted), 0, -1):
        label = f"label={INPUTS}={wanted[count - 1].inputs}"
        found = await output(podman, "image", "ls", "--all", "--no-trunc", "--quiet", "--filter", label)
        if found:
            return list(wanted[count:]), found.split()[0].removeprefix("sha256:")
    return list(wanted), ""


async def _stage_of(podman: str, name: str) -> str:
    form = f'{{{{index .Labels "{STAGE}"}}}}'
    return (await output(podman, "image", "inspect", "--format", form, name)).strip()


async def _made_from(podman: str, name: str, stage: Stage) -> str | None:
    shown = await output(podman, "image", "inspect", "--format", f'{{{{.Id}}}} {{{{index .Labels "{INPUTS}"}}}}', name)
    image, _, label = shown.strip().partition(" ")
    return image if label == stage.inputs else None


async def _remove_left_behind(podman: str, began: float, abandoned_after: float, *, layers: bool) -> None:
    """What builds that were killed left: as long as it is there Podman removes nothing below it. No build of ours is
    alive but this one, which `began` then. `layers`: no build is to go on from them any more."""
    form = f'{{{{.Id}}}} {{{{index .Labels "{INPUTS}"}}}}'
    ours = ("--no-trunc", "--filter", f"label={INPUTS}", "--format", form)
    listed = (await output(podman, "image", "ls", "--all", *ours)).splitlines()
    inputs = {image.removeprefix("sha256:"): label for image, _, label in (line.partition(" ") for line in listed)}
    external = await output(podman, "ps", "--all", "--external", "--no-trunc", "--format", "json")
    for container in json.loads(external or "[]"):
        label = inputs.get(container["ImageID"])
        # On a whole image of ours anybody may be building something.
        least = began if label == "" else began - abandoned_after
        if container["State"] == "storage" and label is not None and container["Created"] < least:
            await output(podman, "rm", "--force", container["Id"])
    if layers:
        for line in (await output(podman, "image", "ls", "--filter", "dangling=true", *ours)).splitlines():
            image, _, label = line.partition(" ")
            if not label:
                await output(podman, "image", "rm", image)


async def _tidy(podman: str) -> None:
    """Remove what was replaced; what a container still uses stays until the next build."""
    form = f'{{{{.Id}}}} {{{{index .Labels "{INPUTS}"}}}}'
    ours = ("--filter", "dangling=true", "--filter", f"label={INPUTS}")
    for line in (await output(podman, "image", "ls", *ours, "--no-trunc", "--format", form)).splitlines():
        image, _, inputs = line.partition(" ")
        if inputs:  # without them it is a layer of a build that runs, or that goes on later
            await output(podman, "image", "rm", image)


def _inputs_of_base(recipe: str) -> str:
    return digest(" ".join(base_from_registry_or_debian.packages(recipe)), *base_from_registry_or_debian.HOW)


def _read(containerfile: Path) -> str:
    try:
        return containerfile.read_text()
    except OSError as exc:
        raise ImageError(f"{containerfile} cannot be read: {exc.strerror}") from exc
