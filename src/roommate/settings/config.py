"""Settings: the only reader of the environment and of `.env`."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from roommate.domain import UserId
from roommate.errors import ConfigError
from roommate.settings import values as right

REHEARSAL = "rehearsal"
"""The name of the built-in model that needs no key."""

AS_IT_IS = "none"
"""Instead of the bot's name or picture: the account's own stays."""

PROVIDERS = ("gemini", "dashscope", "openai", "anthropic", "openrouter")
"""Of models for the coding agents in the rooms."""

FURTHER_PROVIDERS = ("deepseek", "groq", "mistral", "moonshot", "xai")
"""Of models for the bot itself."""

EGRESS_PRESETS = ("none", "registries", "github", "all")

LIVE = frozenset(
    {
        "operators",
        "matrix_admin_user",
        "allowed_users",
        "answer_everything",
        "answer_wait_seconds",
        "peer_wait_seconds",
        "same_prompt_seconds",
        "loop_limit",
        "llm_model",
        "llm_api_key",
        "llm_api_base",
        "llm_context_tokens",
        "llm_vision",
        "llm_timeout_seconds",
        "llm_fallbacks",
        "time_zone",
        "llm_params",
        "llm_wire",
        "deepseek_api_key",
        "groq_api_key",
        "mistral_api_key",
        "moonshot_api_key",
        "xai_api_key",
        "command_timeout_seconds",
        "coding_timeout_seconds",
        "plan_agent",
        "implement_agent",
        "agent_models",
        "inbox_file_mb",
        "transcription_model",
        "transcription_api_key",
        "transcription_api_base",
        "room_tokens_per_day",
        "max_agent_turns",
        "max_rooms",
    }
)
"""Settings that are looked at each time they count: a daemon that runs can be told of new ones."""

RESERVED_PARAMS = frozenset(
    {"model", "messages", "tools", "stream", "stream_options", "api_key", "api_base", "base_url", "timeout", "n"}
)
"""Of a request to a model, what LLM_PARAMS has no say in."""

AGENTS = ("gemini", "qwen", "claude", "codex", "opencode")
"""The coding agents that rooms may have."""

_SHARED = "ROOMMATE_SHARED"
"""Names of what is in the environment because `.env` says so; whoever reads the settings anew takes it out first."""

_HERE = ("localhost", "127.0.0.1", "::1")
"""What a proxy would take for its own machine."""


LONGEST_SHOWN = 200
"""Characters of a wrong value, and of what is said of it."""

_CREDENTIALS = re.compile(r"://[^/\s]*@")
_MESSAGES = {
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "int_parsing_size": "it must be a smaller number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a number",
    "bool_parsing": "it must be true or false",
    "greater_than": "it must be more than {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "less_than_equal": "it must be {le:.9g} at most",
    "literal_error": "it must be {expected}",
}
"""Where pydantic's own words are not for people."""


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (parts := tuple(part.strip() for part in value.split(",") if part.strip())):
        raise ValueError("there is nothing between the commas: leave it empty for the default")
    return parts


