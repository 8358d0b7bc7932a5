"""Whatever stands in the datastore, the sensor and ``track`` go on with what can be used."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake.st2 import rows
from poundcake.views import overview, queries
from poundcake.views.status_page import StatusPage

from tests.support.alerts import alert
from tests.support.busy_store import (
    BUSY,
    KINDS,
    NEW,
    answers,
    aside,
    goes_on,
    new_pack,
    started_with,
)
from tests.support.fakes import JSON_VALUES, PROPERTY

# Each example is the life of a sensor.
FEW = settings(parent=PROPERTY, max_examples=PROPERTY.max_examples // 4)


@st.composite
def changed_rows(draw):
    """Draw ``(key, text)``: a row of the busy store in which something is changed or missing."""
    key = draw(st.sampled_from(sorted(k for k in BUSY.stackstorm.keys if k.startswith(KINDS))))
    row = json.loads(BUSY.stackstorm.keys[key])
    place, names = row, sorted(row)
    while True:
        name = draw(st.sampled_from(names))
        inner = place[name]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.integers(0, 4)) == 0:
            break
        place, names = inner, sorted(inner) if isinstance(inner, dict) else range(len(inner))
    if draw(st.booleans()):
        del place[name]
    else:
        place[name] = draw(JSON_VALUES)
    return key, rows.dump(row)


@FEW
@given(
    st.lists(
        st.one_of(
            changed_rows(),
            st.sampled_from(KINDS).flatmap(
                lambda kind: st.tuples(
                    st.just(kind + "x"), st.one_of(st.text(), JSON_VALUES.map(rows.dump))
                )
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_stands_in_rows_the_sensor_and_track_go_on(changes):
    """A row with something changed in it is used or set aside; the others never notice."""
    pack = started_with(lambda store: store.update(changes))
    goes_on(pack)
    page = StatusPage(pack.settings, pack.controller.snapshot, pack.controller.health)
    assert page(None, {"state": "all"})[0] == 200
    assert answers(pack) and pack.metrics.text()
    for row in pack.controller.snapshot().alerts:
        assert overview.by_state([row])
        queries.get_alert(pack.stackstorm, row["fingerprint"])
    pack.start()
    goes_on(pack, NEW + 1)


def test_a_control_that_cannot_be_read_is_set_aside_and_holds_nothing_else():
    """A pause stays one, because its key says so; alerts of other names go on."""
    pack = new_pack()
    odd = {rows.CONTROL + "odd": "?", rows.CONTROL + "pause-Later": "{"}
    pack.stackstorm.keys.update(odd)
    goes_on(pack)
    assert set(aside(pack)) == set(odd)
    pack.post(alert(1, alertname="Later"))
    pack.steps(3)
    (row,) = [row for row in pack.alerts() if row["alertname"] == "Later"]
    assert "set aside; the pause stays" in row["reason"]
    pack.resume("Later")
    pack.steps(3)
    assert "Later" in [sent["alertname"] for sent in pack.stackstorm.dispatched()]
