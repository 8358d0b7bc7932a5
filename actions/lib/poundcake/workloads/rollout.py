"""What the state of a Kubernetes workload means, and whether it may be restarted. Pure.

Objects are those of the API, as JSON.
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from poundcake import clock

Object = Mapping[str, Any]

KINDS = ("deployment", "statefulset", "daemonset")
ROLLOUT, DELETE_POD = "rollout", "delete_pod"
CRASHED_RECENTLY_SECONDS = 600.0

LEAVE, RESTART, REFUSE = "leave", "restart", "refuse"

# What a new pod would wait for, too.
_HELPLESS = {
    "ImagePullBackOff": "the image cannot be pulled",
    "ErrImagePull": "the image cannot be pulled",
    "ErrImageNeverPull": "the image is not on the node",
    "InvalidImageName": "the name of the image is wrong",
    "CreateContainerConfigError": "a ConfigMap, a Secret or a key in it is missing",
    "Unschedulable": "no node has room for the pod",
}
# A container waits for these while all goes well.
_STARTING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class Rollout:
    """The state of a workload.

    :param under_way: what the rollout still waits for, "" when it is complete.
    :param not_restartable: why a rollout restart would do nothing, "" when it would.
    """

    kind: str
    namespace: str
    name: str
    wanted: int
    ready: int
    updated: int
    available: int
    under_way: str = ""
    not_restartable: str = ""

    @property
    def is_settled(self) -> bool:
        """True when the rollout is complete and every replica is ready."""
        return not self.under_way and min(self.ready, self.available) >= self.wanted

    @property
    def text(self) -> str:
        """The state in a line."""
        state = f"a rollout is under way ({self.under_way})" if self.under_way else ""
        return (
            f"{self.kind} {self.namespace}/{self.name}: {self.ready} of {self.wanted} replicas are "
            f"ready, {self.updated} are up to date, {state or 'the rollout is complete'}"
        )


@dataclass(frozen=True)
class Failing:
    """A container, or a pod without one, that does not run as it should."""

    pod: str
    container: str
    reason: str
    message: str = ""
    restarts: int = 0
    is_first_run: bool = True

    @property
    def text(self) -> str:
        what = f"pod {self.pod}" + (f", container {self.container}" if self.container else "")
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        return f"{what}: {self.reason}{restarts}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True)
class Judgement:
    """What is to be done with a workload: LEAVE, RESTART or REFUSE, and why."""

    plan: str
    reason: str


def read(kind: str, found: Object) -> Rollout:
    """Return the state of a workload from its object."""
    spec, status, metadata = found["spec"], found.get("status") or {}, found["metadata"]
    if kind == "daemonset":
        wanted = status.get("desiredNumberScheduled", 0)
        ready, available = status.get("numberReady", 0), status.get("numberAvailable", 0)
        updated = status.get("updatedNumberScheduled", 0)
    else:
        wanted = spec.get("replicas", 1)
        ready, available = status.get("readyReplicas", 0), status.get("availableReplicas", 0)
        updated = status.get("updatedReplicas", 0)
    observed = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    under_way = _under_way(kind, spec, status, wanted, updated) if observed else _NOT_SEEN
    return Rollout(
        kind,
        metadata["namespace"],
        metadata["name"],
        wanted,
        ready,
        updated,
        available,
        under_way,
        _not_restartable(kind, spec),
    )


_NOT_SEEN = "Kubernetes has not seen the newest change yet"


def _under_way(kind: str, spec: Object, status: Object, wanted: int, updated: int) -> str:
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return ""  # there is no rollout: whoever deletes a pod updates it
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    to_update = max(0, wanted - (partition if kind == "statefulset" else 0))
    if updated < to_update:
        return f"{updated} of {to_update} replicas are updated"
    if kind == "deployment":
        old = status.get("replicas", 0) - updated
        if old > 0:
            return f"{old} old replicas are still there"
        # A container that crashes later does not change this condition.
        condition = _condition(status, "Progressing")
        if condition.get("reason") not in (None, "NewReplicaSetAvailable"):
            return str(condition.get("message") or condition["reason"])
    if kind == "statefulset" and not partition:
        if status.get("updateRevision") != status.get("currentRevision"):
            return "the newest revision is not everywhere"
    return ""


def _not_restartable(kind: str, spec: Object) -> str:
    if spec.get("paused"):
        return "it is paused (kubectl rollout resume)"
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return "its updateStrategy is OnDelete, so a rollout restart does nothing"
    return ""


def failing(pods: Sequence[Object], now: float) -> List[Failing]:
    """Return the containers that fail, those that wait first, and pods that get no node.

    A container that crashes again and again runs in between: what has crashed lately counts.
    """
    found: List[Failing] = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        if pod["metadata"].get("deletionTimestamp"):
            continue
        scheduled = _condition(status, "PodScheduled")
        if scheduled.get("status") == "False":
            message = str(scheduled.get("message") or "")
            found.append(Failing(name, "", scheduled.get("reason") or "Unschedulable", message))
        containers = [*(status.get("initContainerStatuses") or [])]
        for one in containers + [*(status.get("containerStatuses") or [])]:
            problem = _problem(one, now)
            if problem:
                found.append(problem_of(name, one, *problem))
    return sorted(found, key=lambda one: not one.container)


def problem_of(pod: str, container: Object, reason: str, message: str) -> Failing:
    """Return a Failing for the status of a container."""
    is_first_run = not (container.get("lastState") or {}).get("terminated")
    restarts = container.get("restartCount", 0)
    return Failing(pod, container["name"], reason, message, restarts, is_first_run)


def _problem(container: Object, now: float) -> Optional[Sequence[str]]:
    """Return the reason and the message, None for a container that does as it should."""
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    if waiting and waiting.get("reason") not in (None, *_STARTING):
        return waiting["reason"], str(waiting.get("message") or "")
    if ended and ended.get("exitCode"):
        return ended.get("reason") or "Error", f"exit code {ended['exitCode']}"
    crash = last.get("terminated") or {}
    if crash.get("exitCode") and container.get("restartCount", 0) > 1:
        finished = clock.to_seconds(crash["finishedAt"]) if crash.get("finishedAt") else 0.0
        if now - finished < CRASHED_RECENTLY_SECONDS:
            return crash.get("reason") or "Error", f"exit code {crash['exitCode']}"
    if state.get("running") and not container.get("ready", True):
        return "NotReady", "it runs, and its readiness probe fails"
    return None


def judge(
    rollout: Rollout,
    faults: Sequence[Failing],
    min_ready_percent: int,
    restart_by: str = ROLLOUT,
) -> Judgement:
    """Return what is to be done with a workload."""
    if not rollout.wanted:
        return Judgement(LEAVE, "it is scaled to zero")
    if rollout.is_settled and not faults:
        return Judgement(LEAVE, "every replica is ready")
    refusal = refusal_of(rollout, min_ready_percent, restart_by)
    if refusal:
        return Judgement(REFUSE, refusal)
    helpless = [one for one in faults if one.reason in _HELPLESS]
    if helpless and len(helpless) == len(faults):
        why = _HELPLESS[helpless[0].reason]
        return Judgement(REFUSE, f"a restart cannot help: {why} ({helpless[0].reason})")
    if restart_by == DELETE_POD and not faults:
        return Judgement(REFUSE, "no pod of it fails, so there is none to delete")
    return Judgement(RESTART, faults[0].text if faults else rollout.text)


def refusal_of(rollout: Rollout, min_ready_percent: int, restart_by: str = ROLLOUT) -> str:
    """Return why a workload must not be restarted now, "" when it may be."""
    if rollout.under_way:
        return f"a rollout is under way: {rollout.under_way}"
    if rollout.not_restartable and restart_by == ROLLOUT:
        return rollout.not_restartable
    if rollout.ready * 100 < min_ready_percent * rollout.wanted:
        return (
            f"only {rollout.ready} of {rollout.wanted} replicas are ready, fewer than "
            f"min_ready_percent={min_ready_percent} asks for"
        )
    return ""


def controller_of(found: Object) -> Optional[Object]:
    """Return the ownerReference of what controls an object: kind, name and uid."""
    for owner in found["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return dict(owner)
    return None


def selector_of(workload: Object) -> str:
    """Return the label selector of a workload's pods, as a query takes it."""
    selector = workload["spec"].get("selector") or {}
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or []:
        values = ",".join(one.get("values") or [])
        parts.append(
            {
                "In": f"{one['key']} in ({values})",
                "NotIn": f"{one['key']} notin ({values})",
                "Exists": one["key"],
                "DoesNotExist": "!" + one["key"],
            }[one["operator"]]
        )
    return ",".join(parts)


def event_lines(events: Sequence[Object], most: int) -> List[str]:
    """Return the latest events as lines, the newest last."""
    ordered = sorted(events, key=lambda one: _time_of(one))
    return [_event_line(one) for one in ordered[-most:]]


def _event_line(event: Object) -> str:
    about = event.get("involvedObject") or {}
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    times = f" ({count} times)" if count > 1 else ""
    what = f"{str(about.get('kind', '')).lower()} {about.get('name', '')}"
    return f"{_time_of(event)} {event.get('reason')} {what}: {event.get('message')}{times}"


def _time_of(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    created = event["metadata"].get("creationTimestamp")
    return str(next((one for one in (*times, created) if one), ""))


def _condition(status: Object, kind: str) -> Dict[str, Any]:
    for one in status.get("conditions") or []:
        if one.get("type") == kind:
            return dict(one)
    return {}
