"""Uploads files to an S3 bucket, or anything with the S3 API, and looks for them there.

The settings are s3_*. Without keys in them, boto3 looks in its usual places: environment,
``~/.aws``, the role of the machine.

boto3 has its own HTTP client, so its own options bound it: seconds to connect and for each read,
and the number of tries. It follows no redirect to another host, and no answer that is read here has
a body of any length. StackStorm ends an upload that takes longer than its action may.
"""

import contextlib
import os
import unicodedata
from typing import Any, Dict, Iterator, Tuple

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from poundcake.errors import ExpectedError
from poundcake.settings import Settings

# boto3 waits 1, 2, 4... s (at most 20, with jitter) between the tries of a call.
TRIES = 4
CONNECT_SECONDS = 10
READ_SECONDS = 60
LONGEST_KEY = 1024  # bytes
_RAISED = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    boto3.exceptions.Boto3Error,
    ValueError,  # an endpoint that is not a URL
)


def upload(settings: Settings, path: str, key: str, remove: bool) -> Dict[str, Any]:
    """Upload a file, check its size in the bucket, and return the result of ``find``.

    :param key: the name in the bucket, below s3_prefix.
    :param remove: whether to remove the file afterwards.
    :raises ExpectedError: when the file cannot be read, or the upload fails.
    """
    bucket, name = _place(settings, key)
    try:
        size = os.path.getsize(path)
        with _translated_errors(settings):
            _client(settings).upload_file(path, bucket, name)
        uploaded = find(settings, key)
        if uploaded["size"] != size:
            raise ExpectedError(
                "key",
                f"{uploaded['uri']} has {uploaded['size']} bytes after the upload",
                f"{size} bytes",
                "Upload it again",
            )
        if remove:
            os.remove(path)
    except OSError as error:
        raise ExpectedError("path", str(error), "a readable file on this StackStorm node")
    return uploaded


def find(settings: Settings, key: str) -> Dict[str, Any]:
    """Look for an object and return found (true or false), uri, bucket, key and size in bytes.

    :raises ExpectedError: when the bucket gives no answer.
    """
    bucket, name = _place(settings, key)
    place = {"uri": f"s3://{bucket}/{name}", "bucket": bucket, "key": name}
    with _translated_errors(settings):
        try:
            head = _client(settings).head_object(Bucket=bucket, Key=name)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey"):
                raise
            return dict(place, found=False, size=None)
    return dict(place, found=True, size=head["ContentLength"])


def _place(settings: Settings, key: str) -> Tuple[str, str]:
    if not settings.s3.bucket:
        raise ExpectedError("s3_bucket", "not set", remedy="Set it in the config of poundcake")
    parts = key.split("/")
    has_controls = any(unicodedata.category(character).startswith("C") for character in key)
    if has_controls or any(part.strip() in ("", ".", "..") for part in parts):
        raise ExpectedError(
            "key",
            f'invalid key "{key[:200]}"',
            "printable names separated by /, none of them empty, . or ..",
        )
    name = "/".join(filter(None, [settings.s3.prefix.strip("/"), key]))
    if len(name.encode("utf-8")) > LONGEST_KEY:
        raise ExpectedError("key", "too long", f"at most {LONGEST_KEY} bytes")
    return settings.s3.bucket, name


def _client(settings: Settings) -> Any:
    options: Dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": TRIES},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
    if settings.s3.endpoint_url:
        # Its DNS need not have a name for every bucket.
        options["s3"] = {"addressing_style": "path"}
    return boto3.client(
        "s3",
        region_name=settings.s3.region or None,
        endpoint_url=settings.s3.endpoint_url or None,
        aws_access_key_id=settings.s3.access_key_id or None,
        aws_secret_access_key=settings.s3.secret_access_key.value or None,
        config=Config(**options),
    )


@contextlib.contextmanager
def _translated_errors(settings: Settings) -> Iterator[None]:
    """Turn boto3's errors in the block into ExpectedError."""
    try:
        yield
    except botocore.exceptions.NoCredentialsError:
        raise ExpectedError(
            "s3_access_key_id",
            "no credentials",
            remedy="Set it and s3_secret_access_key in the config of poundcake, or give the "
            "StackStorm node a role",
        )
    except _RAISED as error:
        raise ExpectedError(
            "s3_bucket",
            f"the request to {settings.s3.bucket} failed: {error}",
            remedy="Check the settings s3_* in the config of poundcake",
        )
