"""The client: everything that talks to Binance over the network."""
