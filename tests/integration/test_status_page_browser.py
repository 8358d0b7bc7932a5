"""The status page in a real browser: safe, fresh, and readable by anyone on any screen."""

import contextlib
import logging
import os
import threading
from urllib.parse import urlsplit

import pytest
import waitress
from poundcake.sensor.listener import Listener
from poundcake.views import status_page
from poundcake.views.status_page import StatusPage

from tests.support import browser as chromium
from tests.support.alerts import alert
from tests.support.pack import Pack
from tests.support.ports import free_port

LOG = logging.getLogger("poundcake.test_status_page_browser")
PASSWORD = "passw0rd"
ATTACK = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\" onx=\"'"
LONG = "long-" * 60
# What a screen reader navigates by: every landmark, by role and name.
LANDMARKS = {
    ("banner", ""),
    ("main", ""),
    ("contentinfo", ""),
    ("navigation", "Alerts by state"),
    ("search", "Filter the alerts"),
    ("region", "Alerts"),
    ("region", "Health"),
    ("region", "Held back"),
    ("region", "Workflows"),
    ("region", "Recent requests"),
}
# Contrast ratios of WCAG 2, of the colours as the browser paints them over each other.
CONTRASTS = """(() => {
  const ink = (text) => {
    const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
    return [r, g, b, a === undefined ? 1 : a];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const light = (colour) => colour.map(c => (c /= 255) <= .03928 ? c / 12.92
    : ((c + .055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(ink(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const below = ground(element), above = over(ink(style.color), below);
    const [high, low] = [light(below), light(above)].sort((a, b) => b - a);
    found.push({ratio: (high + .05) / (low + .05), needed: large ? 3 : 4.5,
                text: walker.currentNode.data.trim().slice(0, 40)});
  }
  return found;
})()"""

