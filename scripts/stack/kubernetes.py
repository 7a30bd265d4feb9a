"""`k8s-render`: the worker services of docker/docker-compose.worker.yml as manifests for a Kubernetes cluster.

The cluster is one more host: it has a certificate, a user and a role of its own at the stores, and each pod has a
gateway beside its workers, to which `redis` and `postgres` lead. API: apps/v1, v1, policy/v1 (1.29 and newer, for
containers that are started before others and stay), keda.sh/v1alpha1.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import usage
from scripts.base.files import write
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.settings.envfile import display_path
from scripts.stack.worker_hosts import access
from scripts.stack.worker_hosts.containers import GATEWAY, WORKER, ask, compose_files, exact_queues
from scripts.stack.worker_hosts.invite import gateway_address, require_open, secrets_of_host

SCRIPTS, SECRETS, STACK = "wepp-scripts", "wepp-secrets", "/opt/stack"
RUNS = {"/wc1": "wepp-runs", "/geodata": "wepp-geodata"}
RUN_SECRETS = "/run/secrets/"
# The stores, in a pod.
STORES = [{"ip": "127.0.0.1", "hostnames": ["redis", "postgres"]}]
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PRIVATE, READABLE = 0o600, 0o644
SECRET_MODE = 0o444
UNITS = {"h": 3600, "m": 60, "s": 1}
# So many jobs that wait bring another pod, of so many at most.
JOBS_PER_POD, MOST_PODS = 2, 10
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the user asked of `k8s-render`. image: the name by which the cluster pulls the image of the workers."""

    namespace: str
    queues: tuple[str, ...]
    folder: Path
    host: str = "k8s"
    image: str = ""
    storage_class: str = ""
    keda: bool = False
    new_secrets: bool = False


def render(compose: Compose, console: Console, options: Options, clock: Clock = SYSTEM_CLOCK) -> None:
    """Write `workers.yaml` and, for a cluster that has no access yet, `secrets.yaml`. Raise StackError."""
    for name, flag in ((options.namespace, "namespace"), (options.host, "host")):
        if not NAME.fullmatch(name):
            usage(f"--{flag}={name} is no name in Kubernetes", "letters, digits and '-', 63 at most")
    require_open(compose)
    model = model_of(compose, options)
    manifests = list(workers(model, options, _scripts(compose)))
    if compose.runner.dry:
        console.say(f"would write {len(manifests)} manifests into {display_path(options.folder)}")
        return
    files = {"workers.yaml": (manifests, READABLE)}
    known = access.hosts(compose).get(options.host, {})
    if options.new_secrets or not known.get("joined"):
        with lock.sole(compose):
            now = clock.now()
            entry = {"id": secrets.token_hex(8), "until": now, "joined": now, "queues": list(options.queues)}
            held = secrets_of_host(compose, access.grant(compose, options.host, entry))
        if exact := exact_queues(model, options.queues):
            ask(compose, WORKER, "own", options.host, *exact)
        held["redis_user"] = f"{access.PREFIX}{options.host}"
        files["secrets.yaml"] = ([secret(held, options.namespace)], PRIVATE)
    for name, (documents, mode) in files.items():
        write(options.folder / name, yaml.safe_dump_all(documents, sort_keys=False), mode)
    shown = [display_path(options.folder / name) for name in sorted(files)]
    console.answer(
        {"ok": True, "files": shown},
        "\n".join(f"kubectl apply --namespace={options.namespace} --filename={each}" for each in shown),
    )


def model_of(compose: Compose, options: Options) -> Mapping[str, Any]:
    """Return the rendered model of a worker host that is the cluster."""
    services = compose.catalogue.services
    host = Compose(compose.root, compose.runner, environment=compose.environment)
    host.overrides = {
        "COMPOSE_FILE": compose_files(compose.setting("WEPPPY_SRC")),
        "WORKER_HOST": options.host,
        "WORKER_IMAGE": options.image or services[WORKER].image,
        "GATEWAY_ADDRESS": gateway_address(compose),
    }
    return host.model


