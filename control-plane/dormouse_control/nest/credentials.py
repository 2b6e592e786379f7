"""Which variables of our environment predictors are given. Pure.

Every zygote has what finding Python and GPUs needs. What may be a secret no zygote has, so that no
child can find it in memory that it shares: each predictor is told those for the places that its
service's weights come from, after the fork.
"""

from collections.abc import Collection, Mapping

_NAMES = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "TZ", "LD_LIBRARY_PATH")
_PREFIXES = ("HF_", "SSL_CERT_", "CUDA_", "NVIDIA_", "LC_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""Their addresses may hold a password."""

_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
_HERE = ("builtin", "file", "package")
_CLOUDS_OF = {
    "s3": ("AWS_",),
    "gs": ("GOOGLE_",),
    "gcs": ("GOOGLE_",),
    "abfs": ("AZURE_",),
    "abfss": ("AZURE_",),
    "adl": ("AZURE_",),
    "az": ("AZURE_",),
    "hf": (),
    "http": (),
    "https": (),
}


def for_zygotes(environment: Mapping[str, str]) -> dict[str, str]:
    """No database address (DORMOUSE_* may hold one), no secrets."""
    return {
        name: value
        for name, value in environment.items()
        if name in _NAMES or (name.startswith(_PREFIXES) and not _is_of_hub(name))
    }


def for_sources(schemes: Collection[str], environment: Mapping[str, str]) -> dict[str, str]:
    """What fetching from such places may need: `hf`, `s3`, … A place that we do not know may need
    anything that is for fetching."""
    remote = [scheme for scheme in schemes if scheme not in _HERE]
    clouds = {prefix for each in remote for prefix in _CLOUDS_OF.get(each, _CLOUDS)}
    hub = any(each == "hf" or each not in _CLOUDS_OF for each in remote)
    return {
        name: value
        for name, value in environment.items()
        if (remote and name.upper() in _PROXIES)
        or name.startswith(tuple(clouds))
        or (hub and _is_of_hub(name))
    }


def _is_of_hub(name: str) -> bool:
    return name.startswith("HF_") and "TOKEN" in name