pytestmark = pytest.mark.skipif(
    not chromium.command() and not os.environ.get("CI"),
    reason="bash tests/demo/install_servers installs Chromium",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


class Site:
    """A Pack with a real listener while it is open."""

    def __init__(self, **config):
        config = dict({"token": "", "username": "ann", "password": PASSWORD}, **config)
        self.pack = Pack(**config)
        self.port = free_port()
        self.url = "http://127.0.0.1:%d/" % self.port
        self.parts = None  # replaces the health of the controller
        self._sockets = {}

    def __enter__(self):
        pack = self.pack
        page = StatusPage(pack.settings, pack.controller.snapshot, self._health)
        pages = [(status_page.PATH, page)]
        app = Listener(pack.settings, pack.stackstorm, pack.controller, LOG, pages)
        self._sockets = {}
        self._server = waitress.create_server(
            app, map=self._sockets, host="127.0.0.1", port=self.port, threads=4
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Close every socket: the browser keeps its connection and would get answers on it.
        for item in list(self._sockets.values()):
            item.close()
        self._server.task_dispatcher.shutdown()
        self._thread.join(10)

    def open(self, browser, query="", user="ann:%s@" % PASSWORD, **options):
        """The page in a tab; the browser answers the challenge, as it does for a person."""
        return browser.open(self.url.replace("//", "//" + user) + query, **options)

    def _run(self):
        with contextlib.suppress(OSError, ValueError):  # __exit__ closes its sockets
            self._server.run()

    def _health(self):
        return self.parts or self.pack.controller.health()


@pytest.fixture
def site():
    with Site() as found:
        yield found


@pytest.fixture(scope="module")
def busy():
    """A bit of everything: every tone, long values, an attack, pauses, a failing part."""
    with Site(max_attempts=1, max_concurrent=3, breaker_failures=2) as found:
        pack = found.pack
        pack.stackstorm.rule("mine.fix", matches=lambda p: p["alertname"] == "ServiceDown")
        for number in (1, 2):
            pack.post(alert(number))
            pack.step()
            pack.finish("failed", {"stderr": ATTACK + LONG})
            pack.steps(3)
        pack.post(
            alert(3, alertname=ATTACK, instance=LONG, severity=LONG, **{LONG.strip("-"): LONG})
        )
        pack.post(alert(4, alertname="DiskFull"), alert(5, alertname="Gone", severity=""))
        pack.steps(3)
        pack.post(alert(5, alertname="Gone", status="resolved"))
        pack.pause("Noisy", reason=LONG)
        pack.steps(2)
        pack.post(alert(6, alertname="Noisy"))
        pack.steps(2)
        found.parts = dict(
            pack.controller.health(), datastore={"ok": False, "detail": ATTACK + LONG}
        )
        yield found


def open_all(page):
    """Open every row and every list of commands."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def is_quiet(page, site):
    """The browser reported no problem and sent requests to this server alone."""
    assert page.complaints == []
    assert page.requests
    asked = {urlsplit(url) for url in page.requests if not url.startswith("data:")}
    assert {(url.scheme, url.hostname, url.port) for url in asked} == {
        ("http", "127.0.0.1", site.port)
    }


# --- safe -----------------------------------------------------------------------------------------


def test_text_of_an_alert_stays_text(browser, busy):
    """Its tags do not become elements, and nothing in it runs or loads."""
    page = busy.open(browser, "?state=all")
    open_all(page)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.images.length") == 0
    assert ATTACK in page.text("#alerts + form + div + ol")
    is_quiet(page, busy)


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.insertAdjacentHTML('beforeend',"
        " '<img src=x onerror=\"window.hacked = 1\">')",
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.hacked = 1'}))",
        "document.body.append(Object.assign(document.createElement('script'),"
        " {src: 'data:text/javascript,window.hacked = 1'}))",
        "location.href = 'javascript:window.hacked = 1'",
    ],
    ids=["handler", "inline", "source", "address"],
)
def test_markup_that_got_in_would_not_run(browser, site, attempt):
    """If the escaping failed, the content security policy would still hold."""
    page = site.open(browser)
    page.evaluate(attempt)
    page.wait(lambda: page.complaints, "the browser to refuse")
    assert "Content Security Policy" in page.complaints[0]
    assert page.evaluate("window.hacked") is None


def test_without_credentials_nothing_is_shown(browser, site):
    """The browser would ask a person for them; nobody answers here."""
    page = site.open(browser, user="")
    assert "status of 401" in page.complaints[0]
    assert "PoundCake" not in page.text()


# --- usable ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
def test_the_filter_is_a_plain_form(browser, site, script):
    """It works without the script, and its URL can be shared."""
    site.pack.post(alert(1), alert(2, alertname="DiskFull"))
    site.pack.steps(3)
    page = site.open(browser, script=script)
    page.click("input[name=alertname]")
    page.send("Input.insertText", text="disk")
    page.click("form button")
    page.wait(lambda: "alertname=disk" in page.evaluate("location.href"), "the filter")
    page.wait(lambda: page.evaluate("document.readyState") == "complete", "the page")
    names = "[...document.querySelectorAll('.alerts .name')].map(e => e.innerText)"
    assert page.evaluate(names) == ["DiskFull"]
    assert page.evaluate("document.querySelector('input[name=alertname]').value") == "disk"
    is_quiet(page, site)


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
def test_a_row_opens_by_mouse_and_by_keyboard(browser, site, script):
    """It opens with and without the script."""
    site.pack.post(alert(1))
    site.pack.steps(3)
    page = site.open(browser, script=script)
    opened = "document.querySelector('.alerts details').open"
    assert not page.evaluate(opened)
    page.click(".alerts summary")
    assert page.evaluate(opened) and "Timeline" in page.text(".alerts")
    page.evaluate("document.querySelector('.alerts summary').focus()")
    page.press("Enter", text="\r")
    assert not page.evaluate(opened)


def test_keyboard_users_see_where_they_are(browser, site):
    """And they can skip to the alerts."""
    page = site.open(browser)
    focus = "document.activeElement.matches(':focus-visible') && document.activeElement.innerText"
    page.press("Tab")
    assert page.evaluate(focus) == "Skip to the alerts"
    box = page.evaluate("document.activeElement.getBoundingClientRect().left")
    assert box >= 0
    for _ in range(3):
        page.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert page.evaluate(focus) and style == "solid"


# --- fresh ----------------------------------------------------------------------------------------


def test_changes_appear_while_open_rows_and_focus_stay(browser, site):
    """It refreshes every five seconds; a changed row stays open, too."""
    site.pack.stackstorm.rule("mine.fix", matches=lambda p: p["alertname"] == "ServiceDown")
    site.pack.post(alert(1))
    site.pack.step()
    page = site.open(browser)
    page.click(".alerts summary")
    focused = page.evaluate("document.activeElement.id")
    assert focused.startswith("s-")
    site.pack.finish("failed", {"stderr": "no luck"})
    site.pack.post(alert(2, alertname="DiskFull"))
    site.pack.steps(3)
    page.wait(lambda: "DiskFull" in page.text(".alerts"), "the second alert")
    assert page.evaluate("[...document.querySelectorAll('.alerts details')].map(d => d.open)") == [
        True,
        False,
    ]
    assert "no luck" in page.text(".alerts [open]")
    assert page.evaluate("document.activeElement.id") == focused
    assert "Nothing urgent" in page.evaluate("document.title")
    assert "Nothing urgent" in page.evaluate("document.getElementById('announcement').textContent")
    is_quiet(page, site)


def test_what_did_not_change_is_left_alone(browser, site):
    """A refresh does not interrupt a reader or a screen reader."""
    site.pack.post(alert(1, status="resolved"), alert(2, status="resolved"))
    site.pack.steps(3)
    page = site.open(browser, "?state=all")
    page.evaluate("document.querySelectorAll('.alerts li')[1].dataset.mine = 'yes'")
    page.evaluate("document.querySelector('table[data-part=health]').dataset.mine = 'yes'")
    asked = len(page.requests)
    page.wait(lambda: len(page.requests) >= asked + 2, "two refreshes")
    assert page.evaluate("document.querySelectorAll('[data-mine=yes]').length") == 2


def test_selected_text_stays_selected(browser, site):
    """The page does not refresh while somebody copies a command."""
    site.pack.post(alert(1))
    site.pack.steps(3)
    page = site.open(browser)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.name'))")
    site.pack.post(alert(2, alertname="DiskFull"))
    site.pack.steps(3)
    asked = len(page.requests)
    page.wait(lambda: len(page.requests) >= asked + 2, "two refreshes")
    assert page.evaluate("getSelection().toString()") == "ServiceDown"
    assert "DiskFull" not in page.text(".alerts")
    page.evaluate("getSelection().removeAllRanges()")
    page.wait(lambda: "DiskFull" in page.text(".alerts"), "the second alert")


def test_it_says_when_the_sensor_cannot_be_reached_and_when_it_can_again(browser):
    """The old content stays readable meanwhile."""
    site = Site()
    site.pack.post(alert(1))
    site.pack.steps(3)
    with site:
        page = site.open(browser)
    news = "document.getElementById('news').innerText"
    page.wait(lambda: "has been unreachable since" in page.evaluate(news), "the news")
    assert "ServiceDown" in page.text(".alerts")
    with site:
        page.wait(lambda: page.evaluate(news) == "The sensor can be reached again.", "the news")
        page.wait(lambda: page.evaluate(news) == "", "silence")


def test_a_hidden_tab_sends_no_requests_and_refreshes_when_shown(browser, site):
    """Many tabs stay open for days."""
    page = site.open(browser)
    browser.open("about:blank").send("Page.bringToFront")
    page.wait(lambda: page.evaluate("document.hidden"), "the tab to be hidden")
    asked = len(page.requests)
    page.evaluate("new Promise(done => setTimeout(done, 7000))")
    assert len(page.requests) == asked
    page.send("Page.bringToFront")
    page.wait(lambda: len(page.requests) > asked, "a refresh")


# --- for every reader -----------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?state=all", "?state=bad", "?state=pending"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(browser, busy, query, width):
    """Also on a phone, with everything open and values of any length."""
    page = busy.open(browser, query, width=width)
    open_all(page)
    assert page.evaluate("innerWidth") == width
    wide = (
        "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&"
        " !e.matches('.skip, .unseen, .unseen *') && e.getBoundingClientRect().right > innerWidth"
        " + .5).map(e => e.outerHTML.slice(0, 80))"
    )
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_text_can_be_read(browser, busy, dark, width):
    """The contrast meets WCAG 2 AA in both colour schemes."""
    page = busy.open(browser, "?state=all", dark=dark, width=width)
    open_all(page)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [item for item in found if item["ratio"] < item["needed"]] == []


def test_it_is_dark_for_readers_who_prefer_dark(browser, site):
    """And light for the others."""
    colour = "getComputedStyle(document.body).backgroundColor"
    light = site.open(browser).evaluate(colour)
    dark = site.open(browser, dark=True).evaluate(colour)
    assert (light, dark) == ("rgb(244, 245, 247)", "rgb(13, 17, 23)")


def test_screen_readers_can_navigate_it(browser, busy):
    """It has landmarks, ordered headings, and a name for every control."""
    page = busy.open(browser, "?state=all")
    open_all(page)
    tree = page.tree()
    assert LANDMARKS <= {(role, name) for role, name, _ in tree}
    levels = [more["level"] for role, _, more in tree if role == "heading"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    used = ("link", "button", "combobox", "textbox", "DisclosureTriangle", "table", "searchbox")
    there = {role for role, _, _ in tree}
    assert {"link", "button", "combobox", "DisclosureTriangle", "table"} <= there
    assert [role for role, name, _ in tree if role in used and not name.strip()] == []


def test_a_row_is_read_out_with_the_names_of_its_columns(browser, busy):
    """Sighted readers see the names in the head of the list only."""
    page = busy.open(browser, "?state=exhausted")
    (name,) = {n for role, n, _ in page.tree() if role == "DisclosureTriangle" and "web1" in n}
    for words in ("State", "exhausted", "severity critical", "ServiceDown", "web1", "since"):
        assert words in name


def test_tables_have_headers_for_columns_and_rows(browser, busy):
    """Every cell has a header in both directions."""
    page = busy.open(browser, "?state=all")
    open_all(page)
    headers = "[...document.querySelectorAll('th')].map(e => e.scope)"
    assert set(page.evaluate(headers)) == {"col", "row"}
    tables = page.evaluate(
        "[...document.querySelectorAll('table')].map(t => [!!t.caption, !!t.tHead, ...new Set("
        "[...t.tBodies[0].rows].map(r => r.cells.length === 1 || r.cells[0].tagName === 'TH'))])"
    )
    assert len(tables) >= 5 and {tuple(table) for table in tables} == {(True, True, True)}


def test_changes_are_announced_politely(browser, site):
    """An announcement does not interrupt a screen reader."""
    page = site.open(browser)
    assert page.evaluate(
        "[...document.querySelectorAll('[role=status]')].map(e => e.getAttribute('aria-live'))"
    ) == ["polite", "polite"]


def test_colour_is_never_the_only_sign(browser, busy):
    """Every badge has a word and the symbol of its tone, every count its state."""
    page = busy.open(browser, "?state=all")
    open_all(page)
    badges = page.evaluate(
        "[...document.querySelectorAll('.badge')]"
        ".map(e => [e.classList[1], ...e.innerText.split(' ')])"
    )
    signs = {}
    for tone, sign, *words in badges:
        assert words and all(words)
        signs.setdefault(tone, set()).add(sign)
    assert {"act", "look", "busy", "good"} <= set(signs)
    assert all(len(found) == 1 for found in signs.values())
    assert len(set.union(*signs.values())) == len(signs)
