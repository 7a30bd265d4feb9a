"""Base images: pulled where a registry answers, built from distribution packages where none does.

The stand-ins are named `wepp-base/...` and chosen by the `*_IMAGE` variables of `.env`, so Compose by hand
and the tasks use the same ones. A stand-in carries a hash of its recipe as a label and is built again when
the recipe changes. Recipes are in docker/base; this module knows only their names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.base.console import Console
from scripts.base.errors import StackError, usage
from scripts.engine.compose import Compose
from scripts.settings import env_editing, envfile

NAMESPACE = "wepp-base"
RECIPE_LABEL = "wepp.base.recipe"
# A registry that has not begun to answer by then is as good as none.
REGISTRY_SECONDS = 8.0
# Interpreters that a Debian release carries; other versions need a registry.
PYTHON_RELEASES = {"3.11": "bookworm", "3.13": "trixie"}
PYTHON_WITHOUT_REGISTRY = "3.13"
# Database servers likewise, by major.
POSTGRES_RELEASES = {"17": "trixie", "18": "forky"}
POSTGRES_MAJOR = "17"
# Their index is valid for a week only, and a mirror may lag behind by more; it is signed all the same.
UNRELEASED = ("forky",)
# Images that the stand-ins stand for, from whatever registry.
OFFICIAL = re.compile(
    r"^(?:[^/]*[.:][^/]*/)?(?:(?:[^/]+/)*library/)?(?:postgres|redis|caddy|python|golang|node)(?:[:@][^/]*)?$"
)
VARIABLES = ("POSTGRES_IMAGE", "REDIS_IMAGE", "CADDY_IMAGE", "PYTHON_IMAGE", "GO_IMAGE", "NODE_IMAGE")
# How builds reach packages: secrets of the model, so the caller's mirrors are kept in no layer.
BUILD_SECRETS = ("ca_bundle", "build_environment")


@dataclass(frozen=True)
class BaseImage:
    """One stand-in: the variable of `.env` it serves, its recipe's name, its release and its tag.

    arguments: what its recipe is told besides the release, as NAME=value.
    """

    variable: str
    name: str
    release: str
    tag: str
    arguments: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Full image reference, e.g. `wepp-base/postgres:17-trixie`."""
        return f"{NAMESPACE}/{self.name}:{self.tag}"


def stand_ins(python_version: str, postgres_major: str = POSTGRES_MAJOR) -> dict[str, BaseImage]:
    """Return the stand-in for each image variable. Raise StackError when no release has that Python or PostgreSQL."""
    release = _release("Python", python_version, PYTHON_RELEASES, "PYTHON_VERSION_WITHOUT_REGISTRY")
    server = _release("PostgreSQL", postgres_major, POSTGRES_RELEASES, "POSTGRES_IMAGE")
    arguments = () if postgres_major == POSTGRES_MAJOR else (f"POSTGRES_MAJOR={postgres_major}",)
    images = (
        BaseImage("POSTGRES_IMAGE", "postgres", server, f"{postgres_major}-{server}", arguments),
        BaseImage("REDIS_IMAGE", "redis", "trixie", "8-trixie"),
        BaseImage("CADDY_IMAGE", "caddy", "trixie", "2.10-trixie"),
        BaseImage("PYTHON_IMAGE", "python", release, f"{python_version}-{release}"),
        BaseImage("GO_IMAGE", "go", "trixie", "1.27-trixie"),
        BaseImage("NODE_IMAGE", "node", "trixie", "24-trixie"),
    )
    return {image.variable: image for image in images}


def _release(what: str, version: str, releases: Mapping[str, str], variable: str) -> str:
    if version not in releases:
        raise StackError(
            f"no distribution release carries {what} {version}, and no registry can be reached for it",
            f"set {variable} in .env to one of {', '.join(releases)}, or reach a registry",
        )
    return releases[version]


def major_of(image: str) -> str:
    """Return the major that a server image's tag begins with (`postgres:18-trixie`); else this kit's own."""
    found = re.search(r":(\d+)[^/]*$", image.partition("@")[0])
    return found[1] if found else POSTGRES_MAJOR


