"""Read how this machine reaches package indexes: the variables and files of pip and uv, the proxies and the CA.

`scripts/setup` runs this file with the Python of `.venv`, before anything is installed there: standard library only, no
import from this repository. It prints the environment for pip and uv as NAME=value, each ended by a zero byte.
"""

from __future__ import annotations

import configparser
import os
import pwd
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# pip's settings that say where packages come from and how they are fetched. Those that say where they go (`target`,
# `user`, `prefix`, `require-virtualenv`) are left out on purpose.
PIP_SETTINGS = (
    "index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "client-cert",
    "timeout", "retries", "keyring-provider", "cache-dir",
)  # fmt: skip
ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
# The section of each command stands over [global]; `pip install` is the command that is run.
PIP_SECTIONS = ("global", "install")
# What pip and uv get from the caller as it is; nothing else of the caller's environment reaches them.
PASSED = re.compile(
    r"PATH|LD_LIBRARY_PATH|TMPDIR|NETRC|XDG_CACHE_HOME"
    r"|(?i:HTTPS?_PROXY|ALL_PROXY|NO_PROXY)"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|UV_(?:DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_\w+_(?:USERNAME|PASSWORD))"
    r"|UV_(?:FIND_LINKS|INSECURE_HOST|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|KEYRING_PROVIDER|CACHE_DIR)"
)

# Of uv's variables those that mean something inside a build.
BUILDS = re.compile(
    r"UV_(?:DEFAULT_INDEX|INDEX|INDEX_STRATEGY|INDEX_\w+_(?:USERNAME|PASSWORD)|INSECURE_HOST|HTTP_TIMEOUT)"
)


def home(environment: Mapping[str, str]) -> Path:
    """Return the caller's home folder: HOME when it is an absolute path, else what the user database says."""
    named = Path(environment.get("HOME", ""))
    return named if named.is_absolute() else Path(pwd.getpwuid(os.getuid()).pw_dir)


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings (PIP_SETTINGS) by pip's own precedence: variables, then its files, the nearest last.

    Raise ValueError, naming the file, when one of them cannot be read.
    """
    found: dict[str, str] = {}
    for path in _pip_files(environment):
        found |= _pip_file(path)
    for name, value in environment.items():
        if name.startswith("PIP_"):
            found |= _known({name.removeprefix("PIP_"): value})
    return {name: value for name, value in found.items() if value}


def _pip_files(environment: Mapping[str, str]) -> list[Path]:
    own = environment.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    folder, configuration = home(environment), _configuration_folder(environment)
    system = [
        Path(each) / "pip" for each in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if each
    ]
    folders = [*system, Path("/etc"), folder / ".pip", configuration / "pip", Path(sys.prefix)]
    return [*(each / "pip.conf" for each in folders), *([Path(own)] if own else [])]


def _pip_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ValueError(f"pip's settings in {path} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for section in PIP_SECTIONS:
        if parser.has_section(section):
            found |= _known(dict(parser.items(section)))
    return found


def _known(values: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, value in values.items():
        name = key.lower().replace("_", "-")
        name = ALIASES.get(name, name)
        if name in PIP_SETTINGS:
            # Lists are written with line breaks in the files and with blanks in variables.
            found[name] = " ".join(value.split())
    return found


def _configuration_folder(environment: Mapping[str, str]) -> Path:
    named = Path(environment.get("XDG_CONFIG_HOME", ""))
    return named if named.is_absolute() else home(environment) / ".config"


def uv_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for the indexes: the caller's own, else those of its uv.toml, else pip's settings.

    Raise ValueError, naming the file, when a settings file cannot be read.
    """
    pip = pip_settings(environment)
    found = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": pip.get("extra-index-url", ""),
        "UV_FIND_LINKS": pip.get("find-links", "").replace(" ", ","),
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "UV_HTTP_TIMEOUT": pip.get("timeout", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "HTTP_PROXY": pip.get("proxy", ""),
        "HTTPS_PROXY": pip.get("proxy", ""),
    }
    # uv takes the first index that has a name; pip, whose settings these are, looks into all of them.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match" if found["UV_INDEX"] else ""
    if not environment.get("UV_NO_CONFIG"):
        for folder in (Path("/etc"), _configuration_folder(environment)):
            found |= _uv_file(folder / "uv" / "uv.toml")
    own = {name: value for name, value in environment.items() if value and PASSED.fullmatch(name)}
    # Two names for one thing: the caller's must not stand beside another index.
    for old, new in (("UV_INDEX_URL", "UV_DEFAULT_INDEX"), ("UV_EXTRA_INDEX_URL", "UV_INDEX")):
        if old in own:
            own.setdefault(new, own.pop(old))
    found |= {name: value for name, value in own.items() if name in found or name.startswith("UV_")}
    return {name: value for name, value in found.items() if value}


