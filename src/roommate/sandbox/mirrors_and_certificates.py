"""This site's mirrors, certificates and passwords: mounted while the image is built, no part of it."""

from __future__ import annotations

import configparser
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roommate.sandbox.host_apt import sources

MOUNT = "/mnt"
"""Where a build sees it: a folder that every base has, so that not even an empty one stays behind."""

_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_PIP_URLS = ("index-url", "extra-index-url", "find-links")
_PIP_WORDS = ("trusted-host", "proxy", "timeout", "retries", "no-index")
_NPM_FILES = ("/etc/npmrc", "~/.npmrc")
_NPM = re.compile(r"(@[^:=\s]+:)?registry|//\S+:_\w+|https?-proxy|proxy|noproxy|strict-ssl|fetch-[a-z-]+")
_NPM_REGISTRY = re.compile(r"(@[^:=\s]+:)?registry")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_KEYRING = re.compile(r"(?<=signed-by=)(/[^\]\s]+)")


@dataclass(frozen=True, slots=True)
class Site:
    """What this host knows of package indexes. What may hold a password is not shown."""

    pip: Mapping[str, str] = field(default_factory=dict, repr=False)
    npm: Mapping[str, str] = field(default_factory=dict, repr=False)
    apt_options: tuple[str, ...] = field(default=(), repr=False)
    apt_sources: tuple[str, ...] = field(default=(), repr=False)
    apt_passwords: str = field(default="", repr=False)
    codename: str = ""
    """Of the release that `apt_sources` are for."""
    certificates: tuple[Path, ...] = ()

    @property
    def stays(self) -> dict[str, str]:
        """Path in the image and text of what the rooms need as well: where mirrors are, without passwords."""
        pip = {name: urls for name in _PIP_URLS[:2] if (urls := _public(self.pip.get(name, "")))}
        npm = {
            name: url for name, value in self.npm.items() if _NPM_REGISTRY.fullmatch(name) if (url := _public(value))
        }
        files = {}
        if pip:
            files["etc/pip.conf"] = _ini(pip)
            extra = ", ".join(f'"{url}"' for url in pip.get("extra-index-url", "").split())
            lines = [f'index-url = "{pip["index-url"]}"'] if "index-url" in pip else []
            files["etc/uv/uv.toml"] = "\n".join([*lines, f"extra-index-url = [{extra}]", ""])
        if npm:
            files["etc/npmrc"] = "".join(f"{name}={url}\n" for name, url in npm.items())
        return files

    def lay_out(self, folder: Path, script: str) -> None:
        """Write what a build mounts at MOUNT; `script` is what its RUNs source."""
        (folder / "keys").mkdir(parents=True)
        sources = "\n".join(_KEYRING.sub(_copier(folder / "keys"), line) for line in self.apt_sources)
        options = [*self.apt_options, f'Acquire::https::CaInfo "{MOUNT}/ca.crt";', f'Dir::Etc::netrc "{MOUNT}/netrc";']
        from_here = [*options, f'Dir::Etc::sourcelist "{MOUNT}/sources.list";', 'Dir::Etc::sourceparts "-";']
        bundles = [path.read_text(errors="replace") for path in self.certificates]
        for name, text in (
            ("ca.crt", "\n".join(bundles)),
            ("apt.conf", "\n".join([*options, ""])),
            ("apt-here.conf", "\n".join([*from_here, ""])),
            ("sources.list", f"{sources}\n"),
            (script, self._script()),
            *((f"stays/{path}", text) for path, text in self.stays.items()),
        ):
            _write(folder / name, text, 0o644)  # apt drops its rights before it reads certificates
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir() or path.parent.name == "keys")):
            path.chmod(0o755)
        _write(folder / "netrc", self.apt_passwords, 0o600)
        _write(folder / "pip.conf", _ini({**self.pip, "cert": f"{MOUNT}/ca.crt"}), 0o600)
        _write(folder / "npmrc", "".join(f"{name}={value}\n" for name, value in self.npm.items()), 0o600)

    def _script(self) -> str:
        lines = [
            f"export PIP_CONFIG_FILE={MOUNT}/pip.conf NPM_CONFIG_USERCONFIG={MOUNT}/npmrc APT_CONFIG={MOUNT}/apt.conf",
            f"export SSL_CERT_FILE={MOUNT}/ca.crt NODE_EXTRA_CA_CERTS={MOUNT}/ca.crt",
            f"if [ -d {MOUNT}/stays ]; then cp -r {MOUNT}/stays/. /; fi",
        ]
        if self.apt_sources:  # a base of another release keeps its own sources
            lines.append(
                f'. /etc/os-release; if [ "$VERSION_CODENAME" = {self.codename} ]; then '
                f"export APT_CONFIG={MOUNT}/apt-here.conf; fi"
            )
        return "\n".join([*lines, ""])


