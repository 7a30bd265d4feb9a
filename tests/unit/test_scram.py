"""The verifier that the server keeps instead of a password, against the exchange printed in RFC 7677 section 3."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from scripts.settings import scram

PASSWORD = "pencil"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
PROOF = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SIGNATURE = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def keys(text: str) -> tuple[bytes, bytes]:
    stored, server = text.rpartition("$")[2].split(":")
    return base64.b64decode(stored), base64.b64decode(server)


def test_the_clients_proof_of_the_rfc_is_accepted_by_the_verifier() -> None:
    stored, _ = keys(scram.verifier(PASSWORD, salt=SALT))
    signature = hmac.digest(stored, MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(PROOF, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored


def test_the_verifier_signs_as_the_server_of_the_rfc_does() -> None:
    _, server = keys(scram.verifier(PASSWORD, salt=SALT))
    assert hmac.digest(server, MESSAGE, "sha256") == SIGNATURE


def test_the_verifier_has_the_form_that_postgres_takes_as_it_is() -> None:
    assert scram.verifier(PASSWORD, salt=SALT).startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")


def test_each_verifier_has_a_salt_of_its_own() -> None:
    assert scram.verifier(PASSWORD) != scram.verifier(PASSWORD)


@pytest.mark.parametrize("password", ["pässword", "two\nlines"])
def test_what_saslprep_might_change_is_not_taken(password: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        scram.verifier(password)
