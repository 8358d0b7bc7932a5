"""restart_workload for real: StackStorm, the official client, and the tests' Kubernetes API."""

import os

import pytest
import yaml

from tests.support.alerts import alert
from tests.support.fakes import PACK
from tests.support.kubernetes_api import TOKEN, KubernetesApi
from tests.support.remediations import (
    ESCALATED,
    FAILED,
    NOT_NEEDED,
    REMEDIATED,
    asked,
    children_of,
    enabled,
    outcome_of,
    output_of,
    run,
    started_for,
)
from tests.support.workload_cluster import NAMESPACE, Controllers, add_deployment, pod, workload
from tests.support.workload_cluster import node as a_node
from tests.support.world import open_world, unique

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs a config of its own", allow_module_level=True)


class Shop:
    """A StackStorm whose pack knows a cluster, and that cluster."""

    def __init__(self, world, cluster):
        self.world, self.cluster = world, cluster

    def run(self, name, **more):
        given = {"namespace": NAMESPACE, "workload": name, "settle_seconds": 0}
        return run(self.world, "poundcake.restart_workload", **dict(given, **more))

    def writes(self, name):
        """What was written about a workload or its pods."""
        verbs = ("patch", "delete")
        return [one for one in self.cluster.log if one.split()[0] in verbs and name in one]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    with KubernetesApi() as api:
        roles = []
        for name in ("restart_workload", "delete_pod", "cordon_node"):
            with open(f"{PACK}/rbac/{name}.yaml", encoding="utf-8") as handle:
                roles.append(yaml.safe_load(handle))
        api.workloads.allow(*roles)
        config = {"kube_api_url": api.url, "kube_token": TOKEN, "kube_cluster": "west"}
        with open_world(folder, **config) as world:
            yield Shop(world, api.workloads)


@pytest.fixture(autouse=True)
def controllers(shop):
    return Controllers(shop.cluster)


def test_a_workload_that_is_ready_is_left_alone(shop):
    """The alert came late."""
    name = unique("cart-")
    add_deployment(shop.cluster, name, failing=0)
    execution = shop.run(name)
    assert outcome_of(execution) == NOT_NEEDED
    assert output_of(execution)["remediation"] == "none, every replica is ready"
    assert shop.writes(name) == []


def test_a_workload_that_fails_is_restarted_and_waited_for(shop):
    """The evidence has the last lines of the container, the verification the new state."""
    name = unique("cart-")
    add_deployment(shop.cluster, name)
    execution = shop.run(name)
    assert outcome_of(execution) == REMEDIATED, execution["result"]
    output = output_of(execution)
    assert "2 of 3 replicas are ready" in output["evidence"]
    assert "cannot read /data/cart.db" in output["evidence"]
    assert output["remediation"] == f"restarted the rollout of deployment shop/{name}"
    assert "3 of 3 replicas are ready" in output["verification"]
    assert shop.writes(name) == ["patch deployments/" + name]
    shown = shop.world.st2("execution", "get", execution["id"], "--show-tasks")
    for phase in ("evidence", "remediation", "verification"):
        assert phase in shown


def test_the_pod_that_fails_is_deleted_where_that_is_asked_for(shop):
    """It alone."""
    name = unique("cart-")
    failing = add_deployment(shop.cluster, name)
    execution = shop.run(name, restart_by="delete_pod")
    assert outcome_of(execution) == REMEDIATED, execution["result"]
    assert shop.writes(name) == ["delete pods/" + failing]


def test_a_restart_that_does_not_help_says_so(shop, controllers):
    """Failed, with the state at the end."""
    controllers.heals = False
    name = unique("cart-")
    add_deployment(shop.cluster, name)
    execution = shop.run(name, rollout_seconds=1)
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert "but the symptom remains - workload: not ready after 1 s" in output["reason"]
    assert "2 of 3 replicas are ready" in output["verification"]


@pytest.mark.parametrize(
    "more, why",
    [
        ({"under_way": True}, "a rollout is under way"),
        ({"failing": 2}, "only 1 of 3 replicas are ready"),
        ({"crash": {"waiting": "ImagePullBackOff"}}, "a restart cannot help"),
        ({"paused": True}, "it is paused"),
    ],
    ids=["rollout", "share", "image", "paused"],
)
def test_what_a_restart_cannot_mend_is_told_to_a_person(shop, more, why):
    """With the evidence, and nothing is touched; the next attempt would end here again."""
    name = unique("cart-")
    add_deployment(shop.cluster, name, **more)
    execution = shop.run(name)
    assert outcome_of(execution) == ESCALATED, execution["result"]
    output = output_of(execution)
    assert why in output["reason"] and output["reason"].endswith("a person was told")
    assert f"deployment shop/{name}" in output["evidence"]
    assert shop.writes(name) == []


