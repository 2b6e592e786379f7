"""The account of money: reservations, charges and releases, each once, and what they add up to."""
