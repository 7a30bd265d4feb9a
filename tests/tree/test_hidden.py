"""What a checkout holds besides its source is in no layer and no container: secrets, settings, history, modules."""

from __future__ import annotations

import json

import pytest

from tests.engine.secret_search import found_in_layers, places, secrets_of
from tests.tree.checkout import Checkout
from tests.tree.stack import TreeStack


@pytest.fixture
def without_given_tree(tree_stack: TreeStack, way: str) -> TreeStack:
    """The stack, unless its containers hold what the tree's own Dockerfile copied into its image."""
    if way == "prod-given":
        pytest.skip("the public project's Dockerfile copies docker/secrets and docker/.env itself")
    return tree_stack


def test_no_layer_of_the_tree_holds_a_secret_or_what_is_left_behind(
    without_given_tree: TreeStack, way: str, checkout: Checkout
) -> None:
    tree_stack = without_given_tree
    image = tree_stack.compose("config", "--format", "json").stdout
    services = json.loads(image)["services"]
    names = {
        services[name]["image"]
        for name in ("weppcloud", "status")
        if way.endswith("built") or name == "status"
    }
    texts = [*checkout.markers, *checkout.planted.values(), *secrets_of(tree_stack).values()]
    assert found_in_layers(names, {text: text.encode() for text in texts}) == set()


def test_no_container_reads_what_the_checkout_holds_besides_its_source(
    without_given_tree: TreeStack, way: str, checkout: Checkout
) -> None:
    tree_stack = without_given_tree
    # The tree's other name is in images that the kit builds.
    folders = ["/workdir/wepppy/", *(["/app/"] if way.endswith("built") else [])]
    wanted = "|".join([*checkout.markers, *checkout.planted.values()])
    for service in ("weppcloud", "rq-worker", "rq-engine"):
        searched = tree_stack.compose("exec", "-T", service, "grep", "-rlE", wanted, *folders, check=False)
        assert (searched.stdout, searched.returncode) == ("", 1), (service, searched.stdout, searched.stderr)


def test_no_secret_is_seen_in_containers_images_model_processes_or_logs(tree_stack: TreeStack) -> None:
    secrets = secrets_of(tree_stack)
    assert secrets
    assert places(tree_stack, secrets) == {}


def test_the_checkouts_own_secrets_are_taken_over(tree_stack: TreeStack, checkout: Checkout) -> None:
    secrets = secrets_of(tree_stack)
    assert {name: secrets[name] for name in checkout.planted} == checkout.planted
