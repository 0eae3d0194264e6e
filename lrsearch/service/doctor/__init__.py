"""What a machine needs to train studies, looked at one by one: what is wrong, and what to do."""

from lrsearch.service.doctor.examination import examine
from lrsearch.service.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
