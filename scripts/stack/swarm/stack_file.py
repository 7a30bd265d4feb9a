"""Render the stack's compose model as a file for `docker stack deploy`; tell what Swarm cannot do of it. Asks nobody.

Secrets and this kit's own files become versioned objects of the swarm, with a hash of the content in their names: a
changed one is a new one, and a rollback finds the old one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from scripts.engine.compose import Compose
from scripts.engine.container import ONE_SHOT, ROLE_LABEL
from scripts.engine.docker import PROJECT_LABEL

# Labels of the node that holds the stores and every other volume, and of the node that publishes the site.
STORES, PROXY = "wepp.stores", "wepp.proxy"
# What means the same in both formats.
SAME = (
    "cap_add", "cap_drop", "command", "dns", "dns_search", "entrypoint", "healthcheck", "hostname", "init", "labels",
    "logging", "read_only", "stop_grace_period", "stop_signal", "sysctls", "ulimits", "user", "working_dir",
)  # fmt: skip
# What is translated below, or means nothing where it is not Compose that starts containers.
HANDLED = (
    "build", "container_name", "depends_on", "deploy", "environment", "extra_hosts", "image", "networks", "ports",
    "profiles", "restart", "secrets", "shm_size", "tmpfs", "volumes",
)  # fmt: skip
SECURITY = (
    'no-new-privileges holds only where a node\'s /etc/docker/daemon.json has "no-new-privileges": true'
)
# Containers without a network (`network_mode: none`) are in this one with their like; it has no way out.
NOWHERE = "nowhere"
# Swarm's own is 5 s, also for what ran on a node that was lost, which is away all that time.
RESTART_DELAY = "1s"
NOTHING: tuple[object, ...] = (None, "", [], {}, False)
# Scrypt's work for the hash of a secret, by which nobody shall be able to try passwords.
SLOWLY = {"n": 2**14, "r": 8, "p": 1, "dklen": 4}
Model = Mapping[str, Any]


class StackFile:
    """The services that a stack's profiles switch on, as a stack of a swarm.

    images: what images of the model are called there. pins: the id of the node that has each label. replicas: how many
    of a service run now; one of those that are not named.
    """

    def __init__(
        self,
        compose: Compose,
        images: Mapping[str, str],
        pins: Mapping[str, str],
        replicas: Mapping[str, int],
    ) -> None:
        self.model, self.project, self.ours = compose.model, compose.project, compose.root / "docker"
        self.images, self.pins, self.replicas = images, pins, replicas
        self.endpoint_mode = compose.setting("SWARM_ENDPOINT_MODE", "dnsrr")
        encrypted = compose.setting("SWARM_ENCRYPTED") == "yes"
        self.network_options = {"driver_opts": {"encrypted": "true"}} if encrypted else {}
        active = compose.catalogue.active(compose.active_profiles)
        self.chosen: dict[str, Model] = {each.name: self.model["services"][each.name] for each in active}
        self.configs: dict[str, Any] = {}
        self.secrets: dict[str, Any] = {}
        self.networks: dict[str, Any] = {}
        self.volumes: dict[str, Any] = {}
        self._folders: set[str] = set()
        self._lost: dict[str, list[str]] = {}
        self.services = {name: self._service(name, each) for name, each in self.chosen.items()}

    def document(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """Return the file with these services, or all."""
        chosen = {name: each for name, each in self.services.items() if names is None or name in names}
        return {
            "version": "3.13", "services": chosen, "networks": self.networks, "volumes": self.volumes,
            "secrets": self.secrets, "configs": self.configs,
        }  # fmt: skip

    def text(self, names: Collection[str] | None = None) -> str:
        """Return the file as JSON, which is YAML too; a `$` is doubled, for `docker stack` replaces variables."""
        return json.dumps(self.document(names), indent=1).replace("$", "$$")

    def remarks(self) -> list[str]:
        """Return what is not as with Compose, and what nodes must have, a line each."""
        bound = [name for name, label in self.labels.items() if label == STORES]
        where = f"on the node labelled {STORES} alone, for their volumes or since never two may run"
        told = {where: bound} if bound else {}
        if self._folders:
            told["must be the same shared folders on every node"] = list(self._folders)
        return [f"{what}: {', '.join(sorted(names))}" for what, names in (told | self._lost).items()]

    # ---- what follows from all services ----

    @cached_property
    def one_shots(self) -> list[str]:
        return [
            n for n, each in self.chosen.items() if (each.get("labels") or {}).get(ROLE_LABEL) == ONE_SHOT
        ]

    def stages(self) -> list[list[str]]:
        """Return the services in the order of their start: what one-shots need, these, at last all others.

        The services of a list are well, or have ended well, before those of the next are started.
        """
        needs = {n: set(each.get("depends_on") or ()) & self.chosen.keys() for n, each in self.chosen.items()}
        early: set[str] = set()
        waiting = [*self.one_shots]
        while waiting:
            early.add(name := waiting.pop())
            waiting += needs[name] - early
        order = TopologicalSorter({name: needs[name] for name in early})
        order.prepare()
        found = []
        while order.is_active():
            found.append(sorted(ready := order.get_ready()))
            order.done(*ready)
        return [*found, sorted(self.chosen.keys() - early)]

    @cached_property
    def _users(self) -> dict[str, set[str]]:
        """The services that mount each volume that is on one node only."""
        found: dict[str, set[str]] = {}
        for name, each in self.chosen.items():
            for mount in each.get("volumes") or ():
                if (
                    mount["type"] == "volume"
                    and mount.get("source")
                    and not self._known(mount).get("driver_opts")
                ):
                    found.setdefault(mount["source"], set()).add(name)
        return found

    @cached_property
    def labels(self) -> dict[str, str]:
        """The label of the node that each service is bound to; services that are bound to none are left out.

        Who mounts a volume is on its node: on the one that publishes the site where the proxy mounts it, too. What the
        model wants once is with the stores: elsewhere it would run twice while that node is cut off from the managers.
        """
        found = {name: PROXY for name, each in self.chosen.items() if _published(each)}
        while (
            new := {n for names in self._users.values() if names & found.keys() for n in names} - found.keys()
        ):
            found |= dict.fromkeys(new, PROXY)
        with_stores = {name for names in self._users.values() for name in names} | self._wanted_once
        return dict.fromkeys(with_stores, STORES) | found

    @cached_property
    def _wanted_once(self) -> set[str]:
        return {name for name, each in self.chosen.items() if "replicas" in (each.get("deploy") or {})}

    @cached_property
    def single(self) -> set[str]:
        """The services of which never two run: with ports, with a volume of their own, or because the model says so."""
        publish = {name for name, each in self.chosen.items() if _published(each)}
        return (
            publish
            | self._wanted_once
            | {n for names in self._users.values() if len(names) == 1 for n in names}
        )

    # ---- one service ----

    def _service(self, name: str, each: Model) -> dict[str, Any]:
        made: dict[str, Any] = {
            **{key: each.get(key) for key in SAME},
            # Swarm tells its default of services but not of tasks, which are compared.
            "stop_grace_period": each.get("stop_grace_period") or "10s",
            "image": self.images.get(each["image"], each["image"]),
            "environment": {k: v for k, v in (each.get("environment") or {}).items() if v is not None},
            "extra_hosts": [host.replace("=", ":", 1) for host in each.get("extra_hosts") or ()],
            "networks": self._join(each),
            "ports": list(self._ports(name, each)),
            "secrets": list(self._used_secrets(each)),
            "configs": [],
            "volumes": [],
            "deploy": self._deploy(name, each),
        }
        if made["entrypoint"] == []:
            # None at all, which Swarm cannot say: it would take the image's.
            made["entrypoint"] = made.pop("command")
        for mount in each.get("volumes") or ():
            if mount["type"] == "bind" and Path(mount["source"]).is_relative_to(self.ours):
                made["configs"] += self._used_configs(mount)
            else:
                made["volumes"].append(self._mount(mount))
        made["volumes"] += self._in_memory(name, each)
        for key in sorted(each.keys() - {*SAME, *HANDLED}):
            if each[key] not in NOTHING and (key, each[key]) != ("network_mode", "none"):
                what = SECURITY if each[key] == ["no-new-privileges:true"] else f"Swarm has no {key}"
                self._lost.setdefault(what, []).append(name)
        return {key: value for key, value in made.items() if value not in NOTHING}

    def _join(self, each: Model) -> dict[str, Any]:
        known = self.model.get("networks") or {}
        joined = {NOWHERE: None} if each.get("network_mode") == "none" else each.get("networks") or {}
        for name in joined:
            how = known.get(name) or {"internal": True}
            named = how.get("name", f"{self.project}_{name}")
            self.networks[name] = {
                "driver": "overlay", "name": named, "internal": how.get("internal", False), **self.network_options,
            }  # fmt: skip
        return {name: how and {"aliases": how.get("aliases") or []} for name, how in joined.items()}

    def _ports(self, name: str, each: Model) -> Iterator[dict[str, Any]]:
        open_to_all = _published(each)
        for port in each.get("ports") or ():
            number = int(port["published"])
            if port in open_to_all:
                yield {
                    "target": port["target"],
                    "published": number,
                    "protocol": port["protocol"],
                    "mode": "host",
                }
            else:
                what = f"port {number} is not published, for Swarm cannot do that on {port['host_ip']} alone"
                self._lost.setdefault(what, []).append(name)

    def _used_secrets(self, each: Model) -> Iterator[dict[str, Any]]:
        """One that nobody has filled in is left out: Swarm keeps no empty ones."""
        for used in each.get("secrets") or ():
            key = used["source"]
            file = Path(self.model["secrets"][key]["file"])
            if key not in self.secrets and (content := file.read_bytes()):
                version = hashlib.scrypt(content, salt=f"{self.project} {key}".encode(), **SLOWLY).hex()
                self.secrets[key] = {"file": str(file), "name": f"{self.project}_{key}_{version}"}
            if key in self.secrets:
                yield {"source": key, "target": used.get("target", key)}

    def _used_configs(self, mount: Model) -> Iterator[dict[str, Any]]:
        """Files of this kit that Compose mounts: the swarm brings them to each node."""
        source = Path(mount["source"])
        for file in sorted(each for each in (source, *source.glob("*")) if each.is_file()):
            version = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
            key = "-".join(file.relative_to(self.ours).parts)
            self.configs[key] = {"file": str(file), "name": f"{self.project}_{file.name}_{version}"}
            yield {
                "source": key,
                "target": str(Path(mount["target"]) / file.relative_to(source)),
                "mode": 0o444,
            }

    def _known(self, mount: Model) -> Model:
        return (self.model.get("volumes") or {}).get(mount.get("source")) or {}

    def _mount(self, mount: Model) -> dict[str, Any]:
        if mount["type"] == "bind":
            self._folders.add(mount["source"])
        elif mount.get("source"):
            # By these labels Compose knows it as its own, should the stack go back to one machine.
            labels = {PROJECT_LABEL: self.project, "com.docker.compose.volume": mount["source"]}
            self.volumes[mount["source"]] = {**self._known(mount), "labels": labels}
        return {key: mount[key] for key in ("type", "source", "target", "read_only") if key in mount}

    def _in_memory(self, name: str, each: Model) -> Iterator[dict[str, Any]]:
        """Mounts of tmpfs; with their owner and mode, which a stack file cannot say, only as volumes of that type.

        Those are one for all containers of a node, so only a service of which never two run has them.
        """
        if shm := each.get("shm_size"):
            yield {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": _bytes(shm)}}  # noqa: S108 - in the container
        for entry in each.get("tmpfs") or ():
            target, _, options = entry.partition(":")
            if name in self.single:
                volume = re.sub(r"\W+", "-", f"{name}{entry}")
                o = f"noexec,nosuid,nodev,{options}"
                self.volumes[volume] = {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": o}}
                yield {"type": "volume", "source": volume, "target": target}
            else:
                size = re.search(r"\bsize=(\w+)", options)
                yield {"type": "tmpfs", "target": target, "tmpfs": {"size": _bytes(size[1])} if size else {}}

    def _deploy(self, name: str, each: Model) -> dict[str, Any]:
        made: dict[str, Any] = {
            "endpoint_mode": self.endpoint_mode,
            "resources": (each.get("deploy") or {}).get("resources") or {},
        }
        if label := self.labels.get(name):
            # A label that is moved must not start an empty database elsewhere.
            node = [f"node.id == {self.pins[label]}"] if label in self.pins else []
            made["placement"] = {"constraints": [f"node.labels.{label} == true", *node]}
        if name in self.one_shots:
            return {**made, "mode": "replicated-job", "replicas": 1, "restart_policy": {"condition": "none"}}
        order = {"order": "stop-first" if name in self.single else "start-first"}
        return {
            **made,
            "restart_policy": {"condition": "any", "delay": RESTART_DELAY},
            "replicas": 1 if name in self.single else self.replicas.get(name, 1),
            "update_config": {"failure_action": "rollback", **order},
            "rollback_config": order,
        }


def _published(service: Model) -> list[Model]:
    """Return the ports that everybody may use: Swarm knows no others."""
    return [port for port in service.get("ports") or () if not port.get("host_ip")]


def _bytes(size: str) -> int:
    """Return `512m` or `1.5g` as bytes."""
    number, unit = re.fullmatch(r"([\d.]+)([kmg]?)b?", size.lower()).groups()  # type: ignore[union-attr]
    return int(float(number) * 1024 ** ("kmg".find(unit) + 1 if unit else 0))