@pytest.mark.parametrize(
    "more, why",
    [
        ({}, "there is no deployment, statefulset or daemonset shop/"),
        ({"kind": "daemonset"}, "there is no daemonset shop/"),
        ({"namespace": ""}, "namespace: empty; expected"),
        ({"namespace": "../x"}, 'namespace: "../x"; expected'),
        ({"cluster": "east"}, "kube_cluster"),
    ],
    ids=["unknown", "kind", "empty", "evil", "cluster"],
)
def test_a_workload_that_is_unknown_is_told_to_a_person(shop, more, why):
    """A label that is missing or no name, too."""
    execution = shop.run(unique("none-"), **more)
    assert outcome_of(execution) == ESCALATED, execution["result"]
    assert why in output_of(execution)["reason"]


def test_a_server_in_trouble_is_tried_again_later(shop):
    """It is no reason to call a person at once."""
    name = unique("cart-")
    add_deployment(shop.cluster, name)
    shop.cluster.answer_with["list pods"] = 503
    try:
        execution = shop.run(name)
    finally:
        del shop.cluster.answer_with["list pods"]
    assert outcome_of(execution) == FAILED
    assert output_of(execution)["reason"].startswith("could not check, nothing was done")


def test_a_dry_run_touches_nothing(shop):
    """It says what it would do."""
    name = unique("cart-")
    add_deployment(shop.cluster, name)
    execution = shop.run(name, dry_run=True)
    assert outcome_of(execution) == NOT_NEEDED
    assert output_of(execution)["remediation"].startswith("none, this is a dry run")
    assert "2 of 3 replicas are ready" in output_of(execution)["evidence"]
    assert shop.writes(name) == []


@pytest.mark.parametrize("approved", [True, False], ids=["yes", "no"])
def test_a_person_is_asked_first(shop, approved):
    """They see the evidence."""
    name = unique("cart-")
    add_deployment(shop.cluster, name)
    given = {"namespace": NAMESPACE, "workload": name, "settle_seconds": 0, "approval": True}
    body = {"action": "poundcake.restart_workload", "parameters": given}
    started = shop.world.api("POST", "/executions", json=body)
    inquiry = asked(shop, started["id"])
    question = inquiry["schema"]["properties"]["approved"]["description"]
    assert question.startswith(f"Restart deployment shop/{name} by rollout?")
    assert "CrashLoopBackOff" in question and shop.writes(name) == []
    answer = '{"approved": %s}' % str(approved).lower()
    shop.world.st2("inquiry", "respond", inquiry["id"], "-r", answer)
    execution = shop.world.finished(started["id"])
    assert outcome_of(execution) == (REMEDIATED if approved else ("failed", "escalated"))
    assert len(shop.writes(name)) == approved


def test_the_rule_takes_an_alert_of_a_pod(shop):
    """And finds the workload behind it."""
    name = unique("cart-")
    failing = add_deployment(shop.cluster, name)
    labels = {"job": "kube-state-metrics", "instance": "10.2.3.4:8080", "container": "main"}
    made = alert(alertname="KubePodCrashLooping", namespace=NAMESPACE, pod=failing, **labels)
    with enabled(shop.world, "restart_workload"):
        execution = started_for(shop.world, shop.world.accept(made))
        execution = shop.world.finished(execution["id"])
    given = execution["parameters"]
    assert (given["namespace"], given["pod"]) == (NAMESPACE, failing)
    assert given["workload"] == name
    assert shop.writes(name) == ["patch deployments/" + name], output_of(execution)


def test_the_rule_takes_an_alert_of_a_stateful_set(shop):
    """What stands in pod and container beside it is the exporter's."""
    name = unique("db-")
    shop.cluster.put(workload("StatefulSet", name, 3, 2))
    shop.cluster.put(pod(name + "-0", ("StatefulSet", name), "CrashLoopBackOff"))
    labels = {"job": "kube-state-metrics", "pod": "ksm-0", "container": "kube-rbac-proxy-main"}
    made = alert(
        alertname="KubeStatefulSetReplicasMismatch",
        namespace=NAMESPACE,
        statefulset=name,
        cluster="west",
        **labels,
    )
    with enabled(shop.world, "restart_workload"):
        execution = started_for(shop.world, shop.world.accept(made))
    given = execution["parameters"]
    assert (given["kind"], given["workload"], given["pod"]) == ("statefulset", name, "")
    assert shop.writes(name) == ["patch statefulsets/" + name]
    assert len(children_of(shop.world, execution, "poundcake.watch_rollout")) == 1


def test_a_node_is_cordoned_from_the_command_line(shop):
    """A building block for workflows of your own."""
    name = unique("node-")
    shop.cluster.put(a_node(name))
    assert shop.world.ask("cordon_node", node=name)["changed"]
    assert shop.cluster.get("Node", None, name)["spec"]["unschedulable"]
    assert shop.world.ask("uncordon_node", node=name)["text"] == name + " takes new pods"
    assert not shop.cluster.get("Node", None, name)["spec"]["unschedulable"]
