"""`loadgen keys`: make a key to sign tokens with, for services that verify them by a JSON Web Key Set."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.cli.app import app, fail

if TYPE_CHECKING:
    from loadgen.credentials.signing_keys import Algorithm


class KeyAlgorithm(Enum):
    """Signature algorithm of a key."""

    ES256 = "ES256"
    RS256 = "RS256"


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(help="Folder for the two files.")] = Path(),
    algorithm: Annotated[
        KeyAlgorithm, typer.Option(help="Signature algorithm; ES256 takes less CPU time.")
    ] = KeyAlgorithm.ES256,
    kid: Annotated[str, typer.Option(help="Id of the key in the key set.")] = "k1",
) -> None:
    """Make a key to sign the tokens of clients with.

    The command writes two files. signing.pem is the private key: name it as `jwt.key_file` in a scenario's login.
    jwks.json is the key set for the service: name it as `auth.oidc.jwks` in an API file, or serve it at the issuer's
    jwks_uri.

    Exit codes: 0 written, 2 there is a key already, or the folder cannot be written.
    """
    from loadgen.credentials import signing_keys
    from loadgen.credentials.errors import CredentialError

    chosen: Algorithm = algorithm.value
    try:
        private, public = signing_keys.make(folder, chosen, kid)
    except CredentialError as error:
        fail(str(error))
    print(f"private key: {private}  (keep it out of repositories)")
    print(f"key set: {public}")
