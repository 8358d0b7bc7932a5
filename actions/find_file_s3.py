from poundcake.flight_recorder import s3
from poundcake.st2.action import PackAction


class FindFileS3(PackAction):
    def run(self, key):
        return self.answer(s3.find, self.settings, key)
