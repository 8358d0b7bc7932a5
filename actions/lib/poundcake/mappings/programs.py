"""The programs that take a value of an alert as data: their options and operands, with types.

A list of forbidden programs has no end, as any program may run its arguments. So this is a list of
the programs, options and places where a value is data, each with the type that the value must have.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Mapping, Sequence, Tuple

ANY = "*"  # an operand without values of an alert


@dataclass(frozen=True)
class Program:
    """How a program reads its arguments.

    :param usage: an example, for messages and docs.
    :param operands: the accepted sequences of operands: a set of words, the type of a value, or
        ``ANY``; ``...`` repeats the one before it.
    :param flags: the options without a value, each with its dashes.
    :param valued: the options with a value, and the type of a value of an alert there, "" for none.
    :param ends_options: whether ``--`` ends the options.
    """

    usage: str
    operands: Sequence[Tuple[Any, ...]]
    flags: FrozenSet[str] = frozenset()
    valued: Mapping[str, str] = field(default_factory=dict)
    ends_options: bool = True


def _words(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


def _files(usage: str, flags: str = "", valued: str = "") -> Program:
    options = dict.fromkeys(valued.split(), "")
    return Program(usage, [("path", ...)], _words(flags), options)


_SERVICE_VERBS = _words("start stop restart reload status try-restart force-reload")
_UNIT_VERBS = _SERVICE_VERBS | _words(
    "reload-or-restart try-reload-or-restart is-active is-failed is-enabled reset-failed show cat"
)
_CONTAINER_VERBS = _words("restart start stop pause unpause logs inspect stats port top")
_CONTAINERS = [(_CONTAINER_VERBS, "name")]
_CONTAINER_VALUES = dict.fromkeys(_words("-t --time --tail -n --since --until -H --host"), "")
_KUBECTL_VERBS = _words("get describe delete")
_ROLLOUT = _words("restart status undo pause resume history")
_KUBECTL_VALUES = {
    "-n": "name",
    "--namespace": "name",
    "-c": "name",
    "--container": "name",
    **dict.fromkeys(
        "-o --output --context --cluster --kubeconfig --tail --since --timeout --grace-period "
        "--request-timeout --cascade".split(),
        "",
    ),
}
_CURL_LITERALS = "-X --request -m --max-time --connect-timeout --retry -H -u -d --data -o".split()
PROGRAMS: Dict[str, Program] = {
    "echo": Program(
        'echo "{{instance}} is {{severity}}"', [("text", ...)], _words("-n -e -E"), {}, False
    ),
    "printf": Program(
        "printf '%s\\n' {{labels.job}}", [("format", "text", ...)], ends_options=False
    ),
    "logger": Program(
        'logger -t poundcake -- "{{alertname}} on {{instance}}"',
        [("text", ...)],
        _words("-i -s"),
        {"-t": "", "--tag": "", "-p": "", "--priority": ""},
    ),
    "systemctl": Program(
        "systemctl restart -- {{labels.service}}",
        [(_UNIT_VERBS, "unit", ...)],
        _words("-q --quiet --no-pager --no-block --no-ask-password -l --full --user --system"),
        {"-n": "", "--lines": "", "-p": "", "--property": ""},
    ),
    "service": Program(
        "service {{labels.service}} restart", [("unit", _SERVICE_VERBS)], ends_options=False
    ),
    "journalctl": Program(
        "journalctl --no-pager -n 50 -u {{labels.service}}",
        [()],
        _words("--no-pager -q --quiet -r --reverse -b -k --utc"),
        {
            "-u": "unit",
            "--unit": "unit",
            **dict.fromkeys("-n --lines -S --since -U --until -p --priority -o".split(), ""),
        },
    ),
    "kubectl": Program(
        "kubectl delete pod -n {{labels.namespace}} -- {{labels.pod}}",
        [
            (_KUBECTL_VERBS, "object"),
            (_KUBECTL_VERBS, ANY, "name", ...),
            (_words("logs"), "object"),
            (_words("logs cordon uncordon drain"), "name"),
            (_words("rollout"), _ROLLOUT, "object"),
            (_words("rollout"), _ROLLOUT, ANY, "name"),
            (_words("top"), _words("pod pods node nodes"), "name"),
        ],
        _words(
            "-A --all-namespaces -p --previous --force --now --all-containers --ignore-not-found "
            "--ignore-daemonsets --delete-emptydir-data"
        ),
        _KUBECTL_VALUES,
    ),
    "docker": Program(
        "docker restart -- {{labels.container}}", _CONTAINERS, frozenset(), _CONTAINER_VALUES
    ),
    "podman": Program(
        "podman restart -- {{labels.container}}", _CONTAINERS, frozenset(), _CONTAINER_VALUES
    ),
    "pg_isready": Program(
        "pg_isready -h {{labels.node}} -p {{labels.port}}",
        [()],
        _words("-q --quiet"),
        {
            "-h": "host",
            "--host": "host",
            "-p": "number",
            "--port": "number",
            **dict.fromkeys("-d --dbname".split(), "name"),
            **dict.fromkeys("-t --timeout -U --username".split(), ""),
        },
    ),
    "ping": Program(
        "ping -c 3 -- {{instance}}",
        [("host",)],
        _words("-4 -6 -n -q"),
        dict.fromkeys("-c -i -w -W -s".split(), ""),
    ),
    "getent": Program(
        "getent hosts {{instance}}", [(_words("hosts ahosts"), "host")], ends_options=False
    ),
    "nc": Program(
        "nc -z -w 5 {{instance}} 22",
        [("host", "number")],
        _words("-z -v -n -4 -6"),
        {"-w": ""},
        False,
    ),
    "curl": Program(
        "curl -fsS --data-urlencode 'alert={{alertname}}' https://hooks.example.com/alerts",
        [("url",)],
        _words(
            "-f --fail -s --silent -S --show-error -L --location -k --insecure -I --head -G --get"
        ),
        {
            "--data-raw": "text",
            "--data-urlencode": "field",
            "--form-string": "field",
            **dict.fromkeys(_CURL_LITERALS, ""),
        },
    ),
    "grep": Program(
        "grep -c -- {{labels.job}} /var/log/jobs.log",
        [("text", ANY, ...)],
        _words("-c -i -v -n -o -q -s -w -x -F -E -l -h -H"),
        dict.fromkeys("-m -A -B -C".split(), ""),
    ),
    "rm": _files(
        "rm -r -- /var/cache/{{labels.app | name}}", "-r -R -f -d -v -I --one-file-system"
    ),
    "rmdir": _files("rmdir -- '{{labels.path | path below /var/cache}}'", "-p -v"),
    "truncate": _files("truncate -s 0 -- /var/log/{{labels.app | name}}.log", "-c", "-s --size"),
    "ls": _files(
        "ls -l -- '{{labels.path | path below /var}}'", "-a -A -d -h -l -r -R -s -S -t -1"
    ),
    "du": _files("du -sh -- '{{labels.path | path below /var}}'", "-a -c -h -k -m -s -x", "-d"),
    "df": _files("df -h -- '{{labels.mountpoint | path below /srv}}'", "-a -h -i -k -l -P -T"),
    "stat": _files("stat -- '{{labels.path | path below /var}}'", "-f -L -t", "-c"),
    "tail": _files("tail -n 50 -- /var/log/{{labels.app | name}}.log", "-q", "-n -c"),
    "head": _files("head -n 50 -- /var/log/{{labels.app | name}}.log", "-q", "-n -c"),
    "cat": _files("cat -- /var/log/{{labels.app | name}}.log", "-n -A"),
    "wc": _files("wc -l -- /var/log/{{labels.app | name}}.log", "-l -w -c -m"),
}

# Programs that may read from a pipe what a program before them writes about an alert.
FILTERS: Dict[str, Program] = {
    "cat": Program("cat", [()], _words("-n -A")),
    "grep": PROGRAMS["grep"],
    "head": Program("head -n 5", [()], frozenset(), {"-n": "", "-c": ""}),
    "tail": Program("tail -n 5", [()], frozenset(), {"-n": "", "-c": ""}),
    "wc": Program("wc -l", [()], _words("-l -w -c -m")),
    "sort": Program("sort -n", [()], _words("-n -r -u -h -f -V"), {"-k": "", "-t": ""}),
    "uniq": Program("uniq -c", [()], _words("-c -d -u -i")),
    "cut": Program("cut -d: -f1", [()], frozenset(), dict.fromkeys("-d -f -c -b".split(), "")),
    "tr": Program("tr a-z A-Z", [(ANY, ...)], _words("-d -s -c")),
    "logger": PROGRAMS["logger"],
}

WRAPPERS: Dict[str, Program] = {
    "sudo": Program("sudo", [], _words("-n -E -H --"), dict.fromkeys("-u -g".split(), "")),
    "doas": Program("doas", [], _words("-n --"), {"-u": ""}),
    "nice": Program("nice", [], _words("--"), {"-n": ""}),
    "ionice": Program("ionice", [], _words("-t --"), {"-c": "", "-n": ""}),
    "nohup": Program("nohup", [], _words("--")),
    "timeout": Program("timeout", [], _words("--"), {"-k": "", "-s": ""}),
}
FOLDERS = _words("/bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin")

KEYWORDS = _words(
    "! { } [[ ]] if then else elif fi for while until do done case esac in select function time "
    "coproc"
)
SHELL_BUILTINS = _words(
    ". source alias bind builtin command compgen declare enable eval exec export fc getopts hash "
    "let local mapfile popd pushd read readarray readonly set shift shopt trap typeset unalias "
    "unset"
)
_WHY = {
    "reads its arguments as a program": "sh bash dash ash zsh ksh csh tcsh fish busybox python "
    "python2 python3 perl ruby php lua node awk gawk mawk sed jq bc dc psql mysql mariadb sqlite3 "
    "mongo mongosh redis-cli eval trap expr",
    "runs its arguments as a program": "systemd-run flock script tar find xargs env watch parallel "
    "setsid stdbuf chroot nsenter unshare strace ltrace gdb at batch su runuser ssh scp sftp rsync "
    "expect screen tmux ansible salt exec command builtin rsh socat time crontab make git vim vi "
    "ed less more man zip",
    "takes the names of variables, which the shell evaluates": "read unset local export declare "
    "typeset readonly let getopts mapfile readarray test [",
    "reads the file that the value names": "source .",
}
REASONS = {name: reason for reason, names in reversed(_WHY.items()) for name in names.split()}
