from poundcake import settings
from poundcake.flight_recorder import s3
from poundcake.st2.action import PackAction


class UploadFileS3(PackAction):
    def run(self, path, key, remove):
        return self.answer_of(s3.upload, settings.from_config(self.config), path, key, remove)
