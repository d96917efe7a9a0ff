"""What the dashboard has to be told: where the API is, for it and for browsers, and a key where the API has keys."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DashboardSettings(BaseSettings):
    """Read from `MARKETLENS_DASHBOARD__*`."""

    model_config = SettingsConfigDict(env_prefix="MARKETLENS_DASHBOARD__")

    api_url: str = "http://127.0.0.1:8080"
    public_api_url: str = ""
    api_key: SecretStr = SecretStr("")
