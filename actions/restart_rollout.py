from poundcake.st2.action import PackAction
from poundcake.workloads import remedies


class RestartRollout(PackAction):
    def run(self, namespace, workload, kind, min_ready_percent):
        return self.answer(
            remedies.restart, self.settings, namespace, workload, kind, min_ready_percent
        )
