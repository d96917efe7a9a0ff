"""The Streamlit dashboard for analysts. It knows the API alone."""
