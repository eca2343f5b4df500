"""Test `loadgen keys`: the key set verifies what a key signs, and no key is lost or shown."""

import asyncio
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadgen.cli.keys  # noqa: F401  registers the command
from loadgen.cli.app import app
from loadgen.credentials import signing_keys
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.minting import Minter
from loadgen.scenario.login import Minting
from loadgen.server.auth.base import AuthorizationRequest, Identity, Operation
from loadgen.server.auth.tokens import JwtAuthorizer
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

ALGORITHMS: tuple[signing_keys.Algorithm, ...] = ("ES256", "RS256")


def identity(public: Path, token: str) -> Identity:
    """Return the claims of a token, as verified by the embedded server."""
    authorizer = JwtAuthorizer(Mode.OIDC, "https://login.example", public, "feeds")
    request = AuthorizationRequest(Operation.CONNECT, {"authorization": token}, lambda: b"")
    found = asyncio.run(authorizer.authorize(request))
    assert found is not None
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_signed_with_the_key_is_verified_by_the_key_set(
    tmp_path: Path, algorithm: signing_keys.Algorithm
) -> None:
    private, public = signing_keys.make(tmp_path / "new", algorithm, "k7")
    minting = Minting.model_validate(
        {
            "key_file": str(private),
            "kid": "k7",
            "algorithm": algorithm,
            "claims": {"iss": "https://login.example", "sub": "{people.id}", "aud": "feeds"},
        }
    )
    token = Minter(minting).mint({"people.id": "ada"}).token
    assert identity(public, token)["sub"] == "ada"
    # The service refuses a token that another key with the same id has signed.
    other, _ = signing_keys.make(tmp_path / "other", algorithm, "k7")
    forged = Minter(minting.model_copy(update={"key_file": str(other)})).mint({"people.id": "ada"}).token
    with pytest.raises(RefusedError):
        identity(public, forged)


def test_a_key_is_its_owners_alone_and_never_replaced(tmp_path: Path) -> None:
    private, public = signing_keys.make(tmp_path, "ES256", "k1")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert '"d"' not in public.read_text()
    before = private.read_bytes()
    with pytest.raises(CredentialError, match=r"signing\.pem exists: remove it"):
        signing_keys.make(tmp_path, "ES256", "k1")
    assert private.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialError, match="no key can be written to"):
        signing_keys.make(tmp_path / "file", "ES256", "k1")


def test_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", str(tmp_path), "--algorithm", "RS256"])
    assert done.exit_code == 0
    assert "BEGIN" not in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"signing.pem", "jwks.json"}
    assert CliRunner().invoke(app, ["keys", str(tmp_path)]).exit_code == 2
