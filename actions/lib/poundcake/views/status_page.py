"""The status page: what an operator sees at a glance. It is read-only, and shows how to act.

The whole page is rendered here and works without its script. The script fetches the page again
every five seconds and replaces what has changed. Text of alerts is data: the template escapes every
value, and the page's content security policy allows no script but that one.
"""

import base64
import hashlib
import os
import re
import shlex
from urllib.parse import quote, urlencode

import jinja2

from poundcake import clock
from poundcake.core import controls
from poundcake.core.alert import (
    AWAITING_APPROVAL,
    EXHAUSTED,
    FAILED,
    PENDING,
    REMEDIATED,
    RESOLVED,
    STATES,
    SUPPRESSED,
    UNMATCHED,
    open_attempts,
    open_inquiries,
)
from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.views import overview
from poundcake.views.time_limited import TimeLimited

PATH = re.compile("/")
HEALTH_TIMEOUT_SECONDS = 3
ROWS = 50
MOST_REQUESTS = 15
MOST_ENTRIES = 30  # of a timeline
MOST_ATTEMPTS = 10
MOST_LABELS = 60
MOST_NAMES = 200
MOST_NAMED = 3  # of a kind, at the top
EVERYTHING = "everything"
CLIP = 1000

ACT, LOOK, BUSY, GOOD, IDLE = "act", "look", "busy", "good", "idle"
_SYMBOLS = {ACT: "▲", LOOK: "◆", BUSY: "●", GOOD: "✓", IDLE: "–"}
_TONES = dict(
    {state: ACT for state in overview.NEEDS_A_PERSON},
    **{state: LOOK for state in overview.NEEDS_A_LOOK},
)
_TONES.update({REMEDIATED: GOOD, RESOLVED: GOOD, SUPPRESSED: IDLE})
_CONTROLS = (
    ("Pause everything", 'st2 run poundcake.pause reason="WHY"'),
    ("Pause one alertname", 'st2 run poundcake.pause alertname=ALERTNAME reason="WHY"'),
    ("Resume", "st2 run poundcake.resume"),
    (
        "Start maintenance",
        'st2 run poundcake.start_maintenance matchers=\'host=~"db.*"\' duration=2h reason="WHY"',
    ),
)


