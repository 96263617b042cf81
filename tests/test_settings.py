"""Wrong settings: each is named in one line with what is right; none is taken in silence, none gives a traceback."""

from __future__ import annotations

import ast
import asyncio
import difflib
import json
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from roommate.administration import preconditions
from roommate.agent import model_name_checks, own_wire_or_litellm
from roommate.composition.from_settings import choice_of, model_of, sandboxes_of, site_of
from roommate.errors import ConfigError
from roommate.maintenance import env_file
from roommate.net import outbound_http
from roommate.settings import config
from roommate.settings.config import Settings
from tests.cli.test_commands import roommate
from tests.cli.test_operating import found, run
from tests.conftest import MakeDaemon, MakePerson

SOURCE = Path(config.__file__).parents[1]
NAMES = sorted(Settings.model_fields)
SECRETS = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}

WRONG = {
    "OPERATORS": ("you", "whole Matrix ids"),
    "MATRIX_ADMIN_USER": ("you", "whole Matrix id"),
    "ALLOWED_USERS": ("name-without-a-server", "globs of whole Matrix ids"),
    "CONTROL_ROOM": ("#room:example.org", "begins with !"),
    "MATRIX_HOMESERVER": ("matrix.example.org", "http:// or https://"),
    "MATRIX_USER": ("bot", "whole Matrix id"),
    "VPS_IP": ("http://192.0.2.7", "IP address"),
    "LLM_API_BASE": ("localhost:9", "http:// or https://"),
    "OPENAI_API_BASE": ("https://example.org:99999/v1", "such as https://example.org"),
    "LLM_API_KEY": ("a key with blanks", "as its provider gives it"),
    "GITHUB_TOKEN": ("ghp_ü", "as its provider gives it"),
    "LLM_MODEL": ("gemini-9.9-nonsense", "PROVIDER/MODEL"),
    "LLM_TIMEOUT_SECONDS": ("inf", "a number"),
    "TIME_ZONE": ("Mars/Base", "time zone"),
    "LLM_PARAMS": ('{"model": "x"}', "model cannot be set here"),
    "LLM_WIRE": ("openai", "it must be"),
    "LLM_CONTEXT_TOKENS": ("many", "a whole number"),
    "ANSWER_EVERYTHING": ("sometimes", "true or false"),
    "EGRESS_PRESETS": ("github,everything", "there is no 'everything': there are none, registries, github, all"),
    "EGRESS_INTERNAL_HOSTS": ("https://mirror.example.org/", "no http://"),
    "GITHUB_SERVER_URL": ("git.example.org", "http:// or https://"),
    "PROTECTED_BRANCHES": (" , ", "leave it empty for the default"),
    "AGENT_MODELS": ("gemini", "AGENT=MODEL"),
    "PLAN_AGENT": ("copilot", "there is no agent 'copilot'"),
    "SANDBOX_IMAGE": ("--privileged", "the name of an image"),
    "SANDBOX_CPUS": ("0", "at least 0.01"),
    "PODMAN_PATH": ("/nowhere/podman", "no such program"),
    "STATE_DIR": ("/proc/roommate", "a folder that can be written"),
    "IPC_BASE_DIR": ("/proc/roommate/ipc", "a folder that can be written"),
    "POLICY_FILE": ("/nowhere/policy.toml", "a file that can be read: no such file"),
    "TRANSCRIPTION_MODEL": ("wisper", "PROVIDER/MODEL"),
    "BACKUP_DIR": ("/dev/null/backups", "a folder"),
    "UPDATE_REF": ("--upload-pack=x", "a branch, a tag or a commit"),
    "UPDATE_ALLOWED_SIGNERS": ("/nowhere/signers", "a file that can be read: no such file"),
    "UPDATE_SIGNED_TAGS_ONLY": ("true", "needs UPDATE_ALLOWED_SIGNERS"),
    "LOG_LEVEL": ("LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    "LOG_FORMAT": ("xml", "'human' or 'json'"),
    "AUDIT_DAYS": ("-1", "at least 0"),
}
COMPLETE = {"MATRIX_HOMESERVER": "http://127.0.0.1:1", "MATRIX_USER": "@bot:localhost"}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named_with_what_is_right(name: str, tmp_path: Path) -> None:
    value, words = WRONG[name]
    with pytest.raises(ConfigError) as raised:
        preconditions.demand(config.load(None, **{"state_dir": str(tmp_path), **_lower(COMPLETE), name.lower(): value}))
    said = str(raised.value)
    assert raised.value.exit_code == 78
    assert said.startswith(name)
    assert words in said
    assert "\n" not in said
    if name.lower() in SECRETS:
        assert value not in said
    elif name != "UPDATE_SIGNED_TAGS_ONLY":
        assert repr(value) in said or "LLM_MODEL" in said, said


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("run", "OPERATORS"), ("run", "LLM_API_BASE"), ("run", "PODMAN_PATH"), ("run", "STATE_DIR"),
        ("run", "IPC_BASE_DIR"), ("start", "STATE_DIR"), ("start", "IPC_BASE_DIR"), ("doctor", "OPERATORS"),
        ("init --yes", "OPERATORS"),
    ],
)  # fmt: skip
async def test_the_process_ends_at_once_with_one_line(command: str, name: str, tmp_path: Path) -> None:
    value, words = WRONG[name]
    given = {"STATE_DIR": str(tmp_path / "state"), **COMPLETE, name: value}
    code, out, err = await roommate(tmp_path, *command.split(), **given)
    assert (code, out) == (78, ""), err
    assert f"{name}: " in err
    assert words in err
    assert [line for line in err.splitlines() if " WARNING " not in line] == err.splitlines()[-1:]


