"""Reads and writes PrometheusRule resources of one namespace, through Kubernetes' API.

A resource is the API's JSON object: ``metadata``, and ``spec`` with ``groups``.
https://kubernetes.io/docs/reference/using-api/api-concepts/
https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule
"""

from typing import Any, Dict, List, Optional

from poundcake import logins
from poundcake.alert_rules.errors import WriteConflict
from poundcake.errors import ExpectedError
from poundcake.settings import Settings
from poundcake.upstream import kubernetes

GROUP, VERSION, PLURAL = ("monitoring.coreos.com", "v1", "prometheusrules")
API_VERSION, KIND = GROUP + "/" + VERSION, "PrometheusRule"
PAGE = 100
_ROLE = "Grant the role in the pack's rbac/prometheusrules.yaml"


class Resources:
    """The PrometheusRules in the namespace of the config.

    Every method raises ExpectedError that names the wrong setting or the missing right.
    """

    def __init__(self, settings: Settings):
        self.namespace = settings.crd.namespace
        api = kubernetes.api_client(settings.kubernetes)
        from kubernetes.client import CustomObjectsApi

        self._api = CustomObjectsApi(api)

    def get(self, name: str) -> Optional[Dict[str, Any]]:
        """Return a resource, None when it does not exist."""
        return self._call("get", name)

    def list(self, selector: str = "") -> List[Dict[str, Any]]:
        """Return the resources that match a label selector, from all pages."""
        items: List[Dict[str, Any]] = []
        query = {"limit": PAGE, "label_selector": selector}
        while True:
            page = self._call("list", **query)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return items
            query["_continue"] = token

    def write(
        self,
        before: Optional[Dict[str, Any]],
        after: Optional[Dict[str, Any]],
        dry_run: bool = False,
    ) -> None:
        """Create a resource (before is None), delete it (after is None), or replace it.

        :param dry_run: Kubernetes checks everything, permissions too, and writes nothing.
        :raises WriteConflict: when the resource is no longer the same as ``before``.
        """
        options = {"dry_run": "All"} if dry_run else {}
        if before is None:
            self._call("create", body=after, **options)
            return
        metadata = before["metadata"]
        if after is not None:
            # It has the resourceVersion that was read, so that a newer one is not overwritten.
            answer = self._call("replace", metadata["name"], after, **options)
        else:
            same = {name: metadata[name] for name in ("uid", "resourceVersion")}
            body = {"preconditions": same}
            answer = self._call("delete", metadata["name"], body=body, **options)
        if answer is None:
            raise WriteConflict("the resource was deleted")

    def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        """Return the answer of the API, None when the resource does not exist."""
        from kubernetes.client.exceptions import ApiException

        method = getattr(self._api, verb + "_namespaced_custom_object")
        host = self._api.api_client.configuration.host
        try:
            answer = method(GROUP, VERSION, self.namespace, PLURAL, *args, **options)
            if not isinstance(answer, dict):
                raise logins.not_json("kube_api_url", host, "Kubernetes' API")
            return answer
        except ApiException as error:
            status = kubernetes.status_of(error)
            if error.status == 404 and (status.get("details") or {}).get("kind") == PLURAL:
                return None
            if error.status == 409:
                raise WriteConflict(status.get("message") or error.reason)
            raise self._refusal(verb, error.status, kubernetes.reason_of(error))
        except kubernetes.UNREACHED as error:
            raise ExpectedError("kube_api_url", kubernetes.unreached_text(host, error))
        except (UnicodeDecodeError, RecursionError):
            raise logins.not_json("kube_api_url", host, "Kubernetes' API")
        except ValueError:  # its message has the token in it
            raise ExpectedError("kube_token", kubernetes.BAD_TOKEN)

    def _refusal(self, verb: str, status: int, reason: str) -> ExpectedError:
        """Return the error for an answer of Kubernetes, by its HTTP status."""
        if status == 401:
            problem = kubernetes.NOT_ACCEPTED + reason
            return ExpectedError("kube_token", problem, remedy=f"Set {kubernetes.LOGIN}")
        if status == 403:
            # Roles name their verbs as the client names its methods, except for this one.
            verb = "update" if verb == "replace" else verb
            problem = f"Kubernetes refuses to {verb} {PLURAL} in {self.namespace}: {reason}"
            return ExpectedError("crd_namespace", problem, remedy=_ROLE)
        if status == 404:
            return ExpectedError(
                "crd_namespace",
                f"there are no {PLURAL} in {self.namespace}: {reason}",
                remedy="Install the Prometheus Operator, which brings them, and create the "
                "namespace if it does not exist",
            )
        if status in (400, 413, 422):
            return ExpectedError("resource", f"Kubernetes does not accept it: {reason}")
        return ExpectedError("kube_api_url", f"Kubernetes answers: {reason}")
