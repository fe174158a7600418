"""The protocol: signing, messages, datasets and how to read them. No Airflow, HTTP client, clock or sleep."""
