"""TLS of one connection by OpenSSL's own functions, with which the receive thread can decrypt.

`native_context` copies the settings of a context of Python's `ssl` module, so that both verify a server alike. The
functions are those of the OpenSSL library with which `ssl` is linked. Where they cannot be used,
`loadgen.transport.tls` does the same with Python's objects: see docs/decisions/0013-tls.md.
"""

import _ssl
import ssl
from collections.abc import Callable
from functools import cache

from loadgen import native
from loadgen.protocol.base import TlsOptions

#: The type of received bytes.
Data = bytes | memoryview
#: Takes decrypted data and its arrival times (see `poller.Source.take`). The data is valid only until the call returns.
OnPlaintext = Callable[[Data, int, int, int, int], None]

#: openssl/x509_vfy.h: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_MISMATCHES = {62: "Hostname", 64: "IP address"}
#: openssl/x509v3.h: X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, which Python always sets, and
#: X509_CHECK_FLAG_NEVER_CHECK_SUBJECT.
_NO_PARTIAL_WILDCARDS, _NEVER_CHECK_SUBJECT = 0x4, 0x20
#: openssl/err.h: parts of an error's code.
_LIBRARY_SHIFT, _LIBRARY_MASK, _REASON_MASK = 23, 0xFF, 0x7FFFFF
#: Modules of context classes that verify certificates by OpenSSL alone. Libraries that replace `ssl.SSLContext` may
#: verify in another way, which would be lost with OpenSSL's own functions.
_MODULES = ("ssl", "gevent.ssl")


class NativeTls(native.Tls):
    """The client's side of TLS, with the same methods as `loadgen.transport.tls.Tls`."""

    __slots__ = ()

    def decrypt(
        self,
        data: Data,
        on_plaintext: OnPlaintext,
        arrival_ns: int,
        read_ns: int,
        within_ns: int,
        end_ns: int,
    ) -> bool:
        """Decrypt the ciphertext of one read and pass it on; return False if the server has ended TLS.

        The times mean the same as in `poller.Source.take`. Raises ssl.SSLError.
        """
        plaintext, ends_read, closed, error = self.open(data)
        if plaintext:
            on_plaintext(plaintext, arrival_ns, read_ns, within_ns, end_ns if ends_read else within_ns)
        if error is not None:
            raise error
        return not closed


@cache
def why_not() -> str | None:
    """Return why OpenSSL's functions cannot be used in this process, or None if they can."""
    if not native.available:
        return "the native receive path was not built"
    return native.load_tls(getattr(_ssl, "__file__", None))


def native_context(context: ssl.SSLContext, options: TlsOptions) -> native.TlsContext | None:
    """Return a context with the settings of ``context``, or None if an OpenSSL context cannot have all of them.

    ``context`` must trust the system's authorities. ``options`` has the settings that cannot be read from a context.
    """
    if not native.available or why_not() is not None or type(context).__module__ not in _MODULES:
        return None
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname or context.keylog_filename:
        return None
    names = [str(each["name"]) for each in context.get_ciphers()]
    subject = 0 if context.hostname_checks_common_name else _NEVER_CHECK_SUBJECT
    try:
        return native.TlsContext(
            error_of,
            options=int(context.options),
            # Python's symbols for the lowest and highest supported version are negative; OpenSSL uses 0 for both.
            minimum=max(0, int(context.minimum_version)),
            maximum=max(0, int(context.maximum_version)),
            level=context.security_level,
            flags=int(context.verify_flags),
            host_flags=_NO_PARTIAL_WILDCARDS | subject,
            ciphers=":".join(name for name in names if not name.startswith("TLS_")),
            suites=":".join(name for name in names if name.startswith("TLS_")),
            alpn=b"".join(bytes([len(name)]) + name.encode("ascii") for name in options.alpn),
            certificate=options.certificate,
            key=options.key,
        )
    except ValueError:
        return None


def error_of(
    kind: int, code: int, why: str | None, verify_code: int, verify_message: str | None, host: str
) -> ssl.SSLError:
    """Return the exception that Python's `ssl` module raises for an error of OpenSSL, with the same message.

    ``kind`` is the result of `SSL_get_error`, ``code`` the error's code or 0, and ``why`` its text.
    """
    library, reason = _names(code)
    text = why or "unknown error"
    made: type[ssl.SSLError] = _KINDS.get(kind, ssl.SSLError)
    if reason == "CERTIFICATE_VERIFY_FAILED":
        made = ssl.SSLCertVerificationError
        if verify_code in _MISMATCHES:
            verify_message = f"{_MISMATCHES[verify_code]} mismatch, certificate is not valid for '{host}'."
        text = f"{text}: {verify_message}"
    elif reason == "UNEXPECTED_EOF_WHILE_READING":
        made = ssl.SSLEOFError
    named = ": ".join(filter(None, (library, reason)))
    error = made(kind, f"[{named}] {text}" if named else text)
    # Like Python's `ssl` module, set an attribute to None if its name is not known.
    error.library, error.reason = library, reason  # type: ignore[assignment]
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = verify_code, verify_message or ""
    return error


_KINDS: dict[int, type[ssl.SSLError]] = {
    ssl.SSL_ERROR_WANT_READ: ssl.SSLWantReadError,
    ssl.SSL_ERROR_ZERO_RETURN: ssl.SSLZeroReturnError,
    ssl.SSL_ERROR_SYSCALL: ssl.SSLSyscallError,
}


def _names(code: int) -> tuple[str | None, str | None]:
    """Return the names of an error's library and reason, or None where Python knows none."""
    library, reason = code >> _LIBRARY_SHIFT & _LIBRARY_MASK, code & _REASON_MASK
    libraries: dict[int, str] = getattr(_ssl, "lib_codes_to_names", {})
    reasons: dict[tuple[int, int], str] = getattr(_ssl, "err_codes_to_names", {})
    return libraries.get(library), reasons.get((library, reason))
