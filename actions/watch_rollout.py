from poundcake.st2.action import PackAction
from poundcake.workloads import remedies


class WatchRollout(PackAction):
    def run(self, namespace, workload, kind, settle_seconds, timeout_seconds):
        return self.answer(
            remedies.wait,
            self.settings,
            namespace,
            workload,
            kind,
            settle_seconds,
            timeout_seconds,
        )
