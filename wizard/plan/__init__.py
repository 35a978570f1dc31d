"""Answers and a provider's facts become a plan: a pure value, printable and priced."""
