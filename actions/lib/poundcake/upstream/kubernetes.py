"""The official client of Kubernetes' API, logged in as the config says, and bounded."""

from typing import Any

from poundcake.errors import ExpectedError
from poundcake.settings import KubernetesSettings
from poundcake.upstream.bounded import Pool

# How to reach a cluster, for a remedy.
LOGIN = "kube_api_url and kube_token, or kube_config, in the config of poundcake"


def api_client(cluster: KubernetesSettings) -> Any:
    """Return the ``ApiClient`` for the cluster of the config, or the one that StackStorm runs in.

    :raises ExpectedError: names the setting that is wrong.
    """
    try:  # imported here, because it takes a second
        from kubernetes import client, config
    except ImportError as error:
        raise ExpectedError(
            "kubernetes",
            f"missing in the pack's virtualenv ({error})",
            remedy="Run st2 run packs.setup_virtualenv packs=poundcake",
        )
    configuration = client.Configuration()
    configuration.retries = False  # a write without an answer must not be repeated unnoticed
    try:
        if cluster.api_url:
            configuration.host = cluster.api_url.rstrip("/")
            configuration.api_key["authorization"] = "Bearer " + cluster.token.value.strip()
            if cluster.ca_path:
                open(cluster.ca_path, "rb").close()  # the client would open it only to connect
                configuration.ssl_ca_cert = cluster.ca_path
        elif cluster.config:
            context = cluster.context or None
            config.load_kube_config(cluster.config, context, client_configuration=configuration)
        else:
            config.load_incluster_config(configuration)
        api = client.ApiClient(configuration)
    except config.ConfigException as error:
        raise ExpectedError(
            "kube_config" if cluster.config else "kube_api_url",
            f"no connection to Kubernetes is configured: {error}",
            remedy=f"Set {LOGIN}, or run StackStorm in the cluster, or set crd_enabled to false",
        )
    except OSError as error:
        raise ExpectedError("kube_ca_path", str(error))
    api.rest_client.pool_manager = Pool(api.rest_client.pool_manager)
    return api
