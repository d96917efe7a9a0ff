"""The Streamlit dashboard for analysts. It uses only the API."""
