"""A local Binance to run DAGs against. It shares no code with the client that it tests."""
