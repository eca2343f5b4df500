"""The help text of `--auth`, in a separate module so that `--help` loads nothing else."""

HELP = (
    "Login: api-key:NAME, cognito:NAME, oidc:NAME or lambda:NAME, where NAME is the environment variable with the key"
    " or token; iam or iam:PROFILE; for a broker password:NAME:NAME (variables with user and password) or"
    " certificate:FILE:KEYFILE; or a YAML file."
)
