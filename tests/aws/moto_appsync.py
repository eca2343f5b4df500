"""Add Event APIs to moto's CloudFormation.

moto 5.2 has AppSync's Event APIs as API calls, but not as resources of a template. These three classes pass
the template's properties to moto's AppSync. So moto's CloudFormation (parameters, conditions, functions,
outputs, events) and AppSync (ListApiKeys, ListApis) are both used unchanged.
"""

import random
import string
from datetime import UTC, datetime
from typing import Any, ClassVar

from moto.appsync.models import appsync_backends
from moto.core.common_models import CloudFormationModel


class _Resource(CloudFormationModel):
    def __init__(self, physical_id: str, attributes: dict[str, str]) -> None:
        self.physical_resource_id = physical_id
        self.attributes = attributes

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""

    def get_cfn_attribute(self, name: str) -> str:
        return self.attributes[name]

    def is_created(self) -> bool:
        return True


def _backend(account_id: str, region: str) -> Any:
    return appsync_backends[account_id][region]


class EventApi(_Resource, CloudFormationModel):
    #: HTTP host of the APIs that are made from now on; None for a host under AWS's domain.
    http_host: ClassVar[str | None] = None

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AppSync::Api"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("ApiId", "ApiArn", "Dns.Http", "Dns.Realtime")

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "EventApi":
        properties = cloudformation_json["Properties"]
        api = _backend(account_id, region_name).create_api(
            properties["Name"], None, None, properties["EventConfig"]
        )
        if cls.http_host is not None:
            api.dns = {"HTTP": cls.http_host, "REALTIME": cls.http_host}
        attributes = {
            "ApiId": api.api_id,
            "ApiArn": api.api_arn,
            "Dns.Http": api.dns["HTTP"],
            "Dns.Realtime": api.dns["REALTIME"],
        }
        return cls(api.api_arn, attributes)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "EventApi",
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> "EventApi":
        api = _backend(account_id, region_name).events_apis[original_resource.attributes["ApiId"]]
        api.event_config = cloudformation_json["Properties"]["EventConfig"]
        return original_resource

    def delete(self, account_id: str, region_name: str) -> None:
        _backend(account_id, region_name).delete_api(self.attributes["ApiId"])


class EventNamespace(_Resource, CloudFormationModel):
    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AppSync::ChannelNamespace"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "ChannelNamespaceArn"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "EventNamespace":
        properties = cloudformation_json["Properties"]
        made = _backend(account_id, region_name).create_channel_namespace(
            properties["ApiId"], properties["Name"], [], []
        )
        return cls(made.channel_namespace_arn, {"ApiId": properties["ApiId"], "Name": properties["Name"]})

    def delete(self, account_id: str, region_name: str) -> None:
        apis = _backend(account_id, region_name).events_apis
        if self.attributes["ApiId"] in apis:
            _backend(account_id, region_name).delete_channel_namespace(
                self.attributes["ApiId"], self.attributes["Name"]
            )


class EventApiKey(_Resource, CloudFormationModel):
    #: Value of the API key that is created next; None for a random one.
    secret: ClassVar[str | None] = None

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AppSync::ApiKey"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("ApiKey", "ApiKeyId", "Arn")

    @staticmethod
    def _expires(properties: dict[str, Any]) -> datetime | None:
        said = properties.get("Expires")
        return None if not said else datetime.fromtimestamp(int(said), UTC).replace(tzinfo=None)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "EventApiKey":
        properties = cloudformation_json["Properties"]
        api = _backend(account_id, region_name).events_apis[properties["ApiId"]]
        key = api.create_api_key(properties["Description"], cls._expires(properties))
        del api.api_keys[key.key_id]
        letters = string.ascii_lowercase + string.digits
        key.key_id = cls.secret or "da2-" + "".join(random.choices(letters, k=26))
        api.api_keys[key.key_id] = key
        # As on AWS, the physical id contains the key.
        return cls(f"{api.api_arn}/apikeys/{key.key_id}", {"ApiId": properties["ApiId"], "id": key.key_id})

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "EventApiKey",
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> "EventApiKey":
        api = _backend(account_id, region_name).events_apis[original_resource.attributes["ApiId"]]
        api.api_keys[original_resource.attributes["id"]].expires = cls._expires(
            cloudformation_json["Properties"]
        )
        return original_resource

    def delete(self, account_id: str, region_name: str) -> None:
        apis = _backend(account_id, region_name).events_apis
        if self.attributes["ApiId"] in apis:
            apis[self.attributes["ApiId"]].delete_api_key(self.attributes["id"])
