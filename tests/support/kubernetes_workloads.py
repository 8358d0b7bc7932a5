"""Workloads, pods, events and nodes of Kubernetes' API, for tests.

Written from the public documentation, and enforcing what it says:

- verbs of Roles, pods/log as a resource of its own (403):
  https://kubernetes.io/docs/reference/access-authn-authz/rbac/
- types of patches (415), resourceVersion and uid in them (409), watch from a resourceVersion, its
  end after timeoutSeconds, and 410 when the versions are gone:
  https://kubernetes.io/docs/reference/using-api/api-concepts/
- strategic merge patch, where lists of containers merge by name:
  https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
- field selectors of each resource (400):
  https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
- the selector of a workload cannot change, and its template must have its labels (422)
- what the log of a container answers (400):
  https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

import copy
import json
import re
import threading
import time
import urllib.parse
import uuid

from tests.support.kubernetes_status import Refused

USER = "system:serviceaccount:st2:poundcake"
KINDS = {
    "deployments": ("apps", "Deployment"),
    "statefulsets": ("apps", "StatefulSet"),
    "daemonsets": ("apps", "DaemonSet"),
    "replicasets": ("apps", "ReplicaSet"),
    "pods": ("", "Pod"),
    "events": ("", "Event"),
    "nodes": ("", "Node"),
}
PLURALS = {kind: plural for plural, (_, kind) in KINDS.items()}
WORKLOADS = ("deployments", "statefulsets", "daemonsets")
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
_FIELDS = {
    "pods": {"status.phase", "spec.nodeName"},
    "events": {"involvedObject.kind", "involvedObject.name", "reason", "type"},
}
_MERGED_BY_NAME = ("containers", "initContainers", "volumes", "env")
_PATH = re.compile(
    r"/(?:api/v1|apis/apps/v1)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>%s)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>log))?\Z" % "|".join(KINDS)
)


class Workloads:
    """What the API has beside PrometheusRules, and what its user may do with it.

    ``log`` has what was asked, as ``patch deployments/cart``. ``before`` is called with that ahead
    of every request, ``after`` after a change of somebody who asked: controllers act there.
    ``logs`` has texts by ``(pod, container, previous)``.
    """

    def __init__(self):
        self.log = []
        self.logs = {}
        self.patches = []  # (content type, body)
        self.before = lambda asked: None
        self.after = lambda asked, found: None
        self.answer_with = {}  # a status for what is asked, as of a server in trouble
        self._roles = None
        self._objects = {}
        self._history = []  # (version, type, object)
        self._oldest = 0
        self._version = 1000
        self._changed = threading.Condition(threading.RLock())

    # --- as somebody else -------------------------------------------------------------------------

    def allow(self, *roles):
        """Let the user do what these Roles say, and nothing else."""
        self._roles = [rule for role in roles for rule in role["rules"]]

    def put(self, found):
        """Write an object with its status, as a controller does; return what is there now."""
        with self._changed:
            key = _key(found)
            present = self._objects.get(key)
            return self._store(key, present, copy.deepcopy(found))

    def change(self, kind, namespace, name, act):
        """Let ``act`` change an object in place, as a controller does."""
        with self._changed:
            found = copy.deepcopy(self._objects[PLURALS[kind], namespace, name])
            act(found)
            return self.put(found)

    def get(self, kind, namespace, name):
        """Return an object, None when it is not there."""
        with self._changed:
            return copy.deepcopy(self._objects.get((PLURALS[kind], namespace, name)))

    def all(self, kind):
        """Return the objects of a kind."""
        with self._changed:
            plural = PLURALS[kind]
            return [copy.deepcopy(one) for key, one in self._objects.items() if key[0] == plural]

    def remove(self, kind, namespace, name):
        """Delete an object."""
        with self._changed:
            self._remove((PLURALS[kind], namespace, name))

    def forget(self):
        """Let the versions until now be gone, as Kubernetes does after some minutes."""
        with self._changed:
            self._oldest = self._version
            self._history.clear()

    # --- HTTP -------------------------------------------------------------------------------------

    def serves(self, path):
        return bool(_PATH.match(path))

    def serve(self, handler, path, query, raw):
        """Answer a request; ``handler`` is that of the server."""
        match = {k: v and urllib.parse.unquote(v) for k, v in _PATH.match(path).groupdict().items()}
        query = {name: values[-1] for name, values in query.items()}
        try:
            verb = self._verb(handler.command, match, query)
            shown = f"{verb} {match['plural']}" + (f"/{match['name']}" if match["name"] else "")
            shown += "/log" if match["part"] else ""
            self.log.append(shown)
            self.before(shown)
            self._authorize(verb, match)
            if shown in self.answer_with:
                code = self.answer_with[shown]
                raise Refused(code, "InternalError", "etcdserver: request timed out")
            body = self._body(handler, raw)
            if verb == "watch":
                return self._watch(handler, match, query)
            content_type = (handler.headers.get("Content-Type") or "").split(";")[0]
            answer = self._answer(verb, match, query, body, content_type)
            handler.send(200, answer)
            if verb in ("patch", "delete"):
                self.after(shown, answer)
        except Refused as error:
            handler.send(error.code, error.body)

    def _verb(self, method, match, query):
        if method == "GET" and not match["name"]:
            return "watch" if query.get("watch", "").lower() in ("1", "true") else "list"
        verbs = {"GET": "get", "PATCH": "patch", "DELETE": "delete"}
        allowed = method in verbs and match["name"] and (method == "GET" or not match["part"])
        if not allowed:
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method")
        return verbs[method]

    def _authorize(self, verb, match):
        group, plural = KINDS[match["plural"]][0], match["plural"]
        resource = f"{plural}/{match['part']}" if match["part"] else plural
        for rule in self._roles if self._roles is not None else []:
            if group in rule["apiGroups"] and resource in rule["resources"]:
                if verb in rule["verbs"]:
                    return
        if self._roles is not None:
            where = "at the cluster scope"
            if match["namespace"]:
                where = f'in the namespace "{match["namespace"]}"'
            text = f'{plural} "{match["name"] or ""}" is forbidden: User "{USER}" cannot {verb} '
            text += f'resource "{resource}" in API group "{group}" {where}'
            raise Refused(403, "Forbidden", text, kind=plural)

    def _body(self, handler, raw):
        if not raw:
            return None
        try:
            return json.loads(raw)
        except ValueError:
            raise Refused(400, "BadRequest", "the object provided is no JSON")

    def _answer(self, verb, match, query, body, content_type):
        with self._changed:
            if verb == "list":
                return self._list(match, query)
            key = (match["plural"], match["namespace"], match["name"])
            present = self._objects.get(key)
            if present is None:
                text = f'{_resource(match["plural"])} "{match["name"]}" not found'
                raise Refused(404, "NotFound", text, name=match["name"], kind=match["plural"])
            if match["part"]:
                return self._log_of(present, query)
            if verb == "patch":
                return self._patch(key, present, body, content_type)
            if verb == "delete":
                _same(present, (body or {}).get("preconditions") or {})
                self._remove(key)
            return present

    def _list(self, match, query):
        items = [copy.deepcopy(one) for one in self._chosen(match, query)]
        for one in items:  # inside a list they have none
            one.pop("kind"), one.pop("apiVersion")
        kind = KINDS[match["plural"]][1] + "List"
        metadata = {"resourceVersion": str(self._version)}
        return {"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": items}

    def _chosen(self, match, query):
        wanted = _selector(match, query)
        return [one for key, one in sorted(self._objects.items()) if wanted(key, one)]

    def _patch(self, key, present, body, content_type):
        if content_type not in (MERGE, STRATEGIC):
            text = (
                "the body of the request was in an unknown format - accepted media types include: "
            )
            raise Refused(415, "UnsupportedMediaType", text + f"{MERGE}, {STRATEGIC}")
        if not isinstance(body, dict):
            raise Refused(400, "BadRequest", "the patch is no object")
        self.patches.append((content_type, body))
        metadata = body.get("metadata") or {}
        _same(present, metadata)
        made = _merged(copy.deepcopy(present), body, content_type == STRATEGIC)
        made["metadata"]["resourceVersion"] = present["metadata"]["resourceVersion"]
        _validate(key[0], present, made)
        made["status"] = present.get("status")  # only the subresource status changes it
        return self._store(key, present, made)

    def _log_of(self, pod, query):
        names = [one["name"] for one in pod["spec"]["containers"]]
        name, container = pod["metadata"]["name"], query.get("container")
        if not container and len(names) > 1:
            text = f"a container name must be specified for pod {name}, choose one of: {names}"
            raise Refused(400, "BadRequest", text)
        container = container or names[0]
        if container not in names:
            raise Refused(400, "BadRequest", f"container {container} is not valid for pod {name}")
        previous = query.get("previous", "").lower() in ("1", "true")
        text = self.logs.get((name, container, previous))
        if text is None and previous:
            text = f'previous terminated container "{container}" in pod "{name}" not found'
            raise Refused(400, "BadRequest", text)
        if text is None:
            text = f'container "{container}" in pod "{name}" is waiting to start'
            raise Refused(400, "BadRequest", text)
        lines = text.splitlines(keepends=True)
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :] if int(query["tailLines"]) else []
        return "".join(lines)[: int(query.get("limitBytes", 1 << 30))]

    # --- watch ------------------------------------------------------------------------------------

    def _watch(self, handler, match, query):
        wanted = _selector(match, query)
        version = query.get("resourceVersion", "")
        end = time.monotonic() + int(query.get("timeoutSeconds", 1800))
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        for event in self._events(wanted, version, match, query, end):
            handler.wfile.write(json.dumps(event).encode("utf-8") + b"\n")
            handler.wfile.flush()

    def _events(self, wanted, version, match, query, end):
        with self._changed:
            if version in ("", "0"):
                for one in self._chosen(match, query):
                    yield {"type": "ADDED", "object": one}
                version = str(self._version)
            at = int(version)
            if at < self._oldest:
                text = f"too old resource version: {at} ({self._oldest})"
                yield {"type": "ERROR", "object": Refused(410, "Expired", text).body}
                return
            while True:
                for number, kind, key, one in list(self._history):
                    if number > at and wanted(key, one):
                        at = number
                        yield {"type": kind, "object": one}
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    # --- keeping ----------------------------------------------------------------------------------

    def _store(self, key, present, made):
        """Keep an object, with what the server itself writes into it; the same one as it is."""
        metadata = made["metadata"]
        if present:
            for field in ("uid", "creationTimestamp", "generation", "resourceVersion"):
                metadata[field] = present["metadata"][field]
            if made == present:
                return copy.deepcopy(present)
            metadata["generation"] += made.get("spec") != present.get("spec")
        else:
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("generation", 1)
            metadata.setdefault("creationTimestamp", "2026-11-21T08:00:00Z")
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self._objects[key] = made
        self._tell("MODIFIED" if present else "ADDED", key, made)
        return copy.deepcopy(made)

    def _remove(self, key):
        gone = copy.deepcopy(self._objects.pop(key))
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", key, gone)

    def _tell(self, kind, key, found):
        self._history.append((self._version, kind, key, copy.deepcopy(found)))
        self._changed.notify_all()


def _key(found):
    metadata = found["metadata"]
    return PLURALS[found["kind"]], metadata.get("namespace"), metadata["name"]


def _resource(plural):
    group = KINDS[plural][0]
    return f"{plural}.{group}" if group else plural


def _same(present, wanted):
    for field in ("resourceVersion", "uid"):
        if wanted.get(field) and wanted[field] != present["metadata"][field]:
            name = present["metadata"]["name"]
            text = f'Operation cannot be fulfilled on {_resource(_key(present)[0])} "{name}": the '
            text += "object has been modified; please apply your changes to the latest version and "
            raise Refused(409, "Conflict", text + "try again", name=name)


def _merged(present, patch, strategic):
    """Return a value after a JSON merge patch, or a strategic one: a null removes its field."""
    for field, value in patch.items():
        if value is None:
            present.pop(field, None)
        elif isinstance(value, dict):
            before = present.get(field)
            present[field] = _merged(before if isinstance(before, dict) else {}, value, strategic)
        elif strategic and field in _MERGED_BY_NAME and isinstance(value, list):
            named = {one["name"]: one for one in present.get(field) or []}
            for one in value:
                named[one["name"]] = _merged(named.get(one["name"], {}), one, strategic)
            present[field] = list(named.values())
        else:
            present[field] = value
    return present


def _validate(plural, present, made):
    name = present["metadata"]["name"]
    if made["metadata"].get("name") != name:
        raise _invalid(plural, name, "metadata.name: field is immutable")
    if plural == "nodes":
        if not isinstance(made["spec"].get("unschedulable", False), bool):
            text = "json: cannot unmarshal into Go struct field NodeSpec.spec.unschedulable of type"
            raise Refused(400, "BadRequest", text + " bool")
        return
    if plural not in WORKLOADS:
        return
    if made["spec"]["selector"] != present["spec"]["selector"]:
        raise _invalid(plural, name, "spec.selector: field is immutable")
    template = made["spec"]["template"]["metadata"]
    for value in (template.get("annotations") or {}).values():
        if not isinstance(value, str):
            text = (
                "json: cannot unmarshal into Go struct field ObjectMeta.annotations of type string"
            )
            raise Refused(400, "BadRequest", text)
    wanted = made["spec"]["selector"].get("matchLabels") or {}
    if not wanted.items() <= (template.get("labels") or {}).items():
        text = "spec.template.metadata.labels: `selector` does not match template `labels`"
        raise _invalid(plural, name, text)


def _invalid(plural, name, fault):
    text = f'{KINDS[plural][1]}.apps "{name}" is invalid: {fault}'
    return Refused(422, "Invalid", text, name=name, kind=KINDS[plural][1])


def _selector(match, query):
    """Return a function of a key and an object: whether a request is about it."""
    plural, namespace = match["plural"], match["namespace"]
    fields = [part.partition("=") for part in query.get("fieldSelector", "").split(",") if part]
    known = {"metadata.name", "metadata.namespace"} | _FIELDS.get(plural, set())
    for field, _, _ in fields:
        if field not in known:
            text = f"field label not supported: {field}"
            raise Refused(400, "BadRequest", text)
    terms = _terms(query.get("labelSelector", ""))

    def wanted(key, found):
        labels = found["metadata"].get("labels") or {}
        return (
            key[0] == plural
            and namespace in (None, key[1])
            and all(_field(found, field) == value.lstrip("=") for field, _, value in fields)
            and all(holds(labels) for holds in terms)
        )

    return wanted


def _field(found, path):
    for step in path.split("."):
        found = (found or {}).get(step)
    return found


_TERM = re.compile(
    r"\s*(?:(?P<set>[\w./-]+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)"
    r"|(?P<name>[\w./-]+)\s*(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<no>!?)(?P<key>[\w./-]+))\s*"
)


def _terms(text):
    """Return functions of labels for a label selector."""
    terms = []
    while text:
        match = _TERM.match(text)
        rest = text[match.end() :] if match else ""
        if not match or rest and not rest.startswith(","):
            raise Refused(400, "BadRequest", f"unable to parse requirement: {text}")
        terms.append(_term(match.groupdict()))
        text = rest[1:]
    return terms


def _term(part):
    if part["set"]:
        values = [value.strip() for value in part["values"].split(",")]
        is_in = part["how"] == "in"
        return lambda labels: (labels.get(part["set"]) in values) == is_in
    if part["name"]:
        differs = part["op"] == "!="
        return lambda labels: (labels.get(part["name"]) == part["value"]) != differs
    return lambda labels: (part["key"] in labels) != bool(part["no"])
