"""What a remediation of an alert acts on, read from the alert's labels. Pure.

Some labels describe the exporter that was scraped and not what the alert is about. A
kube-state-metrics or blackbox exporter puts its own address into ``instance``; a node exporter in
Kubernetes has the ``namespace`` and ``pod`` of the exporter.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Mapping, Sequence

from poundcake.hosts import host_of, is_local
from poundcake.settings import TargetSettings

WORKLOAD_LABELS = ("deployment", "statefulset", "daemonset", "job_name", "cronjob", "pod")

_HASH = "[bcdfghjklmnpqrstvwxz0-9]"  # Kubernetes leaves the vowels out of its random names
_POD_NAMES = (
    re.compile(rf"(.+)-\d{{8,}}-{_HASH}{{5}}\Z"),  # of a job of a cronjob
    re.compile(
        rf"(.+)-(?=[a-z]*\d)(?=\d*[a-z]){_HASH}{{5,10}}-{_HASH}{{1,5}}\Z"
    ),  # of a deployment
    re.compile(rf"(.+)-{_HASH}{{8,10}}-{_HASH}{{5}}\Z"),  # the same, when the hash has no digit
    re.compile(r"(.+)-\d{1,4}\Z"),  # of a stateful set
    re.compile(rf"(.+)-{_HASH}{{5}}\Z"),  # of a daemon set or a job
)
_JOB_OF_CRONJOB = re.compile(r"(.+)-\d{8,}\Z")


@dataclass(frozen=True)
class Target:
    """``name``: what runs are serialized, rated and capped by. Each may be "".

    ``host``: what the instance names, if that can be the subject. ``workload``: a Kubernetes
    workload without its namespace.
    """

    host: str = ""
    workload: str = ""
    name: str = ""


def read(labels: Mapping[str, str], settings: TargetSettings) -> Target:
    """Return the target of an alert: the first of ``target_labels`` that it has whole."""
    job = labels.get("job", "").lower()
    speaks_for_others = _is_one_of(job, settings.exporter_jobs)
    subject = _subject(labels) if speaks_for_others else labels
    host = host_of(subject.get("instance", ""))
    if is_local(host) and not settings.local_instance_is_node:
        host = ""
    on_its_host = _is_one_of(job, settings.host_exporter_jobs)
    for names in settings.label_sets:
        if on_its_host and "namespace" in names:
            continue  # the exporter's own
        values = [host if name == "instance" else _value(subject, name) for name in names]
        if all(values):
            cluster = [] if "cluster" in names else [labels.get("cluster", "")]
            workload = values[-1] if names[-1] in WORKLOAD_LABELS else ""
            return Target(host, workload, "/".join(filter(None, cluster + values)))
    return Target(host)


def workload_of_pod(pod: str) -> str:
    """Return the name of the workload that a pod's name shows, so that its successor has it too."""
    for pattern in _POD_NAMES:
        match = pattern.match(pod)
        if match:
            return match.group(1)
    return pod


def _subject(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels of what an exporter speaks for, without those of the exporter itself.

    Prometheus renames a label of the exporter's to ``exported_...`` where it adds one of its own.
    """
    prefix = "exported_"
    exported = {k[len(prefix) :]: v for k, v in labels.items() if k.startswith(prefix)}
    return {**labels, "instance": "", **exported}


def _value(labels: Mapping[str, str], name: str) -> str:
    value = labels.get(name, "")
    if name == "pod":
        return workload_of_pod(value)
    if name == "job_name":
        return _JOB_OF_CRONJOB.sub(r"\1", value)
    return value


def _is_one_of(job: str, patterns: Sequence[str]) -> bool:
    return bool(job) and any(fnmatch(job, pattern.lower()) for pattern in patterns)
