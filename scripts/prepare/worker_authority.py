"""The stack's own certificate authority for worker hosts: one key, the gateway's certificate, one for each host.

X.509 as of RFC 5280, keys on P-256. Only who holds a certificate of this authority speaks to the gateway, and only the
gateway's own one passes for it. The authority's key is in the folder of secrets and in no container.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scripts.base.files import private_folder, replace
from scripts.base.host import is_root
from scripts.engine.compose import Compose
from scripts.settings.secret_files import FILE_MODE

# The folder of what the gateway and Redis know of worker hosts.
FOLDER = "worker-hosts"
AUTHORITY, AUTHORITY_KEY, GATEWAY = "worker_authority", "worker_authority_key", "gateway_certificate"
# The name that worker hosts look for, see docker/python/stack/gateway.py.
SERVER_NAME = "gateway.wepp-stack"
# Access ends with the host's file at the gateway; what ends by itself would end on a bad day.
DAYS = 20 * 365
PRIVATE = 0o600


def ensure(compose: Compose) -> None:
    """Make what is missing: folder, authority, the gateway's certificate. Raise OSError."""
    secrets = compose.secrets_dir
    found = compose.env_path.stat()
    owner = (found.st_uid, found.st_gid)
    private_folder(secrets, owner)
    folder = compose.data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if is_root():
        # The gateway writes there when a host joins or leaves.
        os.chown(folder, *compose.owner)
    if not (secrets / AUTHORITY).is_file() or not (secrets / AUTHORITY_KEY).is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate("wepp-stack workers", key, key, None)
        replace(secrets / AUTHORITY_KEY, _key_text(key), PRIVATE, owner)
        replace(secrets / AUTHORITY, _text(made), FILE_MODE, owner)
        (secrets / GATEWAY).unlink(missing_ok=True)
    if not (secrets / GATEWAY).is_file():
        replace(secrets / GATEWAY, issue(secrets, SERVER_NAME, server=True)[0], FILE_MODE, owner)


def issue(secrets: Path, name: str, *, server: bool = False) -> tuple[str, str]:
    """Return a new key with its certificate (PEM, one text), and the certificate's SHA-256 in hex."""
    authority = x509.load_pem_x509_certificate((secrets / AUTHORITY).read_bytes())
    authority_key = serialization.load_pem_private_key((secrets / AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `ensure` wrote it
    key = ec.generate_private_key(ec.SECP256R1())
    made = _certificate(name, key, authority_key, authority, server=server)
    return _key_text(key) + _text(made), made.fingerprint(hashes.SHA256()).hex()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    *,
    server: bool = False,
) -> x509.Certificate:
    """Return a certificate about `name`; issuer: None for the authority's own."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A host's clock may be a little behind.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if issuer:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
