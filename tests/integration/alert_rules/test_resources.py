"""PrometheusRules through Kubernetes' API: login, permissions, and errors."""

import os
import subprocess
import sys

import pytest
import yaml
from poundcake.alert_rules.errors import WriteConflict
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError

from tests.support.fakes import PACK, make_settings
from tests.support.kubernetes_api import NAMESPACE, TOKEN, KubernetesApi
from tests.support.tls import certificate_of_this_host

# kube_api_url and kube_token are set together, or neither is.
NO_SERVER = {"kube_api_url": "", "kube_token": ""}
GROUPS = [{"name": "hosts", "rules": [{"alert": "HostDown", "expr": "up == 0"}]}]


@pytest.fixture
def api():
    with KubernetesApi() as found:
        yield found


def settings(api, **more):
    given = {"kube_api_url": api.url, "kube_token": TOKEN, "crd_namespace": NAMESPACE}
    return make_settings(**dict(given, **more))


def document(name, groups=GROUPS):
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return dict(kind, metadata={"name": name}, spec={"groups": groups})


def refusal(function, *args):
    with pytest.raises(ExpectedError) as caught:
        function(*args)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_a_resource_is_created_read_replaced_and_deleted(api):
    """A missing resource is None."""
    resources = Resources(settings(api))
    assert resources.get("a") is None
    resources.write(None, document("a"))
    found = resources.get("a")
    assert found["spec"]["groups"] == GROUPS
    resources.write(found, dict(found, spec={"groups": []}))
    found = resources.get("a")
    assert found["spec"]["groups"] == []
    resources.write(found, None)
    assert resources.get("a") is None
    assert api.writes() == ["create a", "update a", "delete a"]


def test_a_dry_run_writes_nothing(api):
    """Everything is checked as for a real write."""
    resources = Resources(settings(api))
    resources.write(None, document("a"), dry_run=True)
    assert api.objects == {}
    api.put("a", GROUPS)
    found = resources.get("a")
    resources.write(found, dict(found, spec={"groups": []}), dry_run=True)
    resources.write(found, None, dry_run=True)
    assert api.objects["a"]["spec"]["groups"] == GROUPS
    with pytest.raises(WriteConflict):
        resources.write(None, document("a"), dry_run=True)


def test_what_somebody_changed_in_the_meantime_is_not_written(api):
    """It is not deleted either, and not created when it exists by then."""
    resources = Resources(settings(api))
    before = api.put("a", GROUPS)
    now = api.put("a", [])
    for after in (dict(before, spec={"groups": GROUPS}), None):
        with pytest.raises(WriteConflict):
            resources.write(before, after)
    with pytest.raises(WriteConflict):
        resources.write(None, document("a"))
    assert api.objects["a"] == now
    del api.objects["a"]
    for after in (now, None):
        with pytest.raises(WriteConflict):
            resources.write(now, after)


def test_a_list_has_all_pages_and_what_the_selector_finds(api):
    """A page has one hundred resources."""
    for number in range(250):
        owner = {"poundcake/owner": "odd" if number % 2 else "even"}
        api.put("r%d" % number, GROUPS, labels=owner)
    resources = Resources(settings(api))
    assert len(resources.list()) == 250
    assert len(resources.list("poundcake/owner=odd")) == 125
    assert api.log.count("list ") == 5


