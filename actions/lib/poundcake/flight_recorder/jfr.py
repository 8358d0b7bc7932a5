"""Runs ``hemako jfr collect`` and finds the Java flight recording that it makes.

The arguments for hemako come from an alert: every value is checked and passed as one element of an
argument list, never through a shell. hemako's output may come from anywhere and is only data.
"""

import collections
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List

from poundcake import typed_values
from poundcake.arguments import span
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

# The sts is an id of CrateDB Cloud, with the same characters as the name of a pod.
_KINDS = {"kube_context": "context", "namespace": "namespace", "pod": "pod", "sts": "pod"}

LINES_SHOWN = 1000  # an execution of StackStorm has room for 16 MB
CHARACTERS_SHOWN = 500  # of a line
LINES_QUOTED = 5
OUTPUT_SECONDS = 10  # for the output of a child of hemako that is still alive


def collect(
    settings: Settings,
    kube_context: str,
    namespace: str,
    pod: str,
    sts: str,
    show: Callable[[str], Any],
) -> Dict[str, Any]:
    """Record a pod and return where the recording is.

    :param show: callable that receives each line of hemako's output as it comes.
    :returns: path, size in bytes, elapsed in seconds, and what was recorded.
    :raises ExpectedError: when a name is missing or invalid, or when hemako is not installed,
        fails, does not end in time, or leaves no recording.
    """
    names = {"kube_context": kube_context, "namespace": namespace, "pod": pod, "sts": sts}
    _check_names(names)
    command = _command(settings, names)
    folder = _make_folder(settings)
    began = time.time()
    try:
        lines = _run(command, folder, settings.jfr.timeout_seconds, show)
        # Next to the folder, with its unique name, so that the folder can be removed.
        path = Path(shutil.move(str(_recording(folder, lines, began)), folder + ".jfr"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    path.chmod(0o600)  # a recording reveals queries and the environment
    return dict(
        names,
        path=str(path),
        size=path.stat().st_size,
        duration=settings.jfr.duration,
        elapsed=round(time.time() - began, 3),
    )


def _check_names(names: Dict[str, str]) -> None:
    missing = [name for name, value in names.items() if not value]
    if missing:
        raise ExpectedError(
            ", ".join(missing),
            "missing",
            "a value for each of kube_context, namespace, pod and sts",
            "Give the alert a label of this name",
        )
    for name, value in names.items():
        typed_values.check(_KINDS[name], value, name)


def _command(settings: Settings, names: Dict[str, str]) -> List[str]:
    hemako = shutil.which(settings.jfr.hemako_path)
    if hemako is None:
        raise ExpectedError(
            "hemako_path",
            f"{settings.jfr.hemako_path} is not installed on this StackStorm node, or may not be "
            "executed",
            "an executable file",
            "Install it, or set hemako_path in the config of poundcake",
        )
    seconds = span("jfr_duration", settings.jfr.duration)
    if seconds >= settings.jfr.timeout_seconds:
        raise ExpectedError(
            "jfr_timeout_seconds",
            str(settings.jfr.timeout_seconds),
            f"more seconds than jfr_duration, {settings.jfr.duration}",
            "Set it higher in the config of poundcake",
        )
    command = [os.path.abspath(hemako), "jfr", "collect"]
    command += ["--kube-context", names["kube_context"], "--namespace", names["namespace"]]
    return command + ["--pod", names["pod"], "--duration", settings.jfr.duration, "--approve"]


def _make_folder(settings: Settings) -> str:
    """Make a folder for this run only, so that any recording in it belongs to this run."""
    try:
        if settings.jfr.directory:
            os.makedirs(settings.jfr.directory, exist_ok=True)
        return tempfile.mkdtemp(prefix="poundcake-jfr-", dir=settings.jfr.directory or None)
    except OSError as error:
        raise ExpectedError(
            "jfr_directory",
            str(error),
            "a folder that StackStorm may write to",
            "Set jfr_directory in the config of poundcake",
        )


def _start(command: List[str], folder: str) -> "subprocess.Popen[str]":
    """Start hemako in a folder, in its own session."""
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that its children can be killed with it
        )
    except OSError as error:
        raise ExpectedError(
            "hemako_path",
            f"{command[0]} cannot be run: {error}",
            "an executable file",
            "Set hemako_path in the config of poundcake",
        )


def _run(command: List[str], folder: str, timeout: float, show: Callable[[str], Any]) -> List[str]:
    """Run hemako in a folder and return its last lines on stdout."""
    process = _start(command, folder)
    budget = iter(range(LINES_SHOWN))
    out, err = (_Reader(stream, show, budget) for stream in (process.stdout, process.stderr))
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise ExpectedError(
            "hemako",
            f"did not end within jfr_timeout_seconds, {timeout:g} s; "
            f"its output: {_output(err, out)}",
        )
    finally:
        if process.returncode is None:  # later, another process may have its id
            # Kill its children too, as they would hold the pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for reader in (out, err):
        reader.join(OUTPUT_SECONDS)
    if code != 0:
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        raise ExpectedError("hemako", f"failed with {how}; its output: {_output(err, out)}")
    return list(out.lines)


class _Reader(threading.Thread):
    """Shows the lines of a stream as they come, and keeps the last ones."""

    def __init__(self, stream: Any, show: Callable[[str], Any], budget: Iterator[int]):
        super().__init__(daemon=True)
        self.lines: Deque[str] = collections.deque(maxlen=100)
        self._stream, self._show, self._budget = stream, show, budget
        self.start()

    def run(self) -> None:
        with self._stream:
            for line in iter(lambda: self._stream.readline(65536), ""):
                self.lines.append(line.rstrip())
                if next(self._budget, None) is not None:
                    self._show(line.rstrip()[:CHARACTERS_SHOWN])


def _output(err: _Reader, out: _Reader) -> str:
    return _end_of(err.lines) or _end_of(out.lines) or "nothing"


def _end_of(lines: Iterable[str]) -> str:
    return " / ".join([line for line in list(lines) if line.strip()][-LINES_QUOTED:])[-500:]


def _recording(folder: str, lines: List[str], began: float) -> Path:
    """Return the Path of the recording: in the folder, otherwise where hemako's output says."""
    inside = Path(folder).rglob("*.jfr")
    named = (Path(folder, word.strip("'\"")) for line in lines for word in line.split())
    for paths in (inside, named):
        # Only a file written since the start is of this run; one second allows for coarse clocks.
        new = [path for path in paths if _is_new_file(path, began - 1)]
        if new:
            break
    else:
        raise ExpectedError(
            "hemako",
            f"succeeded without a recording; its output: {_end_of(lines) or 'nothing'}",
            "a .jfr file that is not empty",
        )
    return max(new, key=lambda path: path.stat().st_mtime)


def _is_new_file(path: Path, since: float) -> bool:
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return False
    is_recording = path.suffix == ".jfr" and path.is_file() and not path.is_symlink()
    return is_recording and status.st_size > 0 and status.st_mtime >= since