def workers(model: Mapping[str, Any], options: Options, scripts: Mapping[str, str]) -> Iterator[Manifest]:
    """Yield the manifests of a model's services that work on the queues. scripts: what /opt/stack holds, by name."""
    services = model["services"]
    yield _manifest("v1", "ConfigMap", SCRIPTS, options, data=dict(scripts))
    for name in RUNS.values():
        claim: Manifest = {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "100Gi"}},
        }
        if options.storage_class:
            claim["storageClassName"] = options.storage_class
        yield _manifest("v1", "PersistentVolumeClaim", name, options, spec=claim)
    for name, service in services.items():
        queues = set(service.get("profiles") or ()) & set(options.queues)
        if not name.startswith(WORKER) or not queues:
            continue
        yield _deployment(name, service, services[GATEWAY], options)
        yield _manifest(
            "policy/v1", "PodDisruptionBudget", name, options,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
        )  # fmt: skip
        if options.keda and _may_scale(service):
            yield _scaled(name, sorted(queues)[0], options)
    if options.keda:
        yield from _way_for_keda(services[GATEWAY], options)


def _deployment(
    name: str, service: Mapping[str, Any], gateway: Mapping[str, Any], options: Options
) -> Manifest:
    """Return one queue's Deployment: the gateway first, then the workers; what each mounts is its own."""
    volumes: dict[str, Manifest] = {}
    containers = [_container(name, service, volumes), _container(GATEWAY, gateway, volumes)]
    before = {**containers[1], "restartPolicy": "Always"}
    before["env"] = [*before["env"], {"name": "GATEWAY_LISTEN", "value": "127.0.0.1"}]
    before["startupProbe"] = {**before.pop("livenessProbe"), "failureThreshold": 60, "periodSeconds": 2}
    return _manifest(
        "apps/v1", "Deployment", name, options,
        spec={
            "replicas": 1,
            # Of a queue with one consumer the old one goes first.
            "strategy": {"type": "RollingUpdate" if _may_scale(service) else "Recreate"},
            **_pods(
                name, service["user"], volumes,
                hostAliases=STORES,
                # A worker ends the job that it is at, or queues it again.
                terminationGracePeriodSeconds=_seconds(service["stop_grace_period"]),
                initContainers=[before],
                containers=containers[:1],
            ),
        },
    )  # fmt: skip


def _container(name: str, service: Mapping[str, Any], volumes: dict[str, Manifest]) -> Manifest:
    """Return a service as a container; the volumes that it mounts are added to those of its pod."""
    mounts = [*_mounts(service, volumes), *_secret_mounts(name, service, volumes)]
    for index, each in enumerate(service.get("tmpfs") or ()):
        path, _, flags = each.partition(":")
        size = dict(part.split("=") for part in flags.split(",") if "=" in part).get("size", "64m")
        key = f"{name}-memory-{index}"
        volumes[key] = {"emptyDir": {"medium": "Memory", "sizeLimit": _quantity(size)}}
        mounts.append({"name": key, "mountPath": path})
    if service.get("shm_size"):
        key = f"{name}-shm"
        volumes[key] = {"emptyDir": {"medium": "Memory", "sizeLimit": str(service["shm_size"])}}
        mounts.append({"name": key, "mountPath": "/dev/shm"})  # noqa: S108 - a mount of the container
    alive = (service.get("labels") or {}).get("wepp.alive")
    test = service["healthcheck"]["test"]
    check = {"exec": {"command": ["sh", "-c", alive] if alive else list(test[1:])}}
    return {
        "name": name,
        "image": service["image"],
        "command": [*(service.get("entrypoint") or ()), *service["command"]],
        "workingDir": service["working_dir"],
        "env": [{"name": key, "value": value} for key, value in (service.get("environment") or {}).items()],
        "resources": {"limits": {"memory": str(service["deploy"]["resources"]["limits"]["memory"])}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": bool(service["read_only"]),
            "capabilities": {"drop": list(service["cap_drop"])},
        },
        "livenessProbe": {**check, "initialDelaySeconds": 60, "periodSeconds": 30, "timeoutSeconds": 15},
        "volumeMounts": mounts,
    }


def _mounts(service: Mapping[str, Any], volumes: dict[str, Manifest]) -> Iterator[Manifest]:
    for each in service.get("volumes") or ():
        target = each["target"]
        if target == STACK:
            volumes[SCRIPTS] = {"configMap": {"name": SCRIPTS}}
            yield {"name": SCRIPTS, "mountPath": STACK, "readOnly": True}
        elif target in RUNS:
            name = RUNS[target]
            volumes[name] = {"persistentVolumeClaim": {"claimName": name}}
            yield {"name": name, "mountPath": target, "readOnly": bool(each.get("read_only"))}