def build_secrets(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that the rendered model hands to builds, by the secret's id."""
    known = model.get("secrets") or {}
    return {name: known[name]["file"] for name in BUILD_SECRETS if (known.get(name) or {}).get("file")}


def chosen_images(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the image that each variable stands for in the rendered model (its value or its default there)."""
    found: dict[str, str] = {}
    for name, service in model["services"].items():
        arguments = (service.get("build") or {}).get("args") or {}
        found |= {key: value for key, value in arguments.items() if key in VARIABLES and value}
        if (variable := f"{name.upper()}_IMAGE") in VARIABLES and not service.get("build"):
            found[variable] = service["image"]
    return found


class BaseImages:
    """Looks for, pulls and builds the images that the stack's own images start from."""

    def __init__(self, compose: Compose, console: Console) -> None:
        self.compose = compose
        self.console = console
        self.folder = compose.root / "docker" / "base"
        self.chosen = chosen_images(compose.model)
        self.secrets = build_secrets(compose.model)

    def ensure(self) -> None:
        """Every image that the stack starts from is here: found, pulled, or built and remembered."""
        ours = [name for name, image in self.chosen.items() if image.startswith(f"{NAMESPACE}/")]
        missing = [
            name for name, image in self.chosen.items() if name not in ours and not self.is_here(image)
        ]
        reason = self.pull([self.chosen[name] for name in missing]) if missing else None
        if reason is not None:
            # Those before the one that failed are here by now.
            missing = [name for name in missing if not self.is_here(self.chosen[name])]
            self._require_replaceable([self.chosen[name] for name in missing], reason)
            self.console.say(
                f"no registry gives them ({reason}); using base images made from distribution packages"
            )
            ours += missing
        if ours:
            self.build(ours)

    def _require_replaceable(self, images: Iterable[str], reason: str) -> None:
        # A stand-in is what the official image of that name is: neither somebody's own one nor one mistyped.
        own = [image for image in images if not OFFICIAL.search(image)]
        if own or reason.endswith(": not found"):
            raise StackError(
                f"{own[0]} cannot be pulled: {reason}" if own else f"there is no such image: {reason}",
                f"correct {', '.join(VARIABLES)} in .env, or make it available (docker pull, docker login)",
            )

    def is_here(self, image: str) -> bool:
        """Return True when the engine has this image."""
        return (
            bool(image)
            and self.compose.runner.capture(["docker", "image", "inspect", "--format", "{{.Id}}", image]).ok
        )

    def pull(self, images: Iterable[str]) -> str | None:
        """Pull the images; return None, or the reason why no registry can be used.

        The first look-up has REGISTRY_SECONDS; once a registry has answered, pulls may take long.
        """
        for image in images:
            look = self.compose.runner.capture(
                ["docker", "buildx", "imagetools", "inspect", image], timeout=REGISTRY_SECONDS
            )
            if not look.ok:
                return look.complaint.removeprefix("ERROR: ")
            self.must(["docker", "pull", "--quiet", image], f"{image} could not be pulled", "try again")
        return None

    def build(self, variables: Collection[str] | None = None, *, force: bool = False) -> list[str]:
        """Build the stand-ins for these variables (the model's by default) unless they are here and up to date.

        Remembers each choice in `.env`; return the references. StackError(3) when it cannot.
        """
        python = self.compose.setting("PYTHON_VERSION_WITHOUT_REGISTRY", PYTHON_WITHOUT_REGISTRY)
        known = stand_ins(python, major_of(self.chosen.get("POSTGRES_IMAGE", "")))
        needed = self.chosen if variables is None else variables
        wanted = [known[name] for name in VARIABLES if name in needed]
        stale = [image for image in wanted if force or not self.is_up_to_date(image)]
        for release in sorted({image.release for image in stale}):
            self.build_release(release, force=force)
        for image in stale:
            self.console.say(f"building {image.reference}")
            asked = self.compose.setting("PYTHON_VERSION", python)
            if image.variable == "PYTHON_IMAGE" and asked != python:
                self.console.say(
                    f"it has Python {python}, not {asked} (PYTHON_VERSION): packages carry no other here"
                )
            self.must(
                ["docker", "build", "--quiet", "--target", image.name, "--build-arg", f"PROGRAM={image.name}",
                 "--build-arg", f"DEBIAN_IMAGE={NAMESPACE}/debian:{image.release}",
                 *(part for argument in image.arguments for part in ("--build-arg", argument)),
                 *(part for name, file in self.secrets.items() for part in ("--secret", f"id={name},src={file}")),
                 "--build-context", f"mirrors={self.folder.parent / 'mirrors'}",
                 "--label", f"{RECIPE_LABEL}={self.recipe_hash(image)}",
                 "--tag", image.reference, str(self.folder)],
                f"the base image {image.reference} could not be built",
                "read the lines above; if packages could not be fetched, check the mirror and try again",
            )  # fmt: skip
        for image in wanted:
            if self.chosen.get(image.variable) != image.reference:
                remember(self.compose, self.console, image.variable, image.reference)
        return [image.reference for image in wanted]

    def is_up_to_date(self, image: BaseImage) -> bool:
        """Return True when the stand-in is here and was built by today's recipe."""
        label = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
        found = self.compose.runner.capture(
            ["docker", "image", "inspect", "--format", label, image.reference]
        )
        return found.ok and found.stdout.strip() == self.recipe_hash(image)

    def build_release(self, release: str, *, force: bool = False) -> None:
        """A minimal system of one Debian release, from this machine's own package mirror."""
        reference = f"{NAMESPACE}/debian:{release}"
        if not force and self.is_here(reference):
            return
        self.console.say(f"building {reference}")
        folder = self.compose.root / ".docker-data" / "base"
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{release}.tar"
        lagging = ["--aptopt=Acquire::Check-Valid-Until false"] if release in UNRELEASED else []
        try:
            self.must(
                ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", *lagging,
                 release, str(archive), self.mirror()],
                f"Debian {release} could not be bootstrapped",
                "read the lines above; scripts/setup installs mmdebstrap; another mirror can be named in .env: "
                "DEBIAN_MIRROR=...",
            )  # fmt: skip
            self.must(
                ["docker", "import", str(archive), reference],
                f"the engine did not take {reference}",
                "read the lines above; is its disk full?",
            )
        finally:
            archive.unlink(missing_ok=True)

    def must(self, command: list[str], what: str, fix: str) -> None:
        """Run a command that changes something; StackError(3) with its last words when it fails."""
        done = self.compose.runner.stream(command)
        if not done.ok:
            raise StackError(what, fix, details=done.stderr)

    def mirror(self) -> str:
        """Return the Debian mirror: DEBIAN_MIRROR of `.env`, else the one that this machine's apt uses."""
        if named := self.compose.setting("DEBIAN_MIRROR"):
            return named
        listed = self.compose.runner.capture(
            ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
        )
        for line in listed.stdout.splitlines() if listed.ok else []:
            origin, _, address = line.partition(" ")
            if origin == "Debian" and address:
                return address
        raise StackError(
            "this machine knows no Debian mirror to build base images from",
            "name one in .env: DEBIAN_MIRROR=http://...",
        )

    def recipe_hash(self, image: BaseImage) -> str:
        """SHA-256 (hex) of the recipes and of the files in the folder of the image's name beside them."""
        files = [self.folder / "Dockerfile", *sorted((self.folder / image.name).glob("*"))]
        digest = hashlib.sha256("".join((image.release, *image.arguments)).encode())
        for path in files:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()


def remember(compose: Compose, console: Console, name: str, reference: str) -> None:
    """Write a chosen image to `.env`; for this run alone where it was chosen because of what the caller exports."""
    choosing = {name, "PYTHON_VERSION_WITHOUT_REGISTRY"} if name == "PYTHON_IMAGE" else {name}
    here = compose.env
    exported = [key for key in choosing if compose.environment.get(key, here.get(key)) != here.get(key)]
    if exported:
        compose.overrides[name] = reference
        console.say(f"{name}={reference} for this run alone: {', '.join(sorted(exported))} is exported")
    else:
        env_editing.set_keys(compose.env_path, {name: reference})
        console.say(f"{name}={reference} written to {envfile.display_path(compose.env_path)}")
    compose.forget()


def ensure(compose: Compose, console: Console) -> None:
    """Every base image of this stack is here afterwards; StackError(3) says why not."""
    BaseImages(compose, console).ensure()


def build_base(
    compose: Compose, console: Console, names: Collection[str] | None = None, force: bool = False
) -> list[str]:
    """Build stand-ins by short name (`postgres`, `python`, ...; the model's by default); return their references."""
    known = {variable.removesuffix("_IMAGE").lower(): variable for variable in VARIABLES}
    if unknown := sorted(set(names or ()) - known.keys()):
        usage(f"there is no base image named {unknown[0]}", f"use {', '.join(known)}")
    variables = [known[name] for name in names] if names else None
    return BaseImages(compose, console).build(variables, force=force)
