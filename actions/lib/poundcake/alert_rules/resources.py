"""PrometheusRule resources of one namespace, through Kubernetes' API.

A resource is the JSON object that the API has: ``metadata``, ``spec`` with ``groups``.
https://kubernetes.io/docs/reference/using-api/api-concepts/
https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule
"""

import json

import urllib3

from poundcake.errors import ExpectedError

GROUP, VERSION, PLURAL = ("monitoring.coreos.com", "v1", "prometheusrules")
API_VERSION, KIND = GROUP + "/" + VERSION, "PrometheusRule"
PAGE = 100
TIMEOUT_SECONDS = 30
_ROLE = "the role that PoundCake needs is rbac/prometheusrules.yaml in the pack"


class Conflict(Exception):
    """Somebody else wrote in the meantime: read again."""


class Resources:
    """The PrometheusRules in the namespace of the config.

    Every method raises ExpectedError, naming the setting or the right that is missing.
    """

    def __init__(self, settings):
        self.namespace = settings.crd.namespace
        self._api = _custom_objects(settings)

    def get(self, name):
        """Return a resource, None when there is none of this name."""
        return self._call("get", name)

    def list(self, selector=""):
        """Return the resources that a label selector finds, all pages of them."""
        found, token = [], None
        while True:
            page = {"limit": PAGE, "label_selector": selector}
            answer = self._call("list", **dict(page, _continue=token) if token else page)
            found += answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return found

    def write(self, before, after, dry_run=False):
        """Create, replace or delete a resource: before or after is None then.

        :param dry_run: Kubernetes checks all, rights included, and writes nothing.
        :raises Conflict: when what is there is not ``before`` any more.
        """
        more = {"dry_run": "All"} if dry_run else {}
        if before is None:
            self._call("create", body=after, **more)
            return
        metadata = before["metadata"]
        if after is not None:
            # With the resourceVersion that was read, so that a newer one is not overwritten.
            found = self._call("replace", metadata["name"], after, **more)
        else:
            same = {name: metadata[name] for name in ("uid", "resourceVersion")}
            found = self._call("delete", metadata["name"], body={"preconditions": same}, **more)
        if found is None:
            raise Conflict()  # it is gone

    def _call(self, verb, *args, **more):
        from kubernetes.client.exceptions import ApiException

        method = getattr(self._api, verb + "_namespaced_custom_object")
        more["_request_timeout"] = TIMEOUT_SECONDS
        try:
            return method(GROUP, VERSION, self.namespace, PLURAL, *args, **more)
        except ApiException as error:
            return self._refused(verb, error)
        except urllib3.exceptions.HTTPError as error:
            host = self._api.api_client.configuration.host
            raise ExpectedError(
                "kube_api_url: Kubernetes at %s cannot be asked: %s" % (host, error)
            )
        except ValueError:  # its text has the token in it
            text = "kube_token: it, or that of kube_config, has a character that no token has"
            raise ExpectedError(text)

    def _refused(self, verb, error):
        """Return None for a resource that is not there; raise what else an answer means."""
        status = _status(error)
        text = "%s (%s)" % (status.get("message") or error.reason, error.status)
        if error.status == 404 and (status.get("details") or {}).get("kind") == PLURAL:
            return None
        if error.status == 409:
            raise Conflict()
        if error.status == 401:
            remedy = "kube_token: Kubernetes does not know who asks: %s; set kube_api_url and "
            remedy += "kube_token, or kube_config, in the config of poundcake"
        elif error.status == 403:
            # The verbs of roles are named as the methods are, but for this one.
            verb = "update" if verb == "replace" else verb
            remedy = "crd_namespace: Kubernetes refuses to %s %s in %s: %%s; %s"
            remedy %= (verb, PLURAL, self.namespace, _ROLE)
        elif error.status == 404:
            remedy = "crd_namespace: there are no %s in %s: %%s; the Prometheus Operator brings "
            remedy += "them, and the namespace must exist"
            remedy %= (PLURAL, self.namespace)
        elif error.status in (400, 413, 422):
            remedy = "resource: Kubernetes does not take it: %s"
        else:
            remedy = "kube_api_url: Kubernetes answers: %s"
        raise ExpectedError(remedy % text[:1000])


def _status(error):
    """Return the Status object that Kubernetes says why with, ``{}`` when it is none."""
    try:
        found = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _custom_objects(settings):
    """Return the client for custom resources, as the config says who we are."""
    try:  # here, because it takes a second
        from kubernetes import client, config
    except ImportError as error:
        text = "kubernetes: the pack's virtualenv lacks it (%s); run "
        raise ExpectedError((text + "st2 run packs.setup_virtualenv packs=poundcake") % error)
    found = client.Configuration()
    found.retries = False  # a write that got no answer is not sent again unseen
    try:
        if settings.kubernetes.api_url:
            found.host = settings.kubernetes.api_url.rstrip("/")
            found.api_key["authorization"] = "Bearer " + settings.kubernetes.token.strip()
            if settings.kubernetes.ca_path:
                open(settings.kubernetes.ca_path, "rb").close()  # the client looks when it connects
                found.ssl_ca_cert = settings.kubernetes.ca_path
        elif settings.kubernetes.config:
            context = settings.kubernetes.context or None
            config.load_kube_config(settings.kubernetes.config, context, client_configuration=found)
        else:
            config.load_incluster_config(found)
        return client.CustomObjectsApi(client.ApiClient(found))
    except config.ConfigException as error:
        where = "kube_config" if settings.kubernetes.config else "kube_api_url"
        text = "%s: there is no way to Kubernetes: %s; set kube_api_url and kube_token, or "
        text += "kube_config, in the config of poundcake, or run StackStorm in the cluster; or set "
        text += "crd_enabled to false"
        raise ExpectedError(text % (where, error))
    except OSError as error:
        raise ExpectedError("kube_ca_path: %s" % error)