async def test_doctor_goes_on_with_what_is_wrong_on_this_host(tmp_path: Path) -> None:
    given = {
        "STATE_DIR": str(tmp_path / "state"),
        **COMPLETE,
        "BACKUP_DIR": "/dev/null/backups",
        "PODMAN_PATH": "/nowhere/podman",
    }
    code, out, err = await roommate(tmp_path, "doctor", "--fix", **given)
    assert code == 2
    assert "✘ settings: BACKUP_DIR: it must be a folder" in out
    assert "PODMAN_PATH: there is no such program (it is '/nowhere/podman')" in out
    assert "failed: made /dev/null/backups: file exists" in err
    assert "Traceback" not in err


def test_a_folder_of_others_is_not_roommates(tmp_path: Path) -> None:
    def said(**given: str) -> str:
        with pytest.raises(ConfigError) as raised:
            preconditions.demand(config.load(None, **{"state_dir": str(tmp_path), **_lower(COMPLETE), **given}))
        return str(raised.value)

    for folder in ("/", "/tmp", "/var", str(Path.home()), "~"):
        assert "STATE_DIR: it must be a folder of Roommate's own" in said(state_dir=folder)
        assert "IPC_BASE_DIR: it must be a folder of Roommate's own" in said(ipc_base_dir=folder)
    file = tmp_path / "file"
    file.touch()
    assert f"STATE_DIR: it must be a folder, and {str(file)!r} is a file" in said(state_dir=str(file / "below"))
    long = str(tmp_path / ("x" * 90))
    assert "IPC_BASE_DIR: sockets below it would have paths of" in said(ipc_base_dir=long)
    assert "IPC_BASE_DIR: sockets below it would have paths of" in said(state_dir=long), "which is made of it"


def test_what_is_written_in_the_homeservers_address(tmp_path: Path) -> None:
    def kept(value: str) -> str:
        return config.load(None, matrix_homeserver=value).matrix_homeserver

    assert kept("https://example.org/") == "https://example.org"
    assert kept("http://[::1]:8008") == "http://[::1]:8008"
    assert kept("https://example.org/below") == "https://example.org/below"
    for wrong in ("https://example.org/_matrix/client", "https://me:secret@example.org", "https://", "ftp://x"):
        with pytest.raises(ConfigError, match="MATRIX_HOMESERVER: ") as raised:
            kept(wrong)
        assert "secret" not in str(raised.value)


