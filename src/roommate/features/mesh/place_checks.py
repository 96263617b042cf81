"""For doctor: does this host give the places outside of containers that the policy names?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roommate.domain import Check
from roommate.errors import ConfigError, SandboxError
from roommate.features.mesh.policy_file import Policy
from roommate.rooms.sandboxes_port import Sandboxes


async def examine(policy: Path, sandboxes: Sandboxes) -> Sequence[Check]:
    """A hand is started in each of them. A policy with a mistake is told elsewhere."""
    try:
        rules = Policy.load(policy).allow
    except ConfigError:
        return []
    found = []
    for place in dict.fromkeys(rule.outside(one) for rule in rules for one in rule.places):
        if place is None:
            continue
        what = f"place {place.kind}"
        try:
            async with sandboxes.on_host(place):
                found.append(Check(what, True, f"as {place.user}" if place.user else "as the daemon's user"))
        except SandboxError as problem:
            mend = "see what a rule needs for it in docs/policy.md; requests for it are refused until then"
            found.append(Check(what, False, str(problem), mend, needed=False))
    return found
