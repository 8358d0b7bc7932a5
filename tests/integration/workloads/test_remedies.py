"""What the actions about workloads and nodes do to a cluster, and what they refuse to do."""

import itertools

import pytest
import yaml
from poundcake.errors import ExpectedError
from poundcake.upstream.kubernetes import Refusal
from poundcake.workloads import remedies
from poundcake.workloads.cluster import RESTARTED_AT

from tests.support.fakes import PACK, make_settings
from tests.support.kubernetes_api import TOKEN, KubernetesApi
from tests.support.workload_cluster import (
    NAMESPACE,
    Controllers,
    add_deployment,
    event,
    node,
    pod,
    workload,
)

KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
DEFAULTS = {
    "namespace": NAMESPACE,
    "workload": "cart",
    "kind": "",
    "pod": "",
    "container": "",
    "cluster": "",
    "min_ready_percent": 50,
    "restart_by": "rollout",
    "log_lines": 20,
}


def role(name):
    with open(f"{PACK}/rbac/{name}.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)


@pytest.fixture
def api():
    """Kubernetes, whose user may do what rbac/restart_workload.yaml says."""
    with KubernetesApi() as found:
        found.workloads.allow(role("restart_workload"))
        yield found


def settings(api, **more):
    return make_settings(kube_api_url=api.url, kube_token=TOKEN, **more)


def inspect(api, cluster_name="", **more):
    given = dict(DEFAULTS, **more)
    return remedies.inspect(settings(api, kube_cluster=cluster_name), *given.values())


def restart(api, kind="deployment", name="cart", percent=50):
    return remedies.restart(settings(api), NAMESPACE, name, kind, percent)


def delete(api, name, percent=50):
    return remedies.delete_pod(settings(api), NAMESPACE, name, percent)


def wait(api, kind="deployment", settle=0, timeout=30, now=None):
    clock = {"now": now} if now else {}
    return remedies.wait(settings(api), NAMESPACE, "cart", kind, settle, timeout, **clock)


def annotation(api, kind="Deployment"):
    template = api.workloads.get(kind, NAMESPACE, "cart")["spec"]["template"]
    return (template["metadata"].get("annotations") or {}).get(RESTARTED_AT)


def writes(api):
    return [one for one in api.workloads.log if one.split()[0] in ("patch", "delete")]


def is_permanent(error):
    return error.value.details.get("permanent", True)


# --- looking --------------------------------------------------------------------------------------


def test_the_evidence_has_replicas_rollout_events_and_the_last_lines(api):
    """Of the container that fails, of its previous run: the present one has none yet."""
    name = add_deployment(api.workloads, "cart")
    api.workloads.put(event(("Deployment", "cart"), "ScalingReplicaSet", "scaled up", 300))
    found = inspect(api)
    assert found["plan"] == "restart" and (found["wanted"], found["ready"]) == (3, 2)
    lines = found["text"].splitlines()
    assert lines[0].startswith("deployment shop/cart: 2 of 3 replicas are ready")
    assert lines[0].endswith("the rollout is complete")
    assert lines[1].startswith(f"pod {name}, container main: CrashLoopBackOff, 7 restarts")
    assert "ScalingReplicaSet deployment cart: scaled up" in lines[2]
    assert lines[3].endswith(f"BackOff pod {name}: restarting failed container (12 times)")
    assert lines[4:] == [
        f"last lines of main in {name}, previous run:",
        "starting",
        "cannot read /data/cart.db",
    ]
    assert writes(api) == []


def test_a_workload_that_is_ready_is_left(api):
    """Neither events nor logs are read for it."""
    add_deployment(api.workloads, "cart", failing=0)
    found = inspect(api)
    assert found["plan"] == "leave" and found["reason"] == "every replica is ready"
    assert not [one for one in api.workloads.log if "events" in one or "/log" in one]


def test_a_pod_names_its_workload(api):
    """Through its replica set, whatever the name looks like."""
    name = add_deployment(api.workloads, "cart")
    found = inspect(api, workload="guessed", pod=name)
    assert (found["kind"], found["workload"], found["pod"]) == ("deployment", "cart", name)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_pod_that_is_gone_leaves_the_name_of_its_workload(api, kind):
    """Its successor has another name; the kind is looked for."""
    api.workloads.put(workload(KINDS[kind], "cart", 3, 2))
    found = inspect(api, pod="cart-7d9f6c5b4-gone1")
    assert (found["kind"], found["workload"]) == (kind, "cart")


def test_pods_of_others_with_the_same_labels_are_not_looked_at(api):
    """Ownership says whose a pod is."""
    add_deployment(api.workloads, "cart", failing=0)
    stranger = pod("stranger", ("ReplicaSet", "other-7d9f6c5b4"), "CrashLoopBackOff")
    stranger["metadata"]["labels"] = {"app": "cart"}
    api.workloads.put(stranger)
    assert inspect(api)["plan"] == "leave"


@pytest.mark.parametrize(
    "more, named",
    [
        ({"workload": "none"}, "there is no deployment, statefulset or daemonset shop/none"),
        ({"kind": "daemonset"}, "there is no daemonset shop/cart"),
        ({"kind": "job"}, 'kind: "job"; expected deployment'),
        ({"namespace": ""}, "namespace: empty"),
        ({"namespace": "../kube-system"}, "namespace: "),
        ({"workload": ""}, "workload: empty"),
        ({"workload": "a/b", "kind": "deployment"}, "workload: "),
        ({"pod": "../x"}, "pod: "),
        ({"pod": "job-x"}, "shop/job-x belongs to Job backup"),
        ({"pod": "bare"}, "shop/bare belongs to nothing"),
        ({"workload": "twice"}, "is a deployment and a statefulset"),
        ({"cluster": "east", "cluster_name": "west"}, "kube_cluster"),
    ],
)
def test_what_is_no_workload_is_named_and_the_next_try_would_meet_it_again(api, more, named):
    """Nothing is written."""
    add_deployment(api.workloads, "cart")
    api.workloads.put(workload("Deployment", "twice"))
    api.workloads.put(workload("StatefulSet", "twice"))
    api.workloads.put(pod("job-x", ("Job", "backup")))
    api.workloads.put(pod("bare", ("", "")))
    with pytest.raises(ExpectedError) as error:
        inspect(api, **more)
    assert named in str(error.value) and is_permanent(error)
    assert writes(api) == []


def test_an_alert_of_this_cluster_or_of_none_is_taken(api):
    """kube_cluster compares where both are known."""
    add_deployment(api.workloads, "cart")
    for cluster in ("west", ""):
        assert inspect(api, cluster=cluster, cluster_name="west")["plan"] == "restart"


@pytest.mark.parametrize(
    "status, permanent", [(500, False), (503, False), (429, False), (409, False), (422, True)]
)
def test_what_may_go_away_is_told_apart_from_what_stays(api, status, permanent):
    """A server in trouble is tried again."""
    add_deployment(api.workloads, "cart")
    api.workloads.answer_with["list pods"] = status
    with pytest.raises(Refusal) as error:
        inspect(api)
    assert is_permanent(error) == permanent


def test_a_right_that_is_missing_names_the_role(api):
    """Of each action."""
    api.workloads.put(node("n1"))
    name = add_deployment(api.workloads, "cart")
    for call, file in (
        (lambda: delete(api, name), "rbac/delete_pod.yaml"),
        (lambda: remedies.set_schedulable(settings(api), "n1", False), "rbac/cordon_node.yaml"),
    ):
        with pytest.raises(Refusal) as error:
            call()
        assert file in str(error.value) and is_permanent(error)


def test_a_server_that_is_away_is_tried_again(api):
    """Its name is in the error."""
    with pytest.raises(Refusal) as error:
        remedies.restart(
            make_settings(kube_api_url="http://127.0.0.1:1", kube_token="t"),
            NAMESPACE,
            "cart",
            "deployment",
            50,
        )
    assert "http://127.0.0.1:1" in str(error.value) and not is_permanent(error)


# --- restarting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_restart_writes_the_annotation_of_kubectl(api, kind):
    """In a strategic merge patch that carries the version that was seen."""
    api.workloads.put(workload(KINDS[kind], "cart", 3, 2))
    version = api.workloads.get(KINDS[kind], NAMESPACE, "cart")["metadata"]["resourceVersion"]
    done = restart(api, kind)
    assert done["text"] == f"restarted the rollout of {kind} shop/cart"
    assert annotation(api, KINDS[kind]) == done["restarted_at"]
    ((content_type, body),) = api.workloads.patches
    assert content_type == "application/strategic-merge-patch+json"
    assert body["metadata"] == {"resourceVersion": version}
    assert done["generation"] == 2


def test_a_rollout_that_begins_meanwhile_is_not_doubled(api):
    """Kubernetes refuses the patch, and what is there now is looked at."""
    add_deployment(api.workloads, "cart")

    def deploy(asked):
        if asked == "patch deployments/cart" and len(writes(api)) == 1:
            spec = {"image": "new"}
            api.workloads.change("Deployment", NAMESPACE, "cart", lambda d: d["spec"].update(spec))

    api.workloads.before = deploy
    with pytest.raises(ExpectedError) as error:
        restart(api)
    assert "a rollout is under way" in str(error.value) and is_permanent(error)
    assert annotation(api) is None


def test_a_change_that_is_no_rollout_does_not_stop_a_restart(api):
    """The status moves all the time."""
    add_deployment(api.workloads, "cart")

    def touch(asked):
        if asked == "patch deployments/cart" and len(writes(api)) == 1:
            labels = {"touched": "yes"}
            change = lambda d: d["metadata"]["labels"].update(labels)  # noqa: E731
            api.workloads.change("Deployment", NAMESPACE, "cart", change)

    api.workloads.before = touch
    assert restart(api)["restarted_at"] == annotation(api)
    assert len(writes(api)) == 2


@pytest.mark.parametrize("failing, why", [(2, "1 of 3 replicas are ready")])
def test_a_restart_checks_the_share_again(api, failing, why):
    """It may have changed since the evidence, and people wait for hours to approve."""
    add_deployment(api.workloads, "cart", failing=failing)
    with pytest.raises(ExpectedError) as error:
        restart(api)
    assert why in str(error.value) and writes(api) == []


# --- deleting -------------------------------------------------------------------------------------


def test_a_pod_is_deleted_with_the_uid_that_was_seen(api):
    """Its workload makes another one."""
    api.workloads.allow(role("restart_workload"), role("delete_pod"))
    name = add_deployment(api.workloads, "cart")
    assert delete(api, name)["deleted"]
    assert api.workloads.get("Pod", NAMESPACE, name) is None
    assert not delete(api, name)["deleted"], "it is gone already"


def test_a_new_pod_of_the_same_name_is_not_deleted(api):
    """A stateful set gives its pods their names again."""
    api.workloads.allow(role("restart_workload"), role("delete_pod"))
    api.workloads.put(workload("StatefulSet", "db", 3, 2))
    api.workloads.put(pod("db-0", ("StatefulSet", "db"), "CrashLoopBackOff"))

    def replace(asked):
        if asked == "delete pods/db-0":
            api.workloads.remove("Pod", NAMESPACE, "db-0")
            api.workloads.put(pod("db-0", ("StatefulSet", "db")))

    api.workloads.before = replace
    assert not delete(api, "db-0")["deleted"]
    assert api.workloads.get("Pod", NAMESPACE, "db-0") is not None


@pytest.mark.parametrize("state", ["under way", "too few", "nobody's"])
def test_a_pod_that_must_stay_is_not_deleted(api, state):
    """While a rollout is under way, when too few are ready, or when nothing replaces it."""
    api.workloads.allow(role("restart_workload"), role("delete_pod"))
    more = {"under_way": True} if state == "under way" else {}
    name = add_deployment(api.workloads, "cart", failing=2 if state == "too few" else 1, **more)
    if state == "nobody's":
        name = "bare"
        api.workloads.put(pod(name, ("", "")))
    with pytest.raises(ExpectedError) as error:
        delete(api, name)
    assert is_permanent(error)
    assert writes(api) == []


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_restart_is_waited_for_until_all_is_ready(api, kind):
    """Through every step of the rollout."""
    api.workloads.put(workload(KINDS[kind], "cart", 3, 2))
    Controllers(api.workloads)
    restart(api, kind)
    assert "3 of 3 replicas are ready" in wait(api, kind)["text"]


def test_a_rollout_that_does_not_become_ready_is_an_error(api):
    """With what it was at last; the next try may find it ready."""
    add_deployment(api.workloads, "cart")
    Controllers(api.workloads, heals=False)
    restart(api)
    with pytest.raises(ExpectedError) as error:
        wait(api, timeout=1)
    assert "not ready after 1 s" in str(error.value) and not is_permanent(error)
    assert "2 of 3 replicas are ready" in error.value.details["text"]


def test_ready_is_ready_without_a_break(api):
    """What is not ready for a moment between two looks begins again, as the watch shows it."""
    add_deployment(api.workloads, "cart", failing=0)
    times = itertools.count()
    states = []

    def break_it_once(asked):
        if asked == "watch deployments" and not states:
            for ready in (2, 3):
                status = {"readyReplicas": ready}
                change = lambda d, s=status: d["status"].update(s)  # noqa: E731
                states.append(api.workloads.change("Deployment", NAMESPACE, "cart", change))

    api.workloads.before = break_it_once
    # Each look at the clock is a second later: four for one round.
    wait(api, settle=4, timeout=500, now=lambda: next(times))
    assert api.workloads.log.count("watch deployments") >= 2 and len(states) == 2


def test_a_watch_that_expired_begins_with_a_new_look(api):
    """The versions are gone after some minutes."""
    add_deployment(api.workloads, "cart")
    acted = []

    def expire(asked):
        if asked == "watch deployments" and not acted:
            acted.append(asked)
            change = lambda d: d["status"].update(readyReplicas=3, availableReplicas=3)  # noqa: E731
            api.workloads.change("Deployment", NAMESPACE, "cart", change)
            api.workloads.forget()

    api.workloads.before = expire
    assert "3 of 3" in wait(api)["text"]
    assert api.workloads.log.count("get deployments/cart") == 2


def test_a_workload_that_is_deleted_is_waited_for_no_longer(api):
    """It is gone for good."""
    add_deployment(api.workloads, "cart")

    def remove(asked):
        if asked == "watch deployments":
            api.workloads.remove("Deployment", NAMESPACE, "cart")

    api.workloads.before = remove
    with pytest.raises(Refusal) as error:
        wait(api)
    assert "cart was deleted" in str(error.value)


# --- nodes ----------------------------------------------------------------------------------------


def test_a_node_is_cordoned_and_uncordoned(api):
    """Twice is once."""
    api.workloads.allow(role("cordon_node"))
    api.workloads.put(node("n1"))
    for schedulable in (False, True):
        for changed in (True, False):
            done = remedies.set_schedulable(settings(api), "n1", schedulable)
            assert done["changed"] == changed
            found = api.workloads.get("Node", None, "n1")
            assert bool(found["spec"].get("unschedulable")) != schedulable
    assert writes(api) == ["patch nodes/n1"] * 2


@pytest.mark.parametrize("name", ["none", "../n1", "", "n1,n2"])
def test_what_is_no_node_is_refused(api, name):
    """And nothing is written."""
    api.workloads.allow(role("cordon_node"))
    with pytest.raises(ExpectedError) as error:
        remedies.set_schedulable(settings(api), name, False)
    assert str(error.value).startswith("node: ") and is_permanent(error)
    assert writes(api) == []
