"""low_disk for real: its own commands on a small file system, with links, mounts and odd names."""

import base64
import json

import pytest
from poundcake import host_commands

from tests.support.alerts import alert
from tests.support.remediations import (
    ESCALATED,
    FAILED,
    NOT_NEEDED,
    REMEDIATED,
    Place,
    enabled,
    outcome_of,
    output_of,
    run,
    started_for,
)
from tests.support.world import unique

# Files below $FS are made 30 days old, all three of their times: no program can set the third.
MAKE = """
export LC_ALL=C
command -v mkfs.ext4 >/dev/null && command -v debugfs >/dev/null || exit 77
mkdir {folder}/fs && truncate -s 24M {folder}/image || exit 1
mkfs.ext4 -q -F -m 0 -N %(inodes)d {folder}/image || exit 1
mount -o loop {folder}/image {folder}/fs || exit 77
set -e
cd {folder}/fs
%(old)s
cd {folder}
then="@$(($(date +%%s) - 30 * 86400))"
for time in atime mtime ctime; do
  find fs -type f -printf "set_inode_field <%%i> $time $then\\n"
done > times
umount fs
debugfs -w -f times image > debugfs.log 2>&1
mount -o loop image fs
cd fs
%(young)s
"""
FULL = "mkdir logs temp; head -c 15M /dev/zero > data; "


class Disk:
    """A file system of 24 MB in a file, mounted at ``root`` while the test runs."""

    def __init__(self, place):
        self.place = place
        self.root = place.folder + "/fs"

    def make(self, old, young="", inodes=256):
        """Fill it: what the script ``old`` makes is 30 days old."""
        command = self.place.filled(MAKE % {"old": old, "young": young, "inodes": inodes})
        done = run(self.place.world, "core.local", cmd=command)
        if done["result"]["return_code"] == 77:
            pytest.skip("mounting a file system is not allowed here: %s" % done["result"]["stderr"])
        assert done["status"] == "succeeded", done["result"]

    def low_disk(self, **more):
        """Run the workflow with its own commands."""
        given = {
            "mountpoint": self.root,
            "host": self.place.host,
            "log_paths": [self.root + "/logs"],
            "temp_paths": [self.root + "/temp"],
            "used_percent": 50,
        }
        given.update(more)
        return run(self.place.world, "poundcake.low_disk", **given)

    def files(self):
        """The paths of what is there and is no folder."""
        find = "cd {folder}/fs && find . -path ./lost+found -prune -o ! -type d -printf '%P\\0'"
        found = self.place.shell(find + " | base64 -w0")
        return set(base64.b64decode(found).decode().split("\0")) - {""}

    def close(self):
        """End what was started and unmount what was mounted below the place's folder."""
        self.place.shell(
            "cat {folder}/pids 2>/dev/null | xargs -r kill 2>/dev/null; "
            "cut -d ' ' -f 5 /proc/self/mountinfo | grep ^{folder}/ | sort -r | "
            "xargs -r -n 1 umount; "
            "rm -rf --one-file-system {folder}"
        )


@pytest.fixture
def disk(world):
    """On the StackStorm node: for what does not depend on the way to a host."""
    made = Disk(Place(world, ""))
    yield made
    made.close()


@pytest.fixture
def disk_there(place):
    """On the node, and on a host over SSH."""
    made = Disk(place)
    yield made
    made.close()


def test_rotated_logs_and_old_temporary_files_go_and_nothing_else(disk_there):
    """It says which, and how much that freed; logs in use, young files and open files stay."""
    disk = disk_there
    disk.make(
        old=r"""
        mkdir -p logs/app temp/deep/er data
        head -c 9M /dev/zero > logs/app.log.1
        head -c 7M /dev/zero > temp/deep/er/upload
        for name in app.log app/error.log syslog journal@1.journal held.log.1; do
          echo x > logs/$name
        done
        for name in app.log.2.gz app.log.12.xz a.bz2 a.zst a.old app.log.31 access-20240131; do
          echo x > logs/app/$name
        done
        echo x > temp/held; echo x > temp/-rf; echo x > data/dump.1
        mkfifo temp/fifo
        """,
        young=r"""
        echo x > logs/young.log.1; echo x > temp/young
        echo x > temp/touched; touch -d "30 days ago" temp/touched
        sleep 300 < logs/held.log.1 > /dev/null 2>&1 & echo $! >> {folder}/pids
        sleep 300 < temp/held > /dev/null 2>&1 & echo $! >> {folder}/pids
        """,
    )
    execution = disk.low_disk()
    assert outcome_of(execution) == REMEDIATED, execution["result"]
    stay = "logs/app.log logs/app/error.log logs/syslog logs/journal@1.journal logs/held.log.1 "
    stay += "logs/young.log.1 temp/held temp/young temp/touched temp/fifo data/dump.1"
    assert disk.files() == set(stay.split())
    output = output_of(execution)
    assert "upload" in output["evidence"] and "space used: " in output["evidence"]
    assert output["remediation"] == "removed old files, 10 files with 16.8 MB"
    said = output["evidence"].partition("removed:\n")[2]
    assert "9.4 MB %s/logs/app.log.1" % disk.root in said
    before, after = [int(word) for word in said.split("df: ")[1].split() if word.isdigit()]
    assert after - before >= 16 * 1024
    assert "space used: " in output["verification"]
    assert output["reason"] is None


