"""What runs actions: python in a child process, shell here or over ssh, HTTP requests, nothing.

A runner takes a Job and returns (status, result), in the shapes StackStorm's runners give.
"""

import ast
import dataclasses
import functools
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import orjson
import requests

from tests.engine import preloaded

HERE = Path(__file__).parent
TIMED_OUT = preloaded.TIMED_OUT
MAX_PARAM_LENGTH = 131072 - 15  # StackStorm's
# Set, it makes each action a process of its own, which takes longer. The command line of one that
# is forked is not its own, and only tests that look at command lines need it.
NEW_PROCESSES = "ENGINE_NEW_PROCESSES"
# What most actions import, and what takes longest.
PYTHON = preloaded.Python("requests", "jsonschema", "yaml", "orjson")
# Like StackStorm, any host key will do; the user's known_hosts stays as it is.
SSH_OPTIONS = shlex.split(
    "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
)


@dataclasses.dataclass
class Job:
    """One execution, ready to run: final parameters, absolute entry point, config, environment."""

    execution: dict
    runner_parameters: dict
    action_parameters: dict
    entry_point: str
    config: dict
    environment: dict


def pack_environment(pack_path=None):
    """PYTHONPATH of a pack's process: actions/lib (actions only), stand-ins where needed."""
    paths = [str(pack_path / "actions/lib")] if pack_path else []
    if importlib.util.find_spec("st2common") is None:
        paths.append(str(HERE / "standins"))
    return {"PYTHONPATH": os.pathsep.join(paths)}


