"""What the actions about workloads and nodes do: look, restart, wait, delete a pod, cordon.

Names come from an alert, so each has a type. Answers are JSON. An error's ``details["permanent"]``
says whether the next try would meet it again.
"""

import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from poundcake import clock, typed_values
from poundcake.errors import ExpectedError
from poundcake.settings import Settings
from poundcake.upstream.kubernetes import Refusal
from poundcake.workloads import rollout
from poundcake.workloads.cluster import Cluster, Expired
from poundcake.workloads.rollout import Failing, Object, Rollout

_OBJECT_KINDS = {
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
}
_TRIES = 5  # of a change that somebody else overtakes
_MOST_EVENTS, _MOST_FAULTS = 5, 5
_WINDOW_SECONDS = 5  # one answer of a watch
_MOST_SECONDS = 540  # StackStorm ends an action without a word after 600


def inspect(
    settings: Settings,
    namespace: str,
    workload: str,
    kind: str,
    pod: str,
    container: str,
    cluster: str,
    min_ready_percent: int,
    restart_by: str,
    log_lines: int,
) -> Dict[str, Any]:
    """Look at a workload, and return what was seen and what is to be done (``plan``).

    :param kind: of the workload, "" when the alert does not say it.
    :param pod: one of its pods, which names the workload surely while it exists.
    """
    _check(settings, cluster, namespace=namespace)
    _check_choice("restart_by", restart_by, (rollout.ROLLOUT, rollout.DELETE_POD))
    api = Cluster(settings.kubernetes)
    found_kind, found = _find(api, namespace, workload, kind, pod)
    state = rollout.read(found_kind, found)
    pods = _pods_of(api, found_kind, found)
    faults = _ordered(rollout.failing(pods, time.time()), pod, container)
    judgement = rollout.judge(state, faults, min_ready_percent, restart_by)
    lines = [state.text] + [one.text for one in faults[:_MOST_FAULTS]]
    if judgement.plan != rollout.LEAVE:
        lines += _events(api, found_kind, state, faults)
        lines += _log(api, namespace, faults, log_lines)
    return {
        "plan": judgement.plan,
        "reason": judgement.reason,
        "kind": state.kind,
        "namespace": state.namespace,
        "workload": state.name,
        "pod": faults[0].pod if faults else "",
        "wanted": state.wanted,
        "ready": state.ready,
        "rollout": state.under_way or "complete",
        "text": "\n".join(lines),
    }


def restart(
    settings: Settings, namespace: str, workload: str, kind: str, min_ready_percent: int
) -> Dict[str, Any]:
    """Start a rollout restart, unless one is under way or too few replicas are ready."""
    _check(settings, "", namespace=namespace, workload=workload)
    api = Cluster(settings.kubernetes)
    for _ in range(_TRIES):
        seen = _workload(api, kind, namespace, workload)
        _refuse(rollout.refusal_of(rollout.read(kind, seen), min_ready_percent))
        at = clock.to_text(time.time())[:19] + "Z"
        try:
            after = api.restart(kind, seen, at)
        except Refusal as error:
            if error.status != 409:
                raise
            continue  # it is another one now: look again
        generation = after["metadata"].get("generation", 0)
        text = f"restarted the rollout of {kind} {namespace}/{workload}"
        return {"text": text, "restarted_at": at, "generation": generation}
    raise Refusal(kind, f"{namespace}/{workload} is being changed by somebody else", status=409)


def delete_pod(
    settings: Settings, namespace: str, pod: str, min_ready_percent: int
) -> Dict[str, Any]:
    """Delete a pod that its workload replaces, unless it is not the time for it."""
    _check(settings, "", namespace=namespace, pod=pod)
    api = Cluster(settings.kubernetes)
    seen = api.pod(namespace, pod)
    if seen is None:
        return {"text": f"pod {namespace}/{pod} is gone already", "deleted": False}
    kind, name = _owner(api, seen)
    state = rollout.read(kind, _workload(api, kind, namespace, name))
    _refuse(rollout.refusal_of(state, min_ready_percent, rollout.DELETE_POD))
    try:
        api.delete_pod(seen)
    except Refusal as error:
        if error.status not in (404, 409):
            raise
        text = f"pod {namespace}/{pod} was replaced by somebody else"
        return {"text": text, "deleted": False}
    return {"text": f"deleted pod {namespace}/{pod} of {kind} {name}", "deleted": True}