def test_a_file_system_that_is_not_that_full_loses_nothing(disk):
    """However old its files are."""
    disk.make(old="mkdir logs temp; echo x > logs/a.log.1; echo x > temp/a")
    execution = disk.low_disk()
    assert outcome_of(execution) == NOT_NEEDED, execution["result"]
    assert output_of(execution)["remediation"] == "none, the file system is at most 50 % full"
    assert disk.files() == {"logs/a.log.1", "temp/a"}


def test_when_nothing_is_old_enough_a_person_must_look(disk):
    """One is told, with what fills the file system as the evidence."""
    disk.make(old=FULL, young="echo x > logs/a.log.1; echo x > temp/a")
    execution = disk.low_disk()
    assert outcome_of(execution) == ESCALATED
    output = output_of(execution)
    assert output["remediation"].startswith("none, nothing is old enough, 0 files with 0.0 MB")
    assert output["reason"].startswith("still too full, nothing in log_paths and temp_paths")
    assert disk.root + "/data" in output["evidence"]
    assert disk.files() == {"data", "logs/a.log.1", "temp/a"}


def test_when_it_is_still_too_full_it_says_so(disk):
    """What was removed is said all the same."""
    disk.make(old=FULL + "echo x > logs/a.log.1")
    execution = disk.low_disk()
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert output["remediation"].startswith("removed old files, 1 files")
    assert output["reason"].startswith("still too full after the removal")
    assert disk.files() == {"data"}


def test_a_file_system_without_inodes_is_full_as_well(disk):
    """It has room, and takes no file."""
    disk.make(
        old="mkdir logs temp; seq 99 | sed s,^,temp/session-, | xargs touch 2>/dev/null || true",
        inodes=64,
    )
    execution = disk.low_disk()
    assert execution["status"] == "succeeded", execution["result"]
    output = output_of(execution)
    assert "the most files" in output["evidence"]
    assert output["remediation"].startswith("removed old files, ")
    assert disk.files() == set()


def test_links_lead_nowhere(disk):
    """Neither a link below a path, nor a path that is one, leads over one, or has .. in it."""
    disk.make(
        old=FULL
        + r"""
        mkdir -p data.d real/logs real/temp
        for folder in data.d real/logs real/temp; do echo x > $folder/old.gz; done
        echo x > logs/old.gz
        ln -s ../data.d logs/folder.1; ln -s ../data.d/old.gz logs/file.gz
        ln -s ../data.d temp/folder; ln -s / temp/root
        ln -s real/logs link; ln -s real parent
        """,
        young="touch -h -d '30 days ago' logs/folder.1 logs/file.gz",
    )
    names = ["logs/", "link", "link/", "parent/logs", "temp/../real/logs", "logs/folder.1"]
    paths = [disk.root + "/" + name for name in names] + [disk.root + "/./real/logs"]
    execution = disk.low_disk(log_paths=paths, temp_paths=[disk.root + "/parent/temp"])
    stay = {"data", "data.d/old.gz", "real/logs/old.gz", "real/temp/old.gz", "link", "parent"}
    assert disk.files() == stay | {"logs/folder.1", "logs/file.gz", "temp/folder", "temp/root"}
    assert output_of(execution)["remediation"].startswith("removed old files, 1 files")
    said = output_of(execution)["evidence"]
    assert said.count("it leads to %s/real" % disk.root) == 6
    assert "left alone: %s/logs/folder.1, it leads to %s/data.d" % (disk.root, disk.root) in said


def test_a_link_is_no_temporary_file(disk):
    """It is left, and so is what it names."""
    disk.make(old=FULL + "echo x > keep; ln -s ../keep temp/a; ln -s .. temp/b; echo x > temp/c")
    disk.low_disk()
    assert disk.files() == {"data", "keep", "temp/a", "temp/b"}


