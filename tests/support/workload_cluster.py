"""Deployments, stateful sets, daemon sets and their pods as Kubernetes has them, for tests.

``Controllers`` does what Kubernetes' controllers do after a restart or a deletion: the new pods are
ready, unless ``heals`` is False.
"""

import copy
import datetime

NAMESPACE = "shop"


def ago(seconds):
    """Return a time so many seconds ago, as Kubernetes writes it."""
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def workload(kind, name, wanted=3, ready=3, updated=None, under_way=False, **spec):
    """Return a workload in the state that the numbers say."""
    updated = wanted if updated is None else updated
    labels = {"app": name}
    container = {"name": "main", "image": "registry.example.com/shop/" + name}
    template = {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}}
    spec = dict({"selector": {"matchLabels": dict(labels)}, "template": template}, **spec)
    status = {"observedGeneration": 1}
    if kind == "DaemonSet":
        status.update(desiredNumberScheduled=wanted, numberReady=ready, numberAvailable=ready)
        status.update(updatedNumberScheduled=updated)
    else:
        spec.setdefault("replicas", wanted)
        status.update(replicas=wanted, readyReplicas=ready, availableReplicas=ready)
        status.update(updatedReplicas=updated)
    if kind == "Deployment":
        reason = "ReplicaSetUpdated" if under_way else "NewReplicaSetAvailable"
        status["conditions"] = [{"type": "Progressing", "status": "True", "reason": reason}]
    if kind == "StatefulSet":
        status.update(currentRevision="1", updateRevision="2" if under_way else "1")
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "generation": 1}
    made = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata}
    return dict(made, spec=spec, status=status)


def pod(name, owner, waiting="", message="", crashed=None, ready=None, restarts=0):
    """Return a pod of an owner, ``(kind, name)``, with one container.

    :param waiting: the reason, "" when the container runs.
    :param crashed: how many seconds ago its previous run ended with an error.
    """
    state = {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {}}
    last = {}
    if crashed is not None:
        ended = {"exitCode": 1, "reason": "Error", "finishedAt": ago(crashed)}
        last = {"terminated": ended}
    ready = not waiting if ready is None else ready
    status = {"name": "main", "state": state, "lastState": last, "ready": ready}
    owners = [{"kind": owner[0], "name": owner[1], "uid": "u", "controller": True}]
    app = owner[1].rpartition("-")[0] if owner[0] == "ReplicaSet" else owner[1]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"app": app},
            "ownerReferences": owners if owner[0] else [],
        },
        "spec": {"containers": [{"name": "main"}]},
        "status": {"containerStatuses": [dict(status, restartCount=restarts)]},
    }


def replica_set(name, deployment):
    owner = {"kind": "Deployment", "name": deployment, "uid": "u", "controller": True}
    metadata = {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": {}}


def event(about, reason, message, seconds_ago=60, count=1):
    """Return an event about ``(kind, name)``."""
    involved = {"kind": about[0], "name": about[1], "namespace": NAMESPACE}
    metadata = {"name": "%s.%s" % (about[1], reason.lower()), "namespace": NAMESPACE}
    made = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "reason": reason}
    made.update(type="Warning", message=message, count=count, lastTimestamp=ago(seconds_ago))
    return dict(made, involvedObject=involved)


def node(name, unschedulable=None):
    spec = {} if unschedulable is None else {"unschedulable": unschedulable}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def add_deployment(api, name, wanted=3, failing=1, **more):
    """Put a deployment with its pods, of which some crash; return the name of the last pod."""
    crash = {"waiting": "CrashLoopBackOff", "message": "back-off", "crashed": 30, "restarts": 7}
    crash.update(more.pop("crash", {}))
    api.put(workload("Deployment", name, wanted, wanted - failing, **more))
    owner = name + "-7d9f6c5b4"
    api.put(replica_set(owner, name))
    last = ""
    for number in range(wanted):
        last = "%s-x2x4%s" % (owner, "bcdfghjk"[number])
        is_failing = number >= wanted - failing
        api.put(pod(last, ("ReplicaSet", owner), **(crash if is_failing else {})))
    if failing:
        api.put(event(("Pod", last), "BackOff", "restarting failed container", count=12))
        api.logs[last, "main", True] = "starting\ncannot read /data/cart.db\n"
    return last


class Controllers:
    """What Kubernetes does by itself after a change.

    :param heals: whether the pods that come are ready.
    """

    def __init__(self, workloads, heals=True):
        self.workloads, self.heals = workloads, heals
        workloads.after = self.act

    def act(self, asked, found):
        verb, _, name = asked.partition(" ")
        plural, _, name = name.partition("/")
        if verb == "patch" and plural in ("deployments", "statefulsets", "daemonsets"):
            self._roll(found)
        elif verb == "delete" and plural == "pods":
            self._replace(found)

    def _roll(self, changed):
        kind, metadata = changed["kind"], changed["metadata"]
        where = (kind, metadata["namespace"], metadata["name"])
        total = changed["spec"].get("replicas") or changed["status"].get("desiredNumberScheduled")
        for updated in range(total + 1):
            self.workloads.change(*where, lambda one, n=updated: self._step(one, n, total))
        if self.heals:
            self._heal_pods(metadata["name"])

    def _step(self, one, updated, total):
        status = one["status"]
        status["observedGeneration"] = one["metadata"]["generation"]
        done = updated == total
        ready = total if self.heals and done else max(0, total - 1)
        if one["kind"] == "DaemonSet":
            status.update(updatedNumberScheduled=updated, numberReady=ready, numberAvailable=ready)
            return
        status.update(updatedReplicas=updated, readyReplicas=ready, availableReplicas=ready)
        status["replicas"] = total if done else total + 1
        if one["kind"] == "Deployment":
            complete = done and self.heals
            reason = "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
            status["conditions"] = [{"type": "Progressing", "status": "True", "reason": reason}]

    def _heal_pods(self, app):
        for found in self.workloads.all("Pod"):
            if found["metadata"]["labels"].get("app") == app:
                (status,) = found["status"]["containerStatuses"]
                status.update(state={"running": {}}, lastState={}, ready=True, restartCount=0)
                self.workloads.put(found)

    def _replace(self, gone):
        """Make a new pod for one that was deleted."""
        made = copy.deepcopy(gone)
        made["metadata"]["name"] = gone["metadata"]["name"][:-1] + "z"
        made["metadata"].pop("uid")
        made["metadata"].pop("resourceVersion")
        (status,) = made["status"]["containerStatuses"]
        if self.heals:
            status.update(state={"running": {}}, lastState={}, ready=True, restartCount=0)
        self.workloads.put(made)
        app = gone["metadata"]["labels"]["app"]
        for kind in ("Deployment", "StatefulSet", "DaemonSet"):
            found = self.workloads.get(kind, NAMESPACE, app)
            if found and self.heals:
                self.workloads.change(kind, NAMESPACE, app, _all_ready)


def _all_ready(one):
    status = one["status"]
    if one["kind"] == "DaemonSet":
        wanted = status["desiredNumberScheduled"]
        status.update(numberReady=wanted, numberAvailable=wanted)
    else:
        wanted = one["spec"]["replicas"]
        status.update(readyReplicas=wanted, availableReplicas=wanted)
