"""Files in an S3 bucket, or in anything that speaks S3: upload one, look for one.

The settings are s3_*. Without keys there, boto3 looks where it always does: environment,
``~/.aws``, the role of the machine.
"""

import contextlib
import os
import unicodedata

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from poundcake.errors import ExpectedError

# boto3 waits 1, 2, 4... s (at most 20, with jitter) between its tries of a call.
TRIES = 4
CONNECT_SECONDS = 10
READ_SECONDS = 60
LONGEST_KEY = 1024  # bytes
_RAISED = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    boto3.exceptions.Boto3Error,
    ValueError,  # an endpoint that is no URL
)


def upload(settings, path, key, remove):
    """Upload a file, see that it is there in its full size, and return what ``find`` does.

    :param key: where in the bucket, below s3_prefix.
    :param remove: whether the file is removed then.
    :raises ExpectedError: when the file cannot be read, or the bucket does not take it.
    """
    bucket, name = _place(settings, key)
    try:
        size = os.path.getsize(path)
        with _told(settings):
            _client(settings).upload_file(path, bucket, name)
        found = find(settings, key)
        if found["size"] != size:
            text = "key: %s has %s bytes after the upload of %d; upload it again"
            raise ExpectedError(text % (found["uri"], found["size"], size))
        if remove:
            os.remove(path)
    except OSError as error:
        raise ExpectedError("path: %s" % error)
    return found


def find(settings, key):
    """Look for an object and return found (true or false), uri, bucket, key and size in bytes.

    :raises ExpectedError: when the bucket does not say.
    """
    bucket, name = _place(settings, key)
    place = {"uri": "s3://%s/%s" % (bucket, name), "bucket": bucket, "key": name}
    with _told(settings):
        try:
            head = _client(settings).head_object(Bucket=bucket, Key=name)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey"):
                raise
            return dict(place, found=False, size=None)
    return dict(place, found=True, size=head["ContentLength"])


def _place(settings, key):
    if not settings.s3.bucket:
        raise ExpectedError("s3_bucket: is not set; set it in the config of poundcake")
    parts = key.split("/")
    odd = any(unicodedata.category(one).startswith("C") for one in key)
    if odd or any(part.strip() in ("", ".", "..") for part in parts):
        text = 'key: "%s" is none; write names with / between them, none of them empty, . or ..'
        raise ExpectedError(text % key[:200])
    name = "/".join(filter(None, [settings.s3.prefix.strip("/"), key]))
    if len(name.encode("utf-8")) > LONGEST_KEY:
        raise ExpectedError("key: has more than %d bytes; make it shorter" % LONGEST_KEY)
    return settings.s3.bucket, name


def _client(settings):
    options = {
        "retries": {"mode": "standard", "total_max_attempts": TRIES},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
    if settings.s3.endpoint_url:
        # Its name server need not know a name for every bucket.
        options["s3"] = {"addressing_style": "path"}
    return boto3.client(
        "s3",
        region_name=settings.s3.region or None,
        endpoint_url=settings.s3.endpoint_url or None,
        aws_access_key_id=settings.s3.access_key_id or None,
        aws_secret_access_key=settings.s3.secret_access_key or None,
        config=Config(**options),
    )


@contextlib.contextmanager
def _told(settings):
    """Turn what boto3 raises in the block into ExpectedError."""
    try:
        yield
    except botocore.exceptions.NoCredentialsError:
        text = "s3_access_key_id: there are no credentials; set it and s3_secret_access_key in the "
        text += "config of poundcake, or give the StackStorm node a role"
        raise ExpectedError(text)
    except _RAISED as error:
        text = "s3_bucket: %s does not answer as it should: %s; see the settings s3_* in the "
        text += "config of poundcake"
        raise ExpectedError(text % (settings.s3.bucket, error))
