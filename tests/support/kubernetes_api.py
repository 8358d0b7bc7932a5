"""The parts of Kubernetes' API that PoundCake uses, over real HTTP, for tests.

This file serves PrometheusRules, and kubernetes_workloads.py workloads, pods, events and nodes.

Written from the public documentation, and enforcing what it says:

- who asks (401), what their Role allows (403), and namespaces that must exist (404):
  https://kubernetes.io/docs/reference/access-authn-authz/rbac/
- resourceVersion and uid (409 Conflict), names that are taken (409 AlreadyExists), dryRun, pages
  with limit and continue, labelSelector, content types (415), Status as the body of every error:
  https://kubernetes.io/docs/reference/using-api/api-concepts/
- names, labels and annotations (422):
  https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
- the schema of PrometheusRule (422), unknown fields dropped: the CustomResourceDefinition in
  https://github.com/prometheus-operator/prometheus-operator (v0.82), and
  https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/

PATCH and watch of PrometheusRules are not served: PoundCake uses neither.
"""

import base64
import copy
import json
import re
import ssl
import urllib.parse
import uuid

import jsonschema

from tests.support.kubernetes_status import Refused
from tests.support.kubernetes_workloads import Workloads
from tests.support.local_server import LocalServer, QuietHandler

GROUP, PLURAL, NAMESPACE = "monitoring.coreos.com", "prometheusrules", "monitoring"
TOKEN = "t0ken/of+the=cluster"
USER = "system:serviceaccount:st2:poundcake"
ALL = ("get", "list", "create", "update", "delete")

_DURATION = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?"
    r"(([0-9]+)ms)?)$",
}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_RULE = {
    "type": "object",
    "required": ["expr"],
    "properties": {
        "alert": {"type": "string"},
        "record": {"type": "string"},
        "expr": {"type": ["integer", "string"]},
        "for": _DURATION,
        "keep_firing_for": dict(_DURATION, minLength=1),
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
_RULE_GROUP = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "interval": _DURATION,
        "query_offset": _DURATION,
        "limit": {"type": "integer"},
        "labels": _TEXTS,
        "partial_response_strategy": {"type": "string", "pattern": "^(?i:abort|warn)?$"},
        "rules": {"type": "array", "items": _RULE},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {"groups": {"type": "array", "items": _RULE_GROUP}},
        },
    },
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


