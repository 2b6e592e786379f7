"""HTTP of the ledger."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import PlatformDep, ReadingDep
from dormouse_control.ledger import verification
from dormouse_control.ledger.schemas import LedgerVerificationRead

router = APIRouter(prefix="/api/v1/ledger")


@router.get("/verification", response_model=LedgerVerificationRead, dependencies=[rules.OPERATOR])
def verify_ledger(reading: ReadingDep, platform: PlatformDep) -> LedgerVerificationRead:
    """Whether every call is charged once at its price, and all sums are right to the unit."""
    found = verification.verify(reading)
    return LedgerVerificationRead(**vars(found), currency=platform.settings.currency)