class StatusPage:
    """A page of listener.Listener.

    :param settings: settings.Settings.
    :param snapshot: callable that gives a core.snapshot.Snapshot.
    :param health: callable that gives ``{part: {"ok": bool, "detail": text}}``.
    """

    def __init__(self, settings, snapshot, health):
        self._settings = settings
        self._snapshot = snapshot
        # This page must not hang when StackStorm does.
        self._health = TimeLimited(health, HEALTH_TIMEOUT_SECONDS, _health_timed_out)
        folder = os.path.dirname(os.path.abspath(__file__))
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(_FILTERS)
        self._template = environment.get_template("status_page.html.j2")
        self._headers = _headers(environment.loader.get_source(environment, self._template.name)[0])

    def __call__(self, match, query):
        """Answer a GET. The query may have ``state``, ``alertname``, ``severity`` and ``page``."""
        snapshot = self._snapshot()
        wanted = {name: query.get(name, "").strip() for name in ("state", "alertname", "severity")}
        try:
            number = _page_number(query.get("page", "1"))
            chosen, notice = overview.choose(snapshot.alerts, **wanted), ""
        except ExpectedError as error:
            wanted = dict.fromkeys(wanted, "")
            chosen, number, notice = overview.choose(snapshot.alerts), 1, str(error)
        values = self._values(snapshot, wanted, chosen, number)
        html = self._template.render(values, notice=notice)
        return (400 if notice else 200), html.encode("utf-8", "replace"), self._headers

    def _values(self, snapshot, wanted, chosen, number):
        pages = max(1, -(-len(chosen) // ROWS))
        number = min(number, pages)
        first = (number - 1) * ROWS
        shown = chosen[first : first + ROWS]
        counts = overview.by_state(snapshot.alerts)
        health = self._health()
        return {
            "now": clock.to_text(snapshot.now),
            "verdict": self._verdict(snapshot, counts, health),
            "counts": _counts(snapshot, counts, wanted["state"]),
            "choices": _choices(),
            "wanted": wanted,
            "alertnames": sorted({row["alertname"] for row in snapshot.alerts})[:MOST_NAMES],
            "severities": overview.severities(snapshot.alerts),
            "alerts": [self._alert(snapshot, row) for row in shown],
            "shown": _shown(first, len(shown), len(chosen)),
            "nothing": _nothing(wanted, snapshot),
            "page": number,
            "pages": pages,
            "earlier": _url(wanted, number - 1) if number > 1 else "",
            "later": _url(wanted, number + 1) if number < pages else "",
            "health": [dict(health[name], name=name) for name in sorted(health)],
            "held": self._held(snapshot),
            "controls": _CONTROLS,
            "workflows": overview.workflows(snapshot.alerts),
            "requests": snapshot.recent.requests()[:MOST_REQUESTS],
        }

    def _verdict(self, snapshot, counts, health):
        """Return a title that says whether anyone must act, and the reasons below it."""
        faults = [
            _reason(f"{name} is failing: {_clip(part['detail'], 300)}", "#health")
            for name, part in sorted(health.items())
            if not part["ok"]
        ]
        acts = [_counted(state, counts) for state in overview.NEEDS_A_PERSON if counts.get(state)]
        looks = [_counted(state, counts) for state in overview.NEEDS_A_LOOK if counts.get(state)]
        held = self._held(snapshot)
        for kind in dict.fromkeys(item["kind"] for item in held):
            names = [_clip(item["name"], 60) for item in held if item["kind"] == kind]
            looks.append(_reason(f"{kind}: {_some(names)}", "#held"))
        work = _reason(_work_in_progress(snapshot, counts), "")
        number = sum(counts.get(state, 0) for state in overview.NEEDS_A_PERSON)
        titles = ["PoundCake is failing"] if faults else []
        titles += [f"{_many(number, 'alert needs', 'alerts need')} a person"] if acts else []
        if titles:
            tone, title = ACT, "; ".join(titles)
        elif looks:
            tone, title = LOOK, "Nothing urgent; worth a look"
        else:
            tone, title = GOOD, "Nothing needs you"
        why = faults + acts + looks + [work]
        return {"tone": tone, "symbol": _SYMBOLS[tone], "title": title, "why": why}

    def _held(self, snapshot):
        """Return everything that holds remediations back, each with the command that ends it."""
        dry = [EVERYTHING] if self._settings.admission.dry_run else []
        dry += self._settings.admission.dry_run_alertnames
        effect = ": decided and tracked, but not dispatched (set in the config)"
        held = [_item("dry run", name, effect) for name in dry]
        known = snapshot.controls
        for key, error in known.unreadable.items() if known else ():
            held.append(_item("unreadable", key, ": " + controls.unreadable_text(key, error)))
        for name, row in sorted(known.pauses.items()) if known else ():
            detail = f", by {row['by']} since {_moment(row['at'])}: {row['reason']}"
            held.append(_item("paused", name or EVERYTHING, detail, controls.resume_command(name)))
        for row in snapshot.windows:
            detail = f", by {row['by']} until {_moment(row['ends_at'])}: {row['reason']}"
            command = controls.end_command(row["id"])
            held.append(_item("maintenance", ", ".join(row["matchers"]), detail, command))
        for name, breaker in sorted(snapshot.breakers.items()):
            ends = breaker.opened_at + self._settings.admission.breaker_seconds
            failures = _many(breaker.failures, "failure", "failures")
            trial = "at " + _moment(clock.to_text(ends)) if snapshot.now < ends else "next"
            detail = f", after {failures} in a row; one remediation is tried {trial}"
            held.append(_item("breaker open", name, detail))
        return held

    def _alert(self, snapshot, row):
        history = [item for item in row["history"] if item["episode"] == row["episode"]]
        attempts = row["attempts"][-MOST_ATTEMPTS:][::-1]
        requests = row["request_ids"][-1:]
        return {
            "row": row,
            "key": _key(row["fingerprint"]),
            "timeline": history[-MOST_ENTRIES:],
            "attempts": [self._attempt(item) for item in attempts],
            "decisions": snapshot.recent.decisions(row["fingerprint"]),
            "request_command": "st2 run poundcake.get_request request_id=" + "".join(requests),
            "labels": sorted(row["labels"].items())[:MOST_LABELS],
            "annotations": sorted(row["annotations"].items())[:MOST_LABELS],
            "commands": _commands(row),
        }

    def _attempt(self, attempt):
        executions = [
            dict(
                item,
                id=item["execution_id"],
                url=self._web_url(item["execution_id"]),
                elapsed=clock.elapsed(item["started_at"], item["ended_at"]),
            )
            for item in attempt["executions"]
        ]
        return dict(attempt, executions=executions)

    def _web_url(self, execution_id):
        base = self._settings.listener.st2_web_url.rstrip("/")
        return base and f"{base}/#/history/{quote(execution_id, safe='')}/general"


def _health_timed_out(seconds):
    return {"stackstorm": {"ok": False, "detail": f"no answer for {int(seconds)} s"}}


def _headers(source):
    """Return the headers of the page: only the template's own script and style may be used."""
    script, style = (
        base64.b64encode(hashlib.sha256(block.encode("utf-8")).digest()).decode("ascii")
        for block in re.search("<script>(.*?)</script>", source, re.S).groups()
        + re.search("<style>(.*?)</style>", source, re.S).groups()
    )
    policy = (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
        "img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]


def _page_number(value):
    if not re.match(r"[1-9][0-9]{0,8}\Z", value):
        raise ExpectedError("page", f'"{_clip(value, 100)}" given', "a number from 1")
    return int(value)


def _counts(snapshot, counts, wanted):
    active = sum(1 for row in snapshot.alerts if overview.is_active(row))
    entries = [("", "active", active, IDLE)]
    entries += [(state, state, count, _tone(state)) for state, count in counts.items()]
    entries.append((overview.ALL, overview.ALL, len(snapshot.alerts), IDLE))
    return [
        {"name": name, "title": title, "count": count, "tone": tone, "current": name == wanted}
        for name, title, count, tone in entries
    ]


def _choices():
    choices = [("", "active")] + [(state, state) for state in STATES + (overview.ALL,)]
    return [{"value": value, "title": title} for value, title in choices]


def _shown(first, shown, total):
    if not total:
        return "0 alerts"
    alerts = _many(total, "alert", "alerts")
    part = f"{first + 1}-{first + shown} of {alerts}" if shown < total else alerts
    return part + ", most urgent first"


def _nothing(wanted, snapshot):
    if any(wanted.values()):
        return "No alerts match. Clear the filter to see the others."
    if snapshot.alerts:
        return "No active alerts: all are resolved or dismissed."
    return "No alerts yet. Alertmanager sends them to /webhook."


def _counted(state, counts):
    explanations = {
        AWAITING_APPROVAL: "open a row for the command to answer",
        EXHAUSTED: "no attempts left",
        FAILED: "the last attempt failed; the next notification may start another",
        UNMATCHED: "no rule matched",
    }
    count = _many(counts[state], "alert is", "alerts are") + " " + state.replace("_", " ")
    explanation = explanations.get(state, "")
    return _reason(": ".join(filter(None, (count, explanation))), "?state=" + state)


def _reason(text, href):
    return {"text": text, "href": href}


def _work_in_progress(snapshot, counts):
    running = _many(snapshot.running, "remediation", "remediations")
    parts = [f"{running} in flight", f"{counts[PENDING]} pending"]
    if snapshot.undecided:
        undecided = _many(snapshot.undecided, "notification", "notifications")
        parts.append(f"{undecided} undecided")
    return ", ".join(parts)


def _many(number, one, more):
    return f"{number} {one if number == 1 else more}"


def _some(names):
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _item(kind, name, detail, command=""):
    return {"kind": kind, "name": name, "text": name + detail, "command": _safe(command)}


def _key(fingerprint):
    """Return a form of a fingerprint, which is text from outside, that can be an id in a page."""
    return hashlib.sha256(fingerprint.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _commands(row):
    """Return ``(title, command)`` for an alert; the command is "" when it cannot be typed."""
    name = "fingerprint=" + shlex.quote(row["fingerprint"])
    commands = [("Show details", "st2 run poundcake.get_alert " + name)]
    if row["state"] != RESOLVED:
        for attempt in open_attempts(row):
            for inquiry in open_inquiries(attempt):
                commands.append(
                    ("Answer the question", "st2 inquiry respond " + inquiry["inquiry_id"])
                )
        because = name + ' reason="WHY"'
        alertname = "alertname=" + shlex.quote(row["alertname"]) + ' reason="WHY"'
        commands += [
            ("Retry now", "st2 run poundcake.retry_alert " + because),
            ("Take over, no more attempts", "st2 run poundcake.acknowledge_alert " + because),
            ("Dismiss from the list", "st2 run poundcake.dismiss_alert " + because),
            ("Pause this alertname", "st2 run poundcake.pause " + alertname),
        ]
    return [(title, _safe(command)) for title, command in commands]


def _safe(command):
    """Return a command that is safe to copy into a terminal, "" when it cannot be made so.

    StackStorm evaluates expressions in parameters, and terminals act on control characters.
    """
    return inert_text(command) if command.isprintable() else ""


def _url(wanted, number):
    parameters = [item for item in wanted.items() if item[1]] + [("page", number)]
    return "?" + urlencode(parameters, errors="replace")


def _tone(state):
    return _TONES.get(state, BUSY)


def _clip(value, most=CLIP):
    value = str(value or "")
    if len(value) <= most:
        return value
    return f"{value[:most]}… ({len(value)} characters in all)"


def _moment(time):
    """Return an RFC 3339 time in a form for people."""
    return time[:19].replace("T", " ")


@jinja2.pass_context
def _moment_filter(context, time):
    same_day = time[:10] == context["now"][:10]
    return time[11:19] if same_day else f"{time[5:10]} {time[11:16]}"


@jinja2.pass_context
def _ago(context, time):
    seconds = max(0, int(clock.to_seconds(context["now"]) - clock.to_seconds(time)))
    for size, unit, most in ((1, "s", 60), (60, "min", 120), (3600, "h", 48)):
        if seconds < size * most:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"


def _seconds(value):
    return "–" if value is None else f"{value:.1f}"


def _percent(rate):
    # Rounded down: 99.96 % must not read as 100 %.
    return "–" if rate is None else f"{int(rate * 1000) / 10.0:g} %"


def _tally(counts):
    decisions = [f"{counts[name]} {name}" for name in sorted(counts) if name != "alerts"]
    alerts = _many(counts["alerts"], "alert", "alerts")
    return f"{alerts}: {', '.join(decisions)}" if decisions else alerts


_FILTERS = {
    "tone": _tone,
    "symbol": lambda state: _SYMBOLS[_tone(state)],
    "moment": _moment_filter,
    "ago": _ago,
    "clip": _clip,
    "seconds": _seconds,
    "percent": _percent,
    "tally": _tally,
}
