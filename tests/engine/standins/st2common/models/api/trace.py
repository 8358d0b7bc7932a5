"""Trace context: what ties a dispatch to a trace."""


class TraceContext:
    """The id of an existing trace, or a tag for a new one."""

    def __init__(self, id_=None, trace_tag=None):
        self.id_ = id_
        self.trace_tag = trace_tag

    def __str__(self):
        return f"{{id_: {self.id_}, trace_tag: {self.trace_tag}}}"
