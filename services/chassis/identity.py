"""Who makes a call from outside: found out from a key, a certificate or a proxy's word, never from the message."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from services.chassis.access import IdentitySettings
from services.chassis.call import LOCAL, Caller
from services.chassis.errors import Unauthenticated
from services.chassis.keys import KeyRing

Metadata: TypeAlias = "Sequence[tuple[str, str | bytes]]"
AuthContext: TypeAlias = "Callable[[], Mapping[str, Iterable[bytes]]]"

AUTHORIZATION, API_KEY = "authorization", "x-api-key"
UNKNOWN = Caller("", "", False)  # until a caller has shown who it is
_NAMES = ("peer_uri", "peer_dns")  # what gRPC calls the URIs and DNS names of a verified certificate
_REMEMBERED = 10_000
_LONGEST_TENANT = 200  # as the contracts have it


class Identity:
    """Authenticates calls as the settings say.

    A key counts before the certificate of the connection, as it was chosen for the call. The header counts for every
    caller where nothing else is accepted; beside other ways it counts from trusted callers alone, who name with it the
    tenant they act for.

    Raises:
        ConfigError: keys are accepted and their file cannot be read.
    """

    def __init__(self, settings: IdentitySettings) -> None:
        self._settings = settings
        self._keys = KeyRing(settings.keys) if "keys" in settings.accept else None
        self._certificates = "certificate" in settings.accept
        self._header = settings.header if "header" in settings.accept else None
        self._tenant_names, self._service_names = settings.tenant_names, settings.service_names
        self._by_names: dict[tuple[bytes, ...], Caller] = {}

    @property
    def local(self) -> bool:
        """Whether nothing is asked of callers: whoever reaches the port is trusted."""
        return not self._settings.accept

    def of_wire(self, metadata: Metadata, auth_context: AuthContext) -> Caller:
        """Who makes a call that came by a socket.

        Raises:
            Unauthenticated: the caller shows nothing that is accepted, or something that does not count.
        """
        if self.local:
            return LOCAL
        token, named = self._shown(metadata)
        found = None
        if self._keys and token:
            found = self._keys.caller(token[1], token[0])
        elif self._certificates:
            found = self._of_certificate(auth_context())
        return self._acting(found, named)

    def of_process(self, metadata: Metadata) -> Caller:
        """Who makes a call from within the process: the process itself, unless the call brings credentials.

        Raises:
            Unauthenticated: it brings some that do not count.
        """
        if self.local:
            return LOCAL
        token, named = self._shown(metadata)
        if not token and not named:
            return LOCAL
        found = self._keys.caller(token[1], token[0]) if self._keys and token else None
        return self._acting(found, named)

    def _shown(self, metadata: Metadata) -> tuple[tuple[str, str] | None, list[str]]:
        """The key, with where it was found, and what the header says."""
        token: tuple[str, str] | None = None
        named: list[str] = []
        for name, value in metadata:
            if self._keys and name in (AUTHORIZATION, API_KEY):
                if token:
                    raise _invalid(f"metadata.{name}", "a second key", "one key")
                token = (f"metadata.{name}", _token(name, value))
            elif name == self._header:
                named.append(value if isinstance(value, str) else "")
        return token, named

    def _acting(self, found: Caller | None, named: list[str]) -> Caller:
        """The caller, or whom it acts for."""
        if found is None and (self._keys or self._certificates):
            raise self._missing()
        if found is not None and not (self._header and named and found.trusted):
            return found
        if not named:
            raise self._missing()
        if len(named) > 1 or not 0 < len(named[0]) <= _LONGEST_TENANT:
            raise _invalid(f"metadata.{self._header}", f"{len(named)} values", "one tenant of 1 to 200 characters")
        return Caller(named[0], found.principal if found else "header", False)

    def _of_certificate(self, auth_context: Mapping[str, Iterable[bytes]]) -> Caller | None:
        names = tuple(name for kind in _NAMES for name in auth_context.get(kind, ()))
        if "x509_subject" not in auth_context and not names:
            return None
        found = self._by_names.get(names)
        if found is None:
            found = self._named([name.decode(errors="replace") for name in names])
            if len(self._by_names) >= _REMEMBERED:
                self._by_names.clear()
            self._by_names[names] = found
        return found

    def _named(self, names: list[str]) -> Caller:
        names = [name for name in names if name.isprintable()]
        for name in names:
            if self._service_names.fullmatch(name):
                return Caller(name[:_LONGEST_TENANT], f"service {name}", True)
        tenants = {match[1]: name for name in names if (match := self._tenant_names.fullmatch(name))}
        if len(tenants) != 1 or not all(0 < len(tenant) <= _LONGEST_TENANT for tenant in tenants):
            raise _invalid("certificate", ", ".join(names) or "no name", "one name that tells tenant or service")
        ((tenant, name),) = tenants.items()
        return Caller(tenant, f"certificate {name}", False)

    def _missing(self) -> Unauthenticated:
        ways = {
            "keys": ("metadata.authorization", "Bearer and an API key"),
            "certificate": ("certificate", "a client certificate"),
            "header": (f"metadata.{self._header}", "the tenant"),
        }
        wanted = [ways[way] for way in self._settings.accept]
        return Unauthenticated(wanted[0][0], "absent", " or ".join(text for _, text in wanted))


def _token(name: str, value: str | bytes) -> str:
    text = value if isinstance(value, str) else ""
    if name == API_KEY:
        return text.strip()
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != "bearer":
        raise _invalid(f"metadata.{name}", "another scheme", "Bearer and an API key")
    return rest.strip()


def _invalid(field: str, value: str, expected: str) -> Unauthenticated:
    return Unauthenticated(field, value, expected, reason="CREDENTIALS_INVALID")
