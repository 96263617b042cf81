"""`roommate rooms`."""

from __future__ import annotations

from typing import Annotated

import typer

from roommate.cli import ask

app = typer.Typer(no_args_is_help=True, help="The rooms that the bot is in.")

Room = Annotated[str, typer.Argument(help="A room's id, the beginning of one, or a room's name.")]
RoomOrAll = Annotated[str, typer.Argument(help="A room; without one: all of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def _ls(as_json: AsJson = False) -> None:
    """Show all rooms: what runs, what waits, what is paused."""
    columns: dict[str, ask.Column] = {
        "room": lambda room: room["room_id"],
        "name": lambda room: room["name"],
        "members": lambda room: room["members"],
        "turn": lambda room: room["turn"] or "",
        "waiting": lambda room: room["waiting"] or "",
        "container": lambda room: "up" if room["container"] else "",
        "model": lambda room: room["model"],
        "paused": lambda room: room["paused"] and f"by {room['paused']}",
    }
    ask.table(ask.ask("rooms.list"), columns, as_json=as_json)


@app.command("show")
def _show(room: Room, as_json: AsJson = False) -> None:
    """Show one room at length."""
    found = ask.ask("rooms.show", room=room)
    if as_json:
        ask.show_json(found)
        return
    line = found["line"]
    ask.show_table(
        (),
        [
            ("room", line["room_id"]),
            ("name", line["name"]),
            ("members", f"{line['members']}, the bot among them"),
            ("encrypted", "yes" if line["encrypted"] else "no"),
            ("paused", f"by {line['paused']}" if line["paused"] else "no"),
            ("turn", line["turn"] or "none runs"),
            ("waiting", line["waiting"]),
            ("model", line["model"]),
            ("prompt", found["prompt"] or "none of its own"),
            ("sandbox", found["sandbox"]),
            ("so far", f"turns: {found['turns']}, tokens: {found['tokens']} {ask.cost(found['cost'])}".rstrip()),
        ]
        + [
            ("agent", f"{one['agent']} with {one['model']}: {one['requests']} requests, "
             f"{one['usage']['input_tokens'] + one['usage']['output_tokens']} tokens")
            for one in found["agents"]
        ]
    )  # fmt: skip


@app.command("leave")
def _leave(room: Room) -> None:
    """Have the bot leave a room. Its container goes, its files stay."""
    ask.ask("rooms.leave", room=room)
