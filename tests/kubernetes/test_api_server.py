"""The manifests of worker pools at a real API server: taken as they are, and refused with a spelling mistake."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.manifests import WAYS, Manifest, manifests
from tests.kubernetes.server import KEDA, Server, module, running

WAIT_SECONDS = 30.0
# A field of each kind, by the names that lead there.
FIELDS = {
    "Deployment": ("spec", "template", "spec", "containers", 0, "livenessProbe"),
    "PodDisruptionBudget": ("spec", "maxUnavailable"),
    "PersistentVolumeClaim": ("spec", "accessModes"),
    "ConfigMap": ("data",),
    "Secret": ("stringData",),
    "Service": ("spec", "ports"),
    "ScaledObject": ("spec", "scaleTargetRef"),
    "TriggerAuthentication": ("spec", "secretTargetRef", 0, "parameter"),
}


@pytest.fixture(scope="module")
def keda() -> Path:
    """KEDA's source."""
    return module("github.com/kedacore/keda/v2", KEDA)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keda: Path) -> Iterator[Server]:
    """A server that knows KEDA's kinds; its namespaces warn of pods that are not restricted."""
    with running(tmp_path_factory.mktemp("kubernetes")) as made:
        for name in ("scaledobjects", "triggerauthentications"):
            definition = yaml.safe_load(
                (keda / "config" / "crd" / "bases" / f"keda.sh_{name}.yaml").read_text()
            )
            assert made.create(definition).status == 201
        wait_until("the kinds are served", lambda: {"ScaledObject", "TriggerAuthentication"} <= served(made))
        for name in WAYS:
            about = {"name": name, "labels": {"pod-security.kubernetes.io/warn": "restricted"}}
            assert made.create({"apiVersion": "v1", "kind": "Namespace", "metadata": about}).status == 201
        yield made


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Manifest]]:
    """The manifests of each way."""
    return manifests()


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def served(server: Server) -> set[str]:
    """KEDA's kinds that can be used by now."""
    listed = server.ask("GET", "/apis/keda.sh/v1alpha1").content.get("resources") or []
    return {each["kind"] for each in listed}


def misspelt(manifest: Manifest, field: tuple[str | int, ...]) -> Manifest:
    """A copy with a wrong name for one field."""
    wrong = copy.deepcopy(manifest)
    holder: Any = wrong
    for name in field[:-1]:
        holder = holder[name]
    holder[f"{field[-1]}s"] = holder.pop(field[-1])
    return wrong


@pytest.mark.parametrize("way", WAYS)
def test_every_manifest_is_taken_with_strict_validation_without_a_warning(
    server: Server, rendered: dict[str, list[Manifest]], way: str
) -> None:
    made = rendered[way]
    for each in made:
        tried = server.create(each, dry=True)
        assert (tried.status, tried.warnings) == (201, []), (each["kind"], tried)
    for each in made:
        stored = server.create(each)
        assert (stored.status, stored.warnings) == (201, []), (each["kind"], stored)
    assert [server.find(each).status for each in made] == [200] * len(made)


def test_a_spelling_mistake_is_refused_in_every_kind(
    server: Server, rendered: dict[str, list[Manifest]]
) -> None:
    kinds = {each["kind"]: each for each in rendered["sample-keda"]}
    assert kinds.keys() == FIELDS.keys()
    for each in kinds.values():
        field = FIELDS[each["kind"]]
        refused = server.create(misspelt(each, field), dry=True)
        assert refused.status == 400, (each["kind"], refused)
        path = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, field)))
        assert f'unknown field "{path}s"' in refused.content["message"]


def test_a_pod_with_more_power_would_be_warned_of(
    server: Server, rendered: dict[str, list[Manifest]]
) -> None:
    wrong = copy.deepcopy(next(each for each in rendered["sample-default"] if each["kind"] == "Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    (warning,) = server.create(wrong, dry=True).warnings
    assert "would violate PodSecurity" in warning


def test_keda_reads_each_setting_of_its_scaler_by_the_name_that_it_is_given(
    keda: Path, rendered: dict[str, list[Manifest]]
) -> None:
    source = (keda / "pkg" / "scalers" / "redis_scaler.go").read_text()
    known = set(re.findall(r'keda:"name=([\w;]+)', source))
    names = {name for each in known for name in each.split(";")}
    given = [each for each in rendered["sample-keda"] if "keda.sh" in each["apiVersion"]]
    for each in given:
        for trigger in each["spec"].get("triggers") or ():
            assert trigger["type"] == "redis"
            assert set(trigger["metadata"]) <= names
        for secret in each["spec"].get("secretTargetRef") or ():
            assert secret["parameter"] in names
