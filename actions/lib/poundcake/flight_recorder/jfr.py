"""Runs ``hemako jfr collect`` and finds the Java flight recording that it makes.

What hemako is told comes from an alert: every value is checked, and handed over as one element of
an argument list, never through a shell. What hemako says may come from anywhere: it is data.
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from poundcake.arguments import span
from poundcake.errors import ExpectedError

# What Kubernetes allows: DNS names. The sts is an id of CrateDB Cloud, in the same characters.
_DNS_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z")
# A context has any name. This takes EKS's ARNs and GKE's names, and no option ("-x").
_CONTEXT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:@/-]{0,251}\Z")
_NAMES = {"kube_context": _CONTEXT, "namespace": _DNS_NAME, "pod": _DNS_NAME, "sts": _DNS_NAME}

LINES_SHOWN = 1000  # an execution of StackStorm has room for 16 MB
CHARACTERS_SHOWN = 500  # of a line
LINES_QUOTED = 5
LAST_WORDS_SECONDS = 10  # for what a child of hemako, still alive, may have to say


def collect(settings, kube_context, namespace, pod, sts, show):
    """Record a pod, and return where the recording is.

    :param settings: settings.Settings; hemako_path and the settings jfr_* count.
    :param show: callable that takes each line of hemako's output as it comes.
    :returns: path, size in bytes, elapsed in seconds, and what was recorded.
    :raises ExpectedError: when a name is missing or none, hemako is not installed, fails, does not
        end in time, or leaves no recording.
    """
    names = {"kube_context": kube_context, "namespace": namespace, "pod": pod, "sts": sts}
    _check_names(names)
    command = _command(settings, names)
    folder = _make_folder(settings)
    began = time.time()
    try:
        lines = _run(command, folder, settings.jfr.timeout_seconds, show)
        # Beside the folder, under its unique name: the folder and what else is in it can go.
        path = Path(shutil.move(str(_recording(folder, lines, began)), folder + ".jfr"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    path.chmod(0o600)  # a recording tells of queries and of the environment
    return dict(
        names,
        path=str(path),
        size=path.stat().st_size,
        duration=settings.jfr.duration,
        elapsed=round(time.time() - began, 3),
    )


def _check_names(names):
    missing = [name for name, value in names.items() if not value]
    if missing:
        text = "%s: missing; give the alert a label of this name, as every one is needed"
        raise ExpectedError(text % ", ".join(missing))
    for name, value in names.items():
        if not _NAMES[name].match(value):
            raise ExpectedError('%s: "%s" is no name that Kubernetes knows' % (name, value[:100]))


def _command(settings, names):
    hemako = shutil.which(settings.jfr.hemako_path)
    if hemako is None:
        text = "hemako_path: %s is not installed on this StackStorm node, or may not be executed; "
        text += "install it, or set hemako_path in the config of poundcake"
        raise ExpectedError(text % settings.jfr.hemako_path)
    seconds = span("jfr_duration", settings.jfr.duration)
    if seconds >= settings.jfr.timeout_seconds:
        text = "jfr_timeout_seconds: %d is no longer than jfr_duration, %s; set it higher"
        raise ExpectedError(text % (settings.jfr.timeout_seconds, settings.jfr.duration))
    command = [os.path.abspath(hemako), "jfr", "collect"]
    command += ["--kube-context", names["kube_context"], "--namespace", names["namespace"]]
    return command + ["--pod", names["pod"], "--duration", settings.jfr.duration, "--approve"]


def _make_folder(settings):
    """Make a folder for one run alone, so that a recording in it is that of this run."""
    try:
        if settings.jfr.directory:
            os.makedirs(settings.jfr.directory, exist_ok=True)
        return tempfile.mkdtemp(prefix="poundcake-jfr-", dir=settings.jfr.directory or None)
    except OSError as error:
        raise ExpectedError("jfr_directory: %s; set it to one that StackStorm may write to" % error)


def _run(command, folder, timeout, show):
    """Run hemako in a folder and return the last lines that it wrote to stdout."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that its children can be ended with it
        )
    except OSError as error:
        raise ExpectedError("hemako_path: %s cannot be run: %s" % (command[0], error))
    budget = iter(range(LINES_SHOWN))
    out, err = (_Reader(stream, show, budget) for stream in (process.stdout, process.stderr))
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        text = "hemako: has not ended within jfr_timeout_seconds, %d s; it said: %s"
        raise ExpectedError(text % (timeout, _end_of(err.lines) or _end_of(out.lines) or "nothing"))
    finally:
        if process.returncode is None:  # after that, its id may be somebody else's
            # Whatever it has started ends too: it would hold the pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for reader in (out, err):
        reader.join(LAST_WORDS_SECONDS)
    if code != 0:
        how = "exit status %d" % code if code > 0 else "signal %d" % -code
        said = _end_of(err.lines) or _end_of(out.lines)
        raise ExpectedError("hemako: failed with %s; it said: %s" % (how, said or "nothing"))
    return list(out.lines)


class _Reader(threading.Thread):
    """Shows the lines of a stream as they come, and keeps the last ones."""

    def __init__(self, stream, show, budget):
        super().__init__(daemon=True)
        self.lines = collections.deque(maxlen=100)
        self._stream, self._show, self._budget = stream, show, budget
        self.start()

    def run(self):
        with self._stream:
            for line in iter(lambda: self._stream.readline(65536), ""):
                self.lines.append(line.rstrip())
                if next(self._budget, None) is not None:
                    self._show(line.rstrip()[:CHARACTERS_SHOWN])


def _end_of(lines):
    return " / ".join([line for line in list(lines) if line.strip()][-LINES_QUOTED:])[-500:]


def _recording(folder, lines, began):
    """Return the Path of the recording: in the folder, else where hemako says that it is."""
    inside = Path(folder).rglob("*.jfr")
    named = (Path(folder, word.strip("'\"")) for line in lines for word in line.split())
    for paths in (inside, named):
        # It is only a recording of this run when it was written since; a second for coarse clocks.
        new = [path for path in paths if _is_new_file(path, began - 1)]
        if new:
            break
    else:
        text = "hemako: ended well, but made no .jfr file with anything in it; it said: %s"
        raise ExpectedError(text % (_end_of(lines) or "nothing"))
    return max(new, key=lambda path: path.stat().st_mtime)


def _is_new_file(path, since):
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    good = path.suffix == ".jfr" and path.is_file() and not path.is_symlink()
    return good and found.st_size > 0 and found.st_mtime >= since
