"""What a service may be asked for and how much at once. Plain values; nothing heavy is imported here."""

from dataclasses import dataclass, field

from hjc.errors import check_range

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ROLES = ("coder", "supervisor", "admin")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one request and of what waits.

    Args:
        rows, characters: of one request, and of one text.
        bytes, upload_bytes: of a request's body, and of an uploaded table.
        seconds: until a request that has not been answered is given up.
        requests: under way at a time; one more is answered with 503.
        queue_rows: rows that wait for the model; a request that does not fit is answered with 503.
        batch_rows, wait_ms: rows that go through the model together, and how long a row waits for others.
        upload_rows: of an uploaded table.
        codes, job_codes: in one answer, rows times levels times top_k, and in a job's.
    """

    rows: int = 1000
    characters: int = 20_000
    bytes: int = 8 << 20
    upload_bytes: int = 256 << 20
    seconds: float = 30.0
    requests: int = 512
    queue_rows: int = 4096
    batch_rows: int = 256
    wait_ms: float = 2.0
    upload_rows: int = 500_000
    codes: int = 100_000
    job_codes: int = 2_000_000

    def __post_init__(self) -> None:
        for name in (
            "rows",
            "characters",
            "bytes",
            "upload_bytes",
            "seconds",
            "requests",
            "queue_rows",
            "batch_rows",
            "upload_rows",
            "codes",
            "job_codes",
        ):
            check_range(f"--{name.replace('_', '-')}", value := getattr(self, name), value > 0, "numbers above 0")
        check_range("--wait-ms", self.wait_ms, self.wait_ms >= 0, "numbers from 0")


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the service listens and whom it answers.

    Args:
        tokens: a token is needed for everything but the health routes. Without them everybody who reaches the port is
            an administrator, which is allowed on a loopback address only.
        hosts: names by which it may be called beside its own address (the Host header).
        log_texts: texts may stand in logs.
        lease_minutes: an ad that was given to a coder and not decided on goes to another after so long.
        session_hours: until somebody must sign in again.

    Raises:
        ValueError: bound to other machines without tokens.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tokens: bool = False
    hosts: tuple[str, ...] = ()
    log_texts: bool = False
    lease_minutes: float = 30.0
    session_hours: float = 12.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.tokens:
            raise ValueError(
                f"--host {self.host}: other machines can reach it, so tokens are needed: make one with "
                "`hjc desk user NAME --role admin --store STORE`, then give --tokens"
            )
