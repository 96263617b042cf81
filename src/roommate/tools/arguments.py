"""A model's arguments: here what it wrote becomes a type, or an error that tells it what is wrong."""

from __future__ import annotations

import functools
import json
import shlex
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError, from_json

from roommate.errors import ToolError
from roommate.words import ToolCall, ToolSpec


class Arguments(BaseModel):
    """The docstring of each is what the model reads about the tool. Numbers may be text: some models write them so."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _one_text(value: object) -> object:
    """Some models write a command as a list of words."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return shlex.join(value)
    return value


Text = Annotated[str, Field(min_length=1)]
Line = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=100, le=4000)]


class RunCommand(Arguments):
    """Run a shell command in the room's container and get its output and exit code."""

    command: Annotated[Text, BeforeValidator(_one_text)] = Field(description="The command, as typed into a shell")
    timeout: Seconds | None = Field(None, description="Seconds until it is killed")
    cwd: Text | None = Field(None, description="Folder to run it in; default: the workspace")
    background: bool = Field(False, description="True for servers and watchers: go on at once while it runs")


class Shell(Arguments):
    """A shell in a terminal that stays: folder, variables, environments, what runs. With no argument: wait for that."""

    command: Annotated[str, BeforeValidator(_one_text)] | None = Field(
        None, description="A command, when the shell is at its prompt"
    )
    input: str | None = Field(None, description="To type into the program that runs; \\n is Enter, \\u0004 Ctrl-D")
    interrupt: bool = Field(False, description="True for Ctrl-C")
    end: bool = Field(False, description="True to end the shell and all that runs in it; the next command begins anew")
    timeout: Seconds | None = Field(None, description="Seconds to wait; what still runs then is not killed")

    @model_validator(mode="after")
    def _one_thing(self) -> Shell:
        asked = {"command": self.command, "input": self.input, "interrupt": self.interrupt, "end": self.end}
        if len(given := [name for name, value in asked.items() if value]) > 1:
            raise PydanticCustomError("one_thing", "{given} cannot go together", {"given": " and ".join(given)})
        return self


class ReadFile(Arguments):
    """Read a text file."""

    path: Text = Field(description="Path, relative to the workspace")
    offset: Line | None = Field(None, description="First line to read, from 1")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="How many lines to read")


class WriteFile(Arguments):
    """Create a file or replace it whole. To change a part of a file use edit_file."""

    path: Text = Field(description="Path, relative to the workspace; folders on the way are made")
    content: str = Field(description="The whole new content")


class EditFile(Arguments):
    """Replace one piece of text in a file."""

    path: Text = Field(description="Path, relative to the workspace")
    old: Text = Field(description="The text to replace, exactly as in the file; it must be there once only")
    new: str = Field(description="The text to put there")


class ListFiles(Arguments):
    """List a folder, or find files by name."""

    path: Text | None = Field(None, description="Folder; default: the workspace")
    glob: Text | None = Field(None, description="Find everything below that matches, such as *.py or src/**/test_*")


class Search(Arguments):
    """Search in the content of files for a regular expression."""

    pattern: Text = Field(description="Regular expression")
    path: Text | None = Field(None, description="File or folder to search in; default: the workspace")
    glob: Text | None = Field(None, description="Only files with such a name, such as *.py")


class RunTests(Arguments):
    """Run the project's tests, and get what passed and what failed. Finds out by itself how they are run."""

    path: Text | None = Field(None, description="Folder of the project, or a Python test file; default: the workspace")
    command: Annotated[Text, BeforeValidator(_one_text)] | None = Field(
        None, description="How to run them, where the project's own way is not what you want"
    )


class FetchUrl(Arguments):
    """Read a web page as text. People may be asked first whether its host is allowed."""

    url: Text = Field(description="The address, with http:// or https://")


class TakeScreenshot(Arguments):
    """Open a web page in a browser; people see the picture, and you if you can. Gives console errors, too."""

    url: Text | None = Field(None, description="The address; http://localhost:PORT for a server in the container")
    path: Text | None = Field(None, description="In place of url: a file of the workspace, such as index.html")
    full_page: bool = Field(False, description="True for all of the page, not only its upper part")
    width: Pixels | None = Field(None, description="Of the window; default: 1280")
    height: Pixels | None = Field(None, description="Default: 800")


class SendFile(Arguments):
    """Show a file to the people in the chat, who can download it: pictures, documents, results."""

    path: Text = Field(description="Path, relative to the workspace")


class ReadBackground(Arguments):
    """See whether a background command still runs, and the end of its output."""

    id: Text = Field(description="The id that run_command gave")
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Seconds to wait for it to end first"
    )


class StopBackground(Arguments):
    """Stop a background command."""

    id: Text = Field(description="The id that run_command gave")


class Delegated(Arguments):
    """What a coding agent is given; it knows the workspace, and what it was told before, but not this conversation."""

    task: Text = Field(description="What to do, with all that the agent must know: it does not see this conversation")
    agent: Text | None = Field(None, description="gemini, qwen, claude, codex or opencode; default: the room's choice")


