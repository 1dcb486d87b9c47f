"""Which heads matter: orders, curves, errors counted while heads are masked."""