def _uv_file(path: Path) -> dict[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"uv's settings in {path} cannot be read: {error}") from error
    settings: dict[str, Any] = {**document, **document.get("pip", {})}
    indexes = [each for each in document.get("index", []) if each.get("url")]
    default = [each["url"] for each in indexes if each.get("default")] or [settings.get("index-url", "")]
    extra = [each["url"] for each in indexes if not each.get("default")] or settings.get(
        "extra-index-url", []
    )
    found = {
        "UV_DEFAULT_INDEX": default[0],
        "UV_INDEX": " ".join(extra),
        "UV_INSECURE_HOST": " ".join(document.get("allow-insecure-host", [])),
    }
    return {name: value for name, value in found.items() if value}


def for_builds(environment: Mapping[str, str]) -> dict[str, str]:
    """Return pip's and uv's variables that a build needs to reach the same indexes; nothing that names a local file.

    Raise ValueError, naming the file, when a settings file cannot be read.
    """
    pip, uv = pip_settings(environment), uv_variables(environment)
    links = " ".join(
        each for each in pip.get("find-links", "").split() if "://" in each and "file:" not in each
    )
    found = {
        "PIP_INDEX_URL": pip.get("index-url", "") or _address(uv.get("UV_DEFAULT_INDEX", "")),
        "PIP_EXTRA_INDEX_URL": pip.get("extra-index-url", ""),
        "PIP_TRUSTED_HOST": pip.get("trusted-host", ""),
        "PIP_FIND_LINKS": links,
        **{name: value for name, value in uv.items() if BUILDS.fullmatch(name)},
        "UV_FIND_LINKS": links.replace(" ", ","),
        **dict.fromkeys(("PIP_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), pip.get("proxy", "")),
    }
    return {name: value for name, value in found.items() if value}


def for_installation(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment in which pip and uv install `.venv`.

    Raise ValueError, naming the file, when a settings file cannot be read.
    """
    pip, uv = pip_settings(environment), uv_variables(environment)
    pip.setdefault("index-url", _address(uv.get("UV_DEFAULT_INDEX", "")))
    variables = {name: value for name, value in environment.items() if value and PASSED.fullmatch(name)}
    for old in ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        variables.pop(old, None)
    named = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in pip.items() if value}
    # Neither program reads its own files any more: what they say of indexes is in these variables.
    fixed = {
        "HOME": str(home(environment)),
        "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }
    return {**variables, **named, **uv, **fixed}


def _address(index: str) -> str:
    """Return the address of an index of uv's, which may have a name: `mirror=https://...`."""
    return re.sub(r"^[\w.-]+=(?=\w+://)", "", index)


def ca_bundle(environment: Mapping[str, str]) -> Path | None:
    """Return the CA bundle that the caller's programs are told to use, when the file is there."""
    try:
        named = environment.get("SSL_CERT_FILE") or pip_settings(environment).get("cert", "")
    except ValueError:
        named = environment.get("SSL_CERT_FILE", "")
    path = Path(named)
    return path if named and path.is_absolute() and path.is_file() else None


def main() -> int:
    """Print the environment for the installation; the exit status is 3 when a settings file cannot be read."""
    try:
        variables = for_installation(os.environ)
    except ValueError as error:
        print(f"setup: {error}\n  fix: correct that file, or move it away", file=sys.stderr)
        return 3
    sys.stdout.write("".join(f"{name}={value}\0" for name, value in variables.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
