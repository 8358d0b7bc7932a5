from poundcake import s3, settings
from poundcake.pack_action import PackAction


class FindFileS3(PackAction):
    def run(self, key):
        return self.answer_of(s3.find, settings.from_config(self.config), key)
