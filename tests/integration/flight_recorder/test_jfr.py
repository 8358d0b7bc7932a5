"""collect_jfr: hemako gets its arguments, its progress is shown, and each failure has its message.

hemako is a script that takes the same arguments; each test decides what else it does.
"""

import os
import shutil
import stat
import time
from pathlib import Path

import pytest
from poundcake.errors import ExpectedError
from poundcake.flight_recorder import jfr

from tests.support.fakes import make_settings

STAND_IN = Path(__file__).resolve().parents[2] / "fixtures" / "cratedb" / "hemako"
NAMES = {"kube_context": "eks1", "namespace": "ns-1", "pod": "crate-0", "sts": "sts-1"}


class Hemako:
    """An executable in its own folder, and a folder for recordings."""

    def __init__(self, folder):
        self.folder, self.kept, self.path = folder, folder / "kept", folder / "hemako"
        self.shown = []

    def does(self, script):
        """Make the executable a shell script."""
        self.path.write_text("#!/bin/sh\n" + script)
        self.path.chmod(0o755)
        return self

    def collect(self, show=None, **more):
        """Collect; settings and names as keywords."""
        names = dict(NAMES, **{name: more.pop(name) for name in list(more) if name in NAMES})
        given = {"hemako_path": str(self.path), "jfr_directory": str(self.kept)}
        found = make_settings(**dict(given, **more))
        return jfr.collect(found, show=show or self.shown.append, **names)

    def fails(self, **more):
        """Collect, expect a failure, and return its message. Nothing is left behind."""
        with pytest.raises(ExpectedError) as caught:
            self.collect(**more)
        assert not self.kept.exists() or list(self.kept.iterdir()) == []
        return str(caught.value)


@pytest.fixture
def hemako(tmp_path):
    return Hemako(tmp_path)


