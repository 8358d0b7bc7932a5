import json

from poundcake.inert import inert
from st2common.runners.base_action import Action


class LogAlert(Action):
    def run(self, alertname, request_id, severity, labels):
        entry = {
            "event": "alert",
            "request_id": request_id,
            "alertname": alertname,
            "severity": severity,
            "labels": labels,
        }
        self.logger.info("%s", json.dumps(entry, sort_keys=True))
        return inert(entry)