def wait(
    settings: Settings,
    namespace: str,
    workload: str,
    kind: str,
    settle_seconds: int,
    timeout_seconds: int,
    now: Callable[[], float] = time.monotonic,
) -> Dict[str, Any]:
    """Wait until a rollout is complete and every replica was ready for some seconds on end.

    :raises ExpectedError: when that does not come in time; ``details["text"]`` is the last state.
    """
    _check(settings, "", namespace=namespace, workload=workload)
    api = Cluster(settings.kubernetes)
    deadline = now() + min(timeout_seconds, _MOST_SECONDS)
    seen = _workload(api, kind, namespace, workload)
    since: Optional[float] = None
    while True:
        state = rollout.read(kind, seen)
        if not state.is_settled:
            since = None
        elif since is None:
            since = now()
        if since is not None and now() - since >= settle_seconds:
            return {"text": f"{state.text}, for {settle_seconds} s"}
        if now() >= deadline:
            raise _not_in_time(state, timeout_seconds)
        left = deadline if since is None else min(deadline, since + settle_seconds)
        window = max(1, min(_WINDOW_SECONDS, int(left - now() + 0.999)))
        try:
            states = api.watch(kind, seen, window)
        except Expired:
            seen, since = _workload(api, kind, namespace, workload), None
            continue
        if not all(rollout.read(kind, one).is_settled for one in states):
            since = None
        seen = states[-1] if states else seen


def set_schedulable(settings: Settings, node: str, schedulable: bool) -> Dict[str, Any]:
    """Let new pods come to a node, or keep them away. Pods that run there stay."""
    _check(settings, "", node=node)
    api = Cluster(settings.kubernetes)
    found = api.node(node)
    if found is None:
        raise _permanent("node", f"there is no node {node}")
    is_cordoned = bool((found.get("spec") or {}).get("unschedulable"))
    if is_cordoned == schedulable:
        api.cordon(node, not schedulable)
    state = "takes new pods" if schedulable else "takes no new pods"
    return {"node": node, "changed": is_cordoned == schedulable, "text": f"{node} {state}"}


# --- looking --------------------------------------------------------------------------------------


def _find(
    api: Cluster, namespace: str, workload: str, kind: str, pod: str
) -> Tuple[str, Dict[str, Any]]:
    """Return the kind and the object of what an alert is about."""
    if kind:
        _check_name("workload", workload)
        return kind, _workload(api, kind, namespace, workload)
    if pod:
        _check_name("pod", pod)
        seen = api.pod(namespace, pod)
        if seen is not None:
            kind, name = _owner(api, seen)
            return kind, _workload(api, kind, namespace, name)
    # The pod has a successor by now, of the same workload.
    _check_name("workload", workload)
    all_of_them = [(one, api.workload(one, namespace, workload)) for one in rollout.KINDS]
    present = [(one, found) for one, found in all_of_them if found is not None]
    if len(present) == 1:
        return present[0]
    if present:
        kinds = " and a ".join(one for one, _ in present)
        problem = f"{namespace}/{workload} is a {kinds}"
        raise _permanent("kind", problem, remedy="Give kind")
    raise _permanent(
        "workload", f"there is no deployment, statefulset or daemonset {namespace}/{workload}"
    )


