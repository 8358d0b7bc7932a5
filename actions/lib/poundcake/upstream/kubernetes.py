"""The official client of Kubernetes' API, logged in as the config says, and bounded."""

import json
from typing import Any, Callable, Dict

import requests
import urllib3

from poundcake import logins
from poundcake.errors import ExpectedError
from poundcake.settings import KubernetesSettings
from poundcake.upstream.bounded import Pool

# How to reach a cluster, for a remedy.
LOGIN = "kube_api_url and kube_token, or kube_config, in the config of poundcake"
NOT_ACCEPTED = "Kubernetes does not accept the credentials: "
BAD_TOKEN = (
    "the token, from here or from kube_config, has a character that is not allowed in a token, "
    "such as a line break"
)
# What the client raises when there is no answer.
UNREACHED = (urllib3.exceptions.HTTPError, requests.RequestException)


def api_client(cluster: KubernetesSettings) -> Any:
    """Return the ``ApiClient`` for the cluster of the config, or the one that StackStorm runs in.

    :raises ExpectedError: names the setting that is wrong.
    """
    try:  # imported here, because it takes a second
        from kubernetes import client, config
    except ImportError as error:
        raise ExpectedError(
            "kubernetes",
            f"missing in the pack's virtualenv ({error})",
            remedy="Run st2 run packs.setup_virtualenv packs=poundcake",
        )
    configuration = client.Configuration()
    configuration.retries = False  # a write without an answer must not be repeated unnoticed
    try:
        if cluster.api_url:
            configuration.host = cluster.api_url.rstrip("/")
            configuration.api_key["authorization"] = "Bearer " + cluster.token.value.strip()
            if cluster.ca_path:
                open(cluster.ca_path, "rb").close()  # the client would open it only to connect
                configuration.ssl_ca_cert = cluster.ca_path
        elif cluster.config:
            context = cluster.context or None
            config.load_kube_config(cluster.config, context, client_configuration=configuration)
        else:
            config.load_incluster_config(configuration)
        api = client.ApiClient(configuration)
    except config.ConfigException as error:
        raise ExpectedError(
            "kube_config" if cluster.config else "kube_api_url",
            f"no connection to Kubernetes is configured: {error}",
            remedy=f"Set {LOGIN}, or run StackStorm in the cluster, or set crd_enabled to false",
        )
    except OSError as error:
        raise ExpectedError("kube_ca_path", str(error))
    api.rest_client.pool_manager = Pool(api.rest_client.pool_manager)
    return api


def unreached_text(host: str, error: Exception) -> str:
    """Return what is wrong when Kubernetes gives no answer."""
    return f"Kubernetes at {host} cannot be reached: {error}"


def status_of(error: Any) -> Dict[str, Any]:
    """Return Kubernetes' Status object, which gives the reason; ``{}`` when there is none.

    :param error: the client's ApiException.
    """
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError, RecursionError):
        return {}
    return status if isinstance(status, dict) else {}


def reason_of(error: Any) -> str:
    """Return what Kubernetes says of an ApiException, with the HTTP status."""
    return f"{status_of(error).get('message') or error.reason} ({error.status})"[:1000]


class Refusal(ExpectedError):
    """Kubernetes does not do what was asked.

    ``details["permanent"]`` says whether it would refuse it again. ``status`` is the HTTP status, 0
    when there was no answer.
    """

    def __init__(self, subject: str, problem: str, remedy: str = "", status: int = 0):
        super().__init__(subject, problem, remedy=remedy)
        self.status = status
        self.details = {"permanent": 400 <= status < 500 and status not in (409, 410, 429)}


def ask(method: Callable[..., Any], *args: Any, role: str = "", **options: Any) -> Dict[str, Any]:
    """Call a method of the official client, and return the object of the answer as JSON has it.

    :param role: what grants the right, for a remedy.
    :raises Refusal: for every answer but success, and for none.
    """
    text = ask_text(method, *args, role=role, **options)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        host = method.__self__.api_client.configuration.host  # type: ignore[attr-defined]
        raise logins.not_json("kube_api_url", host, "Kubernetes' API")
    return answer


def ask_text(method: Callable[..., Any], *args: Any, role: str = "", **options: Any) -> str:
    """The same, for an answer that is text."""
    from kubernetes.client.exceptions import ApiException

    host = method.__self__.api_client.configuration.host  # type: ignore[attr-defined]
    try:
        answer = method(*args, _preload_content=False, **options)
        return str(answer.data.decode("utf-8", "replace"))
    except ApiException as error:
        raise _refusal(error, role)
    except UNREACHED as error:
        raise Refusal("kube_api_url", unreached_text(host, error))
    except ValueError:  # its message has the token in it
        raise Refusal("kube_token", BAD_TOKEN, status=400)


def _refusal(error: Any, role: str) -> Refusal:
    """Return the error for an answer of Kubernetes, by its HTTP status."""
    reason = reason_of(error)
    if error.status == 401:
        return Refusal("kube_token", NOT_ACCEPTED + reason, f"Set {LOGIN}", 401)
    if error.status == 403:
        return Refusal("Kubernetes", f"refuses it: {reason}", role, 403)
    return Refusal("Kubernetes", f"answers: {reason}", status=error.status or 0)
