"""database_connection_errors for real: a PostgreSQL is killed, stopped, starting up or too busy."""

import base64
import json

import pytest
from poundcake import host_commands

from tests.support.alerts import alert
from tests.support.ports import free_port
from tests.support.remediations import NOT_NEEDED, Place, enabled, outcome_of, output_of, run
from tests.support.world import unique

CHECK = host_commands.text_of("check_database")
WORKFLOW = "poundcake.database_connection_errors"

# PostgreSQL refuses to run as root, and nobody else may enter a folder of root's.
CONTROL = r"""#!/bin/sh
# make | start | pid | stop | kill | hang | promote
for bin in /usr/lib/postgresql/*/bin /usr/bin; do [ ! -x $bin/initdb ] || break; done
cd {folder} || exit
as() {
  [ "$(id -u)" != 0 ] || set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
  "$@"
}
pid() { head -n 1 data/postmaster.pid; }
case $1 in
make)
  [ -x $bin/initdb ] || exit 77
  mkdir data && chmod 711 . && { [ "$(id -u)" != 0 ] || chown 65534:65534 data; }
  as $bin/initdb -D data -U postgres -A trust --no-sync >initdb.log 2>&1
  ;;
start)
  shift
  # What was killed holds its memory until its children are gone.
  for try in 1 2 3 4 5 6 7 8; do
    as $bin/pg_ctl start -D data -s -l data/log -o "-p %(port)d -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories={folder}/data $*" >/dev/null 2>&1 </dev/null && exit
    sleep 1
  done
  tail -n 5 data/log
  exit 1
  ;;
pid) pid ;;
stop) kill -CONT $(pid) 2>/dev/null; as $bin/pg_ctl stop -D data -s -m immediate 2>/dev/null ;;
kill) kill -KILL $(pid) && while pg_isready -q -h 127.0.0.1 -p %(port)d; do sleep 0.1; done ;;
hang) kill -STOP $(pid) ;;
promote) as $bin/pg_ctl promote -D data -s ;;
esac
"""


class Postgres:
    """A PostgreSQL of the tests' own on the StackStorm node; ``port`` is where it listens."""

    def __init__(self, place):
        self.place = place
        self.port = free_port()
        script = self.place.filled(CONTROL % {"port": self.port})
        script = base64.b64encode(script.encode()).decode()
        self.command = place.folder + "/control"
        place.shell("echo %s | base64 -d > {folder}/control; chmod 755 {folder}/control" % script)
        made = run(place.world, "core.local", cmd=self.command + " make")
        if made["result"]["return_code"] == 77:
            pytest.skip("bash tests/demo/install_servers installs PostgreSQL")
        assert made["status"] == "succeeded", made["result"]

    def do(self, *words):
        return self.place.shell(" ".join([self.command, *words]))

    def remedied(self, place=None, **more):
        """Run the workflow with its own check, and a restart as systemd would do it."""
        place = place or self.place
        given = {
            "service": "postgresql",
            "host": place.host,
            "kind": "postgresql",
            "port": self.port,
            "restart_command": "%s stop; %s start" % (self.command, self.command),
            "settle_seconds": 0,
        }
        given.update(more)
        return run(place.world, WORKFLOW, **given)


@pytest.fixture(scope="module")
def cluster(world):
    made = Postgres(Place(world, ""))
    yield made
    made.place.shell("rm -rf {folder}")


@pytest.fixture
def postgres(cluster):
    """It runs and accepts connections."""
    cluster.do("start")
    yield cluster
    cluster.do("stop", "|| true")


@pytest.mark.parametrize("kind", ["postgresql", "tcp"])
def test_a_database_that_was_killed_is_restarted(postgres, place, kind):
    """Looked at, restarted, and asked again; by another way to ask for each kind."""
    before = postgres.do("pid")
    postgres.do("kill")
    execution = postgres.remedied(place, kind=kind)
    assert execution["status"] == "succeeded", execution["result"]
    output = output_of(execution)
    assert output["remediation"] == "restarted postgresql"
    said = {
        "postgresql": ("127.0.0.1:%d - no response", "127.0.0.1:%d - accepting connections"),
        "tcp": ("the port does not accept connections", "the port accepts connections"),
    }[kind]
    said = [text.replace("%d", str(postgres.port)) for text in said]
    assert said[0] in output["evidence"] and said[1] in output["verification"]
    assert postgres.do("pid") != before


@pytest.mark.parametrize("kind", ["postgresql", "tcp"])
def test_a_database_that_accepts_connections_is_left_alone(postgres, kind):
    """The alert came late, or its reason is another one."""
    before = postgres.do("pid")
    execution = postgres.remedied(kind=kind)
    assert execution["status"] == "succeeded", execution["result"]
    said = output_of(execution)["remediation"]
    assert said.startswith("none, the database accepts connections")
    assert postgres.do("pid") == before


def test_a_database_with_too_many_connections_is_left_alone(postgres):
    """A restart would throw everybody out; it says that a person must find who holds them."""
    postgres.do("stop")
    limits = "max_connections=3 superuser_reserved_connections=0 max_wal_senders=0"
    postgres.do("start", "'", *["-c " + limit for limit in limits.split()], "'")
    before = postgres.do("pid")
    psql = "psql -h 127.0.0.1 -p %d -U postgres -c" % postgres.port
    said = postgres.place.shell(
        "while %s 'select 1' 2>&1 >/dev/null; do "
        "%s 'select pg_sleep(300)' >/dev/null 2>&1 </dev/null & sleep 0.2; done" % (psql, psql)
    )
    assert "too many clients" in said
    execution = postgres.remedied()
    assert execution["status"] == "succeeded", execution["result"]
    assert "a person must find out what holds them" in output_of(execution)["remediation"]
    assert postgres.do("pid") == before