def _presets(values: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := set(values) - set(EGRESS_PRESETS):
        raise ValueError(f"there is no {', '.join(map(repr, sorted(unknown)))}: there are {', '.join(EGRESS_PRESETS)}")
    if "none" in values and len(values) > 1:
        raise ValueError("none stands alone")
    return values


def _agents(values: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := {name.partition("=")[0] for name in values} - set(AGENTS):
        raise ValueError(f"there is no agent {', '.join(map(repr, sorted(unknown)))}: there are {', '.join(AGENTS)}")
    return values


def _agent_models(values: tuple[str, ...]) -> tuple[str, ...]:
    if any(not name.partition("=")[2] for name in _agents(values)):
        raise ValueError("it must be AGENT=MODEL with commas between them, such as gemini=gemini-2.5-pro")
    return values


def _model_params(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        params = json.loads(value or "{}")
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise ValueError('it must be a JSON object, such as {"temperature": 0.2}')
    if ours := sorted(RESERVED_PARAMS & params.keys()):
        raise ValueError(f"{', '.join(ours)} cannot be set here: the conversation and other settings give it")
    return params


def _key(value: SecretStr) -> SecretStr:
    right.key(value.get_secret_value())
    return value


def _certificates(value: Path) -> Path:
    if value != Path():
        try:
            ssl.create_default_context(cafile=value)
        except OSError as error:
            why = "there are none in it" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
            raise ValueError(f"it must name a file with certificates, as PEM: {why}") from error
    return value


def _proxy(value: SecretStr) -> SecretStr:
    given = value.get_secret_value()
    if given and "://" not in given:
        given = f"http://{given}"
    if given and not right.is_proxy(given):
        raise ValueError("it must look like http://proxy.example.org:3128, perhaps with user:password@")
    return SecretStr(given)


def _alert_url(value: SecretStr) -> SecretStr:
    given = value.get_secret_value()
    if given and not right.is_url(given):
        raise ValueError("it must be a URL with http:// or https://")
    return value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
ModelParams = Annotated[dict[str, Any], NoDecode, BeforeValidator(_model_params)]
Users = Annotated[CommaList, AfterValidator(right.user_ids)]
UserGlobs = Annotated[CommaList, AfterValidator(right.user_globs)]
Hosts = Annotated[CommaList, AfterValidator(right.hosts)]
Branches = Annotated[CommaList, AfterValidator(right.branches)]
Presets = Annotated[CommaList, AfterValidator(_presets)]
Agents = Annotated[CommaList, AfterValidator(_agents)]
AgentModels = Annotated[CommaList, AfterValidator(_agent_models)]
User = Annotated[str, AfterValidator(right.user_id)]
WebAddress = Annotated[str, AfterValidator(right.web_address)]
Key = Annotated[SecretStr, AfterValidator(_key)]
File = Annotated[Path, AfterValidator(right.path)]
Certificates = Annotated[File, AfterValidator(_certificates)]
Proxy = Annotated[SecretStr, AfterValidator(_proxy)]
Program = Annotated[str, AfterValidator(right.program)]
TimeZone = Annotated[str, AfterValidator(right.time_zone)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]
Megabytes = Annotated[int, Field(ge=0, le=1 << 24)]


class Settings(BaseSettings):
    """Everything an operator can set. The environment wins over `.env`; lists are comma-separated."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, allow_inf_nan=False
    )

    vps_ip: Annotated[str, AfterValidator(right.server_address)] = Field(
        "", description="Shortcut: derives homeserver http://IP:8008, bot @matrixbot:IP, admin @admin:IP"
    )
    matrix_homeserver: Annotated[str, AfterValidator(right.homeserver)] = Field(
        "", description="Client-server API of the homeserver, such as https://matrix.example.org"
    )
    matrix_user: User = Field("", description="The bot's Matrix id, such as @roommate:example.org")
    matrix_password: SecretStr = Field(
        SecretStr(""), description="Needed for the first login only; the token is kept in STATE_DIR"
    )
    matrix_access_token: Key = Field(
        SecretStr(""),
        description="Instead of a password and a saved login: an access token of the bot; it is not renewed",
    )
    bot_display_name: Annotated[str, Field(max_length=100)] = Field(
        "",
        description="What people see the bot called (default: Roommate, unless the account has a name; none: as it is)",
    )
    bot_avatar: str = Field(
        "", description="File with its picture (default: one of ours, unless the account has one; none: as it is)"
    )
    matrix_ca_file: Certificates = Field(
        Path(), description="CAs of the homeserver, as PEM, that are trusted beside those of the host"
    )
    e2ee: Literal["on", "off", "required"] = Field(
        "on",
        description="End-to-end encryption: on is for encrypted rooms too, required for these alone, off for none",
    )
    trust: Literal["all", "cross-signed"] = Field(
        "all",
        description="Who reads in encrypted rooms: all devices of its people, or those alone that their user signed",
    )
    matrix_admin_user: User = Field("", description="Matrix id of the person who runs this; the default operator")
    operators: Users = Field((), description="Matrix ids of operators (default: MATRIX_ADMIN_USER)")
    allowed_users: UserGlobs = Field(
        (), description="Who may invite and prompt, as globs (default: everybody on the bot's homeserver)"
    )
    answer_everything: bool = Field(
        False, description="Answer every message in rooms of more than two people, not only mentions and replies"
    )
    answer_wait_seconds: Seconds = Field(
        600, description="How long a turn waits for an answer of people; a later one begins a new turn"
    )
    peer_wait_seconds: float = Field(
        3600,
        ge=60,
        le=86_400,
        description="How long people at another daemon may take to decide about what this one asks there",
    )
    same_prompt_seconds: float = Field(
        1.5, ge=0, le=60, description="Lines that somebody writes so shortly after one another are one prompt; 0: never"
    )

    loop_limit: int = Field(
        30,
        ge=0,
        le=10_000,
        description="Answers in a row that somebody in a group has in an hour, who writes within a minute of each and "
        "nobody else between, as bots do; ten times as many where they are alone with the bot; 0: no limit",
    )

    llm_model: str = Field(
        REHEARSAL, description="A LiteLLM model name, such as gemini/gemini-2.5-flash; 'rehearsal' needs no key"
    )
    llm_api_key: Key = Field(SecretStr(""), description="Key of the model's provider; never enters a container")
    llm_api_base: WebAddress = Field("", description="Base URL of an own or compatible provider")
    llm_context_tokens: int = Field(
        0, ge=0, le=1 << 32, description="How many tokens the model reads; 0 asks LiteLLM, which knows most models"
    )
    llm_vision: bool | None = Field(
        None, description="Whether the model sees pictures, true or false; empty asks LiteLLM, which knows most models"
    )
    llm_timeout_seconds: Seconds = Field(120, description="How long a model may be silent")
    llm_fallbacks: CommaList = Field(
        (), description="Models that answer, in this order, when a room's own does not; the room is told"
    )
    llm_params: ModelParams = Field(
        {}, description='More fields of each request, as a JSON object: {"temperature": 0.2, "reasoning_effort": "low"}'
    )
    llm_wire: Literal["auto", "litellm"] = Field(
        "auto", description="auto asks what speaks OpenAI's chat completions without LiteLLM; litellm asks all with it"
    )

    gemini_api_key: Key = Field(
        SecretStr(""), description="Keys for the coding agents in the rooms: added on the way out, never in a container"
    )
    dashscope_api_key: Key = Field(SecretStr(""), description="The same, for Qwen models")
    openai_api_key: Key = Field(SecretStr(""), description="The same, for OpenAI")
    anthropic_api_key: Key = Field(SecretStr(""), description="The same, for Claude models")
    openrouter_api_key: Key = Field(SecretStr(""), description="The same, for OpenRouter")
    deepseek_api_key: Key = Field(
        SecretStr(""), description="Keys for LLM_FALLBACKS and !model, as those above are where LLM_MODEL is of another"
    )
    groq_api_key: Key = Field(SecretStr(""), description="The same, for Groq")
    mistral_api_key: Key = Field(SecretStr(""), description="The same, for Mistral")
    moonshot_api_key: Key = Field(SecretStr(""), description="The same, for Kimi models")
    xai_api_key: Key = Field(SecretStr(""), description="The same, for Grok models")
    gemini_api_base: WebAddress = Field("", description="Base URL of a provider that is compatible with this one")
    dashscope_api_base: WebAddress = Field("", description="The same; compatible with OpenAI")
    openai_api_base: WebAddress = Field("", description="The same")
    anthropic_api_base: WebAddress = Field("", description="The same")
    openrouter_api_base: WebAddress = Field("", description="The same")

    egress_presets: Presets = Field(
        ("registries",), description="Where rooms may connect to without asking: none, registries, github or all"
    )
    egress_forever: Literal["operators", "people"] = Field(
        "operators", description="Who may let a room connect to a host for good, with ♾️ on a card: operators or people"
    )
    egress_internal_hosts: Hosts = Field(
        (), description="Hosts that rooms may connect to although their addresses are private, such as a mirror"
    )

    policy_file: File = Field(
        Path(),
        description="What other daemons may ask of this one, see docs/policy.md; empty: policy.toml in STATE_DIR",
    )

    time_zone: TimeZone = Field("UTC", description="Of schedules that name none, such as Europe/Berlin")

    http_proxy: Proxy = Field(
        SecretStr(""), description="Proxy for http:// addresses, such as http://proxy.example.org:3128"
    )
    https_proxy: Proxy = Field(SecretStr(""), description="The same, for https:// addresses")
    no_proxy: str = Field("", description="Hosts and domains that are reached without it; this machine always is")
    ssl_cert_file: Certificates = Field(Path(), description="CAs that are trusted, as PEM (default: those of the host)")

    github_token: Key = Field(
        SecretStr(""), description="Token for the repositories that rooms are given with !repo; never in a container"
    )
    github_server_url: WebAddress = Field("https://github.com", description="GitHub, or a GitHub Enterprise Server")
    github_api_url: WebAddress = Field(
        "", description="Its REST API (default: api.github.com, else GITHUB_SERVER_URL/api/v3)"
    )
    protected_branches: Branches = Field(
        ("main", "master", "release/*"),
        description="Branches that no room pushes to, as globs, beside each repository's default branch",
    )

    sandbox_image: Annotated[str, AfterValidator(right.image)] = Field(
        "localhost/roommate:latest", description="Image of the rooms' containers; needs python3 in it"
    )
    podman_path: str = Field("podman", description="The podman program")
    patience: float = Field(
        1,
        ge=1,
        le=100,
        description="How many times longer than usual programs of this host may take: 20 in a VM without KVM, say",
    )
    sandbox_cpus: float = Field(2, ge=0.01, le=1 << 16, description="CPUs of a container")
    sandbox_memory_mb: int = Field(
        2048, ge=64, le=1 << 24, description="Memory of a container in MiB; there is no swap"
    )
    sandbox_pids: int = Field(512, ge=16, le=1 << 22, description="Processes and threads of a container")
    workspace_quota_mb: Megabytes = Field(
        10240, description="Size of a room's workspace in MiB, where the host can limit it; 0 is no limit"
    )
    max_rooms: int = Field(200, ge=1, le=1 << 20, description="Rooms that the bot is in; invites to more are declined")
    idle_stop_seconds: Seconds = Field(1800, description="A container without work for this long is stopped")

    command_timeout_seconds: Seconds = Field(120, description="How long a command may run when the model does not say")
    coding_timeout_seconds: Seconds = Field(
        1800, description="How long a coding agent may work on a task, and the longest time a model may ask for"
    )
    plan_agent: Agents = Field(
        ("gemini",), description="Coding agents that plan and review, in order of preference; rooms choose with !agents"
    )
    implement_agent: Agents = Field(("qwen",), description="Coding agents that implement, the same way")
    agent_models: AgentModels = Field(
        (), description="Models of coding agents, such as gemini=gemini-2.5-pro,qwen=qwen3-coder-plus"
    )
    inbox_file_mb: Megabytes = Field(
        100, description="Largest file, in MiB, that people may send to the bot, which puts it into /workspace/inbox"
    )
    transcription_model: str = Field(
        "", description="A LiteLLM model that writes down voice messages, such as openai/whisper-1 (default: none does)"
    )
    transcription_api_key: Key = Field(SecretStr(""), description="Key of its provider (default: LLM_API_KEY)")
    transcription_api_base: WebAddress = Field(
        "", description="Base URL of its provider (default: LLM_API_BASE, unless it has a key of its own)"
    )
    room_tokens_per_day: int = Field(
        0,
        ge=0,
        le=1 << 50,
        description="Tokens that the models of a room may take in a day of TIME_ZONE, read and written; 0 is no limit",
    )
    max_agent_turns: int = Field(25, ge=1, le=100_000, description="Rounds of tool calls in one turn")

    state_dir: File = Field(
        Path("~/.local/state/roommate"), description="Database, workspaces and sockets; back this up"
    )
    ipc_base_dir: File = Field(Path(), description="Rooms' sockets (default: STATE_DIR/ipc); keep the path short")
    control_room: Annotated[str, AfterValidator(right.room_id)] = Field(
        "", description="Id (!…) of a room where operators are told of failures, questions for them, and updates"
    )
    http_listen: Annotated[str, AfterValidator(right.listen_address)] = Field(
        "", description="Where /health and Prometheus' /metrics answer, such as 8080 or [::1]:8080 (default: nowhere)"
    )
    alert_command: Program = Field(
        "", description="Program that is told, at stdin, what the control room cannot carry; no shell"
    )
    alert_url: Annotated[SecretStr, AfterValidator(_alert_url)] = Field(
        SecretStr(""), description="The same, posted as JSON: to ntfy, Gotify, a chat's webhook, an Alertmanager"
    )
    backup_command: Program = Field(
        "", description="Program that is run after each backup with its file behind it, to bring it elsewhere; no shell"
    )
    backup_dir: File = Field(Path(), description="Where backups go (default: STATE_DIR/backups); better another disk")
    backups_kept: int = Field(7, ge=1, le=100_000, description="How many of the newest backups are kept there")
    keep_days: int = Field(
        30,
        ge=0,
        le=36_500,
        description="How long what turns did is kept beside a room's newest 200 turns; 0 is for ever",
    )
    audit_days: int = Field(90, ge=0, le=36_500, description="How long the audit log is kept; 0 is for ever")
    update_ref: Annotated[str, AfterValidator(right.ref)] = Field(
        "", description="What !redeploy takes by default: a branch (default: the remote's own)"
    )
    update_signed_tags_only: bool = Field(False, description="Take nothing but tags with a good signature")
    update_allowed_signers: File = Field(
        Path(), description="Whose signatures are good: a file as ssh-keygen(1) has it under ALLOWED SIGNERS"
    )
    update_health_seconds: Seconds = Field(60, description="How long a new release may take until it works")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(right.upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Annotated[Literal["human", "json"], BeforeValidator(right.lower)] = Field(
        "human", description="human or json"
    )
    log_file_mb: Megabytes = Field(10, description="Size of STATE_DIR/logs/roommate.log before the next one; 0 is none")
    log_files: int = Field(5, ge=2, le=1000, description="How many of these are kept")

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        """Fill what follows from something else; what is set stays."""
        given = {key.lower(): value for key, value in dict(values).items() if value not in ("", None)}
        for name, value in given.items():
            if isinstance(value, str) and not right.is_plain(value, lines=_secret(name)):
                raise ValueError(f"{name.upper()}: it must be one line of text")
        with contextlib.suppress(ValueError):  # which its own field tells
            if ip := right.server_address(str(given.get("vps_ip") or "")):
                given.setdefault("matrix_homeserver", f"http://{ip}:8008")
                given.setdefault("matrix_user", f"@matrixbot:{ip}")
                given.setdefault("matrix_admin_user", f"@admin:{ip}")
        return given

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.update_signed_tags_only and self.update_allowed_signers == Path():
            raise ValueError("UPDATE_SIGNED_TAGS_ONLY needs UPDATE_ALLOWED_SIGNERS, the file with the keys to trust")
        return self

    @property
    def provider_keys(self) -> dict[str, str]:
        return {name: getattr(self, f"{name}_api_key").get_secret_value() for name in PROVIDERS}

    @property
    def model_keys(self) -> dict[str, str]:
        """Of providers of the bot's own models, besides LLM_API_KEY."""
        further = {name: getattr(self, f"{name}_api_key").get_secret_value() for name in FURTHER_PROVIDERS}
        return self.provider_keys | further

    def way_to(self, model: str) -> tuple[str, str]:
        """(key, base URL) for the model of this LiteLLM name: the key of its provider, which is LLM_API_KEY for that of
        LLM_MODEL. LLM_API_BASE may serve models of any; without it no key goes to another provider."""
        (provider, named, _), (mine, known, _) = model.partition("/"), self.llm_model.partition("/")
        if provider != mine:
            if own := self.model_keys.get(provider):
                return own, self.provider_bases.get(provider, "")
            if named and known and not self.llm_api_base:
                return "", ""
        return self.llm_api_key.get_secret_value(), self.llm_api_base

    @property
    def way_to_transcription(self) -> tuple[str, str]:
        """(key, base URL) for TRANSCRIPTION_MODEL: those of LLM_MODEL, unless it has a key of its own."""
        own = self.transcription_api_key.get_secret_value()
        base = self.transcription_api_base or ("" if own else self.llm_api_base)
        return own or self.llm_api_key.get_secret_value(), base

    @property
    def provider_bases(self) -> dict[str, str]:
        return {name: getattr(self, f"{name}_api_base") for name in PROVIDERS}

    @property
    def matrix_ca(self) -> Path | None:
        return self.matrix_ca_file if self.matrix_ca_file != Path() else None

    @property
    def bot(self) -> UserId:
        return UserId(self.matrix_user)

    @property
    def server_name(self) -> str:
        return self.matrix_user.partition(":")[2]

    @property
    def models_of_agents(self) -> dict[str, str]:
        """By agent, where one is set."""
        return {name: model for name, _, model in (one.partition("=") for one in self.agent_models) if model}

    @property
    def run_dir(self) -> Path:
        return self.ipc_base_dir if self.ipc_base_dir != Path() else self.state_dir / "ipc"

    @property
    def policy(self) -> Path:
        return self.policy_file if self.policy_file != Path() else self.state_dir / "policy.toml"

    @property
    def backups(self) -> Path:
        return self.backup_dir if self.backup_dir != Path() else self.state_dir / "backups"

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Host and port of the HTTP listener; None where there is to be none."""
        return right.host_and_port(self.http_listen) if self.http_listen else None

    @property
    def operator_ids(self) -> tuple[str, ...]:
        return self.operators or ((self.matrix_admin_user,) if self.matrix_admin_user else ())

    @property
    def allowed_globs(self) -> tuple[str, ...]:
        return self.allowed_users or (f"@*:{self.server_name}",)

    def is_operator(self, user: str) -> bool:
        return user in self.operator_ids

    def is_allowed(self, user: str) -> bool:
        if self.is_operator(user):
            return True
        return any(fnmatch.fnmatchcase(user, glob) for glob in self.allowed_globs)

    def require_matrix(self) -> None:
        """Raises ConfigError naming the first of the settings without which the daemon cannot start."""
        for name, value in (("MATRIX_HOMESERVER", self.matrix_homeserver), ("MATRIX_USER", self.matrix_user)):
            if not value:
                raise ConfigError(f"{name} is not set: put it into .env (see .env.example) or run `scripts/demo`")


def environment_of_others() -> dict[str, str]:
    """Our environment without the secrets among our settings: for programs of the operator's."""
    ours = {name for name in Settings.model_fields if _secret(name)}
    return {name: value for name, value in os.environ.items() if name.lower() not in ours}


def load(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings. Raises ConfigError with one line that names each wrong setting.

    What they say of the network is in the environment from then on, where every library and program looks for it.
    """
    settings = written(env_file, **overrides)
    for name in os.environ.pop(_SHARED, "").split():
        os.environ.pop(name, None)
    _share(settings)
    return settings


def written(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """The same, and nothing follows from it."""
    # It was ours, in this process or in the one before that became this one.
    ours = {name: os.environ.pop(name) for name in os.environ.get(_SHARED, "").split() if name in os.environ}
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"{env_file} cannot be read: {why}") from None
    finally:
        os.environ |= ours


def _share(settings: Settings) -> None:
    proxies = {name: getattr(settings, name).get_secret_value() for name in ("http_proxy", "https_proxy")}
    file, around = settings.ssl_cert_file, settings.no_proxy
    if any(proxies.values()) and around.strip() != "*":
        around = ",".join(dict.fromkeys([*filter(None, map(str.strip, around.split(","))), *_HERE]))
    wanted = proxies | {"no_proxy": around, "SSL_CERT_FILE": "" if file == Path() else str(file)}
    # In lower case, which curl and git demand, and which wins where both are read.
    shared = {name: value for name, value in wanted.items() if value and os.environ.get(name) != value}
    given = [name for name in shared if name not in os.environ]
    os.environ |= shared
    if given:
        os.environ[_SHARED] = " ".join(given)


def named(name: str, message: str, given: object) -> str:
    """What is wrong with a setting, in a line. What was given is shown only where it cannot be a secret."""
    message = _short(message)
    if _secret(name):
        return f"{name.upper()}: {message}"
    shown = _CREDENTIALS.sub("://…@", repr(given if isinstance(given, str) else str(given)))
    return f"{name.upper()}: {message} (it is {_short(shown)})"


def _secret(name: str) -> bool:
    field = Settings.model_fields.get(name)
    return field is None or field.annotation is SecretStr


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _explain(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    message = _MESSAGES.get(problem["type"], "").format_map(context) or str(context.get("error") or problem["msg"])
    return named(str(problem["loc"][0]), message, problem["input"]) if problem["loc"] else message


def example() -> str:
    """The text of `.env.example`: every setting with its meaning and its default."""
    lines = ["# Roommate's settings. Copy to .env and change what you need; the environment wins over this file.", ""]
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, tuple):
            default = ",".join(default)
        if isinstance(default, dict):
            default = json.dumps(default) if default else ""
        shown = (
            "" if default in (Path(), (), None) else str(default).lower() if isinstance(default, bool) else str(default)
        )
        lines += [f"# {field.description}", f"#{name.upper()}={shown}", ""]
    return "\n".join(lines)
