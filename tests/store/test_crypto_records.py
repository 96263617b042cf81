"""What encryption remembers, and what it knows without looking."""

from collections.abc import Callable
from pathlib import Path

import pytest

from roommate.store import CryptoRecords
from roommate.store.crypto_records import Transaction


@pytest.mark.parametrize(
    "look",
    [
        lambda r: r.all("kind"),
        lambda r: r.some("kind", 5),
        lambda r: r.oldest_first("kind"),
    ],
)
async def test_that_there_is_none_is_known_when_somebody_has_looked(
    tmp_path: Path, look: Callable[[Transaction], object]
) -> None:
    records = CryptoRecords(tmp_path)
    assert not records.has_none("kind")
    await records.do(look)
    assert records.has_none("kind")
    assert not records.has_none("another")
    await records.do(lambda r: r.put("kind", "key", "value"))
    assert not records.has_none("kind")
    await records.do(look)
    assert not records.has_none("kind")
    await records.do(lambda r: r.drop("kind", "key"))
    await records.do(look)
    assert records.has_none("kind")
    await records.close()


async def test_what_was_taken_back_tells_nothing(tmp_path: Path) -> None:
    records = CryptoRecords(tmp_path)
    await records.do(lambda r: r.put("kind", "key", "value"))

    def emptied(r: Transaction) -> None:
        r.drop_all("kind")
        assert r.all("kind") == []
        raise ValueError

    def seen_empty_and_filled(r: Transaction) -> None:
        assert r.all("another") == []
        r.put("another", "key", "value")

    with pytest.raises(ValueError):
        await records.do(emptied)
    assert not records.has_none("kind")
    await records.do(lambda r: r.all("kind", "prefix"))
    assert not records.has_none("kind"), "a part of them was looked at"
    await records.do(seen_empty_and_filled)
    assert not records.has_none("another")
    await records.close()