def starting_up(postgres):
    """Make it a standby that waits for its primary, which takes no connections until promoted."""
    postgres.do("stop")
    postgres.place.shell("touch {folder}/data/standby.signal")
    postgres.do("start", "' -c hot_standby=off -c restore_command=false", "'")


def test_a_database_that_starts_up_is_waited_for(postgres):
    """Restarted, it would only start again; when it is up, nothing was needed."""
    starting_up(postgres)
    before = postgres.do("pid")
    # It is up when the check has been asked for the first time.
    up = "( %s ); code=$?; [ $code = 0 ] || %s promote; exit $code" % (CHECK, postgres.command)
    execution = postgres.remedied(check_command=up)
    assert outcome_of(execution) == NOT_NEEDED, execution["result"]
    output = output_of(execution)
    assert "rejecting connections" in output["evidence"]
    assert output["remediation"] == "none, the database is starting up or shutting down"
    assert "accepting connections" in output["verification"]
    assert postgres.do("pid") == before


def test_a_database_that_goes_on_starting_up_is_for_a_person(postgres):
    """Failed, not restarted; a dry run says that it would wait."""
    starting_up(postgres)
    before = postgres.do("pid")
    execution = postgres.remedied()
    dry_run = postgres.remedied(dry_run=True)
    postgres.do("promote")
    assert execution["status"] == "failed"
    assert output_of(execution)["reason"].startswith("still starting up or shutting down")
    assert output_of(dry_run)["remediation"].startswith("none, this is a dry run; it would wait")
    assert postgres.do("pid") == before


def test_a_database_that_hangs_is_restarted_when_it_is_asked(postgres):
    """The system still takes connections for it, so the port alone does not tell."""
    before = postgres.do("pid")
    postgres.do("hang")
    execution = postgres.remedied(kind="tcp")
    assert output_of(execution)["remediation"].startswith("none, the database accepts connections")
    execution = postgres.remedied(kind="postgresql")
    assert execution["status"] == "succeeded", execution["result"]
    assert output_of(execution)["remediation"] == "restarted postgresql"
    assert postgres.do("pid") != before


def test_an_address_that_is_unknown_is_no_database_that_is_down(postgres):
    """Nothing was seen, so nothing is done."""
    execution = postgres.remedied(address="no-such-host.invalid")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["reason"].startswith("could not check, nothing was done - ")
    assert "the address is unknown here" in output["reason"]
    assert output["remediation"] == "none"


def test_a_restart_that_fails_says_so(place):
    """Failed, and the reason names the restart and what it printed."""
    execution = place.run("database_connection_errors", restart_command="echo no such unit; exit 5")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "the restart command failed"
    assert output["reason"].startswith("no connections") and "no such unit" in output["reason"]


def test_a_restart_that_does_not_help_says_so(postgres):
    """The restart succeeds and the database stays down."""
    postgres.do("kill")
    execution = postgres.remedied(restart_command="true")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "restarted postgresql"
    assert output["reason"].startswith("restarted postgresql, and still no connections")


def test_a_line_of_the_databases_log_is_data(postgres):
    """systemctl shows the log, and whoever connects writes into it."""
    secret, key = unique("database-secret-"), "poundcake_e2e_database"
    log = "FATAL: database \"{{ st2kv('system.%s', decrypt=true) }}\" does not exist\n" % key
    log += "FATAL: role <%% st2kv('system.%s', decrypt => true) %%> does not exist\n" % key
    log = base64.b64encode(log.encode()).decode()
    place, world = postgres.place, postgres.place.world
    place.shell(
        "mkdir {folder}/bin; cd {folder}/bin; chmod 755 .;"
        "printf '#!/bin/sh\\necho %s | base64 -d\\n' > systemctl; chmod 755 systemctl" % log
    )
    world.st2("key", "set", key, secret, "--encrypt")
    try:
        check = place.filled("PATH={folder}/bin:$PATH\n") + CHECK
        postgres.do("kill")
        execution = postgres.remedied(check_command=check)
        assert execution["status"] == "succeeded", execution["result"]
    finally:
        world.st2("key", "delete", key)
    output = output_of(execution)
    assert "❴❴ st2kv" in output["evidence"] and "‹% st2kv" in output["evidence"]
    found = [execution, *world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])]
    assert secret not in json.dumps([world.execution(one["id"]) for one in found])


def test_the_rule_takes_the_exporters_alerts(world):
    """It knows the usual unit and port of each, where the alert does not name the unit."""
    wanted = {
        "PostgreSQLDown": ("postgresql", "postgresql", 5432),
        "PostgresqlDown": ("postgresql", "postgresql", 5432),
        "MysqlDown": ("mysql", "tcp", 3306),
        "RedisDown": ("redis-server", "tcp", 6379),
        "MongodbDown": ("mongod", "tcp", 27017),
    }
    # No such hosts, so nothing is done.
    made = [alert(alertname=name, instance=unique("host-") + ".invalid:9187") for name in wanted]
    service = unique("postgresql@15-")
    made.append(
        alert(alertname="PostgresqlDown", instance=unique("host-") + ".invalid", service=service)
    )
    with enabled(world, "database_connection_errors"):
        request_id = world.accept(*made)
        world.completed(request_id)
    found = world.status(request_id)["executions"]
    given = [world.execution(one["execution_id"])["parameters"] for one in found]
    assert sorted(one["alert"]["instance"] for one in given) == sorted(
        one["labels"]["instance"] for one in made
    )
    for one in given:
        expected = wanted[one["alert"]["alertname"]]
        if one["alert"]["labels"].get("service"):
            expected = (service, *expected[1:])
        assert (one["service"], one["kind"], one["port"]) == expected
        assert one["alert"]["instance"].startswith(one["host"])
