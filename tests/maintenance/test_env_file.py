"""Settings written into `.env`: read back as they were given, with everything else of the file in its place."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from roommate.errors import ConfigError
from roommate.maintenance import env_file
from roommate.settings import config

KEPT = """\
# Our bot.
export MATRIX_USER=@old:example.org   # asked for by Ann
MATRIX_PASSWORD="an # old
one"  # two lines
#LLM_MODEL=rehearsal
NOT_OURS=1 # stays
MATRIX_USER='@older:example.org'# no comment
"""
printable = st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"))
values = st.lists(st.sampled_from(["${HOME}", "${", "\\", "'", " # "]) | st.text(printable, max_size=9)).map("".join)


@hypothesis_settings(max_examples=60, deadline=None)
@pytest.mark.slow
@given(
    value=values,
    before=st.sampled_from(["", KEPT, "MATRIX_PASSWORD=x", "#MATRIX_PASSWORD=", "MATRIX_PASSWORD='a # b' # c\n"]),
)
def test_what_is_written_is_read(value: str, before: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("env") / ".env"
    file.write_text(before)
    env_file.write(file, {"MATRIX_PASSWORD": value})
    assert config.load(file, matrix_user="").matrix_password.get_secret_value() == value
    once = file.read_text()
    env_file.write(file, {"MATRIX_PASSWORD": value})
    assert file.read_text() == once


def test_everything_else_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(KEPT)
    file.chmod(0o644)
    env_file.write(file, {"MATRIX_PASSWORD": "it's # new", "LLM_MODEL": "openai/x", "OPERATORS": "@a:b,@c:d"})
    assert (
        file.read_text()
        == """\
# Our bot.
export MATRIX_USER=@old:example.org   # asked for by Ann
MATRIX_PASSWORD='it\\'s # new'  # two lines
#LLM_MODEL=rehearsal
LLM_MODEL=openai/x
NOT_OURS=1 # stays
MATRIX_USER='@older:example.org'# no comment
OPERATORS=@a:b,@c:d
"""
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_new_file_begins_with_its_header(tmp_path: Path) -> None:
    env_file.write(tmp_path / ".env", {"LLM_MODEL": "rehearsal"}, header="# Ours.\n")
    assert (tmp_path / ".env").read_text() == "# Ours.\nLLM_MODEL=rehearsal\n"


def test_what_a_line_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MATRIX_PASSWORD"):
        env_file.write(tmp_path / ".env", {"MATRIX_PASSWORD": "two\nlines"})
    assert not list(tmp_path.iterdir())
