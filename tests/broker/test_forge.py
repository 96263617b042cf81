"""The forge's REST API from the host: where it is, what is asked of it, what people are told when it says no."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roommate.domain import Destination, PullRequest, Repository
from roommate.errors import ForgeError
from roommate.features.github.forge import Forge, Site
from tests.forge import TOKEN
from tests.forge import Forge as LocalForge

REPO = "acme/widget"


@pytest.fixture
async def local() -> AsyncIterator[LocalForge]:
    async with LocalForge() as local:
        local.add(REPO)
        yield local


@pytest.fixture
async def forge(local: LocalForge) -> AsyncIterator[Forge]:
    forge = Forge(Site.of(local.url, token=TOKEN))
    yield forge
    await forge.close()


@pytest.mark.parametrize(
    ("server", "api", "derived", "there"),
    [
        ("https://github.com", "", "https://api.github.com", Destination("github.com", 443)),
        ("https://GitHub.com/", "", "https://api.github.com", Destination("github.com", 443)),
        ("https://git.example.org", "", "https://git.example.org/api/v3", Destination("git.example.org", 443)),
        ("http://10.0.0.5:3000", "http://10.0.0.5/rest/", "http://10.0.0.5/rest", Destination("10.0.0.5", 3000)),
    ],
)  # fmt: skip
def test_where_it_is(server: str, api: str, derived: str, there: Destination) -> None:
    site = Site.of(server, api, TOKEN)
    assert (site.api, site.destination) == (derived, there)
    assert TOKEN not in repr(site)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("acme/widget", "acme/widget"),
        ("https://github.com/acme/widget", "acme/widget"),
        ("https://github.com/Acme/widget.git", "Acme/widget"),
        ("HTTPS://GITHUB.COM/acme/.github/", "acme/.github"),
        ("git@github.com:acme/widget.git", "acme/widget"),
        ("ssh://git@github.com/acme/wid.get", "acme/wid.get"),
        ("https://github.com/acme", None),
        ("https://github.com/acme/widget/pull/1", None),
        ("https://github.com/acme/..", None),
        ("https://github.com/../widget", None),
        ("https://github.com/acme/...git", None),
        ("https://elsewhere.org/acme/widget", None),
        ("acme/wid get", None),
        ("acme/widget?x", None),
        ("/acme/widget", None),
        ("", None),
    ],
)
def test_what_is_a_repository(text: str, name: str | None) -> None:
    assert Site.of("https://github.com").named(text) == name


async def test_what_it_says(local: LocalForge, forge: Forge) -> None:
    assert await forge.repository(REPO) == Repository(REPO, "main")
    assert not await forge.is_empty(REPO)
    old = local.branches(REPO)["main"]
    new = local.commit(REPO, "feature", {"x": "1"}, parent=old)
    other = local.commit(REPO, "other", {"y": "1"}, parent=old)
    assert await forge.contains(REPO, old, new)
    assert await forge.contains(REPO, old, old)
    assert not await forge.contains(REPO, new, old)
    assert not await forge.contains(REPO, other, new)
    assert await forge.open_pull_request(REPO, "feature") is None
    made = await forge.create_pull_request(REPO, branch="feature", base="main", title="t", body="b")
    assert made == PullRequest(1, f"{local.url}/{REPO}/pull/1", is_new=True)
    found = await forge.open_pull_request(REPO, "feature")
    assert found == PullRequest(1, made.url, is_new=False)


async def test_what_it_refuses(local: LocalForge, forge: Forge) -> None:
    with pytest.raises(ForgeError, match="has no acme/nothing, or the GITHUB_TOKEN may not see it"):
        await forge.repository("acme/nothing")
    with pytest.raises(ForgeError, match="with status 422: Validation Failed; head is not there"):
        await forge.create_pull_request(REPO, branch="nothing", base="main", title="t", body="b")
    with pytest.raises(ForgeError, match="acme/widget"):
        await forge.contains(REPO, "1" * 40, "2" * 40)
    local.token = "another"
    with pytest.raises(ForgeError, match="does not take the GITHUB_TOKEN: the operator must set another") as told:
        await forge.repository(REPO)
    assert TOKEN not in str(told.value)
    await local.close()
    with pytest.raises(ForgeError, match="cannot be reached"):
        await forge.repository(REPO)
