from poundcake.st2.action import PackAction
from poundcake.workloads import remedies


class DeletePod(PackAction):
    def run(self, namespace, pod, min_ready_percent):
        return self.answer(remedies.delete_pod, self.settings, namespace, pod, min_ready_percent)
