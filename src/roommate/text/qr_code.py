"""QR codes for terminals."""

from __future__ import annotations

import io


def qr_code(text: str) -> str:
    """Lines of half blocks, for white on black, as readers want it."""
    import segno  # for those who want it

    picture = io.StringIO()
    segno.make(text, micro=False).terminal(picture, border=2, compact=True)
    return picture.getvalue()
