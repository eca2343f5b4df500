"""The names of the authorization modes."""

from enum import Enum


class Mode(Enum):
    """Authorization modes by the names that AWS's control plane gives them (BOTO)."""

    API_KEY = "API_KEY"
    IAM = "AWS_IAM"
    COGNITO = "AMAZON_COGNITO_USER_POOLS"
    OIDC = "OPENID_CONNECT"
    LAMBDA = "AWS_LAMBDA"
