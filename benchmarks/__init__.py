"""Side-by-side measurements. Never asserted in tests: each prints its figures and the ratio of what it compares."""
