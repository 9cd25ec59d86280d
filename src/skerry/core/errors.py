"""The errors, named by who must act.

SkerryError
├─ RequestError    the caller must change something  Invalid · NotFound · TooLarge · NotAllowed · Conflict · Unsupported
├─ BusyError       the caller may try again (after)  QueueFull · NotReady · DeadlinePassed
├─ TrustError      these bytes are not to be believed BadSignature · Expired · RolledBack · WrongDigest
├─ PeerError       the other side failed             Unreachable · BrokenReply
└─ ModelError      the model itself failed           LoadFailed · RunFailed · GoldenFailed

Domain errors know nothing of HTTP: each server has one table from these to a status.
A TrustError is never retried, never caught wide, always an event.
"""

from __future__ import annotations


class SkerryError(Exception):
    """The root: every error that Skerry raises on purpose."""


class RequestError(SkerryError):
    """The caller must change something before asking again."""


class Invalid(RequestError):
    """A value is malformed; the text names the field, what was expected and what came."""


class NotFound(RequestError):
    """The thing that was asked for does not exist."""


class TooLarge(RequestError):
    """The input is over a stated limit."""


class NotAllowed(RequestError):
    """The caller is not known, or may not do this."""


class Conflict(RequestError):
    """The request contradicts what is already so."""


class Unsupported(RequestError):
    """The request is well formed, but asks for something that is not implemented here."""


class BusyError(SkerryError):
    """The caller may try again, after `after` seconds."""

    def __init__(self, text: str, after: float = 1.0) -> None:
        super().__init__(text)
        self.after = after


def wish(error: SkerryError) -> float:
    """Return the seconds that the peer asked to wait, 0 if it asked for nothing."""
    return error.after if isinstance(error, BusyError) else 0.0


class QueueFull(BusyError):
    """More work is waiting than may wait."""


class NotReady(BusyError):
    """The thing exists but cannot answer yet."""


class DeadlinePassed(BusyError):
    """The answer would come too late to be of use."""


class TrustError(SkerryError):
    """These bytes are not to be believed."""


class BadSignature(TrustError):
    """No trusted key made this signature over these bytes."""


class Expired(TrustError):
    """The statement was true once; its time is over."""


class RolledBack(TrustError):
    """An older statement was offered after a newer one had been seen."""


class WrongDigest(TrustError):
    """The bytes are not the ones that were named."""


class PeerError(SkerryError):
    """The other side failed; the same request may succeed later."""


class Unreachable(PeerError):
    """No answer could be had."""


class BrokenReply(PeerError):
    """An answer came that makes no sense, or reports the peer's own failure."""


class ModelError(SkerryError):
    """The model itself failed."""


class LoadFailed(ModelError):
    """The model's file cannot be made to run here."""


class RunFailed(ModelError):
    """The model was given good input and failed."""


class GoldenFailed(ModelError):
    """The model runs, but does not give the answers that it must give."""
