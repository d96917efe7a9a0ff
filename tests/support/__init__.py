"""What tests share: no module in here is a test."""

import os

# What the developer has set is for the developer's catalogue: no test, nor a command that it starts, works on that.
for name in [name for name in os.environ if name.upper().startswith("MARKETLENS_")]:
    if not name.upper().startswith("MARKETLENS_TEST_"):
        del os.environ[name]
