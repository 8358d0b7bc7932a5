"""Turns YAML into PrometheusRule resources, and back. Pure."""

from typing import Any, Dict, Iterable, List, Optional, Tuple

from poundcake.alert_rules import change, files, syntax
from poundcake.alert_rules.errors import BrokenRules, add_context
from poundcake.alert_rules.ownership import MANAGED_BY, OWNER, WRITTEN, Document
from poundcake.alert_rules.resources import API_VERSION, KIND
from poundcake.errors import ExpectedError
from poundcake.inert import original
from poundcake.settings import Settings

# Fields that Kubernetes adds to a resource; nobody writes them in a manifest.
_SERVER_FIELDS = {
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
}
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read(
    sources: Iterable[Tuple[str, str]], resource: str, settings: Settings
) -> Dict[str, Dict[str, Any]]:
    """Return ``{name: manifest}`` of all documents, in the form that Kubernetes takes.

    :param sources: ``(file, YAML)`` pairs, as ``files.read`` returns them.
    :param resource: the PrometheusRule that all groups of rule files belong to.
    :raises ExpectedError: for a document that is neither; BrokenRules for malformed rules.
    """
    manifests: Dict[str, Dict[str, Any]] = {}
    errors: List[Dict[str, Any]] = []
    for file, source in sources:
        # get_prometheus_rule answers with look-alike characters; people may apply what it showed.
        source = original(source)
        try:
            for document in _flat(files.documents(source)):
                name, manifest = _manifest_of(document, resource, settings)
                errors += [dict(one, resource=file) for one in form_errors(manifest)]
                if name not in manifests:
                    manifests[name] = manifest
                elif "kind" not in document:
                    manifests[name]["spec"]["groups"] += manifest["spec"]["groups"]
                else:
                    raise ExpectedError("resource", f"{name} is defined twice")
        except ExpectedError as error:
            add_context(error, f" ({file})")
            raise
    for name, manifest in manifests.items():
        errors += [] if errors else [dict(one, resource=name) for one in form_errors(manifest)]
        if not errors:
            manifest["spec"]["groups"] = _as_strings(manifest["spec"]["groups"])
    if errors:
        raise BrokenRules(errors)
    if not manifests:
        raise ExpectedError("rules", "empty", "groups, or a PrometheusRule")
    return manifests


def form_errors(manifest: Dict[str, Any]) -> List[Dict[str, str]]:
    """Return the errors in the form of a resource's groups, see ``syntax.form_errors``."""
    return syntax.form_errors(manifest["spec"]["groups"])


def _flat(documents):
    for document in documents:
        if isinstance(document, dict) and document.get("kind") in ("List", KIND + "List"):
            yield from document.get("items") or []
        elif document is not None:
            yield document


def _manifest_of(document: Any, resource: str, settings: Settings) -> Tuple[str, Dict[str, Any]]:
    """Return the name of the PrometheusRule that a document describes, and its manifest."""
    if not isinstance(document, dict):
        problem = "a document is not a mapping"
        raise ExpectedError("rules", problem, "groups, or a PrometheusRule")
    metadata, spec = document.get("metadata") or {}, document.get("spec") or {}
    if document.get("kind") is None and "groups" in document:
        if not resource:
            raise ExpectedError(
                "resource", "empty", "the name of the PrometheusRule that the groups belong to"
            )
        metadata, spec = {"name": resource}, document
    elif document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        version, kind = (document.get(field) or "unknown" for field in ("apiVersion", "kind"))
        problem = f"a document has apiVersion {version} and kind {kind}"
        raise ExpectedError("rules", problem, f"{API_VERSION} and {KIND}")
    name = str(metadata.get("name") or "")
    change.check_resource(name)
    if metadata.get("namespace", settings.crd.namespace) != settings.crd.namespace:
        raise ExpectedError(
            "crd_namespace",
            f"{name} is in the namespace {metadata['namespace']}, but PoundCake writes only to "
            f"{settings.crd.namespace}",
        )
    reserved = (OWNER, MANAGED_BY[0], WRITTEN, _APPLIED)
    own = {
        field: {name: value for name, value in mapping.items() if name not in reserved}
        for field, mapping in (
            ("labels", labels_of(document)),
            ("annotations", annotations_of(document)),
        )
    }
    return name, {"metadata": own, "spec": {"groups": spec.get("groups") or []}}


def _as_strings(groups):
    """Return groups with strings where Prometheus accepts numbers, too, but Kubernetes does not."""
    return [
        dict(_durations(group), rules=[_rule(rule) for rule in group.get("rules") or []])
        for group in groups
    ]


def _rule(rule):
    converted = _durations(rule)
    converted["expr"] = str(rule["expr"]).strip()
    for field in ("labels", "annotations"):
        if converted.get(field):
            converted[field] = {name: str(value) for name, value in converted[field].items()}
    return {name: value for name, value in converted.items() if value not in (None, {})}


def _durations(mapping):
    fields = ("for", "keep_firing_for", "interval", "query_offset")
    return {k: "0s" if k in fields and v == 0 else v for k, v in mapping.items() if v is not None}


def bare(document: Dict[str, Any]) -> Dict[str, Any]:
    """Return a resource as a person would write it, without what Kubernetes and PoundCake add."""
    metadata = {k: v for k, v in document["metadata"].items() if k not in _SERVER_FIELDS}
    annotations = metadata.pop("annotations", None) or {}
    kept = {name: value for name, value in annotations.items() if name not in (WRITTEN, _APPLIED)}
    if kept:
        metadata["annotations"] = kept
    return dict(document, metadata=metadata)


def new(settings: Settings, name: str) -> Dict[str, Any]:
    """Return a new resource without groups, marked as PoundCake's."""
    labels = dict(settings.crd.labels or {}, **{MANAGED_BY[0]: MANAGED_BY[1]})
    metadata = {"name": name, "namespace": settings.crd.namespace, "labels": labels}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"groups": []}}


def with_groups(document: Dict[str, Any], groups: List[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return a resource with other groups; None for one of PoundCake's that has no groups left."""
    if not groups and labels_of(document).get(MANAGED_BY[0]) == MANAGED_BY[1]:
        return None
    document["spec"] = dict(document.get("spec") or {}, groups=groups)
    return document


def labels_of(document: Document) -> Dict[str, str]:
    """Return the labels of a resource, ``{}`` for None and for one without labels."""
    return ((document or {}).get("metadata") or {}).get("labels") or {}


def annotations_of(document: Document) -> Dict[str, str]:
    """Return the annotations of a resource, ``{}`` for None and for one without annotations."""
    return ((document or {}).get("metadata") or {}).get("annotations") or {}
