"""Python scripts as processes of their own that start at once.

An interpreter that has done the slow imports forks for each script. The new process gets what any
process gets: arguments, environment with PYTHONPATH, folder, standard files, a session. Only the
modules named at the start are there already, and those of the PYTHONPATH that a run names.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types

TIMED_OUT = -signal.SIGKILL


class Python:
    """The interpreter; it starts at its first use and ends with the process that made it.

    :param modules: what to import before the forks; what is not installed is left out.
    """

    def __init__(self, *modules):
        self._modules = modules
        self._lock = threading.Lock()
        self._control = None

    def run(self, command, environment, stdin=b"", timeout=None, imports=()):
        """Run a script with arguments; its (exit code, stdout, stderr), as text.

        After `timeout` seconds its process group is killed, and the exit code is TIMED_OUT.
        `imports` names modules of its PYTHONPATH that stay imported for the runs that follow.
        """
        request = {"command": command, "environment": environment, "folder": os.getcwd()}
        request["imports"] = list(imports)
        with contextlib.ExitStack() as stack:
            asked = stack.enter_context(_file(json.dumps(request).encode()))
            given = stack.enter_context(_file(stdin))
            pipes = [os.pipe() for _ in range(3)]
            out, err, told = (stack.enter_context(os.fdopen(read, "rb", 0)) for read, _ in pipes)
            try:
                files = [asked.fileno(), given.fileno(), *(write for _, write in pipes)]
                socket.send_fds(self._connect(), [b"!"], files)
            finally:
                for _, write in pipes:
                    os.close(write)
            found, timed_out = _read((out, err, told), int(told.readline()), timeout)
        code = TIMED_OUT if timed_out else int(found[told])
        return code, *(found[file].decode("utf-8", "replace") for file in (out, err))

    def _connect(self):
        with self._lock:
            if self._control is None:
                self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with other:
                    subprocess.Popen(
                        [sys.executable, "-u", __file__, str(other.fileno()), *self._modules],
                        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                        stdin=subprocess.DEVNULL,
                        pass_fds=[other.fileno()],
                        start_new_session=True,
                    )
            return self._control


def _file(data):
    file = tempfile.TemporaryFile()
    file.write(data)
    file.seek(0)
    return file


def _read(files, pid, timeout):
    """Read the files to their ends: ({file: bytes}, whether the process had to be killed)."""
    found = dict.fromkeys(files, b"")
    deadline = timeout and time.monotonic() + timeout
    timed_out = False
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline and max(0, deadline - time.monotonic()))
            if not ready:
                deadline, timed_out = None, True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                found[key.fileobj] += data
                if not data:
                    selector.unregister(key.fileobj)
    return found, timed_out


class _Warm:
    """The modules of one PYTHONPATH that stay imported for as long as their files are the same."""

    def __init__(self):
        self._path = None
        self._files = {}  # name of a module -> (its file, when that was changed)
        self._tried = set()

    def prepare(self, request):
        """Import what the request names; what cannot be imported is left to the script."""
        path = request["environment"].get("PYTHONPATH")
        if not path or not request["imports"] or self._path not in (None, path):
            return
        self._path = path
        if any(_changed_at(file) != at for file, at in self._files.values()):
            for name in self._files:
                sys.modules.pop(name, None)
            self._files, self._tried = {}, set()
        missing = [name for name in request["imports"] if name not in self._tried]
        if not missing:
            return
        self._tried.update(missing)
        folders = [os.path.join(folder, "") for folder in path.split(os.pathsep)]
        before = list(sys.path)
        # Without the folder of this script: the script that runs has its own.
        sys.path[:1] = folders
        importlib.invalidate_caches()
        for name in missing:
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name)
        sys.path[:] = before
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name not in self._files and file.startswith(tuple(folders)):
                self._files[name] = file, _changed_at(file)
        gc.freeze()


def _changed_at(file):
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


def _serve(control):
    """Fork at each request, and tell its process id and its exit code.

    In the child, return the request and its files.
    """
    running = {}
    warm = _Warm()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    pid, told = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    _tell(told, os.waitstatus_to_exitcode(status))
                    os.close(told)
                    continue
                data, files, _, _ = socket.recv_fds(control, 1, 5)
                if not data:
                    sys.exit()
                with open(files[0], "rb", closefd=False) as asked:
                    request = json.load(asked)
                warm.prepare(request)
                pid = os.fork()
                if not pid:
                    os.setsid()
                    for end, (_, told) in running.items():
                        os.close(end)
                        os.close(told)
                    return request, files
                *files, told = files
                for file in files:
                    os.close(file)
                _tell(told, f"{pid}\n")
                end = os.pidfd_open(pid)
                running[end] = pid, told
                selector.register(end, selectors.EVENT_READ)


def _tell(file, text):
    with contextlib.suppress(BrokenPipeError):
        os.write(file, str(text).encode())


def _become(request, asked, stdin, stdout, stderr, told):
    """Be the process that was asked for; returns the path of its script."""
    os.close(asked)
    os.close(told)
    for number, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = request["command"]
    script = sys.argv[0]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [os.path.dirname(os.path.realpath(script)), *filter(None, paths)]
    return script


def _main():
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for module in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            __import__(module)
    gc.freeze()
    request, files = _serve(control)
    control.close()
    script = _become(request, *files)
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = script
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec")
    exec(code, main.__dict__)


if __name__ == "__main__":
    _main()
