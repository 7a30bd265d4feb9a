"""The list of services, read from the rendered compose model and nowhere else written down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.base.errors import usage
from scripts.engine.container import ONE_SHOT, ROLE_LABEL, TASK

PROXY = "caddy"
# Ports in its container: for this machine alone, and of the public site.
PROXY_PORT, PUBLIC_PORT = 8080, 8443
HTTPS = 443
# Addresses that mean "every interface": a client on this machine asks the loopback.
ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True)
class Port:
    """One published port: address and number on the host, number in the container."""

    address: str
    number: int
    target: int


@dataclass(frozen=True)
class Service:
    """One service of the stack, with what its labels say about it."""

    name: str
    image: str
    container: str
    profiles: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    about: str = ""
    probe: str = ""
    probe_body: str = ""
    pages: tuple[str, ...] = ()
    url: str = ""
    public: str = ""
    one_shot: bool = False
    writes: str = ""
    secrets: tuple[str, ...] = ()

    def active(self, profiles: Iterable[str]) -> bool:
        """Return True when these profiles start the service."""
        return not self.profiles or bool(set(self.profiles) & set(profiles)) or "*" in profiles


class Catalogue:
    """All services of a model, by name."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = {service.name: service for service in services}

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Catalogue:
        """Read the model that `Compose.model` rendered; what only a task starts is no part of the stack."""
        project = str(model.get("name", ""))
        services = (model.get("services") or {}).items()
        return cls(
            [
                _service(project, name, each)
                for name, each in services
                if (each.get("labels") or {}).get(ROLE_LABEL) != TASK
            ]
        )

    def active(self, profiles: Iterable[str]) -> list[Service]:
        """Return the services that these profiles start, in the model's order."""
        wanted = list(profiles)
        return [service for service in self.services.values() if service.active(wanted)]

    def select(self, names: Sequence[str]) -> list[Service]:
        """Return the named services. Raise StackError for a name that is not in the stack."""
        _require_known("service", names, self.services)
        return [self.services[name] for name in names]

    def check_profiles(self, names: Sequence[str]) -> None:
        """Raise StackError for a profile that no service has; `core` means none."""
        profiles = {profile for service in self.services.values() for profile in service.profiles}
        _require_known("profile", [name for name in names if name != "*"], {"core", *profiles})

    def proxy_address(self) -> tuple[str, int] | None:
        """Return host and port at which this machine reaches the reverse proxy; None when it publishes none."""
        service = self.services.get(PROXY)
        for port in service.ports if service else ():
            if port.target == PROXY_PORT:
                return ("127.0.0.1" if port.address in ANY_ADDRESS else port.address), port.number
        return None

    def url(self, path: str) -> str:
        """Return full address of a path through the reverse proxy; empty when there is no way to it."""
        proxy = self.proxy_address()
        if not proxy or not path:
            return ""
        host, number = proxy
        host = "localhost" if host == "127.0.0.1" else f"[{host}]" if ":" in host else host
        return f"http://{host}:{number}{path}"

    def public_url(self, path: str) -> str:
        """Full address of a path as users type it: at the site's public name where it has one, else as `url`."""
        proxy = self.services.get(PROXY)
        for port in proxy.ports if proxy and proxy.public and path else ():
            if port.target == PUBLIC_PORT:
                # Of several names the first.
                name = proxy.public.partition(",")[0].strip() if proxy else ""
                return f"https://{name}{'' if port.number == HTTPS else f':{port.number}'}{path}"
        return self.url(path)


def _require_known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            usage(f"there is no {kind} {name}", f"choose from: {', '.join(sorted(known))}")


def _service(project: str, name: str, each: Mapping[str, Any]) -> Service:
    labels = each.get("labels") or {}
    return Service(
        name=name,
        # Compose names what it builds after project and service where no name is given.
        image=each.get("image") or f"{project}-{name}",
        container=each.get("container_name") or f"{project}-{name}-1",
        profiles=tuple(each.get("profiles") or ()),
        ports=tuple(_ports(each.get("ports") or ())),
        about=labels.get("wepp.about", ""),
        probe=labels.get("wepp.probe", ""),
        probe_body=labels.get("wepp.probe.body", ""),
        pages=tuple(labels.get("wepp.pages", "").split()),
        url=labels.get("wepp.url", ""),
        public=labels.get("wepp.public", ""),
        one_shot=labels.get(ROLE_LABEL) == ONE_SHOT,
        writes=labels.get("wepp.writes", ""),
        secrets=tuple(str(secret["source"]) for secret in each.get("secrets") or ()),
    )


def _ports(entries: Iterable[Mapping[str, Any]]) -> Iterable[Port]:
    for entry in entries:
        published = str(entry.get("published") or "")
        # A range or an empty number is chosen by the engine: nothing to know before the start.
        if published.isdigit() and int(published):
            yield Port(entry.get("host_ip", ""), int(published), int(entry["target"]))
