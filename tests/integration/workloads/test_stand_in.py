"""The stand-in for Kubernetes' workloads enforces what Kubernetes' documentation says."""

import json
import threading

import pytest
import requests

from tests.support.kubernetes_api import TOKEN, KubernetesApi
from tests.support.workload_cluster import NAMESPACE, add_deployment, event, node, workload

STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"
APPS = "/apis/apps/v1/namespaces/shop"
CORE = "/api/v1/namespaces/shop"
CART = APPS + "/deployments/cart"


@pytest.fixture
def api():
    with KubernetesApi() as found:
        add_deployment(found.workloads, "cart")
        yield found


def ask(api, method, path, token=TOKEN, content_type=STRATEGIC, **more):
    headers = {"Authorization": "Bearer " + token, "Content-Type": content_type}
    return requests.request(method, api.url + path, headers=headers, timeout=10, **more)


def get(api):
    return ask(api, "GET", CART).json()


def watch(api, seconds=1, **params):
    params = dict({"watch": "true", "timeoutSeconds": seconds}, **params)
    answer = ask(api, "GET", APPS + "/deployments", params=params)
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    "method, path, more, code, reason",
    [
        ("GET", CART, {"token": "x"}, 401, "Unauthorized"),
        ("GET", APPS + "/deployments/none", {}, 404, "NotFound"),
        ("DELETE", CORE + "/pods/none", {}, 404, "NotFound"),
        ("PATCH", CART, {"json": {}, "content_type": "application/json"}, 415, "Unsupported"),
        ("PATCH", CART, {"json": {"metadata": {"resourceVersion": "1"}}}, 409, "Conflict"),
        ("PATCH", CART, {"json": {"metadata": {"uid": "x"}}}, 409, "Conflict"),
        ("PATCH", CART, {"json": {"metadata": {"name": "x"}}}, 422, "Invalid"),
        ("PATCH", CART, {"json": {"spec": {"selector": {"matchLabels": {"a": "b"}}}}}, 422, "Inv"),
        (
            "PATCH",
            CART,
            {"json": {"spec": {"template": {"metadata": {"labels": {"app": "x"}}}}}},
            422,
            "Invalid",
        ),
        (
            "PATCH",
            CART,
            {"json": {"spec": {"template": {"metadata": {"annotations": {"a": 1}}}}}},
            400,
            "BadRequest",
        ),
        ("PATCH", CART, {"data": "{"}, 400, "BadRequest"),
        ("GET", CORE + "/pods", {"params": {"fieldSelector": "spec.x=1"}}, 400, "BadRequest"),
        ("GET", CORE + "/pods", {"params": {"labelSelector": "a in ("}}, 400, "BadRequest"),
        ("POST", APPS + "/deployments", {"json": {}}, 405, "MethodNotAllowed"),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_a_status(api, method, path, more, code, reason):
    """As JSON, with code and reason, and nothing is changed."""
    before = get(api)
    answer = ask(api, method, path, **more)
    assert answer.status_code == code == answer.json()["code"], answer.text
    assert answer.json()["reason"].startswith(reason)
    assert get(api) == before


def test_a_role_grants_its_verbs_alone(api):
    """To watch is not to list, and the log of a pod is a resource of its own."""
    rule = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["watch"]}
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    api.workloads.allow({"rules": [rule, pods]})
    assert ask(api, "GET", APPS + "/deployments").status_code == 403
    assert watch(api, 0)[0]["type"] == "ADDED"
    (pod, *_) = ask(api, "GET", CORE + "/pods").json()["items"]
    path = CORE + "/pods/" + pod["metadata"]["name"]
    assert ask(api, "GET", path).status_code == 200
    answer = ask(api, "GET", path + "/log")
    assert answer.status_code == 403 and "pods/log" in answer.json()["message"]