class KubernetesApi(LocalServer):
    """The API server, with one namespace and one user.

    ``objects`` are what it has by name, ``verbs`` what the user may do. ``before`` is called with
    the verb and the name ahead of every request: somebody else's moment. ``log`` has the verbs and
    names of what was asked, a dry run as ``update?``.
    """

    def __init__(self, verbs=ALL, certificate=None):
        super().__init__(type("Handler", (_Handler,), {"api": self}))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = "https://" + self.address
        self.verbs = set(verbs)
        self.has_operator = True  # without it nobody has brought PrometheusRules
        self.objects = {}
        self.log = []
        self.before = lambda verb, name: None
        self.workloads = Workloads()
        self._version = 100

    def allow(self, role):
        """Let the user do what a Role says, and nothing else."""
        self.verbs = {
            verb
            for rule in role["rules"]
            if GROUP in rule["apiGroups"] and PLURAL in rule["resources"]
            for verb in rule["verbs"]
        }

    def put(self, name, groups, **metadata):
        """Write as somebody else, as ``kubectl apply`` would."""
        found = copy.deepcopy(self.objects.get(name))
        made = found or {"metadata": {"name": name, "namespace": NAMESPACE}}
        made.update(apiVersion=GROUP + "/v1", kind="PrometheusRule", spec={"groups": groups})
        made["metadata"].update(metadata)
        return self.store(made)

    def writes(self):
        """Return what was written, dry runs left out."""
        return [one for one in self.log if one.split()[0] in ("create", "update", "delete")]

    # --- what it does -----------------------------------------------------------------------------

    def answer(self, method, namespace, name, query, body):
        dry = query.get("dryRun", [])
        if dry not in ([], ["All"]):
            raise Refused(400, "BadRequest", 'Invalid value: "%s": dryRun' % dry)
        verbs = {"POST": "create", "PUT": "update", "DELETE": "delete"}
        verb = verbs.get(method) or ("get" if name else "list")
        shown = name or ((body or {}).get("metadata") or {}).get("name") or ""
        if verb not in self.verbs:
            text = '%s.%s "%s" is forbidden: User "%s" cannot %s resource "%s" in API group "%s" '
            text += 'in the namespace "%s"'
            shown = (PLURAL, GROUP, shown, USER, verb, PLURAL, GROUP, namespace)
            raise Refused(403, "Forbidden", text % shown, group=GROUP, kind=PLURAL)
        self.log.append("%s%s %s" % (verb, "?" if dry else "", shown))
        self.before(verb + "?" * bool(dry), shown)
        if namespace != NAMESPACE and verb == "create":
            text = 'namespaces "%s" not found' % namespace
            raise Refused(404, "NotFound", text, name=namespace, kind="namespaces")
        here = self.objects if namespace == NAMESPACE else {}
        if verb == "list":
            return self._list(here, query)
        if verb == "create":
            return self._create(body, bool(dry))
        if name not in here:
            text = '%s.%s "%s" not found' % (PLURAL, GROUP, name)
            raise Refused(404, "NotFound", text, name=name, group=GROUP, kind=PLURAL)
        present = here[name]
        if verb == "update":
            return self._update(present, body, bool(dry))
        if verb == "delete":
            wanted = (body or {}).get("preconditions") or {}
            self._same(present, wanted)
            if not dry:
                del self.objects[name]
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return present

    def _list(self, here, query):
        chosen = [one for _, one in sorted(here.items()) if _selects(query, one)]
        begin = 0
        if "continue" in query:
            try:
                begin = json.loads(base64.urlsafe_b64decode(query["continue"][0]))["start"]
            except (ValueError, KeyError):
                raise Refused(400, "BadRequest", "continue key is not valid")
        limit = int(query.get("limit", ["0"])[0]) or len(chosen)
        metadata = {"resourceVersion": str(self._version)}
        if begin + limit < len(chosen):
            token = json.dumps({"start": begin + limit}).encode("utf-8")
            metadata["continue"] = base64.urlsafe_b64encode(token).decode("ascii")
            metadata["remainingItemCount"] = len(chosen) - begin - limit
        kind = {"apiVersion": GROUP + "/v1", "kind": "PrometheusRuleList"}
        return dict(kind, metadata=metadata, items=chosen[begin : begin + limit])

    def _create(self, body, dry):
        made = _pruned(body, SCHEMA)
        _validate(made)
        metadata = made["metadata"]
        if metadata.get("resourceVersion"):
            raise Refused(
                400, "BadRequest", "resourceVersion should not be set on objects to be created"
            )
        if metadata["name"] in self.objects:
            text = '%s.%s "%s" already exists' % (PLURAL, GROUP, metadata["name"])
            raise Refused(409, "AlreadyExists", text, name=metadata["name"], kind=PLURAL)
        return self.store(made, dry)

    def _update(self, present, body, dry):
        made = _pruned(body, SCHEMA)
        metadata = made.get("metadata") or {}
        if metadata.get("name") != present["metadata"]["name"]:
            text = "the name of the object (%s) does not match the name on the URL (%s)"
            names = (metadata.get("name"), present["metadata"]["name"])
            raise Refused(400, "BadRequest", text % names)
        _validate(made)
        if not metadata.get("resourceVersion"):
            raise _invalid(
                made,
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
            )
        self._same(present, metadata)
        return self.store(made, dry)

    def _same(self, present, wanted):
        for field in ("resourceVersion", "uid"):
            if field in wanted and wanted[field] != present["metadata"][field]:
                text = 'Operation cannot be fulfilled on %s.%s "%s": the object has been modified; '
                text += "please apply your changes to the latest version and try again"
                name = present["metadata"]["name"]
                shown = text % (PLURAL, GROUP, name)
                raise Refused(409, "Conflict", shown, name=name, group=GROUP, kind=PLURAL)

    def store(self, made, dry=False):
        """Keep an object, with what the server itself writes into it; the same one as it is."""
        made = copy.deepcopy(made)
        metadata = made["metadata"]
        metadata["namespace"] = NAMESPACE
        present = self.objects.get(metadata["name"])
        owned = ("uid", "creationTimestamp", "generation", "resourceVersion")
        if present:
            metadata.update({field: present["metadata"][field] for field in owned})
            if made == present:
                return present
            metadata["generation"] += made["spec"] != present["spec"]
        else:
            metadata.update(uid=str(uuid.uuid4()), generation=1)
            metadata["creationTimestamp"] = "2026-11-21T08:00:00Z"
        if dry:
            metadata.setdefault("resourceVersion", "")
            return made
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[metadata["name"]] = made
        return made