def test_the_shortcut_fills_in_what_is_not_set() -> None:
    found = config.load(None, vps_ip="192.0.2.7", matrix_user="@bot:example.org")
    assert found.matrix_homeserver == "http://192.0.2.7:8008"
    assert found.matrix_user == "@bot:example.org"
    assert found.operator_ids == ("@admin:192.0.2.7",)
    assert config.load(None, vps_ip="2001:db8::7").matrix_homeserver == "http://[2001:db8::7]:8008"


@pytest.mark.parametrize("value", ["debug", "Debug", "DEBUG"])
def test_a_level_is_a_word_in_any_case(value: str) -> None:
    assert config.load(None, log_level=value).log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "key", "base", "words"),
    [
        ("rehearsal", "", "", ""),
        ("agent:gemini", "", "", ""),
        ("agent:copilot", "", "", "agent:gemini"),
        ("gemini/gemini-2.5-flash", "key", "", ""),
        ("gemini/gemini-2.5-flash", "", "", "LLM_API_KEY"),
        ("gpt-4o", "", "", "LLM_API_KEY"),
        ("gpt-4o", "key", "", ""),
        ("ollama_chat/llama3", "", "", ""),
        ("bedrock/anthropic.claude", "", "", ""),
        ("openai/", "key", "", "PROVIDER/MODEL"),
        ("nobody/knows", "key", "", "PROVIDER/MODEL"),
        ("nobody/knows", "", "http://127.0.0.1:9/v1", ""),
    ],
)
def test_a_model_is_known_before_it_is_asked(
    name: str, key: str, base: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for places in own_wire_or_litellm.NEED_A_KEY.values():
        for place in places:
            monkeypatch.delenv(place, raising=False)
    said = model_name_checks.problem(name, key, base)
    assert words in said
    assert bool(words) == bool(said)


def test_the_key_of_one_provider_goes_to_no_other() -> None:
    base = "http://127.0.0.1:9/v1"
    keys = {"llm_api_key": "one", "deepseek_api_key": "two", "openai_api_key": "three", "openai_api_base": base}
    found = config.load(None, llm_model="anthropic/claude-sonnet-4-5", **keys)
    for name, way in (
        ("anthropic/claude-haiku-4-5", ("one", "")),
        ("deepseek/deepseek-chat", ("two", "")),
        ("openai/gpt-4.1", ("three", base)),
        ("groq/llama-3.3-70b", ("", "")),
    ):
        assert (name, found.way_to(name)) == (name, way)
    assert "GROQ_API_KEY" in model_name_checks.problem("groq/llama-3.3-70b", "", "", "the model")
    # What stands at an address of one's own may serve any; and the rehearsal has no key.
    of_all = config.load(None, llm_model="openai/mine", llm_api_key="one", llm_api_base=base)
    assert of_all.way_to("anthropic/claude-haiku-4-5") == ("one", base)
    assert config.load(None, llm_api_key="one").way_to("gemini/gemini-2.5-flash") == ("one", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gemini/gemini-2.5-flsh", "gemini/gemini-2.5-flash"),
        ("gemini/gemini-2.5-flash", ""),
        ("gpt-4o", ""),
        ("openai/gpt-4o", ""),
        ("openai/gpt4-o", "openai/gpt-4o"),
        ("openai/o9", "has no 'openai/o9' on its list"),
        ("ollama_chat/what-i-made", ""),
        ("azure/my-deployment", ""),
        ("rehearsal", ""),
        ("agent:gemini", ""),
    ],
)
def test_a_slip_of_the_pen_is_doubted(name: str, words: str) -> None:
    said = model_name_checks.doubt(name, "")
    assert words in said
    assert bool(words) == bool(said)
    assert model_name_checks.doubt(name, "http://127.0.0.1:9/v1") == "", "who knows what is served there"


def test_lines_that_nobody_reads_are_told(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# ours\nLLM_KEY=secret-key\nexport alowed_users=@a:b\nSHOE_SIZE=43\nMATRIX_ADMIN_PASSWORD=x\nhttps_proxy=x\n"
        "llm_model=rehearsal\nLLM_MODEL=rehearsal\nLOG_LEVEL\nthis is no line\nGITHUB_TOKEN=x # fine\n"
    )
    said = list(env_file.doubts(file))
    assert [line.partition(":")[0] for line in said] == [
        "LLM_KEY", "ALOWED_USERS", "SHOE_SIZE", "LLM_MODEL", "LOG_LEVEL", f"line 10 of {file} cannot be read"
    ]  # fmt: skip
    assert "LLM_API_KEY is" in said[0]
    assert "ALLOWED_USERS is" in said[1]
    assert " is (" not in said[2]
    assert "more than once" in said[3]
    assert "no =" in said[4]
    assert not any("secret-key" in line for line in said)
    assert list(env_file.doubts(tmp_path / "nothing")) == []


async def test_doubts_are_told_at_the_start_and_by_doctor(tmp_path: Path, image: str) -> None:
    (tmp_path / ".env").write_text("LLM_KEY=x\n")
    state = {"STATE_DIR": str(tmp_path / "state"), "SANDBOX_IMAGE": image}
    _, out, _ = await roommate(tmp_path, "doctor", "--json", **COMPLETE, **state)
    told = [check for check in json.loads(out) if check["what"] == "settings"]
    assert [check["level"] for check in told] == ["ok", "warn", "warn"]
    assert "OPERATORS" in told[1]["found"]
    assert "LLM_API_KEY is" in told[2]["found"]

    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = state | COMPLETE | {"MATRIX_HOMESERVER": f"http://127.0.0.1:{mute.getsockname()[1]}"}
        process = await asyncio.create_subprocess_exec(
            str(Path(os.environ.get("VIRTUAL_ENV", SOURCE.parents[1] / ".venv")) / "bin" / "roommate"), "run",
            cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], **settings},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        process.terminate()
        await process.wait()
    assert "WARNING" in said[0] and "OPERATORS: there is none" in said[0]
    assert "WARNING" in said[1] and "LLM_KEY: it is no setting, LLM_API_KEY is" in said[1]


def test_a_picture_that_cannot_be_read_is_doubted(tmp_path: Path) -> None:
    def told(picture: str) -> list[str]:
        found = preconditions.doubts(config.load(None, operators="@a:b", bot_avatar=picture), tmp_path / "nothing")
        return [*found]

    [said] = told("~/nowhere/me.png")
    assert said.startswith("BOT_AVATAR: it must be a file that can be read: no such file")
    assert told("none") == told("") == []


