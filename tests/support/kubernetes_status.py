"""The error of Kubernetes' API, as its Status object."""


class Refused(Exception):
    """What the API answers instead of an object."""

    def __init__(self, code, reason, message, **details):
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }
