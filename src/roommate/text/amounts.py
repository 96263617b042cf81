"""Amounts as people read them: times, sizes, money."""

from __future__ import annotations


def age(seconds: float) -> str:
    """``12 s``, ``5 min``, ``3 h 20 min``, ``4 d 2 h``."""
    minutes, hours, days = (int(seconds // length) for length in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def size(count: int) -> str:
    """Bytes: ``812 B``, ``3.4 MiB``, ``2 GiB``."""
    amount, units = float(count), ["GiB", "MiB", "KiB", "B"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop()
    return f"{amount:.1f}".removesuffix(".0") + f" {units[-1]}"


def grouped(count: int) -> str:
    """A number with a thin space at each thousand."""
    return f"{count:,}".replace(",", "\u2009")


def cost(dollars: float | None) -> str:
    """Nothing where no price is known."""
    return "" if dollars is None else f"${dollars:.4f}"
