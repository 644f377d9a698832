"""Errors of networks and object stores as sentences.

The libraries of the stores (s3fs, gcsfs) retry throttled, dropped and timed-out requests a few times themselves; what
arrives here has failed every time.
"""

import re

from v2vkit.errors import V2VError

_GOOGLE = ("google.api_core", "google.auth", "google.cloud")  # protobuf is in the package google, too
_LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "gcsfs", *_GOOGLE, "requests", "urllib3")
"""Packages whose exceptions mean that a store could not be reached or refused."""

_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")


def network_error(error: BaseException, path: str) -> V2VError | None:
    """The sentence for an error of a store; None for another error.

    The text of the error is left out: it may hold signed addresses.
    """
    kind = type(error)
    if kind.__name__ in _CREDENTIALS:
        return V2VError(
            "credentials-missing",
            f"There are no credentials for {path}.",
            "Set them as the store wants them, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile.",
        )
    of_store = f"{kind.__module__}.".startswith(tuple(f"{name}." for name in _LIBRARIES))
    if of_store or isinstance(error, ConnectionError | TimeoutError):
        return V2VError(
            "network-failed",
            f"{path} could not be reached, also after retries ({kind.__name__}).",
            "Check the network and the address of the store. Rerun the command; finished parts are kept.",
        )
    return None


def refuse_credentials(url: str) -> None:
    """Refuse a password in an address: addresses are printed and stored in manifests.

    Raises:
        V2VError: the address holds one; it is not repeated.
    """
    scheme, _, rest = url.partition("://")
    # A secret may hold a slash, so that the host ends in its middle: then what follows the colon is no port.
    host = rest.partition("/")[0]
    cut = "@" in rest and re.fullmatch(r"[^:@\[\]]+:(?!\d*$)[^@]*", host) is not None
    if cut or ":" in host.rpartition("@")[0]:
        raise V2VError(
            "folder-unsupported",
            f"The address of a {scheme}:// folder holds a password, which would be printed and stored.",
            "Leave it out, and set it as the store wants it, such as in the variables AWS_....",
        )
