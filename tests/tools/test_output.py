"""Output of any length and any kind becomes bounded, safe text."""

from __future__ import annotations

import asyncio
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roommate.domain import Event, ToolOutput
from roommate.tools.bounded import Bounded
from roommate.tools.live_output import EVERY, NEWEST, LiveOutput
from roommate.tools.sanitized_text import is_binary, sanitized, shown

PIECES = st.lists(st.binary(max_size=60) | st.text(max_size=40).map(str.encode) | st.just(b"a line\n"), max_size=30)


def fed(pieces: list[bytes], head: int, tail: int) -> Bounded:
    bounded = Bounded(head, tail)
    for piece in pieces:
        bounded.add(piece)
    return bounded


@given(PIECES, st.integers(0, 100), st.integers(0, 100))
def test_nothing_is_lost_uncounted(pieces: list[bytes], head: int, tail: int) -> None:
    whole = b"".join(pieces)
    excerpt = fed(pieces, head, tail).excerpt()
    assert len(excerpt.head) <= head
    assert len(excerpt.tail) <= tail
    assert excerpt.size == len(whole)
    assert whole.startswith(excerpt.head)
    assert whole.endswith(excerpt.tail)
    middle = whole[len(excerpt.head) : len(whole) - len(excerpt.tail)]
    if len(whole) <= head + tail:
        assert excerpt.head + excerpt.tail == whole
    else:
        assert len(excerpt.head) + len(excerpt.tail) + len(middle) == len(whole)
    assert excerpt.left_out == len(middle)
    assert excerpt.left_out_lines == middle.count(b"\n")


@given(st.text(min_size=1, max_size=400), st.integers(8, 100), st.data())
def test_characters_stay_whole(text: str, keep: int, data: st.DataObject) -> None:
    encoded = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    pieces = [encoded[start:end] for start, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    excerpt = fed(pieces, keep, keep).excerpt()
    if excerpt.left_out:
        excerpt.head.decode()
        excerpt.tail.decode()
        assert len(excerpt.head) > keep // 2 - 4
        assert len(excerpt.tail) > keep // 2 - 4


def test_it_is_cut_between_lines() -> None:
    excerpt = fed([b"".join(b"line %d\n" % n for n in range(1000))], 100, 100).excerpt()
    assert excerpt.head.endswith(b"\n")
    assert excerpt.tail.startswith(b"line 98")
    assert (
        shown(excerpt, ".roommate/output/1.txt").count("left out, whole output in .roommate/output/1.txt …\nline 98")
        == 1
    )


def test_memory_is_bounded() -> None:
    bounded = Bounded(1000, 1000)
    for _ in range(10_000):
        bounded.add(b"x" * 997)
    assert len(bounded._head) + len(bounded._tail) <= 3000 + 997


@given(st.binary(max_size=300))
@example(b"\xed\xa0\x80")
@example("\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b1m\u202e".encode())
def test_whatever_it_was_it_is_safe(output: bytes) -> None:
    text = sanitized(output)
    text.encode()
    assert all(unicodedata.category(char) not in ("Cc", "Cs") or char in "\n\t" for char in text)
    shown(fed([output], 50, 50).excerpt()).encode()


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (b"\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "red and link\n"),
        (b" 10%\r 50%\r100%\ndone\r\n", "100%\ndone\n"),
        (b"half\r", "half"),
        (b"a\0b\0", "a\nb\n"),
        (b"bell\x07 back\x08 del\x7f tab\t", "bell back del tab\t"),
        ("caf\xe9 ".encode("latin-1") + "naïve 日本 🎉".encode(), "caf\ufffd naïve 日本 🎉"),
    ],
)
def test_what_terminals_understand_becomes_text(printed: bytes, text: str) -> None:
    assert sanitized(printed) == text


def test_binary_is_said() -> None:
    elf = b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 4
    assert is_binary(elf)
    assert not is_binary("Zwölf Boxkämpfer jagen Viktor".encode("latin-1"))
    assert not is_binary(b"./a/file.py\0./another/file.py\0")
    assert not is_binary(b"\x1b[31m\x1b[0m\r\n" * 9)
    assert not is_binary(b"")
    text = shown(fed([elf], 100, 100).excerpt(), "x.txt")
    assert text.startswith(f"[binary output, {len(elf)} bytes, all of it in x.txt; it starts with 7f 45 4c 46")
    assert len(text) < 400


async def test_people_see_it_at_once_and_then_a_few_times_a_second() -> None:
    events: list[Event] = []
    live = LiveOutput("7", events.append)
    live.add(b"first\n")
    assert events == [ToolOutput("7", "first\n")]
    for number in range(1000):
        live.add(b"more %d\n" % number)
    assert len(events) == 1
    await asyncio.sleep(2 * EVERY)
    assert len(events) == 2
    assert isinstance(events[1], ToolOutput)
    assert events[1].text.endswith("more 999\n")
    assert len(events[1].text) <= NEWEST
    live.add(b"last")
    live.close()
    assert events[2] == ToolOutput("7", "last")
    await asyncio.sleep(2 * EVERY)
    assert len(events) == 3


async def test_a_character_in_two_pieces_is_one() -> None:
    events: list[Event] = []
    live = LiveOutput("7", events.append)
    for byte in "日\x1b[1mx".encode():
        live.add(bytes([byte]))
        await asyncio.sleep(EVERY * 1.2)
    live.close()
    assert "".join(event.text for event in events if isinstance(event, ToolOutput)) == "日x"


async def test_half_a_character_at_the_end_is_shown_as_what_it_is() -> None:
    events: list[Event] = []
    live = LiveOutput("7", events.append)
    live.add("日".encode()[:2])
    assert not events
    live.close()
    assert events == [ToolOutput("7", "\ufffd")]
