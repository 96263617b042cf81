"""The program that fetch_url runs in the room's container: prints a page as text. Standard library only.

It runs there, behind the room's own way out, so that a page can do to the daemon nothing at all.
"""

# What it prints is its answer, and it is nothing but a client of the web.
# ruff: noqa: T201, S310

from __future__ import annotations

import http.client
import sys
from html.parser import HTMLParser
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

LARGEST = 5 << 20
SECONDS = 700
SILENT = {"script", "style", "noscript", "template", "svg", "head", "iframe", "object", "canvas", "select"}
BLOCKS = {
    *(
        "p",
        "div",
        "section",
        "article",
        "header",
        "footer",
        "nav",
        "main",
        "aside",
        "ul",
        "ol",
        "table",
        "tr",
        "br",
        "hr",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "li",
        "pre",
        "blockquote",
        "dt",
        "dd",
        "form",
        "figure",
        "details",
        "summary",
    ),
}


class Text(HTMLParser):
    """What a reader sees; headings and list items are marked, links keep where they lead."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.title = ""
        self._url = url
        self._parts: list[str] = []
        self._silent: list[str] = []
        self._pre = 0
        self._links: list[str] = []
        self._in_title = False

    def text(self) -> str:
        lines = "".join(self._parts).split("\n")
        kept: list[str] = []
        for line in lines:
            if line.strip() or (kept and kept[-1]):
                kept.append(line.rstrip())
        return "\n".join(kept).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag in SILENT:
            self._silent.append(tag)
        elif tag == "body":
            self._silent.clear()  # a head that nobody closed
        elif tag in BLOCKS:
            self._parts.append("\n")
            self._pre += tag == "pre"
            if tag[0] == "h" and tag[1:].isdigit():
                self._parts.append("#" * int(tag[1]) + " ")
            elif tag == "li":
                self._parts.append("- ")
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in SILENT and tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in BLOCKS:
            self._parts.append("\n")
            self._pre -= tag == "pre" and self._pre > 0
        elif tag == "a" and self._links and (link := self._links.pop()) and not link.startswith(("#", "javascript:")):
            self._parts.append(f" <{self._whole(link)}>")

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """A browser passes ``<![…>`` over; the parser raises AssertionError where it does not know what is in it."""
        return self.parse_bogus_comment(i)

    def _whole(self, link: str) -> str:
        try:
            return urljoin(self._url, link)
        except ValueError:  # such as http://[x
            return link

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self._parts.append(data if self._pre else _one_space(data))


def _one_space(data: str) -> str:
    words = " ".join(data.split())
    return f"{' ' * data[:1].isspace()}{words}{' ' * (data[-1:].isspace() and bool(words))}"


def show(response: http.client.HTTPResponse | HTTPError, url: str) -> None:
    content = response.read(LARGEST)
    kind, charset = response.headers.get_content_type(), response.headers.get_content_charset() or "utf-8"
    print(f"HTTP {response.status} · {kind} · {url}\n")
    try:
        text = content.decode(charset, "replace")
    except LookupError:
        text = content.decode("utf-8", "replace")
    if kind in ("text/html", "application/xhtml+xml"):
        page = Text(url)
        page.feed(text)
        page.close()
        text = f"{page.title.strip()}\n\n{page.text()}".strip()
    elif not (kind.startswith("text/") or kind.endswith(("json", "xml", "javascript", "yaml"))):
        text = "This is no text: to have the file, download it with curl."
    print(text)


def main(url: str) -> int:
    try:
        request = Request(url, headers={"User-Agent": "roommate", "Accept": "text/*, application/json, */*;q=0.5"})
        with urlopen(request, timeout=SECONDS) as response:
            show(response, response.url)
    except HTTPError as error:
        show(error, url)
        return 1
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        print(f"{url} was not fetched: {getattr(error, 'reason', None) or error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
