"""The status page: what an operator sees at a glance. It only shows, and says how to act.

It is rendered here, whole, and works without its script; the script fetches it again every five
seconds and puts what has changed in its place. Text of alerts is data: the template escapes every
value, and the page's own policy lets nothing run but that one script.
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
PATIENCE_SECONDS = 3
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
_LEVERS = (
    ("Stop everything", 'st2 run poundcake.pause reason="WHY"'),
    ("Stop one alertname", 'st2 run poundcake.pause alertname=ALERTNAME reason="WHY"'),
    ("Go on", "st2 run poundcake.resume"),
    (
        "Maintenance",
        'st2 run poundcake.start_maintenance matchers=\'host=~"db.*"\' duration=2h reason="WHY"',
    ),
)


class StatusPage:
    """A page of listener.Listener.

    :param settings: settings.Settings.
    :param snapshot: callable that gives an core.snapshot.Snapshot.
    :param health: callable that gives ``{part: {"ok": bool, "detail": text}}``.
    """

    def __init__(self, settings, snapshot, health):
        self._settings = settings
        self._snapshot = snapshot
        # When StackStorm hangs, this page must not.
        self._health = TimeLimited(health, PATIENCE_SECONDS, _hangs)
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
        """Answer a GET. The query: ``state``, ``alertname``, ``severity``, ``page``."""
        snapshot = self._snapshot()
        wanted = {name: query.get(name, "").strip() for name in ("state", "alertname", "severity")}
        try:
            number = _number(query.get("page", "1"))
            chosen, notice = overview.choose(snapshot.alerts, **wanted), ""
        except ExpectedError as error:
            wanted = dict.fromkeys(wanted, "")
            chosen, number, notice = overview.choose(snapshot.alerts), 1, str(error)
        values = self._values(snapshot, wanted, chosen, number)
        text = self._template.render(values, notice=notice)
        return (400 if notice else 200), text.encode("utf-8", "replace"), self._headers

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
            "levers": _LEVERS,
            "workflows": overview.workflows(snapshot.alerts),
            "requests": snapshot.recent.requests()[:MOST_REQUESTS],
        }

    def _verdict(self, snapshot, counts, health):
        """Return in a line whether somebody is needed, and below it why."""
        faults = [
            _reason("%s is not well: %s" % (name, _clip(part["detail"], 300)), "#health")
            for name, part in sorted(health.items())
            if not part["ok"]
        ]
        acts = [_counted(state, counts) for state in overview.NEEDS_A_PERSON if counts.get(state)]
        looks = [_counted(state, counts) for state in overview.NEEDS_A_LOOK if counts.get(state)]
        held = self._held(snapshot)
        for kind in dict.fromkeys(item["kind"] for item in held):
            names = [_clip(item["name"], 60) for item in held if item["kind"] == kind]
            looks.append(_reason("%s: %s" % (kind, _some(names)), "#held"))
        going = _reason(_going(snapshot, counts), "")
        number = sum(counts.get(state, 0) for state in overview.NEEDS_A_PERSON)
        titles = ["PoundCake is not well"] if faults else []
        titles += ["%s a person" % _many(number, "alert needs", "alerts need")] if acts else []
        if titles:
            tone, title = ACT, "; ".join(titles)
        elif looks:
            tone, title = LOOK, "Nothing urgent; worth a look"
        else:
            tone, title = GOOD, "Nothing needs you"
        why = faults + acts + looks + [going]
        return {"tone": tone, "symbol": _SYMBOLS[tone], "title": title, "why": why}

    def _held(self, snapshot):
        """Return everything that holds remediations back, and the command that ends it."""
        dry = [EVERYTHING] if self._settings.admission.dry_run else []
        dry += self._settings.admission.dry_run_alertnames
        text = "it is decided and tracked, nothing is dispatched (config)"
        found = [_item("dry run", name, ": " + text) for name in dry]
        known = snapshot.controls
        for key, error in known.unreadable.items() if known else ():
            found.append(_item("not understood", key, ": " + controls.unreadable_text(key, error)))
        for name, row in sorted(known.pauses.items()) if known else ():
            text = ", by %s since %s: %s" % (row["by"], _moment(row["at"]), row["reason"])
            found.append(_item("paused", name or EVERYTHING, text, controls.resume_command(name)))
        for row in snapshot.windows:
            text = ", by %s until %s: %s" % (row["by"], _moment(row["ends_at"]), row["reason"])
            command = controls.end_command(row["id"])
            found.append(_item("maintenance", ", ".join(row["matchers"]), text, command))
        for name, breaker in sorted(snapshot.breakers.items()):
            ends = breaker.opened_at + self._settings.admission.breaker_seconds
            text = ", after %s in a row; one remediation is tried " % _many(
                breaker.failures, "failure", "failures"
            )
            text += "at " + _moment(clock.to_text(ends)) if snapshot.now < ends else "next"
            found.append(_item("breaker open", name, text))
        return found

    def _alert(self, snapshot, row):
        history = [item for item in row["history"] if item["starts_at"] == row["starts_at"]]
        attempts = row["attempts"][-MOST_ATTEMPTS:][::-1]
        requests = row["request_ids"][-1:]
        return {
            "row": row,
            "key": hashlib.sha256(row["fingerprint"].encode("utf-8", "surrogatepass")).hexdigest()[
                :16
            ],
            "timeline": history[-MOST_ENTRIES:],
            "attempts": [self._attempt(item) for item in attempts],
            "decisions": snapshot.recent.decisions(row["fingerprint"]),
            "request_command": "st2 run poundcake.get_request request_id=%s" % "".join(requests),
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
        return base and "%s/#/history/%s/general" % (base, quote(execution_id, safe=""))


def _hangs(seconds):
    return {"stackstorm": {"ok": False, "detail": "no answer for %d s" % seconds}}


def _headers(source):
    """Return the headers of the page; nothing may run or be loaded but what the template has."""
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        for text in re.search("<script>(.*?)</script>", source, re.S).groups()
        + re.search("<style>(.*?)</style>", source, re.S).groups()
    )
    policy = (
        "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", policy % (script, style)),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]


def _number(text):
    if not re.match(r"[1-9][0-9]{0,8}\Z", text):
        raise ExpectedError('page: "%s" is none; write a number from 1 on' % _clip(text, 100))
    return int(text)


def _counts(snapshot, counts, wanted):
    active = sum(1 for row in snapshot.alerts if overview.is_active(row))
    found = [("", "active", active, IDLE)]
    found += [(state, state, count, _tone(state)) for state, count in counts.items()]
    found.append((overview.ALL, overview.ALL, len(snapshot.alerts), IDLE))
    return [
        {"name": name, "title": title, "count": count, "tone": tone, "current": name == wanted}
        for name, title, count, tone in found
    ]


def _choices():
    found = [("", "active: not over")]
    found += [(state, state) for state in STATES + (overview.ALL,)]
    return [{"value": value, "title": title} for value, title in found]


def _shown(first, shown, total):
    if not total:
        return "0 alerts"
    text = "%d to %d of %s, those first that need a person, then the latest change"
    return text % (first + 1, first + shown, _many(total, "alert", "alerts"))


def _nothing(wanted, snapshot):
    if any(wanted.values()):
        return "No alert is like that. Clear the filter to see the others."
    if snapshot.alerts:
        return "No alert is active: all have resolved or are dismissed."
    return "No alert has come yet. Alertmanager posts them to /webhook."


def _counted(state, counts):
    said = {
        AWAITING_APPROVAL: "each row has the command that answers",
        EXHAUSTED: "no attempt is left",
        FAILED: "the last attempt failed; the next notification may bring another",
        UNMATCHED: "no rule took it",
    }
    text = "%s %s" % (_many(counts[state], "alert is", "alerts are"), state.replace("_", " "))
    return _reason(": ".join(filter(None, (text, said.get(state, "")))), "?state=" + state)


def _reason(text, href):
    return {"text": text, "href": href}


def _going(snapshot, counts):
    text = "%s in flight, %d pending" % (
        _many(snapshot.running, "remediation", "remediations"),
        counts[PENDING],
    )
    if snapshot.undecided:
        text += ", %s undecided" % _many(snapshot.undecided, "notification", "notifications")
    return text


def _many(number, one, more):
    return "%d %s" % (number, one if number == 1 else more)


def _some(names):
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (" and %d more" % rest if rest > 0 else "")


def _item(kind, name, text, command=""):
    return {"kind": kind, "name": name, "text": name + text, "command": _safe(command)}


def _key(fingerprint):
    """Return what of a fingerprint, which is text from outside, is fit for an id in a page."""
    return hashlib.sha256(fingerprint.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _commands(row):
    """Return ``(what it does, the command)`` for an alert, "" where it cannot be written."""
    name = "fingerprint=" + shlex.quote(row["fingerprint"])
    found = [("See all of it", "st2 run poundcake.get_alert " + name)]
    if row["state"] != RESOLVED:
        for attempt in open_attempts(row):
            for inquiry in open_inquiries(attempt):
                found.append(("Answer", "st2 inquiry respond " + inquiry["inquiry_id"]))
        because = name + ' reason="WHY"'
        silenced = "alertname=" + shlex.quote(row["alertname"]) + ' reason="WHY"'
        found += [
            ("One attempt more", "st2 run poundcake.retry_alert " + because),
            ("I take it over", "st2 run poundcake.acknowledge_alert " + because),
            ("Out of the list", "st2 run poundcake.dismiss_alert " + because),
            ("Stop this alertname", "st2 run poundcake.pause " + silenced),
        ]
    return [(title, _safe(text)) for title, text in found]


def _safe(command):
    """Return a command that may be copied into a terminal, "" when it cannot be.

    StackStorm evaluates expressions in parameters, and a terminal obeys control characters.
    """
    return inert_text(command) if command.isprintable() else ""


def _url(wanted, number):
    given = [item for item in wanted.items() if item[1]] + [("page", number)]
    return "?" + urlencode(given, errors="replace")


def _tone(state):
    return _TONES.get(state, BUSY)


def _clip(text, most=CLIP):
    text = str(text or "")
    if len(text) <= most:
        return text
    return "%s… (%d characters in all)" % (text[:most], len(text))


def _moment(text):
    """Return an RFC 3339 time as a person reads it."""
    return text[:19].replace("T", " ")


@jinja2.pass_context
def _moment_filter(context, text):
    same_day = text[:10] == context["now"][:10]
    return text[11:19] if same_day else "%s %s" % (text[5:10], text[11:16])


@jinja2.pass_context
def _ago(context, text):
    seconds = max(0, int(clock.to_seconds(context["now"]) - clock.to_seconds(text)))
    for size, unit, most in ((1, "s", 60), (60, "min", 120), (3600, "h", 48)):
        if seconds < size * most:
            return "%d %s" % (seconds // size, unit)
    return "%d d" % (seconds // 86400)


def _seconds(value):
    return "–" if value is None else "%.1f" % value


def _percent(rate):
    # Rounded down: 99.96 % is not all.
    return "–" if rate is None else "%g %%" % (int(rate * 1000) / 10.0)


def _tally(counts):
    rest = ["%d %s" % (counts[name], name) for name in sorted(counts) if name != "alerts"]
    text = _many(counts["alerts"], "alert", "alerts")
    return "%s: %s" % (text, ", ".join(rest)) if rest else text


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