@pytest.mark.parametrize(
    "more, start",
    [
        ({"kube_token": "wrong"}, "kube_token: Kubernetes does not accept the credentials"),
        ({"kube_api_url": "https://127.0.0.1:1", "kube_ca_path": "/no/ca"}, "kube_ca_path: "),
        ({"kube_api_url": "http://127.0.0.1:1"}, "kube_api_url: Kubernetes at http://127.0.0.1:1"),
        ({**NO_SERVER, "kube_config": "/no/file"}, "kube_config: no connection to"),
        (NO_SERVER, "kube_api_url: no connection to Kubernetes"),
        ({"crd_namespace": "none"}, "crd_namespace: there are no prometheusrules in none"),
    ],
)
def test_what_is_wrong_with_the_config_is_named(api, monkeypatch, more, start):
    """The message says what to set, and never has the token."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def create():
        Resources(settings(api, **more)).write(None, document("a"))

    assert refusal(create).startswith(start)


def test_a_cluster_without_the_operator_is_told(api):
    """That is different from a missing resource."""
    api.has_operator = False
    assert "Install the Prometheus Operator, which brings them" in refusal(
        Resources(settings(api)).get, "a"
    )


@pytest.mark.parametrize("verb", ["get", "list", "create", "update", "delete"])
def test_a_right_that_is_missing_is_named(api, verb):
    """The message says where to find the role."""
    api.put("a", GROUPS)
    api.verbs.discard(verb)
    resources = Resources(settings(api))
    found = api.objects["a"]
    calls = {
        "get": lambda: resources.get("a"),
        "list": lambda: resources.list(),
        "create": lambda: resources.write(None, document("b")),
        "update": lambda: resources.write(found, dict(found, spec={"groups": []})),
        "delete": lambda: resources.write(found, None),
    }
    told = refusal(calls[verb])
    assert told.startswith("crd_namespace: Kubernetes refuses to %s prometheusrules in mon" % verb)
    assert "rbac/prometheusrules.yaml" in told


def test_what_kubernetes_does_not_take_it_says_why(api):
    """Kubernetes checks the schema of a PrometheusRule."""
    wrong = [{"name": "a", "rules": [{"alert": "A", "expr": "up", "labels": {"tier": 1}}]}]
    told = refusal(Resources(settings(api)).write, None, document("a", wrong))
    assert told.startswith("resource: Kubernetes does not accept it: ")
    assert "spec.groups.0.rules.0.labels.tier" in told and "422" in told


def test_a_kubeconfig_says_who_we_are(api, tmp_path):
    """Its current context is used, or the one in the config."""
    path = tmp_path / "kubeconfig"
    clusters = [{"name": "c", "cluster": {"server": api.url}}]
    users = [{"name": one, "user": {"token": token}} for one, token in (("a", "no"), ("b", TOKEN))]
    contexts = [{"name": one, "context": {"cluster": "c", "user": one}} for one in ("a", "b")]
    content = {"clusters": clusters, "users": users, "contexts": contexts, "current-context": "b"}
    path.write_text(yaml.safe_dump(dict(content, apiVersion="v1", kind="Config")))
    given = {**NO_SERVER, "kube_config": str(path)}
    assert Resources(settings(api, **given)).list() == []
    wrong = Resources(settings(api, kube_context="a", **given))
    assert "does not accept the credentials" in refusal(wrong.list)


def test_inside_a_cluster_the_pod_s_service_account_is_taken(tmp_path, monkeypatch):
    """Over TLS with the cluster's own authority; another authority is not trusted."""
    from kubernetes.config import incluster_config

    server, authority = certificate_of_this_host(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    with KubernetesApi(certificate=server) as api:
        host, port = api.address.split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        assert Resources(settings(api, **NO_SERVER)).list() == []
        assert Resources(settings(api, kube_ca_path=str(authority))).list() == []
        other = Resources(settings(api))
        assert "certificate verify failed" in refusal(other.list)


@pytest.mark.parametrize("token", [TOKEN + "\n", " " + TOKEN])
def test_blanks_around_a_token_are_no_part_of_it(api, token):
    """A token that came from a file ends with a line break."""
    assert Resources(settings(api, kube_token=token)).list() == []


def test_a_token_that_cannot_be_one_is_not_shown(api):
    """The HTTP library's own message would show it."""
    told = refusal(Resources(settings(api, kube_token=TOKEN + "\nx")).list)
    assert told.startswith("kube_token: ")


def test_the_client_is_loaded_where_it_is_needed():
    """It takes most of a second to import."""
    code = "import sys, poundcake.alert_rules.apply, poundcake.alert_rules.edit\n"
    code += "print('kubernetes' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONPATH=os.path.join(PACK, "actions", "lib")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
