"""Settings: the only reader of the environment and of `.env`."""

from __future__ import annotations

import fnmatch
import os
import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from roommate.errors import ConfigError
from roommate.words import UserId

REHEARSAL = "rehearsal"
"""The name of the built-in model that needs no key."""

PROVIDERS = ("gemini", "dashscope", "openai", "anthropic", "openrouter")
"""Of models for the coding agents in the rooms."""

EGRESS_PRESETS = ("none", "registries", "github", "all")

LIVE = frozenset(
    {
        "operators",
        "matrix_admin_user",
        "allowed_users",
        "answer_everything",
        "llm_model",
        "llm_api_key",
        "llm_api_base",
        "llm_context_tokens",
        "llm_timeout_seconds",
        "command_timeout_seconds",
        "coding_timeout_seconds",
        "plan_agent",
        "implement_agent",
        "agent_models",
        "max_agent_turns",
    }
)
"""Settings that are looked at each time they count: a daemon that runs can be told of new ones."""

AGENTS = ("gemini", "qwen", "claude", "codex", "opencode")
"""The coding agents that rooms may have."""

NETWORK = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file")
"""Settings that libraries and programs read themselves, in the environment."""

_SHARED = "ROOMMATE_SHARED"
"""Names of what is in the environment because `.env` says so; whoever reads the settings anew takes it out first."""