def _owner(api: Cluster, pod: Object) -> Tuple[str, str]:
    """Return the kind and the name of the workload that replaces a pod."""
    namespace = pod["metadata"]["namespace"]
    owner = rollout.controller_of(pod)
    if owner and owner["kind"] == "ReplicaSet":
        replica_set = api.replica_set(namespace, owner["name"])
        owner = rollout.controller_of(replica_set) if replica_set else owner
    kinds = {value: key for key, value in _OBJECT_KINDS.items()}
    if not owner or owner["kind"] not in kinds:
        whose = f"belongs to {owner['kind']} {owner['name']}" if owner else "belongs to nothing"
        problem = f"{namespace}/{pod['metadata']['name']} {whose}"
        expected = "a pod of a deployment, statefulset or daemonset"
        raise _permanent("pod", problem, expected)
    return kinds[owner["kind"]], owner["name"]


def _workload(api: Cluster, kind: str, namespace: str, name: str) -> Dict[str, Any]:
    _check_choice("kind", kind, rollout.KINDS)
    found = api.workload(kind, namespace, name)
    if found is None:
        raise _permanent("workload", f"there is no {kind} {namespace}/{name}")
    return found


def _pods_of(api: Cluster, kind: str, found: Object) -> List[Dict[str, Any]]:
    name = found["metadata"]["name"]
    pods = api.pods(found["metadata"]["namespace"], rollout.selector_of(found))
    return [pod for pod in pods if _is_of(pod, kind, name)]


def _is_of(pod: Object, kind: str, name: str) -> bool:
    """True unless the pod, whose labels fit, belongs to another workload."""
    owner = rollout.controller_of(pod) or {"kind": "", "name": ""}
    if kind == "deployment":
        is_named_so = owner["name"].rpartition("-")[0] == name
        return bool(owner["kind"] == "ReplicaSet" and is_named_so)
    return bool(owner["kind"] == _OBJECT_KINDS[kind] and owner["name"] == name)


def _ordered(faults: Sequence[Failing], pod: str, container: str) -> List[Failing]:
    """Return the faults with those of the alert's own pod and container first."""
    return sorted(faults, key=lambda one: (one.pod != pod, one.container != container))


def _events(api: Cluster, kind: str, state: Rollout, faults: Sequence[Failing]) -> List[str]:
    events = api.events(state.namespace, _OBJECT_KINDS[kind], state.name)
    for pod in dict.fromkeys(one.pod for one in faults[:_MOST_FAULTS]):
        events += api.events(state.namespace, "Pod", pod)
    return rollout.event_lines(events, _MOST_EVENTS)


def _log(api: Cluster, namespace: str, faults: Sequence[Failing], lines: int) -> List[str]:
    """Return the last lines of the container that fails, of its previous run if it crashed."""
    one = next((fault for fault in faults if fault.container), None)
    if one is None or lines < 1:
        return []
    previous = not one.is_first_run and one.reason != "NotReady"
    run = "previous run" if previous else "run"
    try:
        text = api.log_of(namespace, one.pod, one.container, previous, lines)
    except Refusal as error:  # a container that never ran has none
        if error.status not in (400, 404):
            raise
        return [f"{one.pod} has no log of {one.container}"]
    return [f"last lines of {one.container} in {one.pod}, {run}:", *text.splitlines()[-lines:]]


# --- refusing -------------------------------------------------------------------------------------


def _check(settings: Settings, cluster: str, **names: str) -> None:
    for name, value in names.items():
        _check_name(name, value)
    own = settings.kubernetes.cluster
    if own and cluster and cluster != own:
        problem = f'"{cluster}" is not the cluster of the setting kube_cluster'
        raise _permanent("cluster", problem, own)


def _check_name(name: str, value: str) -> None:
    typed_values.check("namespace" if name == "namespace" else "pod", value, name)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise _permanent(name, f'"{value}"', ", ".join(choices))


def _refuse(reason: str) -> None:
    if reason:
        raise _permanent("workload", "nothing was done: " + reason)


def _permanent(subject: str, problem: str, expected: str = "", remedy: str = "") -> ExpectedError:
    error = ExpectedError(subject, problem, expected, remedy)
    error.details = {"permanent": True}
    return error


def _not_in_time(state: Rollout, seconds: int) -> ExpectedError:
    error = ExpectedError("workload", f"not ready after {seconds} s - {state.text}")
    error.details = {"permanent": False, "text": state.text}
    return error
