"""`roommate usage` and `roommate settings`."""

from __future__ import annotations

from roommate.cli import ask


def usage(*, as_json: bool) -> None:
    found = ask.ask("usage")
    columns: dict[str, ask.Column] = {
        "room": lambda room: room["room_id"],
        "name": lambda room: room["name"],
        "turns": lambda room: room["turns"],
        "tokens in": lambda room: room["input_tokens"],
        "tokens out": lambda room: room["output_tokens"],
        "cost": lambda room: ask.cost(room["cost"]),
        "coding agents": lambda room: ", ".join(
            f"{one['agent']} {one['usage']['input_tokens'] + one['usage']['output_tokens']}" for one in room["agents"]
        ),
    }
    ask.table(found, columns, as_json=as_json)


def settings(*, as_json: bool) -> None:
    columns: dict[str, ask.Column] = {
        "setting": lambda one: one["name"],
        "value": lambda one: one["value"],
        "": lambda one: "default" if one["default"] else "",
    }
    ask.table(ask.ask("settings"), columns, as_json=as_json)
