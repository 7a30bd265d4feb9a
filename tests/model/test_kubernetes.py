"""The manifests of worker pools: what they say is what Compose does, and as strict.

`nox -s lint` holds them against the API's schema, `nox -s kubernetes` gives them to an API server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.stack.kubernetes import Options, workers
from tests.model.test_worker_host_files import HOST, SETS

Model = dict[str, Any]
OPTIONS = Options("wepp", ("default", "batch", "fork-archive"), Path("kubernetes"), keda=True)
SCRIPTS = {"gateway.py": "pass\n"}


@pytest.fixture(scope="module", params=list(SETS.values()), ids=list(SETS))
def host(render_with: Callable[..., Model], request: pytest.FixtureRequest) -> Model:
    """The model that is rendered for the cluster."""
    return render_with(request.param, **HOST, RQ_EXACTLY_ONE="fork-archive")


@pytest.fixture(scope="module")
def manifests(host: Model) -> list[Model]:
    return list(workers(host, OPTIONS, SCRIPTS))


def of_kind(manifests: list[Model], kind: str) -> dict[str, Model]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Model]) -> dict[str, Model]:
    return {name: each["spec"]["template"]["spec"] for name, each in of_kind(manifests, "Deployment").items()}


def test_each_queue_has_its_pool_and_each_pod_its_gateway(manifests: list[Model]) -> None:
    found = pods(manifests)
    assert set(found) == {"rq-worker", "rq-worker-batch", "rq-worker-fork-archive", "gateway"}
    for name, pod in found.items():
        if name == "gateway":
            continue
        assert pod["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["redis", "postgres"]}]
        (gateway,) = pod["initContainers"]
        assert gateway["restartPolicy"] == "Always"
        assert {"name": "GATEWAY_LISTEN", "value": "127.0.0.1"} in gateway["env"]


def test_pods_have_no_more_power_than_compose_gives_and_no_account(
    host: Model, manifests: list[Model]
) -> None:
    for name, pod in pods(manifests).items():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["runAsNonRoot"]
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            limit = host["services"][container["name"]]["deploy"]["resources"]["limits"]["memory"]
            assert container["resources"]["limits"]["memory"] == limit, name


def test_secrets_lie_where_compose_puts_them_and_each_container_gets_its_own(
    host: Model, manifests: list[Model]
) -> None:
    for pod in pods(manifests).values():
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            wanted = host["services"][container["name"]]["secrets"]
            volume = next(each for each in pod["volumes"] if each["name"] == f"{container['name']}-secrets")
            assert {each["key"] for each in volume["secret"]["items"]} == {each["source"] for each in wanted}
            paths = {each["mountPath"] for each in container["volumeMounts"]}
            for each in wanted:
                assert each["target"] in paths or each["target"].startswith("/run/secrets/")
            assert "/run/secrets" in paths
            held = [each for each in container["env"] if "PASSWORD" in each["name"] and each["value"]]
            assert all(each["name"].endswith("_FILE") for each in held)


def test_every_mount_has_its_volume_and_runs_are_claims_that_all_share(manifests: list[Model]) -> None:
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert set(claims) == {"wepp-runs", "wepp-geodata"}
    assert all(each["spec"]["accessModes"] == ["ReadWriteMany"] for each in claims.values())
    for pod in pods(manifests).values():
        names = [each["name"] for each in pod["volumes"]]
        assert len(names) == len(set(names))
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert {each["name"] for each in container["volumeMounts"]} <= set(names)
            paths = [each["mountPath"] for each in container["volumeMounts"]]
            assert len(paths) == len(set(paths))
    runs = {each["mountPath"]: each for each in pods(manifests)["rq-worker"]["containers"][0]["volumeMounts"]}
    assert not runs["/wc1"]["readOnly"]
    assert runs["/geodata"]["readOnly"]


def test_a_job_gets_the_time_to_end_that_compose_gives_and_redis_away_kills_nobody(
    manifests: list[Model],
) -> None:
    pod = pods(manifests)["rq-worker-batch"]
    assert pod["terminationGracePeriodSeconds"] == 120
    probe = " ".join(pod["containers"][0]["livenessProbe"]["exec"]["command"])
    assert "rq-worker.health" in probe
    assert "ok" not in probe
    assert set(of_kind(manifests, "PodDisruptionBudget")) == {
        "rq-worker", "rq-worker-batch", "rq-worker-fork-archive",
    }  # fmt: skip


def test_a_queue_that_one_may_consume_is_neither_scaled_nor_started_twice(manifests: list[Model]) -> None:
    deployments = of_kind(manifests, "Deployment")
    assert deployments["rq-worker-fork-archive"]["spec"]["strategy"] == {"type": "Recreate"}
    scaled = of_kind(manifests, "ScaledObject")
    assert set(scaled) == {"rq-worker", "rq-worker-batch"}
    assert scaled["rq-worker-batch"]["spec"]["triggers"][0]["metadata"]["listName"] == "rq:queue:batch"


def test_without_keda_nothing_of_it_is_written(host: Model) -> None:
    plain = Options("wepp", ("batch",), Path("kubernetes"))
    found = list(workers(host, plain, SCRIPTS))
    assert set(pods(found)) == {"rq-worker-batch"}
    assert not [each for each in found if "keda" in each["apiVersion"] or each["kind"] == "Service"]