def test_only_the_file_system_of_the_alert_is_touched(disk):
    """Not one that is mounted below a path, not a folder that is mounted there a second time."""
    disk.make(
        old=FULL + "mkdir -p logs/tmpfs more/bind precious; echo x > precious/old.gz;"
        "echo x > more/old.gz; echo x > logs/old.gz",
        young="mount -t tmpfs tmpfs logs/tmpfs; mount --bind precious more/bind;"
        "mkdir {folder}/elsewhere; cd {folder}/elsewhere;"
        "touch -d '30 days ago' old.gz {folder}/fs/logs/tmpfs/old.gz",
    )
    elsewhere = disk.place.folder + "/elsewhere"
    paths = [disk.root + "/logs", disk.root + "/more", elsewhere]
    said = output_of(disk.low_disk(log_paths=paths))["evidence"]
    wanted = "data logs/tmpfs/old.gz more/old.gz more/bind/old.gz precious/old.gz"
    assert disk.files() == set(wanted.split())
    assert disk.place.has("elsewhere/old.gz")
    assert "left alone: %s, it is on another file system" % elsewhere in said
    assert "/more, a part of the file system is mounted below it again" in said


NO_PATHS = [
    "",
    "logs",
    "./logs",
    "../fs/logs",
    "/",
    "//",
    "/./",
    "/..",
    "{root}\n/logs",
    "{root}\n",
]
NO_PATHS += ["{root}/%s", "{root}/lo*", "-delete", "~", "$FS", "{root}/logs/a.gz"]


@pytest.mark.parametrize("paths", [[], NO_PATHS], ids=["none", "odd"])
def test_a_path_that_is_none_is_not_searched(disk, paths):
    """What is no whole path to a folder touches nothing."""
    disk.make(old=FULL + "echo x > logs/a.gz; mkdir %s; echo x > %s/a.gz")
    paths = [path.replace("{root}", disk.root) for path in paths]
    execution = disk.low_disk(log_paths=paths, temp_paths=paths)
    assert outcome_of(execution) == ESCALATED
    assert output_of(execution)["remediation"].startswith("none, nothing is old enough")
    assert disk.files() == {"data", "logs/a.gz", "%s/a.gz"}


def test_what_is_not_mounted_is_not_looked_at(disk):
    """A file system has one name, and a folder of it is none."""
    disk.make(old=FULL + "echo x > logs/a.gz")
    for name in ("/fs/logs", "/nowhere", "/fs/", "/fs/../fs"):
        execution = disk.low_disk(mountpoint=disk.place.folder + name)
        assert outcome_of(execution) == ESCALATED
        reason = output_of(execution)["reason"]
        wanted = "an absolute path" if name in ("/fs/", "/fs/../fs") else "nothing is mounted there"
        assert reason.startswith("nothing was done - ") and wanted in reason
    assert disk.files() == {"data", "logs/a.gz"}


def test_the_name_of_a_file_is_data(disk):
    """Removed it is, whatever it is called; no shell runs it, and no template evaluates it."""
    secret, key = unique("disk-secret-"), "poundcake_e2e_disk"
    names = ["{{ st2kv('system.%s', decrypt=true) }}" % key]
    names += ["<%% st2kv('system.%s', decrypt => true) %%>" % key]
    names += [
        "a\nb",
        " a b ",
        "-rf",
        "--",
        "-o",
        "!",
        "$(touch mark)",
        "`touch mark`",
        "'\";\\",
        "0\t0\tend",
    ]
    listed = "\0".join("logs/%s.gz" % name for name in names + ["*", "ü"])
    listed = base64.b64encode(listed.encode()).decode()
    world = disk.place.world
    disk.make(
        old="mkdir logs temp; echo %s | base64 -d > list; "
        "xargs -0 -n 1 sh -c 'head -c 1M /dev/zero > \"$1\"' sh < list; "
        "rm list; head -c 6M /dev/zero > logs/app.log" % listed
    )
    world.st2("key", "set", key, secret, "--encrypt")
    try:
        execution = disk.low_disk()
        assert execution["status"] == "succeeded", execution["result"]
    finally:
        world.st2("key", "delete", key)
    assert disk.files() == {"logs/app.log"}
    output = output_of(execution)
    assert "removed old files, 14 files with 14.7 MB" in output["remediation"]
    found = [execution, *world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])]
    whole = json.dumps([world.execution(one["id"]) for one in found])
    assert secret not in whole
    said = output["evidence"].partition("removed:\n")[2]
    assert "❴❴ st2kv" in said and "‹% st2kv" in said


