"""What the state of a workload means, and whether it may be restarted."""

import time

import pytest
from poundcake.workloads import rollout
from poundcake.workloads.rollout import DELETE_POD, LEAVE, REFUSE, RESTART

from tests.support.workload_cluster import ago, event, pod, workload

OWNER = ("ReplicaSet", "cart-7d9f6c5b4")
CRASHES = pod("cart-1", OWNER, "CrashLoopBackOff", "back-off 5m", crashed=30, restarts=7)


def read(found):
    return rollout.read(found["kind"].lower(), found)


def judge(found, *pods, percent=50, **more):
    faults = rollout.failing(pods, time.time())
    return rollout.judge(read(found), faults, percent, **more)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_whose_replicas_are_all_ready_is_left(kind):
    """There is nothing to do."""
    assert read(workload(kind, "cart")).is_settled
    assert judge(workload(kind, "cart"), pod("cart-1", OWNER)).plan == LEAVE


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_with_a_pod_that_crashes_is_restarted(kind):
    """When enough of it is ready, and the reason is what the container says."""
    judgement = judge(workload(kind, "cart", 3, 2), CRASHES)
    assert judgement.plan == RESTART
    expected = "pod cart-1, container main: CrashLoopBackOff, 7 restarts: back-off 5m"
    assert judgement.reason == expected


@pytest.mark.parametrize(
    "found, why",
    [
        (workload("Deployment", "cart", 3, 2, updated=1), "1 of 3 replicas are updated"),
        (workload("Deployment", "cart", 3, 2, under_way=True), "ReplicaSetUpdated"),
        (workload("StatefulSet", "cart", 3, 2, updated=2), "2 of 3 replicas are updated"),
        (workload("StatefulSet", "cart", 3, 2, under_way=True), "newest revision"),
        (workload("DaemonSet", "cart", 3, 2, updated=1), "1 of 3 replicas are updated"),
    ],
)
def test_nothing_is_done_while_a_rollout_is_under_way(found, why):
    """Neither a restart nor a deletion; and whatever is ready, the rollout is not over."""
    for restart_by in (rollout.ROLLOUT, DELETE_POD):
        judgement = judge(found, CRASHES, percent=0, restart_by=restart_by)
        assert judgement.plan == REFUSE
        assert judgement.reason.startswith("a rollout is under way") and why in judgement.reason
    assert not read(found).is_settled


def test_old_replicas_that_are_still_there_are_a_rollout():
    """Kubernetes brings the new ones first."""
    found = workload("Deployment", "cart", 3, 3)
    found["status"]["replicas"] = 4
    assert "1 old replicas" in read(found).under_way


def test_a_change_that_kubernetes_has_not_seen_is_a_rollout():
    """Its status is that of the generation before."""
    found = workload("StatefulSet", "cart")
    found["metadata"]["generation"] = 2
    assert "not seen" in read(found).under_way


def test_the_replicas_below_a_partition_are_not_waited_for():
    """Whoever set it wants them as they are."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    found = workload("StatefulSet", "db", 3, 3, 1, under_way=True, updateStrategy=strategy)
    assert read(found).is_settled


@pytest.mark.parametrize(
    "ready, percent, plan", [(1, 50, REFUSE), (2, 50, RESTART), (0, 0, RESTART), (2, 67, REFUSE)]
)
def test_nothing_is_done_when_too_few_replicas_are_ready(ready, percent, plan):
    """The asked-for share is of the replicas that are wanted."""
    judgement = judge(workload("Deployment", "cart", 3, ready), CRASHES, percent=percent)
    assert judgement.plan == plan
    assert plan == RESTART or "%d of 3 replicas are ready" % ready in judgement.reason


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"]
)
def test_what_a_new_pod_would_meet_too_is_refused(reason):
    """A restart cannot help, so a person is told at once."""
    found = workload("Deployment", "cart", 3, 2)
    judgement = judge(found, pod("cart-1", OWNER, reason))
    assert judgement.plan == REFUSE
    assert judgement.reason.startswith("a restart cannot help") and reason in judgement.reason


def test_a_pod_without_a_node_is_refused():
    """Another one would get none either."""
    one = pod("cart-1", OWNER)
    one["status"] = {"conditions": [{"type": "PodScheduled", "status": "False"}]}
    assert judge(workload("Deployment", "cart", 3, 2), one).plan == REFUSE


@pytest.mark.parametrize(
    "more, by, why",
    [
        ({"paused": True}, rollout.ROLLOUT, "it is paused"),
        ({"updateStrategy": {"type": "OnDelete"}}, rollout.ROLLOUT, "OnDelete"),
        ({"updateStrategy": {"type": "OnDelete"}}, DELETE_POD, ""),
    ],
)
def test_a_rollout_restart_that_would_do_nothing_is_refused(more, by, why):
    """A pod can be deleted all the same."""
    judgement = judge(workload("Deployment", "cart", 3, 2, **more), CRASHES, restart_by=by)
    assert judgement.plan == (REFUSE if why else RESTART)
    assert why in judgement.reason


def test_what_is_scaled_to_zero_is_left():
    """Somebody wants it so."""
    assert judge(workload("Deployment", "cart", 0, 0)).plan == LEAVE


@pytest.mark.parametrize("crashed, plan", [(30, RESTART), (3600, LEAVE)])
def test_a_container_between_two_crashes_is_not_healthy(crashed, plan):
    """It is ready for a moment; a crash of an hour ago is over."""
    one = pod("cart-1", OWNER, crashed=crashed, restarts=7)
    assert judge(workload("Deployment", "cart", 3, 3), one).plan == plan


def test_without_a_pod_that_fails_none_is_deleted():
    """There would be none to choose."""
    found = workload("Deployment", "cart", 3, 2)
    assert judge(found, restart_by=DELETE_POD).plan == REFUSE
    assert judge(found).plan == RESTART


def test_a_pod_that_ends_and_a_container_that_starts_are_no_faults():
    """Both are on their way."""
    ending = pod("cart-1", OWNER, "CrashLoopBackOff")
    ending["metadata"]["deletionTimestamp"] = ago(1)
    starting = pod("cart-2", OWNER, "ContainerCreating")
    assert rollout.failing([ending, starting], time.time()) == []


def test_the_selector_of_a_workload_is_written_as_a_query_takes_it():
    """With every operator."""
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "tier", "operator": "NotIn", "values": ["c"]},
        {"key": "x", "operator": "Exists"},
        {"key": "y", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "cart"}, "matchExpressions": expressions}
    text = rollout.selector_of({"spec": {"selector": selector}})
    assert text == "app=cart,tier in (a,b),tier notin (c),x,!y"


def test_events_come_in_order_and_the_newest_stay():
    """Each says when, why, about what, and how often."""
    events = [event(("Pod", "cart-%d" % n), "BackOff", "m", seconds_ago=n, count=n) for n in (1, 3)]
    lines = rollout.event_lines(events, 1)
    assert len(lines) == 1 and lines[0].endswith("BackOff pod cart-1: m")
    assert rollout.event_lines(events, 5)[0].endswith("BackOff pod cart-3: m (3 times)")
