"""Real processes that burn the CPU or hold memory, and the commands of workflows that find them.

A process may call itself anything: with the first word of its command line, and with prctl.
"""

import contextlib
import json
import os
import subprocess
import sys

from poundcake import host_commands

from tests.support.world import unique

BURN = "while True: pass"
SLEEP = "time.sleep(600)"
HOLD = "held = b'x' * (%d << 20); print(flush=True); time.sleep(600)"

# It dies with the tests, whatever becomes of them (PR_SET_PDEATHSIG), and takes its name last
# (PR_SET_NAME).
START = """
import ctypes, mmap, os, sys, time
prctl = ctypes.CDLL(None).prctl
prctl(1, 9)
name = os.environb.get(b"TEST_NAME")
if name:
    prctl(15, ctypes.c_char_p(name))
"""


@contextlib.contextmanager
def process(code, name=None, word="python3", arguments=()):
    """A process that runs some Python for as long as the block lasts; its Popen.

    :param name: what ``ps -o comm`` shows, up to 15 bytes.
    :param word: what the command line begins with.
    """
    started = subprocess.Popen(
        [word, "-c", START + "print('started', flush=True)\n" + code, *arguments],
        executable=sys.executable,
        env=dict(os.environ, **({"TEST_NAME": name} if name else {})),
        stdout=subprocess.PIPE,
    )
    try:
        assert started.stdout.readline() == b"started\n"
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


def run_script(script, shell="sh", path="", **env):
    """Run a script of the pack as a host does; return (exit code, what it printed)."""
    done = subprocess.run(
        [shell, "-c", host_commands.text_of(script)],
        env=dict(os.environ, PATH=path + os.environ["PATH"], **env),
        stdout=subprocess.PIPE,
        timeout=60,
    )
    return done.returncode, done.stdout.decode("ascii")


def marked(text):
    """The pids of the service in a table of the top processes."""
    rows = [line.split() for line in text.splitlines()[2:]]
    return [row[2] for row in rows if row[1] == "*"]


@contextlib.contextmanager
def secret_to_read(world):
    """An encrypted secret in the datastore; yields (an expression that reads it, the secret)."""
    key, value = unique("poundcake_e2e_"), unique("process-secret-")
    world.st2("key", "set", key, value, "--encrypt")
    try:
        yield "{{ st2kv('system.%s', decrypt=true) }}" % key, value
    finally:
        world.st2("key", "delete", key)


def everything_of(world, execution):
    """All that an execution and those below it left behind, as text."""
    below = world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])
    return json.dumps([world.execution(one["id"]) for one in [execution, *below]])
