"""Read how this machine reaches package indexes: the variables of pip and uv, pip's files, the proxies and the CA.

`scripts/setup` runs this file with the Python of `.venv`, before anything is installed there: standard library only, no
import from this repository. It prints the environment for pip and uv as NAME=value, each ended by a zero byte.
"""

from __future__ import annotations

import configparser
import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path

# pip's settings that say where packages come from and how they are fetched, with the variables that tell uv the same.
# Those that say where they go (`target`, `user`, `prefix`, `require-virtualenv`) are left out on purpose.
SETTINGS: dict[str, tuple[str, ...]] = {
    "index-url": ("UV_DEFAULT_INDEX",),
    "extra-index-url": ("UV_INDEX",),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY"),
    "no-index": (),
    "client-cert": (),
    "retries": (),
    "keyring-provider": (),
    "cache-dir": (),
}
ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
# What pip and uv get from the caller as it is; nothing else of the caller's environment reaches them.
PASSED = re.compile(
    r"PATH|LD_LIBRARY_PATH|TMPDIR|NETRC|XDG_CACHE_HOME"
    r"|(?i:HTTPS?_PROXY|ALL_PROXY|NO_PROXY)"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|UV_(?:DEFAULT_INDEX|INDEX|INDEX_STRATEGY|INDEX_\w+_(?:USERNAME|PASSWORD))"
    r"|UV_(?:FIND_LINKS|INSECURE_HOST|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|KEYRING_PROVIDER|CACHE_DIR)"
)
# Those of pip's and uv's that mean something inside a build.
BUILDS = re.compile(
    r"PIP_(?:INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|FIND_LINKS|PROXY)"
    r"|UV_(?:DEFAULT_INDEX|INDEX|INDEX_STRATEGY|INDEX_\w+_(?:USERNAME|PASSWORD)|INSECURE_HOST|HTTP_TIMEOUT|FIND_LINKS)"
)


def home(environment: Mapping[str, str]) -> Path:
    """Return the caller's home folder: HOME when it is an absolute path, else what the user database says."""
    named = Path(environment.get("HOME", ""))
    return named if named.is_absolute() else Path(pwd.getpwuid(os.getuid()).pw_dir)


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return pip's SETTINGS by pip's own precedence: variables, then its files, the nearest last.

    Raise ValueError, naming the file, when one of them cannot be read.
    """
    named = [item for path in _pip_files(environment) for item in _pip_file(path)]
    named += [(key[4:], value) for key, value in environment.items() if key.startswith("PIP_")]
    found = {}
    for key, value in named:
        name = key.lower().replace("_", "-")
        # Lists are written with line breaks in the files and with blanks in variables.
        found[ALIASES.get(name, name)] = " ".join(value.split())
    return {name: found[name] for name in SETTINGS if found.get(name)}


def _pip_files(environment: Mapping[str, str]) -> list[Path]:
    own = environment.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    folder, configuration = home(environment), Path(environment.get("XDG_CONFIG_HOME", ""))
    if not configuration.is_absolute():
        configuration = folder / ".config"
    system = environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    folders = [*(Path(each) / "pip" for each in system if each), Path("/etc"), folder / ".pip"]
    folders += [configuration / "pip", Path(sys.prefix)]
    return [*(each / "pip.conf" for each in folders), *([Path(own)] if own else [])]


def _pip_file(path: Path) -> list[tuple[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ValueError(f"pip's settings in {path} cannot be read: {error}") from error
    # The section of a command stands over [global]; `pip install` is the command that is run.
    return [item for name in ("global", "install") if parser.has_section(name) for item in parser.items(name)]


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which pip and uv reach the same indexes; uv's own, where the caller has them, stay."""
    own = {name: value for name, value in environment.items() if value and PASSED.fullmatch(name)}
    # uv's older names.
    for old, new in (("UV_INDEX_URL", "UV_DEFAULT_INDEX"), ("UV_EXTRA_INDEX_URL", "UV_INDEX")):
        if value := environment.get(old):
            own.setdefault(new, value)
    pip = pip_settings(environment)
    # An index of uv's may have a name: `mirror=https://...`.
    address = re.sub(r"^[\w.-]+=(?=\w+://)", "", own.get("UV_DEFAULT_INDEX", ""))
    if address:
        pip.setdefault("index-url", address)
    found = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in pip.items()}
    for name, value in pip.items():
        found |= dict.fromkeys(SETTINGS[name], value.replace(" ", ",") if name == "find-links" else value)
    # uv takes the first index that has a name; pip, whose settings these are, looks into all of them.
    found |= {"UV_INDEX_STRATEGY": "unsafe-best-match"} if "UV_INDEX" in found else {}
    return found | own


def for_builds(environment: Mapping[str, str]) -> dict[str, str]:
    """Return pip's and uv's variables that a build needs to reach the same indexes; nothing that names a local file.

    Raise ValueError, naming the file, when a settings file cannot be read.
    """
    pip = pip_settings(environment)
    links = [each for each in pip.get("find-links", "").split() if "://" in each and "file:" not in each]
    found = {name: value for name, value in _variables(environment).items() if BUILDS.fullmatch(name)}
    found |= {"PIP_FIND_LINKS": " ".join(links), "UV_FIND_LINKS": ",".join(links)}
    found |= dict.fromkeys(SETTINGS["proxy"], pip.get("proxy", ""))
    return {name: value for name, value in found.items() if value}


def for_installation(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment in which pip and uv install `.venv`.

    Raise ValueError, naming the file, when a settings file cannot be read.
    """
    # Neither program reads its own files any more: what pip's say of indexes is in the variables.
    fixed = {"LC_ALL": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    return {**_variables(environment), "HOME": str(home(environment)), **fixed}


def ca_bundle(environment: Mapping[str, str]) -> Path | None:
    """Return the CA bundle that the caller's programs are told to use, when the file is there."""
    try:
        named = environment.get("SSL_CERT_FILE") or pip_settings(environment).get("cert", "")
    except ValueError:
        named = ""
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