@pytest.mark.parametrize("content_type, images", [(STRATEGIC, ["a", "new"]), (MERGE, ["new"])])
def test_a_strategic_patch_merges_containers_by_name(api, content_type, images):
    """A merge patch replaces the list. Both remove what is null."""
    first = {"name": "first", "image": "a"}
    template = {"metadata": {"labels": {"app": "two"}}, "spec": {"containers": [first]}}
    selector = {"matchLabels": {"app": "two"}}
    api.workloads.put(workload("Deployment", "two", template=template, selector=selector))
    body = {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "new"}]}}}}
    body["spec"]["replicas"] = None
    path = APPS + "/deployments/two"
    made = ask(api, "PATCH", path, json=body, content_type=content_type).json()
    assert [c["image"] for c in made["spec"]["template"]["spec"]["containers"]] == images
    assert "replicas" not in made["spec"]


def test_only_what_changes_an_object_gives_it_another_version(api):
    """A change of the spec gives it another generation, too; the status is not for users."""
    before = get(api)
    assert ask(api, "PATCH", CART, json={}).json() == before
    assert ask(api, "PATCH", CART, json={"status": {"readyReplicas": 9}}).json() == before
    after = ask(api, "PATCH", CART, json={"spec": {"replicas": 5}}).json()
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    version = {"resourceVersion": before["metadata"]["resourceVersion"]}
    body = {"metadata": version, "spec": {"replicas": 6}}
    assert ask(api, "PATCH", CART, json=body).status_code == 409


def test_a_watch_begins_behind_its_version_and_ends_in_time(api):
    """It has each change of what its selector names, and nothing else."""
    version = get(api)["metadata"]["resourceVersion"]
    seen = []
    params = {"resourceVersion": version, "fieldSelector": "metadata.name=cart"}
    thread = threading.Thread(target=lambda: seen.extend(watch(api, 2, **params)))
    thread.start()
    api.workloads.put(workload("Deployment", "other"))
    api.workloads.change("Deployment", NAMESPACE, "cart", lambda one: one["spec"].update(x=1))
    api.workloads.remove("Deployment", NAMESPACE, "cart")
    thread.join()
    assert [event["type"] for event in seen] == ["MODIFIED", "DELETED"]
    assert seen[0]["object"]["spec"]["x"] == 1


def test_a_watch_whose_version_is_gone_says_so(api):
    """The client reads again."""
    version = get(api)["metadata"]["resourceVersion"]
    api.workloads.change("Deployment", NAMESPACE, "cart", lambda one: one["spec"].update(x=1))
    api.workloads.forget()
    (event,) = watch(api, resourceVersion=version)
    assert event["type"] == "ERROR" and event["object"]["code"] == 410


def test_selectors_choose(api):
    """By labels with every operator, and events by what they are about."""
    api.workloads.put(workload("Deployment", "other"))
    found = {}
    for selector in ("app=cart", "app in (cart,other)", "app notin (cart)", "!app", "app", "x!=1"):
        params = {"labelSelector": selector}
        items = ask(api, "GET", APPS + "/deployments", params=params).json()["items"]
        found[selector] = "".join(item["metadata"]["name"][0] for item in items)
    assert list(found.values()) == ["c", "co", "o", "", "co", "co"]
    api.workloads.put(event(("Deployment", "cart"), "Scaled", "up"))
    params = {"fieldSelector": "involvedObject.kind=Deployment,involvedObject.name=cart"}
    (one,) = ask(api, "GET", CORE + "/events", params=params).json()["items"]
    assert one["reason"] == "Scaled"


def test_a_log_is_that_of_a_container_that_ran(api):
    """Its end, of this run or the previous one; without one it is a bad request."""
    pod = add_deployment(api.workloads, "cart")
    path = CORE + "/pods/%s/log" % pod
    params = {"container": "main", "previous": "true", "tailLines": 1}
    assert ask(api, "GET", path, params=params).text == "cannot read /data/cart.db\n"
    assert ask(api, "GET", path).status_code == 400
    assert ask(api, "GET", path, params={"container": "x"}).status_code == 400


def test_a_node_is_in_no_namespace(api):
    """Its flag is a boolean."""
    api.workloads.put(node("n1"))
    path = "/api/v1/nodes/n1"
    made = ask(api, "PATCH", path, json={"spec": {"unschedulable": True}}).json()
    assert made["spec"] == {"unschedulable": True}
    assert ask(api, "PATCH", path, json={"spec": {"unschedulable": "x"}}).status_code == 400