def test_a_recording_is_made_and_found(hemako):
    """By the stand-in, which checks its arguments as hemako does; only its owner may read it."""
    shutil.copy(str(STAND_IN), str(hemako.path))
    found = hemako.collect(jfr_duration="2m")
    path = Path(found["path"])
    assert path.parent == hemako.kept and list(hemako.kept.iterdir()) == [path]
    assert path.read_bytes().startswith(b"FLR\0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found["size"] == path.stat().st_size
    assert {name: found[name] for name in NAMES} == NAMES and found["duration"] == "2m"
    expected = '["jfr", "collect", "--kube-context", "eks1", "--namespace", "ns-1", '
    expected += '"--pod", "crate-0", "--duration", "2m", "--approve"]\n'
    assert (hemako.folder / "calls").read_text() == expected


def test_progress_is_seen_while_it_runs(hemako):
    """hemako goes on here only after its first line has been seen."""
    go = hemako.folder / "go"
    hemako.does("echo begin\nuntil test -e %s; do sleep 0.1; done\necho x >a.jfr\n" % go)

    def show(line):
        assert not list(hemako.kept.rglob("*.jfr"))
        hemako.shown.append(line)
        go.touch()

    hemako.collect(show, jfr_timeout_seconds=60)
    assert hemako.shown == ["begin"]


def test_a_recording_elsewhere_is_found_where_hemako_says(hemako):
    """If it was written since the start."""
    elsewhere = hemako.folder / "other.jfr"
    hemako.does("echo y >%s; echo 'Wrote \"%s\"'" % (elsewhere, elsewhere))
    found = hemako.collect()
    assert Path(found["path"]).parent == hemako.kept and Path(found["path"]).read_text() == "y\n"


def test_a_file_that_was_there_before_is_no_recording(hemako):
    """Even if hemako's output names it, as that may come from anywhere."""
    old = hemako.folder / "old.jfr"
    old.write_text("private")
    os.utime(str(old), (time.time() - 3600,) * 2)
    assert "without a recording" in hemako.does("echo %s" % old).fails()
    assert old.read_text() == "private"


def test_a_link_is_no_recording(hemako):
    """It would upload whatever file it points to."""
    private = hemako.folder / "private.jfr"
    assert (
        "without a recording"
        in hemako.does("echo x >%s; ln -s %s a.jfr" % (private, private)).fails()
    )


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_that_is_missing_is_named(hemako, name):
    """Before anything runs."""
    said = hemako.does("touch %s/ran" % hemako.folder).fails(**{name: ""})
    assert said.startswith(name + ": missing;")
    assert not (hemako.folder / "ran").exists()


def test_all_names_that_are_missing_are_named(hemako):
    """So that one run shows them all."""
    assert hemako.does("").fails(pod="", sts="").startswith("pod, sts: missing;")


@pytest.mark.parametrize(
    "value",
    ["-x", "--approve", "x y", "x;id", "$(id)", "`id`", "x\n", "é", "x" * 300, "../x", "❴❴ 1 }}"],
)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_invalid_name_reaches_nothing(hemako, name, value):
    """It becomes neither an option of hemako nor a path."""
    said = hemako.does("touch %s/ran" % hemako.folder).fails(**{name: value})
    assert said.startswith(name + ': "') and "; expected the name of a" in said
    assert not (hemako.folder / "ran").exists()


def test_hemako_that_is_not_installed_is_said(hemako):
    """With the setting that names it."""
    said = hemako.fails(hemako_path="no-such-hemako")
    assert said.startswith("hemako_path: no-such-hemako is not installed on this StackStorm node")


def test_hemako_that_cannot_be_executed_is_said(hemako):
    """A file that is not a program, or is not executable."""
    hemako.does("")
    hemako.path.chmod(0o644)
    assert "may not be executed" in hemako.fails()
    hemako.path.write_bytes(b"\x7fELF no")
    hemako.path.chmod(0o755)
    assert "cannot be run: " in hemako.fails()


def test_hemako_that_fails_is_quoted(hemako):
    """The end of its stderr, and nothing that it may have left."""
    script = "echo out; for n in $(seq 1000); do echo line $n >&2; done; echo x >a.jfr; exit 7"
    said = hemako.does(script).fails()
    assert said == "hemako: failed with exit status 7; its output: " + " / ".join(
        "line %d" % number for number in range(996, 1001)
    )


def test_hemako_that_is_killed_is_said(hemako):
    """By the signal's number."""
    said = hemako.does("echo so far so good; kill -9 $$").fails()
    assert said == "hemako: failed with signal 9; its output: so far so good"


@pytest.mark.parametrize("script", ["echo done", "touch a.jfr", "mkdir a.jfr", "echo x >a.txt"])
def test_hemako_that_leaves_no_recording_is_said(hemako, script):
    """An empty file does not count."""
    assert hemako.does(script).fails().startswith("hemako: succeeded without a recording")


def test_hemako_that_takes_too_long_is_ended_with_its_children(hemako):
    """The message has the time limit."""
    pid = hemako.folder / "pid"
    script = "echo waiting >&2\nsleep 600 & echo $! >%s\nwait\n" % pid
    said = hemako.does(script).fails(jfr_duration="1s", jfr_timeout_seconds=2)
    start = "hemako: did not end within jfr_timeout_seconds, 2 s; its output: waiting"
    assert said == start
    child = "/proc/%s/stat" % pid.read_text().strip()

    def gone():
        try:
            return Path(child).read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    deadline = time.monotonic() + 30
    while not gone():
        assert time.monotonic() < deadline, "a child of hemako lives on"
        time.sleep(0.05)


def test_an_output_without_end_is_not_kept(hemako):
    """An execution of StackStorm has room for 16 MB only."""
    hemako.does("yes 'a line' | head -n 200000; head -c 9000000 /dev/zero; echo x >a.jfr")
    hemako.collect()
    assert len(hemako.shown) == jfr.LINES_SHOWN
    assert max(len(line) for line in hemako.shown) <= jfr.CHARACTERS_SHOWN


@pytest.mark.parametrize(
    "more, start",
    [
        ({"jfr_duration": "soon"}, 'jfr_duration: "soon" is not a duration'),
        (
            {"jfr_duration": "5m"},
            "jfr_timeout_seconds: 300; expected more seconds than jfr_duration, 5m",
        ),
        ({"jfr_directory": "/proc/no"}, "jfr_directory: "),
    ],
)
def test_a_setting_that_cannot_work_is_named(hemako, more, start):
    """Before anything runs."""
    hemako.does("touch %s/ran" % hemako.folder)
    with pytest.raises(ExpectedError) as caught:
        hemako.collect(**more)
    assert str(caught.value).startswith(start)
    assert not (hemako.folder / "ran").exists()
