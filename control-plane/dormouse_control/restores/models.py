"""Table: how often this database was written."""

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class Epoch(Base):
    """One row, number 1. `writes` grows with every commit, so that an older copy shows itself."""

    __tablename__ = "epoch"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    writes: Mapped[int] = mapped_column(BigInteger)
