"""`roommate init`: asks for what a daemon needs, tries each answer, and writes them into `.env`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt as Question

from roommate.administration import preconditions
from roommate.agent import model_name_checks
from roommate.agent.provider_model import Patience, ProviderModel
from roommate.cli import matrix_login_flow
from roommate.cli.path_and_secret_arguments import typed_secret
from roommate.cli.progress import Steps
from roommate.domain import Prompt, Reply, UserId
from roommate.errors import ConfigError, RoommateError
from roommate.maintenance import env_file
from roommate.matrix_login import oauth, password_and_token
from roommate.net import outbound_http
from roommate.sandbox import image
from roommate.settings import config
from roommate.settings.config import REHEARSAL
from roommate.user_client import homeserver_accounts

DEFAULT = Path(".env")
STAGES = ("base", "core", "browser", "agents", "none")
HEADER = "# Roommate's settings. .env.example explains all there are; the environment wins over this file.\n\n"
TINY = Prompt("Answer with the one word: ready", UserId("@operator:localhost"))


@dataclass(frozen=True, slots=True)
class Answers:
    """What the command line said; empty where it said nothing. A secret may be ``@FILE``: the file holds it."""

    homeserver: str = ""
    user: str = ""
    password: str = ""
    register: bool = False
    registration_secret: str = ""
    browser: bool = False
    login_token: str = ""
    access_token: str = ""
    model: str = ""
    key: str = ""
    base: str = ""
    operators: str = ""
    allowed: str = ""
    stage: str = ""


def run(given: Answers, path: Path, *, asks: bool) -> None:
    """Set everything up, in the order in which one thing needs the other. Raises RoommateError; nothing that was found
    right before is lost then."""
    console = Console(stderr=True, highlight=False)
    wizard = Wizard(given, path, console, asks=asks)
    wizard.account()
    wizard.people()
    wizard.model()
    stage = wizard.stage()
    settings = config.load(path)
    preconditions.demand(settings)
    for doubt in preconditions.doubts(settings, path):
        console.print(f"[yellow]![/] {escape(doubt)}")
    if stage:
        name, podman = settings.sandbox_image, settings.podman_path
        asyncio.run(image.build(name, stage=stage, podman=podman, step=Steps(console).step))
    console.print(f"[bold]{escape(str(path))}[/] is written.")
    if path == DEFAULT:
        console.print(
            "Next: [bold]scripts/install-service.sh[/] makes a service of it, [bold].venv/bin/roommate run[/] starts "
            "it here and now."
        )


def complete(path: Path, *, asks: bool) -> None:
    """Ask for what the file does not say and a service needs, and for nothing else. Raises RoommateError."""
    wizard = Wizard(Answers(), path, Console(stderr=True, highlight=False), asks=asks)
    said, present = env_file.said(path), config.load(path)
    known = "VPS_IP" in said or {"MATRIX_HOMESERVER", "MATRIX_USER"} <= said
    if not known or not (said & {"MATRIX_PASSWORD", "MATRIX_ACCESS_TOKEN"} or matrix_login_flow.saved(present)):
        wizard.account()
    if not asks:
        return  # the rest is told before anything starts, and without a model it rehearses
    if not said & {"OPERATORS", "MATRIX_ADMIN_USER", "VPS_IP"}:
        wizard.people()
    if "LLM_MODEL" not in said:
        wizard.model()
    elif model_name_checks.problem(present.llm_model, present.llm_api_key.get_secret_value(), present.llm_api_base):
        wizard.model(present.llm_model)


class Wizard:
    """Each question offers what is set already; without `asks` that is taken. A wrong answer is asked for again or,
    where nobody is asked, raised. Each part is written when it is right."""

    def __init__(self, given: Answers, path: Path, console: Console, *, asks: bool) -> None:
        self._given = given
        self._path = path
        self._present = config.load(path)
        self._console = console
        self._asks = asks

    def account(self) -> None:
        """The homeserver, and the bot's account on it."""
        self._until_right(self._homeserver, "homeserver")
        self._until_right(self._bot, "user", "password", "registration_secret", "login_token", "access_token")

    def people(self) -> None:
        """Who may do what."""
        self._until_right(self._people, "operators", "allowed")

    def model(self, name: str = "") -> None:
        """Which model, unless its `name` is known, and its key."""
        self._given = replace(self._given, model=self._given.model or name)
        self._until_right(self._model, "model", "key", "base")

    def stage(self) -> str:
        """Of the rooms' image, to be made now; empty for none."""
        stage = self._given.stage
        if not stage and self._asks:
            self._console.print(
                "The rooms' image: [bold]base[/] is a shell with Python and git, [bold]core[/] adds build tools and "
                "Node, [bold]browser[/] a Chromium, [bold]agents[/] the coding agents. It takes one to five minutes."
            )
            stage = Question.ask("Make it now?", console=self._console, choices=list(STAGES), default="core")
        if stage and stage not in STAGES:
            raise ConfigError(f"there is no stage {stage}: there are {', '.join(STAGES)}")
        return "" if stage == "none" else stage

    def _homeserver(self) -> None:
        question = "Homeserver: its URL, or the name of the server, such as example.org"
        given = self._answer(self._given.homeserver, question, self._present.matrix_homeserver)
        if not given:
            raise ConfigError("which homeserver? --homeserver says it")
        url = asyncio.run(homeserver_accounts.find(given, ca=self._present.matrix_ca))
        self._right(f"{url} is a homeserver", MATRIX_HOMESERVER=url)

    def _bot(self) -> None:
        given, present = self._given, self._present
        if given.access_token:
            return self._by_access_token(typed_secret(given.access_token))
        if given.browser or given.login_token:
            asyncio.run(self._without_password(given.browser, given.login_token))
            return None
        if not (given.password or given.register or given.registration_secret or present.matrix_password):
            if token := present.matrix_access_token.get_secret_value():
                return self._by_access_token(token)
            kept, url = matrix_login_flow.saved(present), present.matrix_homeserver
            if kept and kept.homeserver == url and asyncio.run(matrix_login_flow.works(kept, present.matrix_ca)):
                return self._right(f"{kept.user_id} is logged in, by {kept.way}", MATRIX_USER=kept.user_id)
            if self._asks and asyncio.run(self._without_password()):
                return None
        return self._by_password()

    def _by_access_token(self, token: str) -> None:
        account = asyncio.run(
            password_and_token.given(self._present.matrix_homeserver, token, ca=self._present.matrix_ca)
        )
        why = f"MATRIX_ACCESS_TOKEN is a token of {account.user_id}"
        self._right(why, MATRIX_USER=account.user_id, MATRIX_ACCESS_TOKEN=token)

    async def _without_password(self, browser: bool = False, token: str = "") -> bool:
        """Log in as the homeserver wants it; False where it wants a password, and nobody said otherwise."""
        url, ca = self._present.matrix_homeserver, self._present.matrix_ca
        server = None if token else await oauth.server_of(url, ca=ca)
        if server is None and browser:
            raise ConfigError(f"{url} keeps its accounts itself: it takes a --password, or the --login-token of an SSO")
        if server is None and not token:
            offer = await password_and_token.offered(url, ca=ca)
            if offer.password or not offer.sso:
                return False
            page = matrix_login_flow.sso_address(url)
            where = f"Please log in as the bot at {page} and take the address that you land at."
            self._console.print(where, soft_wrap=True, markup=False)
            token = self._hidden("That address, or the token in it")
        async with matrix_login_flow.kept(self._present) as inbox:
            if server is not None:
                account = await matrix_login_flow.in_browser(server, self._console, ca)
            else:
                account = await password_and_token.by_login_token(url, matrix_login_flow.login_token(token), ca=ca)
            await matrix_login_flow.keep(inbox, account, ca)
        # Nothing else may count before it, or in its place when it has ended.
        news = {"MATRIX_USER": account.user_id, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": ""}
        self._right(f"{account.user_id} is logged in, by {account.way}", **news)
        return True

    def _by_password(self) -> None:
        url, given, ca = self._present.matrix_homeserver, self._given, self._present.matrix_ca
        user = self._answer(given.user, "The bot's user name", self._present.matrix_user or "roommate")
        password = typed_secret(given.password) or self._present.matrix_password.get_secret_value()
        secret = typed_secret(given.registration_secret)
        register = given.register or bool(secret)
        if self._asks and not given.password and not register:
            default = "keeps the present one" if password else "registers a new account"
            password = self._hidden(f"Its password (Enter {default})") or password
        if self._asks and not password and not register:
            register = True
            secret = self._hidden("The homeserver's registration_shared_secret (Enter: anybody may register there)")
        if not password and not register:
            raise ConfigError(
                "the bot needs its --password, --login-token, --access-token or --browser, or an account: --register "
                "or --registration-secret"
            )
        password = password or secrets.token_urlsafe(24)
        if register:
            user_id = asyncio.run(homeserver_accounts.register(url, _localpart(user), password, secret, ca=ca))
            why = f"{user_id} has an account"
        else:
            user_id = asyncio.run(homeserver_accounts.check(url, user, password, ca=ca))
            why = f"{user_id} can log in"
        self._right(why, MATRIX_USER=user_id, MATRIX_PASSWORD=password, MATRIX_ACCESS_TOKEN="")

    def _people(self) -> None:
        server = self._present.server_name
        everybody = f"@*:{server}"
        question = f"Operators, who may do everything: Matrix ids such as @you:{server}, with commas"
        operators = _ids(self._answer(self._given.operators, question, ",".join(self._present.operator_ids)))
        if not operators or not all(one.startswith("@") and ":" in one for one in operators):
            raise ConfigError(f"who is operator? --operators has whole Matrix ids, such as @you:{server}")
        question = "Who may invite and prompt the bot: globs of Matrix ids, with commas"
        allowed = _ids(self._answer(self._given.allowed, question, ",".join(self._present.allowed_users) or everybody))
        self._right(
            f"{', '.join(operators)} may do everything, {', '.join(allowed)} may prompt",
            OPERATORS=",".join(operators),
            ALLOWED_USERS="" if allowed == [everybody] else ",".join(allowed),
        )

    def _model(self) -> None:
        given, present = self._given, self._present
        name = self._answer(given.model, f"Model, by its LiteLLM name; {REHEARSAL} needs no key", present.llm_model)
        if name == REHEARSAL:
            self._right("the built-in rehearsal needs no key, and cannot think", LLM_MODEL=name)
            return
        key = typed_secret(given.key) or present.llm_api_key.get_secret_value()
        if self._asks and not given.key:
            key = self._hidden(f"Its key{' (Enter keeps the present one)' if key else ''}") or key
        base = self._answer(given.base, "Base URL, if it is a provider of your own", present.llm_api_base)
        # If it does not answer, this is what is offered the next time.
        self._present = present.model_copy(update={"llm_model": name, "llm_api_base": base})
        with self._console.status(f"asking {escape(name)} for one word"):
            reply = asyncio.run(_one_word(name, key, base))
        said = " ".join(reply.text.split())
        self._right(f"{name} answers: {said[:60]}", LLM_MODEL=name, LLM_API_KEY=key, LLM_API_BASE=base)

    def _until_right(self, ask: Callable[[], None], *fields: str) -> None:
        while True:
            try:
                return ask()
            except RoommateError as error:
                if not self._asks:
                    raise
                self._console.print(f"[red]✘[/] {escape(str(error))}")
                # What the command line said was wrong: now people are asked.
                self._given = replace(self._given, **dict.fromkeys(fields, ""), register=False, browser=False)

    def _right(self, why: str, **settings: str) -> None:
        """Write what was found right; a setting that is empty and was never there stays away."""
        present = config.load(self._path, **{name.lower(): value for name, value in settings.items()})
        news = {name: value for name, value in settings.items() if value or getattr(self._present, name.lower())}
        env_file.write(self._path, news, header=HEADER)
        self._present = present
        self._console.print(f"[green]✔[/] {escape(why)}")

    def _answer(self, given: str, question: str, present: str) -> str:
        if given or not self._asks:
            return given or present
        return Question.ask(escape(question), console=self._console, default=present, show_default=bool(present))

    def _hidden(self, question: str) -> str:
        return Question.ask(escape(question), console=self._console, password=True, default="", show_default=False)


def _localpart(user: str) -> str:
    return user.removeprefix("@").partition(":")[0]


def _ids(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


async def _one_word(name: str, key: str, base: str) -> Reply:
    async with outbound_http.session() as session:
        model = ProviderModel(
            name, api_key=key, api_base=base, timeout=60, patience=Patience(tries=2), session=lambda: session
        )
        return await model.reply("", [TINY], [], lambda event: None)
