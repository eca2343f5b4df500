"""The names of the authorization modes."""

from enum import Enum


class Mode(Enum):
    """An authorization mode; the values are the names in AWS's control plane, from botocore's service model."""

    API_KEY = "API_KEY"
    IAM = "AWS_IAM"
    COGNITO = "AMAZON_COGNITO_USER_POOLS"
    OIDC = "OPENID_CONNECT"
    LAMBDA = "AWS_LAMBDA"