def _secret_mounts(name: str, service: Mapping[str, Any], volumes: dict[str, Manifest]) -> Iterator[Manifest]:
    """Yield the same paths as in Compose: a folder of those that the container gets, and single files elsewhere."""
    names = [each["source"] for each in service.get("secrets") or ()]
    key = f"{name}-secrets"
    items = [{"key": each, "path": each} for each in names]
    volumes[key] = {"secret": {"secretName": SECRETS, "defaultMode": SECRET_MODE, "items": items}}
    yield {"name": key, "mountPath": RUN_SECRETS.rstrip("/"), "readOnly": True}
    for each in service.get("secrets") or ():
        if not each["target"].startswith(RUN_SECRETS):
            yield {"name": key, "mountPath": each["target"], "subPath": each["source"], "readOnly": True}


def secret(held: Mapping[str, str], namespace: str) -> Manifest:
    """Return what the cluster's pods get of the stack's secrets."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRETS, "namespace": namespace},
        "stringData": dict(held),
    }


def _scaled(name: str, queue: str, options: Options) -> Manifest:
    """Return what scales a Deployment by the length of its queue (https://keda.sh/docs/latest/scalers/redis-lists)."""
    trigger = {
        "type": "redis",
        "metadata": {
            "address": f"redis.{options.namespace}.svc:6379",
            "listName": f"rq:queue:{queue}",
            "listLength": str(JOBS_PER_POD),
            "databaseIndex": "9",
        },
        "authenticationRef": {"name": SECRETS},
    }
    return _manifest(
        "keda.sh/v1alpha1", "ScaledObject", name, options,
        spec={
            "scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": MOST_PODS,
            # A pod that goes ends the job that it is at first.
            "cooldownPeriod": 300, "triggers": [trigger],
        },
    )  # fmt: skip


def _way_for_keda(gateway: Mapping[str, Any], options: Options) -> Iterator[Manifest]:
    """Yield how KEDA, which has no certificate of ours, sees the queues: a gateway as a service, and its password."""
    volumes: dict[str, Manifest] = {}
    container = {**_container(GATEWAY, gateway, volumes), "ports": [{"containerPort": 6379}]}
    pods = _pods(GATEWAY, gateway["user"], volumes, containers=[container])
    yield _manifest("apps/v1", "Deployment", GATEWAY, options, spec=pods)
    yield _manifest(
        "v1", "Service", "redis", options, spec={"selector": {"app": GATEWAY}, "ports": [{"port": 6379}]}
    )
    given = [
        {"parameter": parameter, "name": SECRETS, "key": key}
        for parameter, key in (("username", "redis_user"), ("password", "redis_password"))
    ]
    yield _manifest(
        "keda.sh/v1alpha1", "TriggerAuthentication", SECRETS, options, spec={"secretTargetRef": given}
    )


def _pods(name: str, user: str, volumes: Mapping[str, Manifest], **more: Any) -> Manifest:
    """Return selector and template of pods that run as that user (`uid:gid`); more: what else their spec holds."""
    uid, _, gid = user.partition(":")
    spec = {
        "automountServiceAccountToken": False,
        # Variables such as REDIS_PORT are settings here.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": int(uid), "runAsGroup": int(gid),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
        "volumes": [{"name": key, **value} for key, value in volumes.items()],
    }  # fmt: skip
    labels = {"app": name}
    return {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}


def _manifest(version: str, kind: str, name: str, options: Options, **body: Any) -> Manifest:
    metadata = {
        "name": name,
        "namespace": options.namespace,
        "labels": {"app.kubernetes.io/part-of": "wepp-stack"},
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}


def _may_scale(service: Mapping[str, Any]) -> bool:
    """Return False for the one consumer of a queue that may have no second."""
    return not exact_queues({"services": {WORKER: service}}, service.get("profiles") or ())


def _scripts(compose: Compose) -> dict[str, str]:
    folder = compose.root / "docker" / "python" / "stack"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}


def _seconds(duration: str) -> int:
    """Return the seconds of a duration as Compose renders it: `2m0s`."""
    return sum(int(float(number) * UNITS[unit]) for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def _quantity(size: str) -> str:
    """Return a size of Compose (`512m`, `1g`) as Kubernetes writes it."""
    return re.sub(r"([kmg])b?$", lambda found: f"{found[1].upper()}i".replace("Ki", "Ki"), size.lower())