class Plan(Delegated):
    """Ask a coding agent for a plan: it looks at the workspace and changes nothing. Takes minutes."""


class Review(Delegated):
    """Have a coding agent review the changes in the workspace. Takes minutes."""


class Implement(Delegated):
    """Have a coding agent carry a task out: it writes code in the workspace, runs and tests it. Takes minutes."""


class AskAgent(Delegated):
    """Talk to a coding agent, in the session that this room has with it."""


class RequestRedeploy(Arguments):
    """Ask the operators to redeploy Roommate, the program that runs you. They see a card and decide without you."""

    why: Text = Field(description="Why, in a sentence")
    ref: Text | None = Field(None, description="Branch, tag or commit; default: the newest")


OPERATOR_TOOLS: dict[str, type[Arguments]] = {"request_redeploy": RequestRedeploy}
"""Given to a model that works for an operator of a daemon that can do it."""


class CreatePullRequest(Arguments):
    """Propose the changes in a clone as a pull request: commits what is not committed yet, on a new branch where the \
current one is protected, pushes it and opens the pull request. Answers with its address."""

    title: Text = Field(description="One line: what the change does; the commit gets it as well")
    body: str = Field(description="What was changed, why, and how it was tested, in Markdown")
    repo: Text | None = Field(
        None, description="owner/name, or the folder of its clone; needed where the workspace has several"
    )


AGENT_TOOLS: dict[str, type[Arguments]] = {
    "plan": Plan,
    "review": Review,
    "implement": Implement,
    "ask_agent": AskAgent,
}
"""Given to a model where there are coding agents."""

FORGE_TOOLS: dict[str, type[Arguments]] = {"create_pull_request": CreatePullRequest}
"""Given to a model where there is a forge to push to."""

TOOLS: dict[str, type[Arguments]] = {
    "run_command": RunCommand,
    "shell": Shell,
    "read_file": ReadFile,
    "write_file": WriteFile,
    "edit_file": EditFile,
    "list_files": ListFiles,
    "search": Search,
    "run_tests": RunTests,
    "fetch_url": FetchUrl,
    "take_screenshot": TakeScreenshot,
    "send_file": SendFile,
    "read_background": ReadBackground,
    "stop_background": StopBackground,
}


_ALL = TOOLS | AGENT_TOOLS | FORGE_TOOLS | OPERATOR_TOOLS


@functools.cache  # it takes 2 ms, and every turn asks
def specs(*, agents: bool = False, forge: bool = False, operator: bool = False) -> tuple[ToolSpec, ...]:
    tools = TOOLS | (AGENT_TOOLS if agents else {}) | (FORGE_TOOLS if forge else {})
    tools |= OPERATOR_TOOLS if operator else {}
    return tuple(ToolSpec(name, (kind.__doc__ or "").strip(), parameters(kind)) for name, kind in tools.items())


def parameters(kind: type[Arguments]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments, with those words only that every provider understands."""
    schema = kind.model_json_schema()
    properties = {}
    for name, wanted in schema["properties"].items():
        given = next((one for one in wanted.get("anyOf", ()) if one["type"] != "null"), wanted)
        properties[name] = {"type": given["type"], "description": wanted["description"]}
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


def parse(call: ToolCall) -> Arguments:
    """Raises ToolError, whose text tells the model what is wrong and what is right."""
    kind = _ALL.get(call.name)
    if kind is None:
        raise ToolError(f"there is no tool {_short(call.name)}; the tools are {', '.join(TOOLS)}")
    given = _load(call.arguments.encode("utf-8", "replace"), call.name)
    if isinstance(given, str):  # JSON within JSON
        given = _load(given.encode("utf-8", "replace"), call.name)
    if not isinstance(given, dict):
        raise _wrong(call.name, f"the arguments are not a JSON object but {_short(json.dumps(given))}")
    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise _wrong(call.name, "; ".join(_explain(one) for one in error.errors(include_url=False)[:5])) from None


def _load(text: bytes, name: str) -> Any:
    if not text.strip():
        return {}
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise _wrong(name, f"the arguments are not valid JSON ({error})") from None


def _wrong(name: str, problem: str) -> ToolError:
    wanted = json.dumps(parameters(_ALL[name]), ensure_ascii=False)
    return ToolError(f"{name} was not run: {problem}.\nIts arguments are one JSON object of this schema: {wanted}")


def _explain(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"][:1])
    if problem["type"] == "missing":
        return f"`{name}` is missing"
    if problem["type"] == "extra_forbidden":
        return f"there is no argument {_short(name)}"
    if not name:
        return str(problem["msg"])
    given = json.dumps(problem["input"], default=str)
    return f"`{name}`: {problem['msg'].lower()}, and it is {_short(given)}"


def _short(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return f"`{text}`" if len(text) <= 80 else f"`{text[:79]}…`"
