"""The help text of `--auth`, in a module of its own so that `--help` loads nothing else."""

HELP = (
    "How to log in: api-key:NAME, cognito:NAME, oidc:NAME or lambda:NAME (NAME: the environment variable that holds"
    " the key or token), iam or iam:PROFILE, to a broker password:NAME:NAME (user, password) or"
    " certificate:FILE:KEYFILE, or a YAML file."
)
