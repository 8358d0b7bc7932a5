"""Reads and writes PrometheusRule resources of one namespace, through Kubernetes' API.

A resource is the API's JSON object: ``metadata``, and ``spec`` with ``groups``.
https://kubernetes.io/docs/reference/using-api/api-concepts/
https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule
"""

import json
from typing import Any, Dict, List, Optional

import urllib3

from poundcake.alert_rules.errors import WriteConflict
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

GROUP, VERSION, PLURAL = ("monitoring.coreos.com", "v1", "prometheusrules")
API_VERSION, KIND = GROUP + "/" + VERSION, "PrometheusRule"
PAGE = 100
TIMEOUT_SECONDS = 30
_ROLE = "Grant the role in the pack's rbac/prometheusrules.yaml"
_CLUSTER = "kube_api_url and kube_token, or kube_config, in the config of poundcake"


class Resources:
    """The PrometheusRules in the namespace of the config.

    Every method raises ExpectedError that names the wrong setting or the missing right.
    """

    def __init__(self, settings: Settings):
        self.namespace = settings.crd.namespace
        self._api = _custom_objects(settings)

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
        options["_request_timeout"] = TIMEOUT_SECONDS
        try:
            return method(GROUP, VERSION, self.namespace, PLURAL, *args, **options)
        except ApiException as error:
            status = _status(error)
            if error.status == 404 and (status.get("details") or {}).get("kind") == PLURAL:
                return None
            if error.status == 409:
                raise WriteConflict(status.get("message") or error.reason)
            reason = f"{status.get('message') or error.reason} ({error.status})"[:1000]
            raise self._refusal(verb, error.status, reason)
        except urllib3.exceptions.HTTPError as error:
            host = self._api.api_client.configuration.host
            raise ExpectedError("kube_api_url", f"Kubernetes at {host} cannot be reached: {error}")
        except ValueError:  # its message has the token in it
            raise ExpectedError(
                "kube_token",
                "the token, from here or from kube_config, has a character that is not allowed in "
                "a token, such as a line break",
            )

    def _refusal(self, verb: str, status: int, reason: str) -> ExpectedError:
        """Return the error for an answer of Kubernetes, by its HTTP status."""
        if status == 401:
            problem = f"Kubernetes does not accept the credentials: {reason}"
            return ExpectedError("kube_token", problem, remedy=f"Set {_CLUSTER}")
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


def _status(error: Any) -> Dict[str, Any]:
    """Return Kubernetes' Status object, which gives the reason; ``{}`` when there is none."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _custom_objects(settings: Settings) -> Any:
    """Return the client for custom resources, logged in as the config says."""
    try:  # imported here, because it takes a second
        from kubernetes import client, config
    except ImportError as error:
        raise ExpectedError(
            "kubernetes",
            f"missing in the pack's virtualenv ({error})",
            remedy="Run st2 run packs.setup_virtualenv packs=poundcake",
        )
    cluster = settings.kubernetes
    configuration = client.Configuration()
    configuration.retries = False  # a write without an answer must not be repeated unnoticed
    try:
        if cluster.api_url:
            configuration.host = cluster.api_url.rstrip("/")
            configuration.api_key["authorization"] = "Bearer " + cluster.token.strip()
            if cluster.ca_path:
                open(cluster.ca_path, "rb").close()  # the client would open it only to connect
                configuration.ssl_ca_cert = cluster.ca_path
        elif cluster.config:
            context = cluster.context or None
            config.load_kube_config(cluster.config, context, client_configuration=configuration)
        else:
            config.load_incluster_config(configuration)
        return client.CustomObjectsApi(client.ApiClient(configuration))
    except config.ConfigException as error:
        raise ExpectedError(
            "kube_config" if cluster.config else "kube_api_url",
            f"no connection to Kubernetes is configured: {error}",
            remedy=f"Set {_CLUSTER}, or run StackStorm in the cluster, or set crd_enabled to false",
        )
    except OSError as error:
        raise ExpectedError("kube_ca_path", str(error))
