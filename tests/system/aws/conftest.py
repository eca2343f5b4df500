"""Run moto, which simulates AWS, in this process, as in tests/aws."""

from tests.aws.conftest import aws, credentials

__all__ = ["aws", "credentials"]