def read(root: Path, environment: Mapping[str, str], codename: str, apt_options: Iterable[str]) -> Site:
    """What the files below `root` (``/``) and an environment say. Blocks."""

    def files(names: Iterable[str]) -> Iterator[Path]:
        return _readable(root, names, environment.get("HOME", "/root"))

    passwords = files(["/etc/apt/auth.conf", *_below(root, "etc/apt/auth.conf.d/*.conf")])
    return Site(
        pip=_pip(files([*_PIP_FILES, environment.get("PIP_CONFIG_FILE", "")]), environment),
        npm=_npm(files([*_NPM_FILES, environment.get("NPM_CONFIG_USERCONFIG", "")]), environment),
        apt_options=tuple(apt_options),
        apt_sources=tuple(sources(root / "etc/apt", codename)),
        apt_passwords="\n".join(path.read_text(errors="replace") for path in passwords),
        codename=codename,
        certificates=certificates(root, environment),
    )


def certificates(root: Path, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files with the certificates that this host trusts. Blocks."""
    names = [environment.get(name, "") for name in _CERTIFICATES]
    names.append(ssl.get_default_verify_paths().openssl_cafile or "")
    names.append("/etc/ssl/certs/ca-certificates.crt")
    return tuple(dict.fromkeys(path.resolve() for path in _readable(root, names, "")))


def bundle(files: Iterable[Path]) -> str:
    """Each certificate in these files once; "" where there is none."""
    found = dict.fromkeys(block for path in files for block in _PEM.findall(path.read_text(errors="replace")))
    return "".join(f"{block}\n" for block in found)


def _readable(root: Path, names: Iterable[str], home: str) -> Iterator[Path]:
    for name in names:
        path = root / name.replace("~", home).lstrip("/") if name else root
        if name and path.is_file() and os.access(path, os.R_OK):
            yield path


def _pip(files: Iterable[Path], environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text(errors="replace"))
        except configparser.Error:
            continue  # pip itself would refuse it
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    found |= {name[4:].lower().replace("_", "-"): value for name, value in environment.items() if name[:4] == "PIP_"}
    made = {name: found[name] for name in _PIP_WORDS if name in found}
    return made | {name: urls for name in _PIP_URLS if (urls := _remote(found.get(name, "")))}


def _npm(files: Iterable[Path], environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in files:
        for line in path.read_text(errors="replace").splitlines():
            name, equals, value = (part.strip() for part in line.partition("="))
            if equals and _NPM.fullmatch(name):
                found[name] = re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), value).strip("\"'")
    registry = next((value for name, value in environment.items() if name.lower() == "npm_config_registry"), "")
    return found | ({"registry": registry} if registry else {})


def _remote(urls: str) -> str:
    """Without folders of this host: a build does not see them."""
    return " ".join(url for url in urls.split() if url.startswith(("http://", "https://")))


def _public(urls: str) -> str:
    return _PASSWORD.sub("", _remote(urls))


def _ini(values: Mapping[str, str]) -> str:
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in values.items())])


def _copier(folder: Path) -> Callable[[re.Match[str]], str]:
    """Gives each keyring that a source names a place in `folder`; one that is missing stays as it is named."""

    def copy(match: re.Match[str]) -> str:
        key = Path(match[1])
        if not key.is_file():
            return match[1]
        (folder / key.name).write_bytes(key.read_bytes())
        return f"{MOUNT}/keys/{key.name}"

    return copy


def _below(root: Path, pattern: str) -> list[str]:
    return [f"/{path.relative_to(root)}" for path in sorted(root.glob(pattern))]


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
