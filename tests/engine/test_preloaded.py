"""A process of the preloaded interpreter is what a new interpreter's would be."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine import preloaded

PYTHON = preloaded.Python("json", "no_such_module")


@pytest.fixture
def run(tmp_path):
    """Run some code as a script, with arguments."""

    def run(code, *arguments, environment=os.environ, **more):
        script = tmp_path / "script.py"
        script.write_text(code)
        return PYTHON.run([str(script), *arguments], dict(environment), **more)

    return run


def test_the_script_gets_all_that_a_process_gets(run, tmp_path):
    """Arguments, environment and nothing more, module paths, folder, input, session."""
    code = (
        "import json, os, sys\n"
        "told = sys.argv, dict(os.environ), sys.path[:3], os.getcwd(), sys.stdin.read()\n"
        "print(json.dumps([*told, os.getsid(0) == os.getpid(), __name__, __file__]))\n"
        "sys.stderr.write('aside')\n"
    )
    environment = {"PYTHONPATH": f"/one{os.pathsep}/two", "NAME": "wörld"}
    status, out, err = run(code, "a b", "", environment=environment, stdin=b"given")
    script = str(tmp_path / "script.py")
    assert (status, err) == (0, "aside")
    paths = [str(tmp_path), "/one", "/two"]
    said = [[script, "a b", ""], environment, paths, os.getcwd(), "given", True, "__main__", script]
    assert json.loads(out) == said


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
    ],
)
def test_it_ends_as_a_process_ends(run, code, status, text):
    """With its exit status, or the signal that ended it, and the traceback on stderr."""
    found, out, err = run(code)
    assert (found, out) == (status, "") and text in err


def test_what_takes_too_long_is_killed_with_what_it_started(run):
    """What was printed by then is kept."""
    code = "import subprocess; print('x' * 100000, flush=True); subprocess.run(['sleep', '60'])"
    began = time.monotonic()
    status, out, _ = run(code, timeout=2)
    assert status == preloaded.TIMED_OUT and out.count("x") in (0, 100000)
    assert time.monotonic() - began < 50


def test_processes_share_no_state_and_run_side_by_side(tmp_path):
    """Random numbers differ; each gets its own answer."""
    script = tmp_path / "script.py"
    script.write_text("import random, sys; print(sys.argv[1], random.random())")

    def run(number):
        return PYTHON.run([str(script), str(number)], dict(os.environ))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(40)))
    assert [out.split()[0] for _, out, _ in found] == [str(number) for number in range(40)]
    assert len({out.split()[1] for _, out, _ in found}) == 40


def test_it_ends_with_the_process_that_made_it(tmp_path):
    """Also when that one is killed."""
    script, done = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(f"import os; open({str(done)!r}, 'w').write(str(os.getppid()))")
    pid = os.fork()
    if not pid:
        preloaded.Python().run([str(script)], dict(os.environ))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    interpreter = int(done.read_text())
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{interpreter}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{interpreter}")


def test_modules_that_a_run_names_stay_imported_until_their_file_changes(tmp_path):
    """Those of its PYTHONPATH only; a change takes effect with the next run."""
    python = preloaded.Python()
    (tmp_path / "lib").mkdir()
    script, module = tmp_path / "script.py", tmp_path / "lib/warm_module.py"
    script.write_text("import sys; there = 'warm_module' in sys.modules\nimport warm_module")
    with open(script, "a") as file:
        file.write("\nprint(there, warm_module.VALUE, warm_module.__file__)")
    environment = dict(os.environ, PYTHONPATH=str(tmp_path / "lib"))

    def run(*imports):
        return python.run([str(script)], environment, imports=imports)[1].split()

    module.write_text("VALUE = 1")
    assert run() == ["False", "1", str(module)]
    assert run("warm_module", "warm_module.VALUE", "no_such_module") == ["True", "1", str(module)]
    assert run() == ["True", "1", str(module)]
    module.write_text("VALUE = 22")
    assert run("warm_module") == ["True", "22", str(module)]


def test_a_module_that_cannot_be_imported_fails_in_the_script_that_imports_it(tmp_path):
    """As it does without having been named."""
    python = preloaded.Python()
    (tmp_path / "broken.py").write_text("import sys; sys.exit('broken')")
    script = tmp_path / "script.py"
    script.write_text("import broken")
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    for _ in range(2):
        found = python.run([str(script)], environment, imports=["broken"])
        assert found == (1, "", "broken\n")
