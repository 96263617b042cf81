"""The account's secrets by the names under which they are stored and passed on: its identity, and its backup's key.

https://spec.matrix.org/v1.16/client-server-api/#secrets
"""

from __future__ import annotations

from roommate.matrix.crypto.backed_up_session import BackupKey
from roommate.matrix.crypto.cross_signing import USES, Identity
from roommate.matrix.crypto.signing import unpadded

OF_BACKUP = "m.megolm_backup.v1"
OF_IDENTITY = {use: f"m.cross_signing.{use}" for use in USES}
NAMES = (*OF_IDENTITY.values(), OF_BACKUP)


def secrets_of(identity: Identity, backup: BackupKey | None) -> dict[str, str]:
    """By their names, in unpadded Base64."""
    found = {name: unpadded(getattr(identity, use).seed) for use, name in OF_IDENTITY.items()}
    return found if backup is None else {**found, OF_BACKUP: unpadded(backup.private)}
