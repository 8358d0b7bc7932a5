from poundcake.flight_recorder import s3
from poundcake.st2.action import PackAction


class UploadFileS3(PackAction):
    def run(self, path, key, remove):
        return self.answer(s3.upload, self.settings, path, key, remove)
