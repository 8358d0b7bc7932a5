"""S3 for the tests: moto's server, a process of its own that speaks S3's API over HTTP."""

import sys

import boto3
import requests
from botocore.config import Config

from tests.demo.servers import Server
from tests.support.ports import free_port


class S3(Server):
    """An S3 without buckets.

    ``settings`` is what PoundCake is told to reach ``bucket`` there; ``client`` is boto3's own.
    """

    name = "s3"
    bucket = "recordings"

    def __init__(self, folder):
        super().__init__(folder)
        self._port = free_port()
        self.url = "http://127.0.0.1:%d" % self._port
        self.settings = {
            "s3_bucket": self.bucket,
            "s3_prefix": "poundcake/jfr",
            "s3_region": "eu-central-1",
            "s3_endpoint_url": self.url,
            "s3_access_key_id": "test",
            "s3_secret_access_key": "s3-secret-of-the-tests",
        }
        self.client = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self):
        """Make ``bucket``."""
        self.client.create_bucket(Bucket=self.bucket)

    def keys(self):
        """The keys of what is in ``bucket``."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [item["Key"] for item in found]

    def body(self, key):
        """What is in ``bucket`` under a key."""
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def _command(self):
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]

    def _ready(self):
        return requests.get(self.url + "/moto-api/", timeout=5).ok
