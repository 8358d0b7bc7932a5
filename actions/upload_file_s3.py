from poundcake import s3, settings
from poundcake.pack_action import PackAction


class UploadFileS3(PackAction):
    def run(self, path, key, remove):
        return self.answer_of(s3.upload, settings.from_config(self.config), path, key, remove)
