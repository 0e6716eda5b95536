"""Failures that are alike, as the terminal tells them."""

from __future__ import annotations

from chainette.reports.failures import Alike as Alike
from chainette.reports.failures import alike as alike
