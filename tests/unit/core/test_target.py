"""A remediation acts on what an alert is about, and never on the exporter that was scraped."""

import pytest
from poundcake.core import target
from poundcake.core.target import Target, workload_of_pod

from tests.support.fakes import make_settings

# Labels as the public mixins and exporters give them, and the target.
SCRAPED = {"job": "node-exporter", "namespace": "monitoring", "pod": "node-exporter-x7k2p"}
STATE = {"job": "kube-state-metrics", "instance": "10.2.3.4:8080", "container": "main"}


def read(labels, **config):
    return target.read(labels, make_settings(**config).target)


@pytest.mark.parametrize(
    "labels, wanted",
    [
        ({"instance": "web-1:9100"}, Target("web-1", "", "web-1")),
        ({"instance": "web-1:9100", "job": "node"}, Target("web-1", "", "web-1")),
        # node-exporter in Kubernetes: pod and namespace are the exporter's
        (dict(SCRAPED, instance="10.0.0.7:9100"), Target("10.0.0.7", "", "10.0.0.7")),
        (dict(SCRAPED, instance="10.0.0.7:9100", node="n7"), Target("10.0.0.7", "", "n7")),
        # kube-state-metrics: the instance is its own
        (dict(STATE, namespace="shop", deployment="cart"), Target("", "cart", "shop/cart")),
        (dict(STATE, namespace="shop", statefulset="db"), Target("", "db", "shop/db")),
        (dict(STATE, namespace="shop", daemonset="agent"), Target("", "agent", "shop/agent")),
        (
            dict(STATE, namespace="shop", job_name="backup-28391040"),
            Target("", "backup", "shop/backup"),
        ),
        (dict(STATE, namespace="shop", cronjob="backup"), Target("", "backup", "shop/backup")),
        (
            dict(STATE, namespace="shop", pod="cart-7d9f6c5b4-x2x4z"),
            Target("", "cart", "shop/cart"),
        ),
        (dict(STATE, node="worker-3"), Target("", "", "worker-3")),
        (dict(STATE), Target("", "", "")),
        (
            dict(
                STATE,
                namespace="monitoring",
                pod="kube-state-metrics-0",
                exported_namespace="shop",
                exported_pod="cart-7d9f6c5b4-x2x4z",
            ),
            Target("", "cart", "shop/cart"),
        ),
        # an application's own metrics
        (
            {
                "job": "cart",
                "namespace": "shop",
                "pod": "cart-7d9f6c5b4-x2x4z",
                "instance": "10.2.0.9:80",
            },
            Target("10.2.0.9", "cart", "shop/cart"),
        ),
        # others that speak for others
        ({"job": "blackbox-http", "instance": "10.0.0.2:9115"}, Target("", "", "")),
        ({"job": "snmp", "instance": "10.0.0.2:9116"}, Target("", "", "")),
        (
            {"job": "pushgateway", "instance": "10.0.0.2:9091", "exported_instance": "batch-1"},
            Target("batch-1", "", "batch-1"),
        ),
        # what says nothing of the host
        ({"instance": "localhost:9100"}, Target("", "", "")),
        ({"instance": "127.0.0.11"}, Target("", "", "")),
        ({"instance": "[::1]:9100"}, Target("", "", "")),
        ({"instance": "0.0.0.0:9100"}, Target("", "", "")),
        # several clusters
        ({"cluster": "eu", "instance": "web-1:9100"}, Target("web-1", "", "eu/web-1")),
        (
            dict(STATE, cluster="eu", namespace="shop", deployment="cart"),
            Target("", "cart", "eu/shop/cart"),
        ),
        ({}, Target("", "", "")),
    ],
)
def test_the_target_is_what_the_alert_is_about(labels, wanted):
    """Not the exporter's address, and not a name that is another machine here."""
    assert read(labels) == wanted


@pytest.mark.parametrize(
    "pod, workload",
    [
        ("cart-7d9f6c5b4-x2x4z", "cart"),
        ("cart-7d9f6-12345", "cart"),
        ("cart-7d9f6-71", "cart"),
        ("my-cart-api-bcdfghjkl-x2x4z", "my-cart-api"),
        ("kafka-broker-0", "kafka-broker"),
        ("db-mysql-12", "db-mysql"),
        ("node-exporter-x7k2p", "node-exporter"),
        ("backup-28391040-x7k2p", "backup"),
        ("nginx-proxy", "nginx-proxy"),
        ("etcd", "etcd"),
    ],
)
def test_the_successor_of_a_pod_has_its_workload(pod, workload):
    """Deployments, stateful sets, daemon sets, cron jobs, and pods that nothing manages."""
    assert workload_of_pod(pod) == workload


def test_localhost_may_be_the_node_itself():
    """Where an agent on the StackStorm node watches only that."""
    assert read({"instance": "localhost:9100"}, local_instance_is_node=True).host == "localhost"


def test_other_labels_can_name_the_target():
    """The first set that the alert has whole, with its cluster in its own place."""
    config = {"target_labels": ["cluster,datname", "instance"]}
    labels = {"instance": "db-1:9187", "datname": "shop"}
    assert read(labels, **config).name == "db-1"
    assert read(dict(labels, cluster="eu"), **config) == Target("db-1", "", "eu/shop")


def test_a_set_without_a_name_is_refused():
    """With the setting's name and an example."""
    with pytest.raises(Exception, match="target_labels.*namespace,deployment"):
        read({}, target_labels=["namespace,,pod"])
