"""PrometheusRules as people write them: YAML to resources, and back. Pure."""

from poundcake.alert_rules import change, checks, files, syntax
from poundcake.alert_rules.ownership import MANAGED_BY, OWNER, WRITTEN
from poundcake.alert_rules.resources import API_VERSION, KIND
from poundcake.errors import ExpectedError
from poundcake.inert import original

# What Kubernetes adds to a resource; nobody writes it into a manifest.
_SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink")
_SERVERS_OWN += ("uid",)
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read(sources, resource, settings):
    """Return ``{name: manifest}`` of all documents, in the form that Kubernetes takes.

    :param sources: ``(file, text)``, as yaml_sources reads them.
    :param resource: what the groups of rule files belong to, all of them.
    :raises ExpectedError: names what is no such document; BrokenRules for rules without form.
    """
    found, errors = {}, []
    for file, text in sources:
        # get_prometheus_rule shows templates with look-alikes: what it showed may come back.
        text = original(text)
        try:
            for document in _flat(files.documents(text)):
                name, manifest = _manifest_of(document, resource, settings)
                errors += [dict(one, resource=file) for one in form_errors(manifest)]
                if name not in found:
                    found[name] = manifest
                elif "kind" not in document:
                    found[name]["spec"]["groups"] += manifest["spec"]["groups"]
                else:
                    raise ExpectedError("resource: %s is there twice" % name)
        except ExpectedError as error:
            raise ExpectedError("%s (%s)" % (error, file))
    for name, manifest in found.items():
        errors += [] if errors else [dict(one, resource=name) for one in form_errors(manifest)]
        if not errors:
            manifest["spec"]["groups"] = _as_text(manifest["spec"]["groups"])
    if errors:
        raise checks.BrokenRules(errors)
    if not found:
        raise ExpectedError("rules: there are none; write groups, or a PrometheusRule")
    return found


def form_errors(manifest):
    """Return what is wrong with the form of a resource's groups, as rule_forms says it."""
    return syntax.form_errors(manifest["spec"]["groups"])


def _flat(documents):
    for document in documents:
        if isinstance(document, dict) and document.get("kind") in ("List", KIND + "List"):
            yield from document.get("items") or []
        elif document is not None:
            yield document


def _manifest_of(document, resource, settings):
    """Return the name of a PrometheusRule, and the manifest that a document stands for."""
    if not isinstance(document, dict):
        raise ExpectedError("rules: a document is no mapping; write groups, or a PrometheusRule")
    metadata, spec = document.get("metadata") or {}, document.get("spec") or {}
    if document.get("kind") is None and "groups" in document:
        if not resource:
            raise ExpectedError("resource: groups alone belong to no PrometheusRule; name one")
        metadata, spec = {"name": resource}, document
    elif document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        kind = "%s %s" % (document.get("apiVersion"), document.get("kind"))
        raise ExpectedError("rules: a document is a %s, no %s %s" % (kind, API_VERSION, KIND))
    name = str(metadata.get("name") or "")
    change.check_resource(name)
    if metadata.get("namespace", settings.crd.namespace) != settings.crd.namespace:
        text = "crd_namespace: %s is of the namespace %s, and PoundCake writes to %s alone"
        raise ExpectedError(text % (name, metadata["namespace"], settings.crd.namespace))
    made = {"labels": labels_of(document), "annotations": annotations_of(document)}
    reserved = (OWNER, MANAGED_BY[0], WRITTEN, _APPLIED)
    for field, texts in made.items():
        made[field] = {name: text for name, text in texts.items() if name not in reserved}
    return name, {"metadata": made, "spec": {"groups": spec.get("groups") or []}}


def _as_text(groups):
    """Return groups as the resource takes them: text where Prometheus takes numbers, too."""
    return [
        dict(_durations(group), rules=[_rule(rule) for rule in group.get("rules") or []])
        for group in groups
    ]


def _rule(rule):
    made = _durations(rule)
    made["expr"] = str(rule["expr"]).strip()
    for field in ("labels", "annotations"):
        if made.get(field):
            made[field] = {name: str(value) for name, value in made[field].items()}
    return {name: value for name, value in made.items() if value not in (None, {})}


def _durations(mapping):
    fields = ("for", "keep_firing_for", "interval", "query_offset")
    return {k: "0s" if k in fields and v == 0 else v for k, v in mapping.items() if v is not None}


def bare(document):
    """Return a resource without what Kubernetes and PoundCake add, as one would write it."""
    metadata = {k: v for k, v in document["metadata"].items() if k not in _SERVERS_OWN}
    annotations = metadata.pop("annotations", None) or {}
    kept = {name: text for name, text in annotations.items() if name not in (WRITTEN, _APPLIED)}
    if kept:
        metadata["annotations"] = kept
    return dict(document, metadata=metadata)


def new(settings, name):
    """Return a resource without groups, marked as PoundCake's."""
    labels = dict(settings.crd.labels or {}, **{MANAGED_BY[0]: MANAGED_BY[1]})
    metadata = {"name": name, "namespace": settings.crd.namespace, "labels": labels}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"groups": []}}


def with_groups(document, groups):
    """Return a resource with other groups; None for one of PoundCake's without any."""
    if not groups and labels_of(document).get(MANAGED_BY[0]) == MANAGED_BY[1]:
        return None
    document["spec"] = dict(document.get("spec") or {}, groups=groups)
    return document


def labels_of(document):
    """Return the labels of a resource, ``{}`` for None and for one that has none."""
    return ((document or {}).get("metadata") or {}).get("labels") or {}


def annotations_of(document):
    """Return the annotations of a resource, likewise."""
    return ((document or {}).get("metadata") or {}).get("annotations") or {}