def _selects(query, found):
    labels = found["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", [""])[0].split(",")):
        name, equals, value = part.replace("==", "=").partition("=")
        if name.endswith("!"):
            if labels.get(name[:-1]) == value:
                return False
        elif equals and labels.get(name) != value or name not in labels:
            return False
    return True


def _pruned(value, schema):
    """Return a value without the fields that its schema does not know."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {
            key: _pruned(item, known[key])
            for key, item in value.items()
            if key in known and item is not None
        }
    if isinstance(value, list) and "items" in schema:
        return [_pruned(item, schema["items"]) for item in value]
    return value


def _validate(made):
    if made.get("apiVersion") != GROUP + "/v1" or made.get("kind") != "PrometheusRule":
        raise Refused(400, "BadRequest", "the object provided is unrecognized")
    metadata = made.get("metadata") or {}
    namespace = metadata.get("namespace", NAMESPACE)
    if namespace != NAMESPACE:
        text = "the namespace of the provided object does not match the namespace sent on the "
        raise Refused(400, "BadRequest", text + "request")
    faults = []
    if not _NAME.match(metadata.get("name") or "") or len(metadata["name"]) > 253:
        faults.append('metadata.name: Invalid value: "%s"' % metadata.get("name"))
    for field in ("labels", "annotations"):
        for key, value in (metadata.get(field) or {}).items():
            if not isinstance(value, str):
                text = "json: cannot unmarshal into Go struct field ObjectMeta.metadata.%s of type"
                raise Refused(400, "BadRequest", text % field + " string")
            if not _KEY.match(key):
                faults.append('metadata.%s: Invalid value: "%s"' % (field, key))
            if field == "labels" and (not _LABEL.match(value) or len(value) > 63):
                faults.append('metadata.labels: Invalid value: "%s"' % value)
    annotations = metadata.get("annotations") or {}
    if sum(len(key) + len(value) for key, value in annotations.items()) > 262144:
        faults.append("metadata.annotations: Too long: must have at most 262144 bytes")
    for error in jsonschema.Draft4Validator(SCHEMA).iter_errors(made):
        path = ".".join(str(part) for part in error.absolute_path)
        faults.append("%s: Invalid value: %s" % (path, error.message))
    groups = (made.get("spec") or {}).get("groups") or []
    names = [group.get("name") for group in groups if isinstance(group, dict)]
    faults += ["spec.groups: Duplicate value: %s" % one for one in names if names.count(one) > 1]
    if faults:
        raise _invalid(made, ", ".join(faults))


def _invalid(made, faults):
    name = (made.get("metadata") or {}).get("name")
    text = 'PrometheusRule.%s "%s" is invalid: %s' % (GROUP, name, faults)
    return Refused(422, "Invalid", text, name=name, group=GROUP, kind="PrometheusRule")


class _Handler(QuietHandler):
    api = None
    protocol_version = "HTTP/1.1"
    _PATH = re.compile(r"/apis/%s/v1/namespaces/([^/]+)/%s(?:/([^/]+))?\Z" % (GROUP, PLURAL))

    def _serve(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token != TOKEN:
            return self.send(401, Refused(401, "Unauthorized", "Unauthorized").body)
        if self.api.workloads.serves(path.path):
            query = urllib.parse.parse_qs(path.query)
            return self.api.workloads.serve(self, path.path, query, raw)
        match = self._PATH.match(path.path)
        if not match or self.command == "PATCH" or not self.api.has_operator:
            return self.send(404, "404 page not found\n")
        namespace, name = (one and urllib.parse.unquote(one) for one in match.groups())
        try:
            if raw and self.headers.get("Content-Type") != "application/json":
                text = "the body of the request was in an unknown format - accepted media types "
                raise Refused(415, "UnsupportedMediaType", text + "include: application/json")
            try:
                body = json.loads(raw) if raw else None
            except ValueError:
                raise Refused(400, "BadRequest", "the object provided is no JSON")
            query = urllib.parse.parse_qs(path.query)
            self.send(200, self.api.answer(self.command, namespace, name, query, body))
        except Refused as error:
            self.send(error.code, error.body)

    def send(self, code, body):
        is_text = isinstance(body, str)
        data = (body if is_text else json.dumps(body)).encode("utf-8")
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve
