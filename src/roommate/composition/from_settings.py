"""Parts that are made of the settings alone; others than the daemon need some of them, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from roommate.agent.direct_to_coding_agent_model import DIRECT, DirectModel
from roommate.agent.fallback_model import FallbackModel
from roommate.agent.openai_wire import Session
from roommate.agent.provider_model import ProviderModel
from roommate.agent.rehearsal_model import RehearsalModel
from roommate.agent.shell_line_model import COMMAND, CommandModel
from roommate.agent.transcription import transcribe
from roommate.domain import Model
from roommate.features.coding_agents.delegated_tasks import Choice
from roommate.features.github.forge import Site
from roommate.features.hooks.watcher import Spool
from roommate.monitoring.alert_delivery import Alerts
from roommate.net import outbound_http
from roommate.rooms.fetch_received_files import Transcribe
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import REHEARSAL, Settings, environment_of_others


def sandboxes_of(settings: Settings, spool: Spool | None = None) -> RoomSandboxes:
    """The rooms' containers, as these settings want them."""
    return RoomSandboxes(
        state=settings.state_dir,
        run=settings.run_dir,
        image=settings.sandbox_image,
        daemon=settings.bot,
        podman=settings.podman_path,
        limits=Limits(
            memory_mb=settings.sandbox_memory_mb,
            cpus=settings.sandbox_cpus,
            pids=settings.sandbox_pids,
            workspace_mb=settings.workspace_quota_mb,
        ),
        idle_seconds=settings.idle_stop_seconds,
        patience=settings.patience,
        spool=spool,
        forge=site_of(settings).prefixes,
    )


def site_of(settings: Settings) -> Site:
    """The forge, as these settings want it."""
    return Site.of(settings.github_server_url, settings.github_api_url, settings.github_token.get_secret_value())


def alerts_of(settings: Settings) -> Alerts:
    """How somebody is told what the control room cannot carry, as these settings want it."""
    return Alerts(
        settings.state_dir,
        bot=settings.bot,
        command=settings.alert_command,
        url=settings.alert_url.get_secret_value(),
        environment=environment_of_others(),
    )


def choice_of(settings: Settings) -> Choice:
    """The coding agents, as these settings want them."""
    return Choice(
        keyed=[name for name, key in settings.provider_keys.items() if key],
        preferred={"plan": settings.plan_agent, "implement": settings.implement_agent},
        models=settings.models_of_agents,
        seconds=settings.coding_timeout_seconds,
    )


def model_of(settings: Settings, name: str, session: Session) -> Model:
    """The model of this name, with `LLM_FALLBACKS` behind it."""
    if name == REHEARSAL:
        return RehearsalModel()
    if name == COMMAND:
        return CommandModel()
    if name.startswith(DIRECT):
        return DirectModel(name)
    names = [name, *(other for other in settings.llm_fallbacks if other != name)]
    models = [
        ProviderModel(
            one,
            api_key=settings.way_to(one)[0],
            api_base=settings.way_to(one)[1],
            context_tokens=settings.llm_context_tokens,
            sees=settings.llm_vision,
            timeout=settings.llm_timeout_seconds,
            params=settings.llm_params,
            session=None if settings.llm_wire == "litellm" else session,
        )
        for one in names
    ]
    return models[0] if len(models) == 1 else FallbackModel(models)


MakeModel = Callable[[Settings, str, Session], Model]
"""As `model_of` is called."""


def transcriber(settings: Settings) -> Transcribe | None:
    """What writes down voice messages; None where nothing is set to do that."""
    if not settings.transcription_model:
        return None
    key, base = settings.way_to_transcription
    return partial(transcribe, settings.transcription_model, api_key=key, api_base=base)


@dataclass(frozen=True, slots=True)
class Borders:
    """Where the daemon meets what is not itself. Tests that are to be quick put others there, in their own process."""

    session: outbound_http.Connect = outbound_http.session
    """What the homeserver is asked through."""
    sandboxes: Callable[[Settings, Spool], RoomSandboxes] = sandboxes_of
    model: MakeModel = model_of


REAL = Borders()
