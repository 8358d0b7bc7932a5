"""packs.load: have the engine clone and register packs."""

import os

import requests
from st2common.runners.base_action import Action


class LoadAction(Action):
    """Returns the refs of the packs."""

    def run(self, packs):
        """(False, reason) when one cannot be cloned or registered."""
        answer = requests.post(
            os.environ["ST2_ACTION_API_URL"] + "/engine/install",
            json={"packs": packs},
            headers={"X-Auth-Token": os.environ["ST2_ACTION_AUTH_TOKEN"]},
            timeout=300,
        )
        if answer.status_code != 200:
            return False, answer.json()["faultstring"]
        return True, answer.json()["packs"]
