"""A local Binance to try DAGs against: it knows nothing of the rest of the package."""