_HERE = ("localhost", "127.0.0.1", "::1")
"""What a proxy would take for its own machine."""

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Everything an operator can set. The environment wins over `.env`; lists are comma-separated."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    vps_ip: str = Field(
        "", description="Shortcut: derives homeserver http://IP:8008, bot @matrixbot:IP, admin @admin:IP"
    )
    matrix_homeserver: str = Field(
        "", description="Client-server API of the homeserver, such as https://matrix.example.org"
    )
    matrix_user: str = Field("", description="The bot's Matrix id, such as @roommate:example.org")
    matrix_password: SecretStr = Field(
        SecretStr(""), description="Needed for the first login only; the token is kept in STATE_DIR"
    )
    matrix_access_token: SecretStr = Field(
        SecretStr(""),
        description="Instead of a password and a saved login: an access token of the bot; it is not renewed",
    )
    matrix_ca_file: Path = Field(
        Path(), description="CAs of the homeserver, as PEM, that are trusted beside those of the host"
    )
    matrix_admin_user: str = Field("", description="Matrix id of the person who runs this; the default operator")
    operators: CommaList = Field((), description="Matrix ids of operators (default: MATRIX_ADMIN_USER)")
    allowed_users: CommaList = Field(
        (), description="Who may invite and prompt, as globs (default: everybody on the bot's homeserver)"
    )
    answer_everything: bool = Field(
        False, description="Answer every message in rooms of more than two people, not only mentions and replies"
    )

    llm_model: str = Field(
        REHEARSAL, description="A LiteLLM model name, such as gemini/gemini-2.5-flash; 'rehearsal' needs no key"
    )
    llm_api_key: SecretStr = Field(SecretStr(""), description="Key of the model's provider; never enters a container")
    llm_api_base: str = Field("", description="Base URL of an own or compatible provider")
    llm_context_tokens: int = Field(
        0, ge=0, description="How many tokens the model reads; 0 asks LiteLLM, which knows most models"
    )
    llm_vision: bool | None = Field(
        None, description="Whether the model sees pictures, true or false; empty asks LiteLLM, which knows most models"
    )
    llm_timeout_seconds: float = Field(120, gt=0, description="How long a model may be silent")

    gemini_api_key: SecretStr = Field(
        SecretStr(""), description="Keys for the coding agents in the rooms: added on the way out, never in a container"
    )
    dashscope_api_key: SecretStr = Field(SecretStr(""), description="The same, for Qwen models")
    openai_api_key: SecretStr = Field(SecretStr(""), description="The same, for OpenAI")
    anthropic_api_key: SecretStr = Field(SecretStr(""), description="The same, for Claude models")
    openrouter_api_key: SecretStr = Field(SecretStr(""), description="The same, for OpenRouter")
    gemini_api_base: str = Field("", description="Base URL of a provider that is compatible with this one")
    dashscope_api_base: str = Field("", description="The same; compatible with OpenAI")
    openai_api_base: str = Field("", description="The same")
    anthropic_api_base: str = Field("", description="The same")
    openrouter_api_base: str = Field("", description="The same")

    egress_presets: CommaList = Field(
        ("registries",), description="Where rooms may connect to without asking: none, registries, github or all"
    )
    egress_internal_hosts: CommaList = Field(
        (), description="Hosts that rooms may connect to although their addresses are private, such as a mirror"
    )

    http_proxy: SecretStr = Field(
        SecretStr(""), description="Proxy for http:// addresses, such as http://proxy.example.org:3128"
    )
    https_proxy: SecretStr = Field(SecretStr(""), description="The same, for https:// addresses")
    no_proxy: str = Field("", description="Hosts and domains that are reached without it; this machine always is")
    ssl_cert_file: Path = Field(Path(), description="CAs that are trusted, as PEM (default: those of the host)")

    github_token: SecretStr = Field(
        SecretStr(""), description="Token for the repositories that rooms are given with !repo; never in a container"
    )
    github_server_url: str = Field("https://github.com", description="GitHub, or a GitHub Enterprise Server")
    github_api_url: str = Field("", description="Its REST API (default: api.github.com, else GITHUB_SERVER_URL/api/v3)")
    protected_branches: CommaList = Field(
        ("main", "master", "release/*"),
        description="Branches that no room pushes to, as globs, beside each repository's default branch",
    )

    sandbox_image: str = Field(
        "localhost/roommate:latest", description="Image of the rooms' containers; needs python3 in it"
    )
    podman_path: str = Field("podman", description="The podman program")
    patience: float = Field(
        1,
        ge=1,
        le=100,
        description="How many times longer than usual programs of this host may take: 20 in a VM without KVM, say",
    )
    sandbox_cpus: float = Field(2, gt=0, description="CPUs of a container")
    sandbox_memory_mb: int = Field(2048, ge=64, description="Memory of a container in MiB; there is no swap")
    sandbox_pids: int = Field(512, ge=16, description="Processes and threads of a container")
    workspace_quota_mb: int = Field(
        10240, ge=0, description="Size of a room's workspace in MiB, where the host can limit it; 0 is no limit"
    )
    idle_stop_seconds: float = Field(1800, gt=0, description="A container without work for this long is stopped")

    command_timeout_seconds: float = Field(
        120, gt=0, description="How long a command may run when the model does not say"
    )
    coding_timeout_seconds: float = Field(
        1800, gt=0, description="How long a coding agent may work on a task, and the longest time a model may ask for"
    )
    plan_agent: CommaList = Field(
        ("gemini",), description="Coding agents that plan and review, in order of preference; rooms choose with !agents"
    )
    implement_agent: CommaList = Field(("qwen",), description="Coding agents that implement, the same way")
    agent_models: CommaList = Field(
        (), description="Models of coding agents, such as gemini=gemini-2.5-pro,qwen=qwen3-coder-plus"
    )
    max_agent_turns: int = Field(25, ge=1, description="Rounds of tool calls in one turn")

    state_dir: Path = Field(
        Path("~/.local/state/roommate"), description="Database, workspaces and sockets; back this up"
    )
    ipc_base_dir: Path = Field(Path(), description="Rooms' sockets (default: STATE_DIR/ipc); keep the path short")
    control_room: str = Field(
        "", description="Id (!…) of a room where operators are told of failures, questions for them, and updates"
    )
    backup_dir: Path = Field(Path(), description="Where backups go (default: STATE_DIR/backups); better another disk")
    backups_kept: int = Field(7, ge=1, description="How many of the newest backups are kept there")
    audit_days: int = Field(90, ge=0, description="How long the audit log is kept; 0 is for ever")
    update_ref: str = Field("", description="What !redeploy takes by default: a branch (default: the remote's own)")
    update_signed_tags_only: bool = Field(False, description="Take nothing but tags with a good signature")
    update_allowed_signers: Path = Field(
        Path(), description="Whose signatures are good: a file as ssh-keygen(1) has it under ALLOWED SIGNERS"
    )
    update_health_seconds: float = Field(60, gt=0, description="How long a new release may take until it works")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["human", "json"] = Field("human", description="human or json")
    log_file_mb: int = Field(10, ge=0, description="Size of STATE_DIR/logs/roommate.log before the next one; 0 is none")
    log_files: int = Field(5, ge=2, description="How many of these are kept")

    @field_validator(
        *("operators", "allowed_users", "egress_presets", "egress_internal_hosts", "protected_branches"),
        *("plan_agent", "implement_agent", "agent_models"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("plan_agent", "implement_agent", "agent_models", mode="after")
    @classmethod
    def _known_agents(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := {name.partition("=")[0] for name in value} - set(AGENTS):
            raise ValueError(f"there is no agent {', '.join(sorted(unknown))}: there are {', '.join(AGENTS)}")
        return value

    @field_validator(
        *("state_dir", "ipc_base_dir", "backup_dir", "update_allowed_signers"),
        *("matrix_ca_file", "ssl_cert_file"),
        mode="after",
    )
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute() if value != Path() else value

    @field_validator("matrix_ca_file", "ssl_cert_file", mode="after")
    @classmethod
    def _certificates(cls, value: Path) -> Path:
        if value != Path():
            try:
                ssl.create_default_context(cafile=value)
            except OSError as error:
                why = "there are none in it" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
                raise ValueError(f"{why}: it must name a file with certificates, as PEM") from error
        return value

    @field_validator("http_proxy", "https_proxy", mode="after")
    @classmethod
    def _proxy(cls, value: SecretStr) -> SecretStr:
        given = value.get_secret_value()
        if given and "://" not in given:
            return SecretStr(f"http://{given}")
        if given and not re.fullmatch(r"https?://[^\s/]+/?", given):
            raise ValueError("it must look like http://proxy.example.org:3128, perhaps with user:password@")
        return value

    @field_validator("control_room", mode="after")
    @classmethod
    def _room_id(cls, value: str) -> str:
        if value and not value.startswith("!"):
            raise ValueError("a room's id begins with !; clients show it among the advanced settings of the room")
        return value

    @field_validator("github_server_url", "github_api_url", mode="after")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", value):
            raise ValueError("it must be an address with http:// or https://, without a name or a password")
        return value.rstrip("/")

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        """Fill what follows from something else; what is set stays."""
        given = {key.lower(): value for key, value in dict(values).items() if value not in ("", None)}
        if ip := given.get("vps_ip"):
            given.setdefault("matrix_homeserver", f"http://{ip}:8008")
            given.setdefault("matrix_user", f"@matrixbot:{ip}")
            given.setdefault("matrix_admin_user", f"@admin:{ip}")
        return given

    @field_validator("egress_presets", mode="after")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - set(EGRESS_PRESETS):
            raise ValueError(f"{', '.join(sorted(unknown))}: there are {', '.join(EGRESS_PRESETS)}")
        return value

    @property
    def provider_keys(self) -> dict[str, str]:
        return {name: getattr(self, f"{name}_api_key").get_secret_value() for name in PROVIDERS}

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
    def backups(self) -> Path:
        return self.backup_dir if self.backup_dir != Path() else self.state_dir / "backups"

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
        if not self.matrix_user.startswith("@") or not self.server_name:
            raise ConfigError(f"MATRIX_USER is {self.matrix_user!r}: it must look like @roommate:example.org")
        if not self.matrix_homeserver.startswith(("http://", "https://")):
            raise ConfigError(
                f"MATRIX_HOMESERVER is {self.matrix_homeserver!r}: it must start with http:// or https://"
            )


def load(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings. Raises ConfigError with one line that names each wrong setting.

    What they say of the network is in the environment from then on, where every library and program looks for it.
    """
    for name in os.environ.pop(_SHARED, "").split():
        os.environ.pop(name, None)  # it was ours, in this process or in the one before that became this one
    try:
        settings = Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        problems = "; ".join(_explain(problem["loc"], problem["msg"], problem["input"]) for problem in error.errors())
        raise ConfigError(problems) from None
    _share(settings)
    return settings


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


def _explain(where: tuple[int | str, ...], message: str, given: object) -> str:
    """One wrong setting in words. What was given is shown only where it cannot be a secret."""
    if not where:
        return message
    name = str(where[0])
    field = Settings.model_fields.get(name)
    secret = field is None or field.annotation is SecretStr
    return f"{name.upper()}: {message.lower()}" + ("" if secret else f" (it is {given!r})")


def example() -> str:
    """The text of `.env.example`: every setting with its meaning and its default."""
    lines = ["# Roommate's settings. Copy to .env and change what you need; the environment wins over this file.", ""]
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, tuple):
            default = ",".join(default)
        shown = (
            "" if default in (Path(), (), None) else str(default).lower() if isinstance(default, bool) else str(default)
        )
        lines += [f"# {field.description}", f"#{name.upper()}={shown}", ""]
    return "\n".join(lines)
