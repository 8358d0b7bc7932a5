"""What a python action gets, and the ways it can end."""

import os

from demo_lib import shout
from st2common.runners.base_action import Action


class ContextAction(Action):
    """Ends as `mode` says."""

    def run(self, text, mode, password=None):
        """A result, a (status, result), or an exception."""
        print("on stdout")
        self.logger.info("on stderr")
        if mode == "raise":
            raise RuntimeError("as asked")
        if mode == "fail":
            return False, {"why": "as asked"}
        if mode == "status":
            return "yes", 1
        if mode == "object":
            return object()
        if mode == "big":
            return True, "x" * 1_000_000
        client = self.action_service.datastore_service.get_api_client()
        self.action_service.set_value("seen", text)
        return {
            "text": shout(text),
            "greeting": self.config["greeting"],
            "token": self.config.get("token"),
            "count": self.config["limits"]["count"],
            "user": client.get_user_info()["username"],
            "execution": os.environ["ST2_ACTION_EXECUTION_ID"],
            "pack": os.environ["ST2_ACTION_PACK_NAME"],
        }