DOCKER = """#!/bin/sh
echo "$*" >> {folder}/docker.log
case $1 in
info) echo " Docker Root Dir: %s" ;;
system) rm -f {folder}/fs/layer; echo "Total reclaimed space: 15MB"; exit %d ;;
esac
"""


def docker(disk, store, code=0):
    """prune_command as it ships, where this docker is the only container engine."""
    script = base64.b64encode(disk.place.filled(DOCKER % (store, code)).encode()).decode()
    # Not what may run on this machine.
    disk.place.shell(
        "mkdir {folder}/bin && cd {folder}/bin && echo %s | base64 -d > docker && "
        "chmod 755 docker && ln -s docker podman && for tool in sh id stat sed tail rm sudo; do "
        "ln -s $(command -v $tool) $tool 2>/dev/null; done; true" % script
    )
    return disk.place.filled("PATH={folder}/bin\n") + host_commands.text_of("prune_containers")


@pytest.mark.parametrize("wanted", [True, False], ids=["asked", "not_asked"])
def test_containers_are_pruned_only_when_asked(disk, wanted):
    """After the files; it says what they say."""
    disk.make(old="mkdir logs temp; head -c 15M /dev/zero > layer; echo x > temp/a")
    command = docker(disk, disk.root)
    execution = disk.low_disk(prune_containers=wanted, prune_command=command)
    assert outcome_of(execution) == (REMEDIATED if wanted else FAILED)
    assert disk.place.has("docker.log") == wanted
    if wanted:
        said = output_of(execution)["remediation"]
        assert said.startswith("pruned containers, docker: Total reclaimed space: 15MB")
        assert "removed old files, 1 files" in said
        log = disk.place.shell("cat {folder}/docker.log").split("\n")
        assert log == ["info", "system prune --force"] * 2


def test_containers_elsewhere_are_left_alone(disk):
    """Their store is on another file system, so pruning it would not help."""
    disk.make(old=FULL)
    execution = disk.low_disk(prune_containers=True, prune_command=docker(disk, "/"))
    assert outcome_of(execution) == ESCALATED
    assert disk.place.shell("sort -u {folder}/docker.log") == "info"
    assert output_of(execution)["remediation"].startswith("none, nothing is old enough")


def test_a_prune_that_fails_is_said(disk):
    """It is the verification that says whether that matters."""
    disk.make(old=FULL)
    command = docker(disk, disk.root, code=1)
    execution = disk.low_disk(prune_containers=True, prune_command=command)
    assert execution["status"] == "failed"
    assert "the prune command failed" in output_of(execution)["remediation"]


def test_a_remove_command_that_fails_says_so(place):
    """Still too full, failed, and the reason has what it printed."""
    execution = place.run("low_disk", remove_command="echo not allowed; exit 1")
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert output["remediation"] == "the remove command failed"
    assert output["reason"] == "still too full, the remove command failed - not allowed"


def test_the_rule_takes_node_exporters_alerts(world):
    """What is too full is in the label "mountpoint"; nothing is mounted at this one."""
    mountpoint = unique("/srv/none-")
    labels = {"instance": "web-1.invalid:9100", "mountpoint": mountpoint, "fstype": "ext4"}
    with enabled(world, "low_disk"):
        made = alert(alertname="NodeFilesystemAlmostOutOfSpace", device="/dev/sdb1", **labels)
        execution = started_for(world, world.accept(made))
    given = execution["parameters"]
    assert (given["mountpoint"], given["host"]) == (mountpoint, "web-1.invalid")
    assert given["alert"]["labels"]["device"] == "/dev/sdb1"


def test_the_rule_takes_an_alert_that_names_no_mountpoint(world):
    """A person is told."""
    made = alert(alertname="HostOutOfDiskSpace", instance="web-1.invalid:9100", tag=unique("none-"))
    with enabled(world, "low_disk"):
        execution = started_for(world, world.accept(made))
    assert outcome_of(execution) == ESCALATED
    assert "mountpoint: empty" in output_of(execution)["reason"]


def test_without_a_mountpoint_a_person_is_told_how_full_everything_is(world):
    """The evidence does not depend on the label."""
    execution = run(world, "poundcake.low_disk", mountpoint="")
    assert outcome_of(execution) == ESCALATED
    assert "Use%" in output_of(execution)["evidence"]
