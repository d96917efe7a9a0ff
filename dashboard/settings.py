"""Settings: the API's URL for the dashboard, its URL for browsers, and a key if the API requires one."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DashboardSettings(BaseSettings):
    """Read from `MARKETLENS_DASHBOARD__*`."""

    model_config = SettingsConfigDict(env_prefix="MARKETLENS_DASHBOARD__")

    api_url: str = "http://127.0.0.1:8080"
    public_api_url: str = ""
    api_key: SecretStr = SecretStr("")
