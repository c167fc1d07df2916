"""What a build step learns from the machine it runs on: proxies, package indexes and certificates. Environment only, kept in no layer."""

import re
from collections.abc import Mapping

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
_CERTIFICATES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "NODE_EXTRA_CA_CERTS",
)
_USE_CA_BUNDLE: Mapping[str, str] = {
    "SSL_CERT_FILE": CA_BUNDLE,
    "PIP_CERT": CA_BUNDLE,
    "REQUESTS_CA_BUNDLE": CA_BUNDLE,
    "NODE_EXTRA_CA_CERTS": CA_BUNDLE,
    "UV_NATIVE_TLS": "1",
    "UV_SYSTEM_CERTS": "1",  # what newer versions of uv call it
}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def site_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of this site that hold inside containers too: no paths of the machine."""
    kept = {name: environ[name] for name in _PROXIES if environ.get(name)}
    kept |= {name: urls for name in _INDEXES if (urls := _web_addresses(environ.get(name, "")))}
    if any(environ.get(name) for name in _CERTIFICATES):
        kept |= _USE_CA_BUNDLE
    return kept


def _web_addresses(urls: str) -> str:
    return " ".join(url for url in urls.split() if url.startswith(("http://", "https://")))


def missing_certificates(machine_bundle: str, image_bundle: str) -> tuple[str, ...]:
    """Certificates (PEM) that the machine trusts and the image does not know: those of the site."""
    known = {_normal(found) for found in _CERTIFICATE.findall(image_bundle)}
    return tuple(found for found in dict.fromkeys(_CERTIFICATE.findall(machine_bundle)) if _normal(found) not in known)


def _normal(certificate: str) -> str:
    return "".join(certificate.split())
