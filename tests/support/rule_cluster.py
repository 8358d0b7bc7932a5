"""Runs the actions about alert rules on tests/support/kubernetes_api.py, with the real promtool."""

import contextlib
from unittest import mock

import apply_prometheus_rules
import create_prometheus_rule
import delete_prometheus_rule
import get_prometheus_rule
import pytest
import requests
import update_prometheus_rule

from tests.demo import servers
from tests.support import git_servers
from tests.support.fakes import assert_inert
from tests.support.kubernetes_api import NAMESPACE, TOKEN, KubernetesApi

RULE = {"resource": "my-alerts", "group": "app", "rule": "HighMemory"}
_FIELDS = {"expr": "", "for_duration": "", "severity": "", "labels": {}, "annotations": {}}
_FIELDS.update(path="", rules="")
DEFAULTS = {
    "create": _FIELDS,
    "update": _FIELDS,
    "delete": {"severity": ""},
}
ACTIONS = {
    "create": create_prometheus_rule.CreatePrometheusRule,
    "update": update_prometheus_rule.UpdatePrometheusRule,
    "delete": delete_prometheus_rule.DeletePrometheusRule,
    "get": get_prometheus_rule.GetPrometheusRule,
    "apply": apply_prometheus_rules.ApplyPrometheusRules,
}


class Cluster:
    """The pack's actions on a cluster: each returns the answer, or the failure's error."""

    def __init__(self, api, **more):
        self.api = api
        self.config = {
            "kube_api_url": api.url,
            "kube_token": TOKEN,
            "crd_namespace": NAMESPACE,
            "crd_labels": {"release": "prom"},
            "promtool_path": servers.program("promtool"),
        }
        self.config.update(more)

    def run(self, name, **parameters):
        """Return ``(succeeded, answer)``."""
        action = ACTIONS[name](self.config)
        # StackStorm without authentication: it has no users.
        action.action_service = mock.Mock()
        action.action_service.get_user_info.side_effect = requests.HTTPError
        result = action.run(**parameters)
        assert_inert(result)
        assert TOKEN not in str(result) and git_servers.TOKEN not in str(result)
        return result if isinstance(result, tuple) else (True, result)

    def change(self, name, **more):
        given = dict(RULE, **DEFAULTS[name], reason="they said so", by="ann")
        if name != "create":
            given["expected"] = ""
        return self.run(name, **dict(given, **more))

    def done(self, name, **more):
        succeeded, answer = self.change(name, **more)
        assert succeeded, answer
        return answer

    def failed(self, name, **more):
        succeeded, answer = self.change(name, **more)
        assert not succeeded, answer
        return answer

    def apply(self, rules="", **more):
        """Return ``(succeeded, answer)``."""
        given = {"path": "", "resource": "", "owner": "", "prune": False, "expected": ""}
        given.update(reason="", by="")
        return self.run("apply", **dict(dict(given, rules=rules), **more))

    def applied(self, rules="", **more):
        succeeded, answer = self.apply(rules, **more)
        assert succeeded, answer
        return {state: names for state, names in answer.items() if names}

    def refused(self, rules="", **more):
        succeeded, answer = self.apply(rules, **more)
        assert not succeeded, answer
        return answer

    def get(self, **more):
        succeeded, answer = self.run("get", **dict(RULE, severity="", **more))
        assert succeeded, answer
        return answer

    def rules(self, group="app", resource="my-alerts"):
        """Return the rules of a group as the cluster has them."""
        found = self.api.objects[resource]["spec"]["groups"]
        return [rule for one in found if one["name"] == group for rule in one["rules"]]


@contextlib.contextmanager
def open_cluster():
    """A Cluster for as long as the block lasts; without promtool the test is skipped."""
    try:
        servers.program("promtool")
    except servers.ServerError as error:
        pytest.skip(str(error))
    with KubernetesApi() as api:
        yield Cluster(api)


def at_first(api, wanted, act):
    """Have somebody act when a request comes for the first time, as ``update my-alerts``."""
    acted = []

    def before(verb, name):
        if "%s %s" % (verb, name) == wanted and not acted:
            acted.append(1)
            act()

    api.before = before