def _run(command, timeout, environment, stdin=None, **more):
    """(exit code, stdout, stderr); TIMED_OUT after `timeout` seconds, the group killed."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        **more,
    )
    try:
        out, err = process.communicate(stdin, timeout=timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        code = TIMED_OUT
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def run_noop(job):
    """Nothing; the parameters are the point."""
    return "succeeded", {"failed": False, "succeeded": True, "return_code": 0}


def run_inquirer(job):
    """Ask; the answer ends it."""
    asked = ("schema", "roles", "users", "route", "ttl")
    return "pending", {name: job.runner_parameters[name] for name in asked}


@functools.lru_cache
def _imports(path, changed_at):
    """The modules that a script imports at its top, as far as its text tells."""
    try:
        body = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return ()
    names = []
    for node in body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def run_python(job):
    """The class in the entry point, in a process of its own."""
    params = job.runner_parameters
    timeout = params.get("timeout", 600)
    delimiter = f"%%%%%~{uuid.uuid4().hex}~%%%%"
    arguments = {
        "pack": job.execution["action"]["pack"],
        "file-path": job.entry_point,
        "log-level": params.get("log_level") or "DEBUG",
        "delimiter": delimiter,
        "config": json.dumps(job.config),
    }
    # As StackStorm does it: on the command line, where `ps` shows it, unless it is too long.
    action_parameters, stdin = json.dumps(job.action_parameters), None
    if len(action_parameters) < MAX_PARAM_LENGTH:
        arguments["parameters"] = action_parameters
    else:
        stdin = action_parameters.encode()
    env = {k: str(v) for k, v in (params.get("env") or {}).items() if k.lower() != "pythonpath"}
    command = [str(HERE / "action_wrapper.py")]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    environment = {**job.environment, **env}
    if os.environ.get(NEW_PROCESSES):
        command = [sys.executable, "-u", *command]
        code, stdout, stderr = _run(command, timeout, environment, stdin=stdin)
    else:
        code, stdout, stderr = PYTHON.run(
            command,
            environment,
            stdin=stdin or b"",
            timeout=timeout,
            imports=_imports(job.entry_point, os.stat(job.entry_point).st_mtime_ns),
        )
    if code == 220:
        raise ValueError(stderr)
    # What StackStorm shows for an action that ended without a result.
    result, status = "None", None
    if stdout.count(delimiter) == 2:
        before, text, after = stdout.split(delimiter)
        stdout = before + after
        try:
            output = json.loads(text)
            result, status = output["result"], output["status"]
        except ValueError:
            result = re.search("'result': (.*?)$", text.strip()).group(1)
    output = {"stdout": stdout, "stderr": stderr, "exit_code": code, "result": result}
    if code == TIMED_OUT:
        output["error"] = f"Action failed to complete in {timeout} seconds"
        return "timeout", output
    return ("succeeded" if code == 0 and status is not False else "failed"), output


def _with_sudo(command):
    return f"sudo -E -- bash -c {shlex.quote(command)}"


def run_local(job, command=None):
    """`cmd` in a shell of this host, as the user the engine runs as."""
    params = job.runner_parameters
    timeout = params.get("timeout", 60)
    command = params.get("cmd") if command is None else command
    if params.get("sudo") and os.geteuid():
        command = _with_sudo(command)
    code, stdout, stderr = _run(
        ["/bin/bash", "-c", command],
        timeout,
        dict(job.environment, **(params.get("env") or {})),
        stdin=f"{params['sudo_password']}\n".encode() if params.get("sudo_password") else None,
        cwd=params.get("cwd"),
    )
    result = _shell_result(code, stdout, stderr)
    if code == TIMED_OUT:
        result["error"] = f"Action failed to complete in {timeout} seconds"
    status = {0: "succeeded", TIMED_OUT: "timeout", -signal.SIGTERM: "abandoned"}
    return status.get(code, "failed"), result


def run_script(job):
    """The script in the entry point; action parameters become its arguments."""
    schema = job.execution["action"]["parameters"]
    operator = job.runner_parameters.get("kwarg_op") or "--"
    positional, named = {}, []
    for name, value in sorted(job.action_parameters.items()):
        position = (schema.get(name) or {}).get("position")
        if position is not None:
            positional[int(position)] = shlex.quote(_argument(value))
        elif value is True:
            named.append(f"{operator}{name}")
        elif value not in (None, False):
            named.append(f"{operator}{name}={shlex.quote(_argument(value))}")
    ordered = [positional[position] for position in sorted(positional)]
    script = shlex.quote(job.entry_point)
    return run_local(job, f"chmod +x {script} ; {' '.join([script, *named, *ordered])}")


def _argument(value):
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return json.dumps(value) if isinstance(value, dict) else ("" if value is None else str(value))


def run_remote(job):
    """`cmd` on each of `hosts` with the `ssh` command; keyed by host."""
    params = job.runner_parameters
    private_key = params.get("private_key")
    for unsupported in ("password", "passphrase", "bastion_host"):
        if params.get(unsupported):
            raise NotImplementedError(
                f'the embedded engine does not have "{unsupported}" for remote commands; use '
                "StackStorm"
            )
    command = _with_sudo(params["cmd"]) if params.get("sudo") else params["cmd"]
    exports = [f"{k}={shlex.quote(str(v))}" for k, v in sorted((params.get("env") or {}).items())]
    words = ["export", *exports, "&&"] if exports else []
    words += ["cd", shlex.quote(params.get("cwd") or "/tmp"), "&&", command]
    result = {}
    for host in filter(None, (host.strip() for host in params["hosts"].split(","))):
        name, _, port = host.rpartition(":") if re.fullmatch(r"[^:]+:\d+", host) else (host, "", "")
        ssh = ["ssh", *SSH_OPTIONS]
        port = port or params.get("port")
        for option, value in ("-p", port), ("-l", params.get("username")), ("-i", private_key):
            ssh += [option, str(value)] if value else []
        command = [*ssh, "--", name, " ".join(words)]
        found = _run(command, params.get("timeout", 60), job.environment)
        result[name] = _shell_result(*found)
        if found[0] == TIMED_OUT:
            result[name]["error"] = f'Failed executing command "{command}" on host {name}'
            result[name]["timeout"] = True
    if all(found["succeeded"] for found in result.values()):
        return "succeeded", result
    if all(_is_unreached(found) for found in result.values()):
        return "failed", _unreached(result)
    return ("timeout" if all(f.get("timeout") for f in result.values()) else "failed"), result


def _is_unreached(found):
    """Whether SSH has said why it could not connect; a command may end with 255 as well."""
    says = r"(?m)^(ssh: |kex_|Connection |Host key verification failed|[^ ]+: Permission denied \()"
    return found["return_code"] == 255 and re.search(says, str(found["stderr"]))


def _unreached(result):
    """What StackStorm answers when no host can be reached: a text with JSON in it."""
    errors = {
        name: {
            **dict(found, stderr="", timeout=False),
            "error": f"Failed connecting to host {name}. {found['stderr']}",
            "traceback": "Traceback (most recent call last):\n",
        }
        for name, found in result.items()
    }
    told = f"Unable to connect to any one of the hosts: {list(result)}."
    told += "\n\n connect_errors=" + json.dumps(errors, indent=2)
    return {"error": told, "traceback": ""}


def _shell_result(code, stdout, stderr):
    return {
        "failed": code != 0,
        "succeeded": code == 0,
        "return_code": code,
        "stdout": _shell_output(stdout),
        "stderr": _shell_output(stderr),
    }


def _shell_output(text):
    """One line end less, and JSON objects and arrays parsed: StackStorm does so."""
    text = re.sub(r"\r?\n?\Z", "", text, count=1)
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def run_http(job):
    """One request; 200 to 206 succeeds."""
    params, action = job.runner_parameters, job.action_parameters
    agent = {"User-Agent": "st2/v3.9.0", "X-Stanley-Action": job.execution["action"]["name"]}
    body = action.get("body")
    credentials = (params.get("username"), params.get("password"))
    try:
        response = requests.request(
            action.get("method") or ("POST" if body else "GET"),
            params["url"],
            params=action.get("params"),
            data=body.encode() if isinstance(body, str) else body,
            headers={**(params.get("headers") or {}), **agent},
            cookies=params.get("cookies"),
            auth=credentials if any(credentials) else None,
            timeout=float(action.get("timeout") or 60),
            allow_redirects=params.get("allow_redirects", False),
            proxies={s: params.get(f"{s}_proxy") for s in ("http", "https")},
            verify=params.get("verify_ssl_cert", True),
        )
    except requests.exceptions.Timeout as e:
        return "timeout", {"error": str(e)}
    content, parsed = response.text, False
    if response.headers.get("content-type", "").split(";")[0] == "application/json":
        try:
            content, parsed = response.json(), True
        except ValueError:
            pass
    result = {"status_code": response.status_code, "body": content, "parsed": parsed}
    result["headers"] = dict(response.headers)
    return ("succeeded" if 200 <= response.status_code <= 206 else "failed"), result


RUNNERS = {
    "noop": run_noop,
    "inquirer": run_inquirer,
    "python-script": run_python,
    "local-shell-cmd": run_local,
    "local-shell-script": run_script,
    "remote-shell-cmd": run_remote,
    "http-request": run_http,
}