async def test_a_wrong_reload_changes_nothing_and_the_difference_is_shown(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    bot, alice = await daemon(), await person("alice")
    file = bot.folder / ".env"

    def write(**lines: str) -> None:
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    code, out, err = await run(bot, "settings", "--diff")
    assert (code, out) == (0, b"")
    assert "OPERATORS: there is none" in err
    assert "What is written is what runs." in err

    write(OPERATORS="you", MAX_AGENT_TURNS="7")
    for command in (("reload",), ("restart",), ("settings", "--diff")):
        code, _, err = await run(bot, *command)
        assert code == 78
        assert "OPERATORS: it must be whole Matrix ids" in err
        assert "Traceback" not in err
    write(BACKUP_DIR="/proc/backups", MAX_AGENT_TURNS="7")
    code, _, err = await run(bot, "reload")
    assert code == 78
    assert "BACKUP_DIR: " in err
    now = {one["name"]: one["value"] for one in await found(bot, "settings")}
    assert now["MAX_AGENT_TURNS"] == "25", "not even what is right in it"

    write(OPERATORS=alice.user_id, MAX_AGENT_TURNS="7", SANDBOX_CPUS="1", OPENAI_API_KEY="sk-other", LLM_KEY="x")
    differ = {one["name"]: one for one in await found(bot, "settings", "--diff")}
    assert differ == {
        "OPERATORS": {"name": "OPERATORS", "runs": "", "written": alice.user_id, "needs": "reload"},
        "MAX_AGENT_TURNS": {"name": "MAX_AGENT_TURNS", "runs": "25", "written": "7", "needs": "reload"},
        "SANDBOX_CPUS": {"name": "SANDBOX_CPUS", "runs": "2.0", "written": "1.0", "needs": "restart"},
        "OPENAI_API_KEY": {"name": "OPENAI_API_KEY", "runs": "", "written": "********", "needs": "restart"},
    }
    code, out, err = await run(bot, "settings", "--diff")
    assert code == 0
    assert b"sk-other" not in out
    assert b"roommate restart" in out
    assert "LLM_KEY: it is no setting, LLM_API_KEY is" in err
    assert (await run(bot, "reload"))[0] == 0
    assert {one["name"] for one in await found(bot, "settings", "--diff")} == {"SANDBOX_CPUS", "OPENAI_API_KEY"}


def test_a_changed_secret_is_only_changed() -> None:
    from roommate.administration.settings_show_and_reload import differences

    old, new = config.load(None, llm_api_key="sk-one"), config.load(None, llm_api_key="sk-two")
    [difference] = [one for one in differences(old, new) if one.name == "LLM_API_KEY"]
    assert (difference.runs, difference.written) == ("********", "changed")


def test_hints_name_settings_that_there_are() -> None:
    """No text of ours has a name in it that is nearly one of a setting."""
    known = {name.upper() for name in NAMES} | env_file.OF_OTHERS
    others = {"MATRIX_ADMIN_PASSWORD", "GOOGLE_API_KEY", "OR_API_KEY", "XAI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY",
              "DEEPSEEK_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OPENAI_MODEL", "LITELLM_MODE",
              "OLLAMA_API_BASE"}  # fmt: skip
    texts = [
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {name for text in texts for name in re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b", text)} - known - others
    near = [name for name in named if difflib.get_close_matches(name, known, n=1, cutoff=0.85)]
    assert near == []


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(codec="ascii"), max_size=40),
    st.sampled_from([value for value, _ in WRONG.values()]),
    st.sampled_from(["@", "!", ":", "~", "~x/y", "http://[", "http://[::1", "1e999", "-0", "{", "%s", "/" * 5000, "=",
                     "x" * 300, "x/" * 3000, "\ud800", "\0", "a\nb", "١", "٣", "nan", "0x10", "1_000", " ", ",",
                     "gemini=="]),
)  # fmt: skip


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), value=TEXTS)
@example(name="vps_ip", value="{")
@example(name="matrix_homeserver", value="http://[")
def test_no_value_gives_a_traceback(name: str, value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is taken, or refused with one line for people that names it; what is taken, all parts can be made of."""
    # Not the host's own certificates: reading them takes longer than all the rest.
    of_host = {"state_dir": str(tmp_path_factory.getbasetemp()), "ssl_cert_file": ""}
    given = {**of_host, **_lower(COMPLETE), name: value}
    try:
        taken = config.load(None, **given)
        if name != "llm_model":  # LiteLLM is asked for those in a test of its own
            preconditions.demand(taken)
    except ConfigError as error:
        said = str(error)
        assert said.isprintable(), said
        assert name.upper() in said
        assert len(said) < 1000
        return
    list(preconditions.doubts(taken, Path("/nonexistent")))
    model_of(taken, taken.llm_model, outbound_http.LazySession())
    sandboxes_of(taken)
    site_of(taken)
    choice_of(taken)
    taken.is_allowed("@somebody:example.org")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
@example(content=b"\xff\xfe")
@example(content=b"OPERATORS=\x00")
@example(content=b"LLM_MODEL='")
def test_no_file_gives_a_traceback(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    list(env_file.doubts(file))
    try:
        config.load(file)
    except ConfigError as error:
        assert "\n" not in str(error)


def _lower(settings: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in settings.items()}
