"""The stand-in for Kubernetes enforces what Kubernetes' documentation says, whoever asks."""

import pytest
import requests

from tests.support.kubernetes_api import GROUP, NAMESPACE, PLURAL, TOKEN, KubernetesApi

KIND = {"apiVersion": GROUP + "/v1", "kind": "PrometheusRule"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def api():
    with KubernetesApi() as found:
        found.put("a", [])
        yield found


def ask(api, method, name="", token=TOKEN, namespace=NAMESPACE, headers=JSON, **more):
    path = "/apis/%s/v1/namespaces/%s/%s" % (GROUP, namespace, PLURAL)
    headers = dict(headers, Authorization="Bearer " + token)
    url = api.url + path + ("/" + name if name else "")
    return requests.request(method, url, headers=headers, timeout=10, **more)


def document(name="a", **more):
    return dict(KIND, metadata={"name": name}, spec={"groups": []}, **more)


@pytest.mark.parametrize(
    "method, name, more, code, reason",
    [
        ("GET", "a", {"token": "x"}, 401, "Unauthorized"),
        ("GET", "b", {}, 404, "NotFound"),
        ("GET", "", {"params": {"continue": "x"}}, 400, "BadRequest"),
        ("POST", "", {"json": document("b"), "namespace": "none"}, 404, "NotFound"),
        ("POST", "", {"json": document("a")}, 409, "AlreadyExists"),
        ("POST", "", {"json": document("A")}, 422, "Invalid"),
        ("POST", "", {"json": dict(document("b"), kind="Rule")}, 400, "BadRequest"),
        ("POST", "", {"json": document("b"), "params": {"dryRun": "x"}}, 400, "BadRequest"),
        ("POST", "", {"data": "{", "headers": JSON}, 400, "BadRequest"),
        ("POST", "", {"data": "x", "headers": {"Content-Type": "text/x"}}, 415, "Unsupported"),
        ("PUT", "a", {"json": document("b")}, 400, "BadRequest"),
        ("PUT", "a", {"json": document("a")}, 422, "Invalid"),
        ("DELETE", "b", {}, 404, "NotFound"),
        ("DELETE", "a", {"json": {"preconditions": {"uid": "x"}}}, 409, "Conflict"),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_a_status(api, method, name, more, code, reason):
    """As JSON, with code and reason."""
    before = dict(api.objects)
    answer = ask(api, method, name, **more)
    assert answer.status_code == code == answer.json()["code"]
    assert answer.json()["kind"] == "Status" and answer.json()["reason"].startswith(reason)
    assert api.objects == before


def test_only_what_changes_an_object_gives_it_another_version(api):
    """A field that the schema does not know is dropped, and is no change."""
    before = ask(api, "GET", "a").json()
    same = dict(before, more=1, spec=dict(before["spec"], more=1))
    assert ask(api, "PUT", "a", json=same).json() == before
    groups = [{"name": "g", "rules": []}]
    after = ask(api, "PUT", "a", json=dict(before, spec={"groups": groups})).json()
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert ask(api, "PUT", "a", json=before).status_code == 409


def test_a_selector_chooses_by_labels(api):
    """With =, == and !=, or a name alone."""
    api.put("b", [], labels={"x": "1"})
    found = {}
    for selector in ("x=1", "x==1", "x", "x!=1", "x=2", ""):
        items = ask(api, "GET", params={"labelSelector": selector}).json()["items"]
        found[selector] = "".join(item["metadata"]["name"] for item in items)
    assert found == {"x=1": "b", "x==1": "b", "x": "b", "x!=1": "a", "x=2": "", "": "ab"}
