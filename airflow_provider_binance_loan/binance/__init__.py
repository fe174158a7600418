"""What Binance says: signing, windows, pages and records. No Airflow, no HTTP client, no clock, no sleep."""
