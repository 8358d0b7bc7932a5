"""Reads and changes workloads, pods and nodes through Kubernetes' official client.

Every change carries what it was decided on: a patch the resourceVersion, a deletion the uid. So
Kubernetes refuses it (409) when somebody was faster.
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import json
from typing import Any, Callable, Dict, List, Optional

from poundcake.errors import PoundCakeError
from poundcake.settings import KubernetesSettings
from poundcake.upstream import kubernetes
from poundcake.upstream.kubernetes import Refusal
from poundcake.workloads.rollout import Object

_ROLE = "Bind the role in the pack's rbac/%s.yaml"
_RESTART, _DELETE, _CORDON = (
    _ROLE % name for name in ("restart_workload", "delete_pod", "cordon_node")
)
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"  # kubectl rollout restart writes it, too
_PLURALS = {"deployment": "deployment", "statefulset": "stateful_set", "daemonset": "daemon_set"}
_MOST_LOG_BYTES = 65536


class Expired(PoundCakeError):
    """A watch cannot go on from this resourceVersion: read the object again (410 Gone)."""


class Cluster:
    """The cluster of the config. Every method raises ExpectedError."""

    def __init__(self, settings: KubernetesSettings):
        api = kubernetes.api_client(settings)
        from kubernetes.client import AppsV1Api, CoreV1Api

        self._apps, self._core = AppsV1Api(api), CoreV1Api(api)

    def workload(self, kind: str, namespace: str, name: str) -> Optional[Dict[str, Any]]:
        """Return a deployment, stateful set or daemon set, None when it does not exist."""
        return _found(self._of_kind("read", kind), name, namespace)

    def restart(self, kind: str, seen: Object, at: str) -> Dict[str, Any]:
        """Start a rollout restart, as kubectl does.

        :param seen: the object that this was decided on.
        :param at: the time, which makes the template of the pods another one.
        :raises Refusal: with the status 409 when the object is no longer as it was seen.
        """
        metadata = seen["metadata"]
        template = {"metadata": {"annotations": {RESTARTED_AT: at}}}
        body = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "spec": {"template": template},
        }
        patch = self._of_kind("patch", kind)
        return kubernetes.ask(patch, metadata["name"], metadata["namespace"], body, role=_RESTART)

    def watch(self, kind: str, seen: Object, seconds: int) -> List[Dict[str, Any]]:
        """Return the later states of a workload, as they come within some seconds.

        :param seconds: after that Kubernetes ends its answer.
        :raises Expired: when the states since then are gone.
        """
        metadata = seen["metadata"]
        method = self._of_kind("list", kind)
        try:
            text = kubernetes.ask_text(
                method,
                metadata["namespace"],
                field_selector="metadata.name=" + metadata["name"],
                resource_version=metadata["resourceVersion"],
                watch=True,
                timeout_seconds=seconds,
                role=_RESTART,
            )
        except Refusal as error:
            if error.status == 410:
                raise Expired(str(error))
            raise
        states = []
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                break  # the connection was cut
            if event["type"] == "ERROR":
                raise Expired(str(event["object"].get("message")))
            if event["type"] == "DELETED":
                raise Refusal(kind, f"{metadata['name']} was deleted", status=404)
            states.append(event["object"])
        return states

    def replica_set(self, namespace: str, name: str) -> Optional[Dict[str, Any]]:
        """Return a replica set, None when it does not exist."""
        return _found(self._apps.read_namespaced_replica_set, name, namespace)

    def pod(self, namespace: str, name: str) -> Optional[Dict[str, Any]]:
        """Return a pod, None when it does not exist."""
        return _found(self._core.read_namespaced_pod, name, namespace)

    def pods(self, namespace: str, selector: str) -> List[Dict[str, Any]]:
        """Return the pods that a label selector matches."""
        method = self._core.list_namespaced_pod
        found = kubernetes.ask(method, namespace, label_selector=selector, role=_RESTART)
        return list(found["items"])

    def events(self, namespace: str, kind: str, name: str) -> List[Dict[str, Any]]:
        """Return the events about an object."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        method = self._core.list_namespaced_event
        found = kubernetes.ask(method, namespace, field_selector=selector, role=_RESTART)
        return list(found["items"])

    def log_of(self, namespace: str, pod: str, container: str, previous: bool, lines: int) -> str:
        """Return the last lines of a container.

        :param previous: those of its previous run.
        """
        return kubernetes.ask_text(
            self._core.read_namespaced_pod_log,
            pod,
            namespace,
            container=container,
            previous=previous,
            tail_lines=lines,
            limit_bytes=_MOST_LOG_BYTES,
            role=_RESTART,
        )

    def delete_pod(self, seen: Object) -> None:
        """Delete the pod that was seen, and no other one of its name."""
        metadata = seen["metadata"]
        body = {"preconditions": {"uid": metadata["uid"]}}
        method = self._core.delete_namespaced_pod
        kubernetes.ask(method, metadata["name"], metadata["namespace"], body=body, role=_DELETE)

    def node(self, name: str) -> Optional[Dict[str, Any]]:
        """Return a node, None when it does not exist."""
        return _found(self._core.read_node, name, role=_CORDON)

    def cordon(self, name: str, unschedulable: bool) -> None:
        """Say whether new pods may come to a node."""
        body = {"spec": {"unschedulable": unschedulable}}
        kubernetes.ask(self._core.patch_node, name, body, role=_CORDON)

    def _of_kind(self, verb: str, kind: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._apps, f"{verb}_namespaced_{_PLURALS[kind]}")
        return method


def _found(
    method: Callable[..., Any], *args: Any, role: str = _RESTART
) -> Optional[Dict[str, Any]]:
    try:
        return kubernetes.ask(method, *args, role=role)
    except Refusal as error:
        if error.status == 404:
            return None
        raise
